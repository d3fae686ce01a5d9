"""Invitations: a link that names one therapist and admits one client (DESIGN section 6).

    https://HOST[:PORT]/i#FRAGMENT        or, for a relay on this very machine,
    http://127.0.0.1:PORT/i#FRAGMENT

The fragment never reaches a server: browsers do not send it. It is unpadded base64url (RFC 4648 section 5) of

    struct {
        uint8  version = 1;
        opaque fingerprint[32];     /* SHA-256 of the therapist's identity key */
        opaque secret[16];          /* s: one use, 14 days */
        uint32 expires_day;         /* last valid UTC day since 1970 */
        opaque checksum[4];         /* SHA-256("amanat invitation" ‖ relay URL ‖ everything above)[0:4] */
    }                               /* 57 bytes, 76 characters */

The checksum is there for people who copy links by hand or lose their end: it proves nothing.

From s come two values: `admit_value`, which goes to the relay when the inbox demands it, and `bind_key`,
which stays between the two devices. The first contact carries `binding(…)`, so that the relay, which learned
the admit value, cannot put a first contact of its own in the client's place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.codec import CodecError, Reader, Writer, decode
from crypto.errors import AuthenticationError, ValidationError
from keys.certificates import HASH_BYTES, KEY_BYTES, UtcDay, check_window, utc_day

SECRET_BYTES: Final = 16
VALID_DAYS: Final = 14
BINDING_BYTES: Final = 32
_VERSION: Final = 1
_CHECKSUM_BYTES: Final = 4
_PATH: Final = "/i"
_LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_MAX_LINK_CHARACTERS: Final = 1_024


class InvitationError(Exception):
    """An invitation cannot be used. The message is one sentence for the person who holds it."""


def _mistyped() -> InvitationError:
    return InvitationError(
        "This invitation link is incomplete or mistyped; copy it again, whole, from where you got it."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What an invitation link says. Whoever holds it can use it, so its secret is not shown in a repr."""

    relay_url: str
    fingerprint: bytes
    secret: bytes = field(repr=False)
    expires_day: UtcDay

    def __post_init__(self) -> None:
        if len(self.fingerprint) != HASH_BYTES or len(self.secret) != SECRET_BYTES:
            raise ValueError("a fingerprint has 32 bytes and an invitation's secret 16")

    @classmethod
    def make(
        cls, *, relay_url: str, fingerprint: bytes, rng: Callable[[int], bytes], now: float
    ) -> Invitation:
        """A new invitation, valid for 14 days.

        Args:
            relay_url: As `normalise_relay_url` gives it or takes it.
            fingerprint: SHA-256 of the therapist's identity key, 32 bytes.
            rng: Source of randomness.
            now: UTC seconds.

        Raises:
            InvitationError: the relay's address is none.
        """
        return cls(
            relay_url=normalise_relay_url(relay_url),
            fingerprint=fingerprint,
            secret=rng(SECRET_BYTES),
            expires_day=UtcDay(utc_day(now) + VALID_DAYS),
        )

    @property
    def link(self) -> str:
        """The link; also what the QR code holds."""
        body = self._body()
        fragment = base64.urlsafe_b64encode(body + _checksum(self.relay_url, body)).rstrip(b"=")
        return f"{self.relay_url}{_PATH}#{fragment.decode('ascii')}"

    @property
    def admit_value(self) -> bytes:
        """HKDF-SHA256(s, "admit"), 32 bytes: shown to the relay once, with the first contact."""
        return self._derive(b"admit")

    @property
    def bind_key(self) -> bytes:
        """HKDF-SHA256(s, "bind"), 32 bytes: never leaves the two devices."""
        return self._derive(b"bind")

    def check_not_expired(self, now: float) -> None:
        """Check that the invitation is still valid at `now` (UTC seconds), with 26 hours of tolerance.

        Raises:
            InvitationError: it has expired.
        """
        try:
            check_window(
                rule="invitation-validity", not_before_day=0, not_after_day=self.expires_day, now=now
            )
        except ValidationError:
            raise InvitationError("This invitation has expired; ask your therapist for a new one.") from None

    def _body(self) -> bytes:
        writer = Writer().u8(_VERSION).raw(self.fingerprint).raw(self.secret).u32(self.expires_day)
        return writer.to_bytes()

    def _derive(self, info: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self.secret)


def parse_link(text: str) -> Invitation:
    """Read an invitation link as a person pasted it: blanks and line breaks inside are forgiven.

    Raises:
        InvitationError: it is not a link of ours, is cut or mistyped, or is of a newer version.
    """
    link = "".join(text.split()).strip("<>\"'")
    if len(link) > _MAX_LINK_CHARACTERS:
        raise _mistyped()
    address, hash_sign, fragment = link.partition("#")
    if not hash_sign or not address.endswith(_PATH):
        raise _mistyped()
    relay_url = normalise_relay_url(address.removesuffix(_PATH))
    try:
        raw = base64.b64decode(
            fragment.replace("-", "+").replace("_", "/") + "=" * (-len(fragment) % 4), validate=True
        )
    except (binascii.Error, ValueError):
        raise _mistyped() from None
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if not body or checksum != _checksum(relay_url, body):
        raise _mistyped()
    if body[0] != _VERSION:
        raise InvitationError("This invitation needs a newer version of Amanat; update the program.")
    try:
        return decode(body, lambda reader: _read(reader, relay_url))
    except CodecError:
        raise _mistyped() from None


def normalise_relay_url(url: str) -> str:
    """`https://host[:port]`, in lower case and without a path; `http://` for this machine only.

    Raises:
        InvitationError: it is neither.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if host is None or parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username:
        raise InvitationError("The address of a relay looks like https://relay.example.org.")
    if not host.isascii() or parts.scheme not in {"https", "http"}:
        raise InvitationError("The address of a relay looks like https://relay.example.org.")
    if parts.scheme == "http" and host not in _LOOPBACK_HOSTS:
        raise InvitationError("A relay on another machine is reached by https:// only.")
    shown_host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown_host}" + ("" if port is None else f":{port}")


def binding(
    bind_key: bytes, *, group_id: bytes, client_identity_key: bytes, epoch_authenticator: bytes
) -> bytes:
    """HMAC-SHA256(bind_key, group_id ‖ client identity key ‖ epoch authenticator), 32 bytes.

    The two last have fixed lengths (32, and 48 at suite 0xF002), so the concatenation is unambiguous.

    Raises:
        ValueError: the identity key does not have 32 bytes.
    """
    if len(client_identity_key) != KEY_BYTES:
        raise ValueError("an identity key has 32 bytes")
    return hmac.digest(bind_key, group_id + client_identity_key + epoch_authenticator, "sha256")


def verify_binding(
    value: bytes, bind_key: bytes, *, group_id: bytes, client_identity_key: bytes, epoch_authenticator: bytes
) -> None:
    """Check a first contact's binding in constant time.

    Raises:
        AuthenticationError: it is not the one that this invitation's holder makes.
    """
    expected = binding(
        bind_key,
        group_id=group_id,
        client_identity_key=client_identity_key,
        epoch_authenticator=epoch_authenticator,
    )
    if not hmac.compare_digest(value, expected):
        raise AuthenticationError


def _checksum(relay_url: str, body: bytes) -> bytes:
    return hashlib.sha256(b"amanat invitation" + relay_url.encode("ascii") + body).digest()[:_CHECKSUM_BYTES]


def _read(reader: Reader, relay_url: str) -> Invitation:
    reader.u8()
    return Invitation(
        relay_url=relay_url,
        fingerprint=reader.bytes_(HASH_BYTES),
        secret=reader.bytes_(SECRET_BYTES),
        expires_day=UtcDay(reader.u32()),
    )
