"""xwing.py: HPKE of 0xF002 against the vectors of draft-ietf-hpke-pq in ``cryptography-vectors``."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import cryptography_vectors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.aead import AES_256_GCM, CHACHA20_POLY1305
from crypto.dhkem import DHKEM_X25519
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.hpke import ComposedHpke
from crypto.kdf import SHA256, SHA384
from crypto.key_schedule import derive_external_key_pair
from crypto.rfc9420.external_init import XWingKem, composed_hpke, receive_init_secret, send_init_secret
from crypto.sensitive import Secret
from crypto.suites import PRODUCT, SUITES
from crypto.xwing import KEM_ID, N_ENC, N_PUBLIC, XWingHpke

HKDF_SHA256, CHACHA = 0x0001, 0x0003
assert isinstance(PRODUCT.hpke, XWingHpke)
PRODUCT_HPKE = PRODUCT.hpke


def published() -> list[dict[str, Any]]:
    with cryptography_vectors.open_vector_file("HPKE/hpke-pq-test-vectors.json", "r") as file:
        return [vector for vector in json.load(file) if vector["kem_id"] == KEM_ID]


def test_there_are_published_vectors() -> None:
    assert len(published()) >= 2


@pytest.mark.parametrize("vector", published(), ids=lambda vector: f"kdf-{vector['kdf_id']}")
def test_derive_key_pair_is_that_of_the_draft(vector: dict[str, Any]) -> None:
    private, public = PRODUCT.derive_key_pair(bytes.fromhex(vector["ikmR"]))
    assert private.hex() == vector["skRm"]
    assert public.hex() == vector["pkRm"]


@pytest.mark.parametrize("vector", published(), ids=lambda vector: f"kdf-{vector['kdf_id']}")
def test_open_agrees_with_rfc_9180_over_the_published_shared_secret(vector: dict[str, Any]) -> None:
    """The vectors use other KDFs and AEADs than 0xF002; their ``enc`` and shared secret serve any."""
    composed = ComposedHpke(kem=replace(DHKEM_X25519, kem_id=KEM_ID), kdf=SHA384, aead=AES_256_GCM)
    expand = composed._schedule(bytes.fromhex(vector["shared_secret"]), b"info")
    ciphertext = AES_256_GCM.seal(expand(b"key", 32), expand(b"base_nonce", 12), b"", b"plaintext")
    private, enc = bytes.fromhex(vector["skRm"]), bytes.fromhex(vector["enc"])
    assert PRODUCT.hpke_open(private, enc, info=b"info", ciphertext=ciphertext) == b"plaintext"


def test_the_exporter_behind_external_commits_is_that_of_the_vectors() -> None:
    """The one with a KDF of two stages; the others take SHAKE as the KDF of HPKE too, as no suite here."""
    [vector] = [vector for vector in published() if vector["kdf_id"] == HKDF_SHA256]
    assert vector["aead_id"] == CHACHA
    composed = ComposedHpke(kem=XWingKem(PRODUCT_HPKE), kdf=SHA256, aead=CHACHA20_POLY1305)
    private, enc, info = (bytes.fromhex(vector[name]) for name in ("skRm", "enc", "info"))
    for export in vector["exports"]:
        context = bytes.fromhex(export["exporter_context"])
        exported = composed.export_receive(private, enc, info=info, context=context, length=export["L"])
        assert exported.hex() == export["exported_value"]
    first = vector["encryptions"][0]
    opened = composed.open(
        private, enc, info=info, aad=bytes.fromhex(first["aad"]), ciphertext=bytes.fromhex(first["ct"])
    )
    assert opened.hex() == first["pt"]


def test_seal_and_open() -> None:
    private, public = PRODUCT.generate_key_pair(os.urandom)
    assert len(public) == N_PUBLIC
    enc, ciphertext = PRODUCT.hpke_seal(public, info=b"i", plaintext=b"p", rng=os.urandom)
    assert len(enc) == N_ENC
    assert PRODUCT.hpke_open(private, enc, info=b"i", ciphertext=ciphertext) == b"p"


@given(st.integers(0, (N_ENC + 17) * 8 - 1))
@settings(max_examples=40, deadline=None)
def test_every_flipped_bit_fails_closed(bit: int) -> None:
    private, public = PRODUCT.derive_key_pair(b"k" * 32)
    enc, ciphertext = PRODUCT.hpke_seal(public, info=b"i", plaintext=b"p", rng=os.urandom)
    whole = bytearray(enc + ciphertext)
    whole[bit // 8] ^= 1 << bit % 8
    # The top bit of an X25519 public key is ignored by RFC 7748, but HPKE binds enc as it was sent.
    with pytest.raises(AuthenticationError):
        PRODUCT.hpke_open(private, bytes(whole[:N_ENC]), info=b"i", ciphertext=bytes(whole[N_ENC:]))


def test_another_info_or_key_does_not_open() -> None:
    private, public = PRODUCT.derive_key_pair(b"k" * 32)
    other, _ = PRODUCT.derive_key_pair(b"l" * 32)
    enc, ciphertext = PRODUCT.hpke_seal(public, info=b"i", plaintext=b"p", rng=os.urandom)
    with pytest.raises(AuthenticationError):
        PRODUCT.hpke_open(private, enc, info=b"j", ciphertext=ciphertext)
    with pytest.raises(AuthenticationError):
        PRODUCT.hpke_open(other, enc, info=b"i", ciphertext=ciphertext)
    with pytest.raises(AuthenticationError):
        PRODUCT.hpke_open(private, enc[:-1], info=b"i", ciphertext=ciphertext)


@pytest.mark.parametrize(
    "public", [b"", bytes(N_PUBLIC - 1), bytes(N_PUBLIC + 1), b"\xff" * N_PUBLIC], ids=len
)
def test_a_public_key_that_is_none_is_the_peers_fault(public: bytes) -> None:
    with pytest.raises(ValidationError):
        PRODUCT.hpke_seal(public, info=b"", plaintext=b"", rng=os.urandom)


def test_what_this_suite_cannot_do_is_said() -> None:
    private, public = PRODUCT.derive_key_pair(b"k" * 32)
    with pytest.raises(StateError, match="associated"):
        PRODUCT.hpke_seal(public, info=b"", aad=b"x", plaintext=b"", rng=os.urandom)
    with pytest.raises(StateError, match="exporter"):
        PRODUCT.hpke_export_send(public, info=b"", context=b"", length=1, rng=os.urandom)
    with pytest.raises(StateError, match="exporter"):
        PRODUCT.hpke_export_receive(private, b"", info=b"", context=b"", length=1)
    with pytest.raises(StateError, match="private key"):
        PRODUCT.hpke_public_key(private + b"x")


def test_the_composed_form_and_cryptographys_own_open_each_other() -> None:
    composed = composed_hpke(PRODUCT)
    private, public = PRODUCT.generate_key_pair(os.urandom)
    enc, ciphertext = composed.seal(public, info=b"info", aad=b"", plaintext=b"text", rng=os.urandom)
    assert PRODUCT.hpke_open(private, enc, info=b"info", ciphertext=ciphertext) == b"text"
    enc, ciphertext = PRODUCT.hpke_seal(public, info=b"info", plaintext=b"text", rng=os.urandom)
    assert composed.open(private, enc, info=b"info", aad=b"", ciphertext=ciphertext) == b"text"


@pytest.mark.parametrize("code", sorted(SUITES))
def test_the_init_secret_of_an_external_commit_is_shared(code: int) -> None:
    algorithms = SUITES[code]
    external_secret = Secret(os.urandom(algorithms.nh))
    _, public = derive_external_key_pair(algorithms, external_secret.reveal())
    kem_output, sent = send_init_secret(algorithms, public, os.urandom)
    assert len(sent) == algorithms.nh
    assert receive_init_secret(algorithms, external_secret, kem_output) == sent
    with pytest.raises(AuthenticationError):
        receive_init_secret(algorithms, external_secret, kem_output[:-1])
    with pytest.raises(ValidationError, match=r"hpke\.public-key"):
        send_init_secret(algorithms, public[:-1], os.urandom)


@pytest.mark.parametrize(
    "public",
    [b"\xff" * 1152 + bytes(32 + 32), PRODUCT.generate_key_pair(os.urandom)[1][:1184] + bytes(32), b"short"],
    ids=["not-reduced", "small-order", "short"],
)
def test_a_public_key_that_fips_203_or_rfc_7748_refuses_is_refused(public: bytes) -> None:
    for form in (PRODUCT.hpke, composed_hpke(PRODUCT)):
        with pytest.raises(ValidationError, match=r"hpke\.public-key"):
            form.seal(public, info=b"", aad=b"", plaintext=b"text", rng=os.urandom)
