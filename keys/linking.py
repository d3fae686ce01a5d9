"""The code by which a further device of a person is linked (docs/PROTOCOL.md, section 7.8).

    https://HOST[:PORT]/l#FRAGMENT        or, for a relay on this very machine,
    http://127.0.0.1:PORT/l#FRAGMENT

The new device makes it and shows it, as text and as a QR code; the person's first device reads it. The
fragment never reaches a server. It is unpadded base64url (RFC 4648 section 5) of

    struct {
        uint8  version = 1;
        opaque key_hash[32];        /* SHA-256 of the new device's one-time HPKE public key */
        opaque secret[16];          /* s: opens the linking channel */
        uint64 expires;             /* UTC seconds: one hour after it was made */
        opaque checksum[4];         /* SHA-256("amanat linking code" ‖ relay URL ‖ everything above)[0:4] */
    }                               /* 61 bytes, 82 characters */

From s come address and key of two channels, one for each direction: nobody who has not seen the code finds
them or writes what opens in them. The hash pins the key to which the answer is sealed: whoever has only seen
the code cannot read the answer, and the relay can put no key of its own in its place.

The checksum is there for people who copy codes by hand: it proves nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.codec import CodecError, Reader, Writer, decode
from keys.certificates import HASH_BYTES
from keys.invitations import InvitationError, normalise_relay_url

SECRET_BYTES: Final = 16
VALID_SECONDS: Final = 3_600
"""One hour: long enough to carry a code across a room, short enough that an old photograph is worthless."""
_VERSION: Final = 1
_CHECKSUM_BYTES: Final = 4
_PATH: Final = "/l"
_MAX_CODE_CHARACTERS: Final = 1_024


class LinkingCodeError(Exception):
    """A linking code cannot be used. The message is one sentence for the person who holds it."""


def _mistyped() -> LinkingCodeError:
    return LinkingCodeError(
        "This linking code is incomplete or mistyped; copy it again, whole, from the new device."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkingCode:
    """What a linking code says. Whoever holds it can claim the new device, so no secret is in its repr."""

    relay_url: str
    key_hash: bytes
    secret: bytes = field(repr=False)
    expires: int

    def __post_init__(self) -> None:
        if len(self.key_hash) != HASH_BYTES or len(self.secret) != SECRET_BYTES:
            raise ValueError("the hash of a key has 32 bytes and a code's secret 16")

    @classmethod
    def make(
        cls, *, relay_url: str, public_key: bytes, rng: Callable[[int], bytes], now: float
    ) -> LinkingCode:
        """A new code, valid for one hour.

        Args:
            relay_url: Of the new device, as `normalise_relay_url` gives it.
            public_key: The new device's one-time HPKE key.
            rng: Source of randomness.
            now: UTC seconds.
        """
        return cls(
            relay_url=normalise_relay_url(relay_url),
            key_hash=hashlib.sha256(public_key).digest(),
            secret=rng(SECRET_BYTES),
            expires=int(now) + VALID_SECONDS,
        )

    @property
    def text(self) -> str:
        """The code as a link; also what the QR code holds."""
        body = self.body
        fragment = base64.urlsafe_b64encode(body + _checksum(self.relay_url, body)).rstrip(b"=")
        return f"{self.relay_url}{_PATH}#{fragment.decode('ascii')}"

    @property
    def body(self) -> bytes:
        """Everything above the checksum: 57 bytes."""
        return Writer().u8(_VERSION).raw(self.key_hash).raw(self.secret).u64(self.expires).to_bytes()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body: names the code without giving it away, and binds the answer to it."""
        return hashlib.sha256(self.body).digest()

    def derive(self, purpose: str) -> bytes:
        """HKDF-SHA256(s, "amanat linking " ‖ purpose), 32 bytes."""
        info = b"amanat linking " + purpose.encode("ascii")
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self.secret)

    def check_not_expired(self, now: float) -> None:
        """Check that the code may still be used at `now` (UTC seconds).

        Raises:
            LinkingCodeError: it has expired.
        """
        if now > self.expires:
            raise LinkingCodeError("This linking code has expired; let the new device show a new one.")


def parse_code(text: str) -> LinkingCode:
    """Read a linking code as a person pasted it: blanks and line breaks inside are forgiven.

    Raises:
        LinkingCodeError: it is none, is cut or mistyped, or is of a newer version.
    """
    link = "".join(text.split()).strip("<>\"'")
    address, hash_sign, fragment = link.partition("#")
    if len(link) > _MAX_CODE_CHARACTERS or not hash_sign or not address.endswith(_PATH):
        raise _mistyped()
    try:
        relay_url = normalise_relay_url(address.removesuffix(_PATH))
        raw = base64.b64decode(
            fragment.replace("-", "+").replace("_", "/") + "=" * (-len(fragment) % 4), validate=True
        )
    except (InvitationError, binascii.Error, ValueError):
        raise _mistyped() from None
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if not body or checksum != _checksum(relay_url, body):
        raise _mistyped()
    if body[0] != _VERSION:
        raise LinkingCodeError("This linking code needs a newer version of Amanat; update the program.")
    try:
        return decode(body, lambda reader: _read(reader, relay_url))
    except CodecError:
        raise _mistyped() from None


def _checksum(relay_url: str, body: bytes) -> bytes:
    content = b"amanat linking code" + relay_url.encode("ascii") + body
    return hashlib.sha256(content).digest()[:_CHECKSUM_BYTES]


def _read(reader: Reader, relay_url: str) -> LinkingCode:
    reader.u8()
    return LinkingCode(
        relay_url=relay_url,
        key_hash=reader.bytes_(HASH_BYTES),
        secret=reader.bytes_(SECRET_BYTES),
        expires=reader.u64(),
    )
