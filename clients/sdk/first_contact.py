"""The first contact (DESIGN section 6): what is in a drop, how it is sealed and opened.

    struct {
        uint8  version = 1;
        uint32 used_day;               /* UTC day on which the client used the KeyPackage */
        opaque admit_hash[32];         /* SHA-256 of the admit value: names the invitation */
        opaque binding[32];            /* HMAC(HKDF(s, "bind"), group_id ‖ client identity key ‖
                                          epoch authenticator) */
        opaque checkpoint<V>;          /* tree size and root of the client's checkpoint; empty in this
        version */ opaque welcome<V>;             /* MLSMessage(Welcome) */
        opaque zeros[…];
    } FirstContact;                    /* 15,248 bytes */

    struct { opaque kem_output[1120]; opaque ciphertext[15264]; } Drop;      /* 16,384 bytes */

The drop is HPKE in base mode, with the KEM, KDF and AEAD of suite 0xF002, to the inbox key, info =
"amanat first contact v1" ‖ inbox id, no aad. The relay sees neither who contacts nor by which invitation,
beyond the admit value that it redeems.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from chatserver.wire.limits import DROP_BYTES
from crypto.codec import Reader, Writer, decode
from crypto.errors import StateError
from crypto.suites import PRODUCT

VERSION: Final = 1
KEM_OUTPUT_BYTES: Final = 1_120
TAG_BYTES: Final = 16
INFO_PREFIX: Final = b"amanat first contact v1"
MAX_WAIT_DAYS: Final = 30
"""A first contact waits at most so long in an inbox (R21)."""
KEEP_DAYS: Final = 31
"""Private keys and seen group ids are kept so long after a KeyPackage's validity (DESIGN section 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstContact:
    """The content of a drop."""

    used_day: int
    admit_hash: bytes
    binding: bytes
    welcome: bytes = field(repr=False)
    checkpoint: bytes = b""

    def encode(self) -> bytes:
        """Without the zeros."""
        writer = Writer().u8(VERSION).u32(self.used_day).raw(self.admit_hash).raw(self.binding)
        return writer.opaque(self.checkpoint).opaque(self.welcome).to_bytes()

    @staticmethod
    def decode(data: bytes) -> FirstContact:
        """Inverse of `encode`; the zeros behind it are demanded.

        Raises:
            CodecError: malformed, or of another version.
        """

        def read(reader: Reader) -> FirstContact:
            if reader.u8() != VERSION:
                raise reader.error("unknown version of a first contact")
            found = FirstContact(
                used_day=reader.u32(),
                admit_hash=reader.bytes_(32),
                binding=reader.bytes_(32),
                checkpoint=reader.opaque(),
                welcome=reader.opaque(),
            )
            if any(reader.bytes_(reader.remaining)):
                raise reader.error("padding is not zero")
            return found

        return decode(data, read)


def seal_drop(
    contact: FirstContact,
    *,
    inbox_id: bytes,
    inbox_public_key: bytes,
    rng: Callable[[int], bytes],
) -> bytes:
    """Seal a first contact for an inbox: exactly 16,384 bytes (R21).

    Raises:
        StateError: the Welcome is too long for a drop (more than 4 leaves).
        ValidationError: the inbox key is none.
    """
    content = contact.encode()
    room = DROP_BYTES - TAG_BYTES - KEM_OUTPUT_BYTES - len(content)
    if room < 0:
        raise StateError("the first contact does not fit into a drop")
    kem_output, ciphertext = PRODUCT.hpke_seal(
        inbox_public_key, info=INFO_PREFIX + inbox_id, plaintext=content + bytes(room), rng=rng
    )
    return kem_output + ciphertext


def open_drop(body: bytes, *, inbox_id: bytes, inbox_private: bytes) -> FirstContact:
    """Open a drop.

    Raises:
        AuthenticationError: it was not sealed to this inbox.
        CodecError: its content is malformed.
    """
    content = PRODUCT.hpke_open(
        inbox_private,
        body[:KEM_OUTPUT_BYTES],
        info=INFO_PREFIX + inbox_id,
        ciphertext=body[KEM_OUTPUT_BYTES:],
    )
    return FirstContact.decode(content)


def admit_hash(admit_value: bytes) -> bytes:
    """SHA-256 of an invitation's admit value: what the relay keeps, and how a drop names its invitation."""
    return hashlib.sha256(admit_value).digest()
