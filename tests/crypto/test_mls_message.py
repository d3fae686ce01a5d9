"""mls_message.py: the five bodies, what is no MLSMessage, and GREASE (RFC 9420 sections 6 and 13.5)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.code_points import GREASE_VALUES
from crypto.codec import CodecError, decode
from crypto.credentials import Credential
from crypto.framed_content import WireFormat
from crypto.key_package import generate_key_package
from crypto.leaf_node import Capabilities, Lifetime
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.private_message import PrivateMessage
from crypto.suites import PRODUCT
from crypto.tree_math import LeafIndex
from support.mls_epoch import Member, seeded

GREASE = tuple(GREASE_VALUES[:2])


def greased() -> MLSMessage:
    """A KeyPackage whose every list of code points has values that nobody knows."""
    bundle = generate_key_package(
        suite=PRODUCT,
        signature_private=b"\x01" * 32,
        credential=Credential.basic(b"somebody"),
        capabilities=Capabilities(
            versions=(1, *GREASE),
            cipher_suites=(0xF002, *GREASE),
            extensions=GREASE,
            proposals=GREASE,
            credentials=(1, *GREASE),
        ),
        lifetime=Lifetime(not_before=0, not_after=1),
        rng=seeded(1).randbytes,
    )
    return MLSMessage(body=bundle.key_package)


def test_grease_is_kept_byte_for_byte() -> None:
    encoded = greased().to_bytes()
    again = decode(encoded, read_mls_message)
    assert again.to_bytes() == encoded
    assert again.wire_format is WireFormat.KEY_PACKAGE
    for value in GREASE:
        assert encoded.count(value.to_bytes(2, "big")) >= 5


@given(st.binary(max_size=80), st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_a_private_message_survives(data: bytes, padding: int) -> None:
    message = MLSMessage(body=Member(leaf=LeafIndex(0)).protect(data, padding=padding))
    again = decode(message.to_bytes(), read_mls_message)
    assert again == message
    assert isinstance(again.body, PrivateMessage)


def test_every_truncation_and_extension_is_malformed() -> None:
    encoded = MLSMessage(body=Member(leaf=LeafIndex(0)).protect(b"x")).to_bytes()
    for size in range(len(encoded)):
        with pytest.raises(CodecError):
            decode(encoded[:size], read_mls_message)
    with pytest.raises(CodecError, match="trailing"):
        decode(encoded + b"\0", read_mls_message)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("00000002", "version"),
        ("00020002", "version"),
        ("00010000", "wire format"),
        ("00010a0a", "wire format"),
    ],
)
def test_another_version_or_wire_format_is_malformed(header: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        decode(bytes.fromhex(header), read_mls_message)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_garbage_is_malformed_or_encodes_to_itself(data: bytes) -> None:
    for header in (b"", *(b"\0\1\0" + bytes([wire_format]) for wire_format in WireFormat)):
        try:
            message = decode(header + data, read_mls_message)
        except CodecError:
            continue
        assert message.to_bytes() == header + data
