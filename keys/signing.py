"""Signatures of people and devices: Ed25519 (RFC 8032) over labelled content.

What is signed is never the bare content, so that a signature made for one purpose cannot be shown for
another. The signed octets are

    u8(length of L) ‖ L ‖ content        with L = "Amanat 1.0 " ‖ label, ASCII, at most 255 bytes

The relay imports this module (to check who opens an inbox or publishes a bundle), therefore it imports
nothing of ours. A device's key also signs MLS structs, whose octets begin with a length byte and then
"MLS 1.0 " (RFC 9420 section 5.1.2); ours have an "A" in that place, so neither can pass for the other.

Every label in use stands here, so that two purposes can never choose the same one.
"""

from __future__ import annotations

from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_PREFIX = "Amanat 1.0 "
_MAX_LABEL_BYTES = 255


class Label(StrEnum):
    """Every purpose for which an identity or device key signs outside MLS."""

    DEVICE_CERTIFICATE = "device certificate"
    DEVICE_LIST = "device list"
    CONTACT_BUNDLE = "contact bundle"
    INBOX_OPEN = "inbox open"
    REJOIN_REQUEST = "rejoin request"
    WHEREABOUTS = "whereabouts"


class AuthenticationFailed(Exception):
    """A signature is not what it should be. Carries no detail."""

    def __init__(self) -> None:
        super().__init__("a signature does not match")


def public_key(private_seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte seed.

    Raises:
        ValueError: the seed is not 32 bytes long.
    """
    return _private(private_seed).public_key().public_bytes_raw()


def sign(private_seed: bytes, label: str, content: bytes) -> bytes:
    """Sign `content` for the purpose `label`; returns 64 bytes.

    Raises:
        ValueError: the seed is not 32 bytes long, or the label is empty, too long or not ASCII.
    """
    return _private(private_seed).sign(signed_octets(label, content))


def verify(public: bytes, label: str, content: bytes, signature: bytes) -> None:
    """Check a signature made by `sign`.

    Raises:
        AuthenticationFailed: key or signature has a wrong length, or they do not match.
        ValueError: the label is empty, too long or not ASCII.
    """
    octets = signed_octets(label, content)
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise AuthenticationFailed
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, octets)
    except (InvalidSignature, ValueError):
        raise AuthenticationFailed from None


def signed_octets(label: str, content: bytes) -> bytes:
    """The octets that are really signed; public because PROTOCOL.md's examples are made with it."""
    if not label:
        raise ValueError("a signature needs a label")
    full = (_PREFIX + label).encode("ascii")
    if len(full) > _MAX_LABEL_BYTES:
        raise ValueError("the label is too long")
    return bytes([len(full)]) + full + content


def _private(seed: bytes) -> Ed25519PrivateKey:
    if len(seed) != SEED_BYTES:
        raise ValueError("an Ed25519 seed has 32 bytes")
    return Ed25519PrivateKey.from_private_bytes(seed)
