"""Who somebody is and which devices are theirs (DESIGN section 6).

A person's long-term **identity** is an Ed25519 key. It signs one **device certificate** per device, and a
**device list** that says which certificates are current. A certificate is also the MLS credential of its
device's leaves, so what stands here decides who may be in a line (CHANNELS R14, predicates P2 to P5).

    struct {
        uint8  format = 1;
        opaque identity_key[32];         /* Ed25519 */
        opaque device_key[32];           /* Ed25519, the signature key of the device's leaves */
        opaque device_id[16];            /* random */
        uint8  role;                     /* 1 primary, 2 secondary */
        uint32 not_before_day;           /* whole UTC days since 1970-01-01 */
        uint32 not_after_day;            /* the last valid day */
        opaque signature[64];            /* label "device certificate", over everything above */
    } DeviceCertificate;                 /* 154 bytes */

    struct {
        uint8  format = 1;
        opaque identity_key[32];
        uint64 version;                  /* grows with every list of this identity */
        uint32 issued_day;
        uint32 not_after_day;            /* at most 7 days after issued_day */
        opaque certificate_hashes<V>;    /* SHA-256 of each current certificate, ascending, 32 bytes each */
        opaque signature[64];            /* label "device list" */
    } DeviceList;

Decoding checks the form only. Nothing decoded may be believed before `verify()` has returned; validity in
time is a question of its own (`check_validity`), because P of R14 must not depend on a clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, NewType

from crypto.codec import Reader, Writer, decode
from crypto.errors import AuthenticationError, ValidationError
from keys import signing
from keys.signing import AuthenticationFailed, Label

DeviceId = NewType("DeviceId", bytes)
UtcDay = NewType("UtcDay", int)

DEVICE_ID_BYTES: Final = 16
KEY_BYTES: Final = 32
HASH_BYTES: Final = 32
CERTIFICATE_BYTES: Final = 154
SECONDS_PER_DAY: Final = 86_400
TOLERANCE_SECONDS: Final = 26 * 3_600
"""Windows of validity are judged with this much tolerance for the wrong clock (DESIGN section 8)."""
MAX_DEVICE_LIST_DAYS: Final = 7
MAX_DEVICES: Final = 8
"""Certificates in one device list. A line holds at most 4 leaves; the rest is room for replacements."""
_FORMAT: Final = 1
_LAST_DAY: Final = 2**32 - 1


class DeviceRole(IntEnum):
    """Of the devices of one person exactly one is primary (R14 P4)."""

    PRIMARY = 1
    SECONDARY = 2


def utc_day(now: float) -> UtcDay:
    """The whole UTC day of `now` (seconds since 1970-01-01)."""
    return UtcDay(int(now // SECONDS_PER_DAY))


def check_window(*, rule: str, not_before_day: int, not_after_day: int, now: float) -> None:
    """Check that `now` lies in the days `not_before_day` to `not_after_day`, both whole, with tolerance.

    Args:
        rule: Named by the error.
        not_before_day: First valid UTC day since 1970.
        not_after_day: Last valid UTC day since 1970.
        now: UTC seconds.

    Raises:
        ValidationError: it does not.
    """
    begin = not_before_day * SECONDS_PER_DAY - TOLERANCE_SECONDS
    end = (not_after_day + 1) * SECONDS_PER_DAY + TOLERANCE_SECONDS
    if not begin <= now < end:
        raise ValidationError(rule)


def fingerprint_of(identity_key: bytes) -> bytes:
    """SHA-256 of an identity key: 32 bytes, what invitations and bundle buckets name."""
    return hashlib.sha256(identity_key).digest()


@dataclass(frozen=True, slots=True)
class Identity:
    """A person's long-term signature key. The seed is its whole secret; it never leaves vault and export."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != signing.SEED_BYTES:
            raise ValueError("an identity's seed has 32 bytes")

    @classmethod
    def generate(cls, rng: Callable[[int], bytes]) -> Identity:
        """A new identity."""
        return cls(rng(signing.SEED_BYTES))

    @property
    def public_key(self) -> bytes:
        """The 32-byte identity key."""
        return signing.public_key(self.seed)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the identity key, 32 bytes."""
        return fingerprint_of(self.public_key)

    def sign(self, label: str, content: bytes) -> bytes:
        """Sign for one purpose; see `keys.signing.sign`."""
        return signing.sign(self.seed, label, content)

    def certify(
        self,
        *,
        device_key: bytes,
        device_id: DeviceId,
        role: DeviceRole,
        not_before_day: int,
        not_after_day: int,
    ) -> DeviceCertificate:
        """Make the certificate of one device. Days are whole UTC days since 1970, both included.

        Raises:
            ValueError: a length, a day or their order is wrong.
        """
        if len(device_key) != KEY_BYTES or len(device_id) != DEVICE_ID_BYTES:
            raise ValueError("a device key has 32 bytes and a device id 16")
        if not 0 <= not_before_day <= not_after_day <= _LAST_DAY:
            raise ValueError("the days of a certificate must be in order")
        unsigned = DeviceCertificate(
            identity_key=self.public_key,
            device_key=device_key,
            device_id=device_id,
            role=role,
            not_before_day=UtcDay(not_before_day),
            not_after_day=UtcDay(not_after_day),
            signature=b"",
        )
        return replace(unsigned, signature=self.sign(Label.DEVICE_CERTIFICATE, unsigned.signed_content()))

    def list_devices(
        self,
        certificates: Iterable[DeviceCertificate],
        *,
        version: int,
        issued_day: int,
        not_after_day: int | None = None,
    ) -> DeviceList:
        """Make the list of the current certificates, valid until 7 days after `issued_day` unless told less.

        Raises:
            ValueError: no certificate, too many, one of another identity, or a window longer than 7 days.
        """
        certificates = tuple(certificates)
        last = issued_day + MAX_DEVICE_LIST_DAYS if not_after_day is None else not_after_day
        if not 1 <= len(certificates) <= MAX_DEVICES:
            raise ValueError("a device list names 1 to 8 devices")
        if any(certificate.identity_key != self.public_key for certificate in certificates):
            raise ValueError("a certificate of another identity")
        if not issued_day <= last <= issued_day + MAX_DEVICE_LIST_DAYS:
            raise ValueError("a device list is valid for at most 7 days")
        unsigned = DeviceList(
            identity_key=self.public_key,
            version=version,
            issued_day=UtcDay(issued_day),
            not_after_day=UtcDay(last),
            certificate_hashes=tuple(sorted(certificate.digest() for certificate in certificates)),
            signature=b"",
        )
        return replace(unsigned, signature=self.sign(Label.DEVICE_LIST, unsigned.signed_content()))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCertificate:
    """One device of one person; `crypto.policy.CertificateView` for P of R14."""

    identity_key: bytes
    device_key: bytes
    device_id: DeviceId
    role: DeviceRole
    not_before_day: UtcDay
    not_after_day: UtcDay
    signature: bytes

    @property
    def primary(self) -> bool:
        """Whether this is its person's primary device."""
        return self.role is DeviceRole.PRIMARY

    def signed_content(self) -> bytes:
        """Everything above the signature."""
        return (
            Writer()
            .u8(_FORMAT)
            .raw(self.identity_key)
            .raw(self.device_key)
            .raw(self.device_id)
            .u8(self.role)
            .u32(self.not_before_day)
            .u32(self.not_after_day)
            .to_bytes()
        )

    def encode(self) -> bytes:
        """154 bytes; also the identity in the device's MLS credential."""
        return self.signed_content() + self.signature

    @staticmethod
    def decode(data: bytes) -> DeviceCertificate:
        """Read a certificate; check its form only.

        Raises:
            CodecError: it has another length, format or role, or its days are out of order.
        """
        return decode(data, _read_certificate)

    def digest(self) -> bytes:
        """SHA-256 of the encoding, as device lists name it."""
        return hashlib.sha256(self.encode()).digest()

    def verify(self) -> None:
        """Check the identity's signature. Says nothing about who that identity is, or about time.

        Raises:
            AuthenticationError: the signature is not the identity's.
        """
        _verify(self.identity_key, Label.DEVICE_CERTIFICATE, self.signed_content(), self.signature)

    def check_validity(self, now: float) -> None:
        """Check that `now` (UTC seconds) lies in the certificate's days, with 26 hours of tolerance.

        Raises:
            ValidationError: "certificate-validity".
        """
        check_window(
            rule="certificate-validity",
            not_before_day=self.not_before_day,
            not_after_day=self.not_after_day,
            now=now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceList:
    """Which certificates of an identity are current. Clients add exactly the devices of a fresh list."""

    identity_key: bytes
    version: int
    issued_day: UtcDay
    not_after_day: UtcDay
    certificate_hashes: tuple[bytes, ...]
    signature: bytes

    def signed_content(self) -> bytes:
        """Everything above the signature."""
        return (
            Writer()
            .u8(_FORMAT)
            .raw(self.identity_key)
            .u64(self.version)
            .u32(self.issued_day)
            .u32(self.not_after_day)
            .opaque(b"".join(self.certificate_hashes))
            .to_bytes()
        )

    def encode(self) -> bytes:
        """The list as bytes."""
        return self.signed_content() + self.signature

    @staticmethod
    def decode(data: bytes) -> DeviceList:
        """Read a list; check its form only.

        Raises:
            CodecError: another format, an empty or unsorted list, or a window longer than 7 days.
        """
        return decode(data, _read_device_list)

    def verify(self, identity_key: bytes) -> None:
        """Check that this is `identity_key`'s own list.

        Raises:
            AuthenticationError: it is another identity's, or the signature does not match.
        """
        if self.identity_key != identity_key:
            raise AuthenticationError
        _verify(identity_key, Label.DEVICE_LIST, self.signed_content(), self.signature)

    def check_fresh(self, now: float) -> None:
        """Check that `now` (UTC seconds) lies in the list's days, with 26 hours of tolerance.

        Raises:
            ValidationError: "device-list-validity".
        """
        check_window(
            rule="device-list-validity",
            not_before_day=self.issued_day,
            not_after_day=self.not_after_day,
            now=now,
        )

    def check_names_exactly(self, certificates: Sequence[DeviceCertificate]) -> None:
        """Check that these certificates, no more and no fewer, are the current ones.

        Raises:
            ValidationError: "device-list-certificates".
        """
        if tuple(sorted(certificate.digest() for certificate in certificates)) != self.certificate_hashes:
            raise ValidationError("device-list-certificates")


def _verify(identity_key: bytes, label: Label, content: bytes, signature: bytes) -> None:
    try:
        signing.verify(identity_key, label, content, signature)
    except AuthenticationFailed:
        raise AuthenticationError from None


def _read_format(reader: Reader) -> None:
    if reader.u8() != _FORMAT:
        raise reader.error("unknown format")


def _read_window(reader: Reader, *, max_days: int = _LAST_DAY) -> tuple[UtcDay, UtcDay]:
    first, last = reader.u32(), reader.u32()
    if not first <= last <= first + max_days:
        raise reader.error("window of validity is out of order or too long")
    return UtcDay(first), UtcDay(last)


def _read_certificate(reader: Reader) -> DeviceCertificate:
    _read_format(reader)
    identity_key = reader.bytes_(KEY_BYTES)
    device_key = reader.bytes_(KEY_BYTES)
    device_id = DeviceId(reader.bytes_(DEVICE_ID_BYTES))
    try:
        role = DeviceRole(reader.u8())
    except ValueError:
        raise reader.error("unknown role") from None
    not_before_day, not_after_day = _read_window(reader)
    return DeviceCertificate(
        identity_key=identity_key,
        device_key=device_key,
        device_id=device_id,
        role=role,
        not_before_day=not_before_day,
        not_after_day=not_after_day,
        signature=reader.bytes_(signing.SIGNATURE_BYTES),
    )


def _read_device_list(reader: Reader) -> DeviceList:
    _read_format(reader)
    identity_key = reader.bytes_(KEY_BYTES)
    version = reader.u64()
    issued_day, not_after_day = _read_window(reader, max_days=MAX_DEVICE_LIST_DAYS)
    joined = reader.opaque(MAX_DEVICES * HASH_BYTES)
    hashes = tuple(joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES))
    if not hashes or len(hashes[-1]) != HASH_BYTES or list(hashes) != sorted(set(hashes)):
        raise reader.error("certificate hashes are missing, cut or not ascending")
    return DeviceList(
        identity_key=identity_key,
        version=version,
        issued_day=issued_day,
        not_after_day=not_after_day,
        certificate_hashes=hashes,
        signature=reader.bytes_(signing.SIGNATURE_BYTES),
    )
