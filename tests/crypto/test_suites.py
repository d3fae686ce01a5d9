"""suites.py, signatures.py, aead.py and kdf.py: code points, keys, and failing closed."""

from __future__ import annotations

import os
from typing import Any

import pytest

from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.labels import (
    decrypt_with_label,
    encrypt_with_label,
    make_key_package_ref,
    make_proposal_ref,
    sign_with_label,
    verify_with_label,
)
from crypto.suites import PRODUCT, SUITES, suite

every_suite = pytest.mark.parametrize("algorithms", SUITES.values(), ids=lambda algorithms: algorithms.name)


def test_the_product_suite_is_f002() -> None:
    assert suite(0xF002) is PRODUCT
    assert PRODUCT.code == 0xF002
    assert (PRODUCT.nh, PRODUCT.aead.nk, PRODUCT.signature.n_public) == (48, 32, 32)


@pytest.mark.parametrize("code", [0, 8, 0x0A0A, 0xF001])
def test_other_code_points_are_refused(code: int) -> None:
    with pytest.raises(ValidationError, match=r"suite\.unsupported"):
        suite(code)


@every_suite
def test_signatures_fail_closed(algorithms: Any) -> None:
    private, public = algorithms.generate_signature_key_pair(os.urandom)
    _, other = algorithms.generate_signature_key_pair(os.urandom)
    signature = sign_with_label(algorithms, private, "L", b"content")
    verify_with_label(algorithms, public, "L", b"content", signature)
    broken = signature[:-1] + bytes([signature[-1] ^ 1])
    for key, label, content, tag in (
        (public, "L", b"content", broken),
        (public, "L", b"content", signature[:-1]),
        (public, "L", b"content", b""),
        (public, "M", b"content", signature),
        (public, "L", b"Content", signature),
        (other, "L", b"content", signature),
        (public[:-1], "L", b"content", signature),
        (b"", "L", b"content", signature),
    ):
        with pytest.raises(AuthenticationError):
            verify_with_label(algorithms, key, label, content, tag)


@every_suite
def test_a_loaded_signer_signs_the_same(algorithms: Any) -> None:
    """Also shows that signing draws no randomness."""
    private, public = algorithms.signature_key_pair_from_seed(b"\x01" * algorithms.signature.n_private)
    loaded = algorithms.signer(private)
    assert sign_with_label(algorithms, loaded, "L", b"x") == sign_with_label(algorithms, private, "L", b"x")
    algorithms.verify(public, b"raw", algorithms.sign(private, b"raw"))


@every_suite
def test_a_private_key_that_is_none_is_our_mistake(algorithms: Any) -> None:
    with pytest.raises(StateError):
        algorithms.signer(b"")
    with pytest.raises(StateError):
        algorithms.signature_public_key(b"")


@every_suite
def test_aead_and_mac_fail_closed(algorithms: Any) -> None:
    key, nonce = bytes(algorithms.aead.nk), bytes(algorithms.aead.nn)
    sealed = algorithms.aead_seal(key, nonce, b"aad", b"plaintext")
    assert algorithms.aead_open(key, nonce, b"aad", sealed) == b"plaintext"
    for aad, ciphertext in ((b"aae", sealed), (b"aad", sealed[:-1]), (b"aad", b""), (b"aad", b"x" + sealed)):
        with pytest.raises(AuthenticationError):
            algorithms.aead_open(key, nonce, aad, ciphertext)
    tag = algorithms.mac(b"key", b"data")
    algorithms.verify_mac(b"key", b"data", tag)
    for wrong in (b"", tag[:-1], bytes(len(tag))):
        with pytest.raises(AuthenticationError):
            algorithms.verify_mac(b"key", b"data", wrong)


@every_suite
def test_encryption_is_bound_to_label_and_context(algorithms: Any) -> None:
    private, public = algorithms.generate_key_pair(os.urandom)
    sealed = encrypt_with_label(algorithms, public, "L", b"c", b"p", os.urandom)
    assert decrypt_with_label(algorithms, private, "L", b"c", *sealed) == b"p"
    for label, context in (("M", b"c"), ("L", b"d")):
        with pytest.raises(AuthenticationError):
            decrypt_with_label(algorithms, private, label, context, *sealed)


def test_references_of_different_things_differ() -> None:
    assert make_key_package_ref(PRODUCT, b"x") != make_proposal_ref(PRODUCT, b"x")


def test_an_empty_expansion_is_empty() -> None:
    assert PRODUCT.expand(bytes(48), b"", 0) == b""


def test_a_compressed_signature_key_is_refused() -> None:
    private, public = SUITES[2].signature_key_pair_from_seed(b"\x01" * 32)
    compressed = bytes([2 + (public[-1] & 1)]) + public[1:33]
    with pytest.raises(AuthenticationError):
        SUITES[2].verify(compressed, b"", SUITES[2].sign(private, b""))
