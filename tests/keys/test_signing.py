"""Labelled Ed25519 signatures: right ones pass, everything else fails, one purpose is never another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import signing
from keys.signing import AuthenticationFailed, Label

SEED = bytes(range(32))


def test_signed_octets_are_what_the_protocol_says() -> None:
    assert signing.signed_octets("inbox open", b"content") == b"\x15Amanat 1.0 inbox opencontent"


def test_known_key_of_rfc8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert signing.public_key(seed).hex() == public


@given(content=st.binary(max_size=200))
def test_signature_verifies(content: bytes) -> None:
    signature = signing.sign(SEED, Label.DEVICE_LIST, content)
    signing.verify(signing.public_key(SEED), Label.DEVICE_LIST, content, signature)


@given(bit=st.integers(min_value=0, max_value=(32 + 7 + 64) * 8 - 1))
def test_any_flipped_bit_fails(bit: int) -> None:
    content = b"content"
    signature = signing.sign(SEED, Label.DEVICE_LIST, content)
    whole = bytearray(signing.public_key(SEED) + content + signature)
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuthenticationFailed):
        signing.verify(bytes(whole[:32]), Label.DEVICE_LIST, bytes(whole[32:39]), bytes(whole[39:]))


def test_signature_for_one_purpose_is_none_for_another() -> None:
    signature = signing.sign(SEED, Label.DEVICE_LIST, b"content")
    for label in set(Label) - {Label.DEVICE_LIST}:
        with pytest.raises(AuthenticationFailed):
            signing.verify(signing.public_key(SEED), label, b"content", signature)


def test_label_and_content_do_not_run_into_each_other() -> None:
    signature = signing.sign(SEED, "label", b"s and content")
    with pytest.raises(AuthenticationFailed):
        signing.verify(signing.public_key(SEED), "labels", b" and content", signature)


@pytest.mark.parametrize(("public", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_wrong_lengths_fail_like_wrong_signatures(public: int, signature: int) -> None:
    with pytest.raises(AuthenticationFailed):
        signing.verify(bytes(public), "label", b"", bytes(signature))


def test_caller_mistakes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        signing.sign(bytes(31), "label", b"")
    with pytest.raises(ValueError, match="needs a label"):
        signing.sign(SEED, "", b"")
    with pytest.raises(ValueError, match="too long"):
        signing.sign(SEED, "x" * 250, b"")
