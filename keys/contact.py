"""The contact bundle: all that a client needs to write to a therapist for the first time (DESIGN section 6).

    struct {
        uint8             format = 1;
        opaque            identity_key[32];
        DeviceCertificate certificates<V>;         /* each 154 bytes; primary first */
        opaque            device_list<V>;          /* DeviceList */
        opaque            inbox_id[16];
        opaque            inbox_public_key<V>;     /* HPKE key of suite 0xF002's KEM, 1,216 bytes */
        KeyPackageBytes   key_packages<V>;         /* opaque<V> each, one per certificate, in their order */
        opaque            display_name<V>;         /* UTF-8, at most 64 bytes, as the therapist wrote it */
        uint8             admission;               /* 1 open, 2 invite, 3 pow, 4 voucher */
        uint32            bundle_day;              /* UTC day on which it was made */
    } ContactBundle;

The relay gets it as the content of a SignedBundle (`chatserver.wire.bundle`), which the identity key signs;
here it is content only. `decode` makes an `UnverifiedContact`, and only `verify` makes a `ContactBundle`, so
nobody can use what nobody checked. The numbered steps of `verify` are those of docs/PROTOCOL.md section 7.

Not done here: the signatures and lifetimes inside the KeyPackages. Whoever adds a KeyPackage to a group
checks those (RFC 9420 section 10.1); this module checks that it belongs to the certified device.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from crypto.codec import CodecError, Reader, Writer, decode
from crypto.errors import AuthenticationError, ValidationError
from crypto.key_package import read_key_package
from keys.certificates import (
    CERTIFICATE_BYTES,
    KEY_BYTES,
    MAX_DEVICES,
    DeviceCertificate,
    DeviceList,
    UtcDay,
    fingerprint_of,
)

INBOX_ID_BYTES: Final = 16
MAX_DISPLAY_NAME_BYTES: Final = 64
MAX_INBOX_KEY_BYTES: Final = 2_048
MAX_KEY_PACKAGE_BYTES: Final = 8_192
MAX_CONTACT_BYTES: Final = 32_640
"""Leaves room for key, day, serial and signature within the 32,768 bytes of the relay's SignedBundle."""
_FORMAT: Final = 1


class Admission(IntEnum):
    """What a first contact must show (DESIGN section 6)."""

    OPEN = 1
    INVITE = 2
    POW = 3
    VOUCHER = 4


class NotContactableNow(ValidationError):
    """The therapist's certificates or device list are out of date: "cannot be contacted now"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactBundle:
    """A therapist's contact data: of our own making, or verified."""

    identity_key: bytes
    certificates: tuple[DeviceCertificate, ...]
    device_list: DeviceList
    inbox_id: bytes
    inbox_public_key: bytes
    key_packages: tuple[bytes, ...]
    display_name: str
    admission: Admission
    bundle_day: UtcDay

    def __post_init__(self) -> None:
        if len(self.identity_key) != KEY_BYTES or len(self.inbox_id) != INBOX_ID_BYTES:
            raise ValueError("an identity key has 32 bytes and an inbox id 16")
        if not 1 <= len(self.certificates) <= MAX_DEVICES:
            raise ValueError("a contact bundle names 1 to 8 devices")
        if len(self.key_packages) != len(self.certificates):
            raise ValueError("one KeyPackage for each device")
        check_display_name(self.display_name)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the identity key, 32 bytes."""
        return fingerprint_of(self.identity_key)

    def encode(self) -> bytes:
        """The bundle as bytes."""
        return (
            Writer()
            .u8(_FORMAT)
            .raw(self.identity_key)
            .opaque(b"".join(certificate.encode() for certificate in self.certificates))
            .opaque(self.device_list.encode())
            .raw(self.inbox_id)
            .opaque(self.inbox_public_key)
            .vector(self.key_packages, Writer.opaque)
            .opaque(self.display_name.encode())
            .u8(self.admission)
            .u32(self.bundle_day)
            .to_bytes()
        )

    @staticmethod
    def decode(data: bytes) -> UnverifiedContact:
        """Read a bundle; check its form only.

        Raises:
            CodecError: it is malformed or too long.
        """
        if len(data) > MAX_CONTACT_BYTES:
            raise CodecError(0, "contact bundle is too long")
        try:
            return UnverifiedContact(decode(data, _read))
        except ValueError:
            raise CodecError(0, "contact bundle breaks a limit") from None


class UnverifiedContact:
    """A decoded bundle that nobody has checked yet. All that one can do with it is `verify`."""

    __slots__ = ("_claimed",)

    def __init__(self, claimed: ContactBundle) -> None:
        self._claimed = claimed

    def verify(self, *, fingerprint: bytes, now: float) -> ContactBundle:
        """Check everything that makes this the current contact of `fingerprint`.

        Args:
            fingerprint: From the invitation (later: from the directory's proof), 32 bytes.
            now: UTC seconds.

        Raises:
            AuthenticationError: another identity, or a signature that is not that identity's.
            ValidationError: the parts do not belong together.
            NotContactableNow: everything is genuine, and out of date.
        """
        claimed = self._claimed
        # 1. It is the identity that the invitation names.
        if claimed.fingerprint != fingerprint:
            raise AuthenticationError
        # 2. Every certificate is that identity's, for distinct devices, exactly one of them primary.
        for certificate in claimed.certificates:
            if certificate.identity_key != claimed.identity_key:
                raise AuthenticationError
            certificate.verify()
        _check_distinct(claimed.certificates)
        # 3. The device list is that identity's and names exactly these certificates.
        claimed.device_list.verify(claimed.identity_key)
        claimed.device_list.check_names_exactly(claimed.certificates)
        # 4. Each KeyPackage's leaf carries the certificate of its place, and that device's key.
        for certificate, key_package in zip(claimed.certificates, claimed.key_packages, strict=True):
            leaf = decode(key_package, read_key_package).leaf_node
            if leaf.credential.identity != certificate.encode():
                raise ValidationError("contact-key-package-credential")
            if leaf.signature_key != certificate.device_key:
                raise ValidationError("contact-key-package-key")
        # 5. All of it is current, judged last so that "not now" is only said of genuine data.
        try:
            claimed.device_list.check_fresh(now)
            for certificate in claimed.certificates:
                certificate.check_validity(now)
        except ValidationError as error:
            raise NotContactableNow(error.rule) from None
        return claimed


def check_display_name(name: str) -> None:
    """Check that a name is fit to be shown: at most 64 bytes of UTF-8, no control characters, NFC.

    Raises:
        ValueError: it is not. Its message is a sentence for the person who chose the name.
    """
    if len(name.encode()) > MAX_DISPLAY_NAME_BYTES:
        raise ValueError(f"A name may have at most {MAX_DISPLAY_NAME_BYTES} bytes.")
    # Zs and Cf stay allowed: Urdu names need the zero-width non-joiner. Explicit direction overrides do not.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        raise ValueError("A name may not contain control characters.")
    if any("\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069" for character in name):
        raise ValueError("A name may not contain characters that turn the direction of the text.")
    if unicodedata.normalize("NFC", name) != name:
        raise ValueError("A name must be in Unicode's composed form (NFC).")


def _check_distinct(certificates: Sequence[DeviceCertificate]) -> None:
    count = len(certificates)
    if len({certificate.device_id for certificate in certificates}) != count:
        raise ValidationError("contact-device-id-twice")
    if len({certificate.device_key for certificate in certificates}) != count:
        raise ValidationError("contact-device-key-twice")
    if sum(certificate.primary for certificate in certificates) != 1:
        raise ValidationError("contact-one-primary")


def _read_certificate(reader: Reader) -> DeviceCertificate:
    return DeviceCertificate.decode(reader.bytes_(CERTIFICATE_BYTES))


def _read_opaque_key_package(reader: Reader) -> bytes:
    return reader.opaque(MAX_KEY_PACKAGE_BYTES)


def _read_name(reader: Reader) -> str:
    raw = reader.opaque(MAX_DISPLAY_NAME_BYTES)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise reader.error("display name is not UTF-8") from None


def _read_admission(reader: Reader) -> Admission:
    try:
        return Admission(reader.u8())
    except ValueError:
        raise reader.error("unknown admission") from None


def _read(reader: Reader) -> ContactBundle:
    if reader.u8() != _FORMAT:
        raise reader.error("unknown format")
    return ContactBundle(
        identity_key=reader.bytes_(KEY_BYTES),
        certificates=tuple(reader.vector(_read_certificate, MAX_DEVICES * CERTIFICATE_BYTES)),
        device_list=DeviceList.decode(reader.opaque()),
        inbox_id=reader.bytes_(INBOX_ID_BYTES),
        inbox_public_key=reader.opaque(MAX_INBOX_KEY_BYTES),
        key_packages=tuple(reader.vector(_read_opaque_key_package, MAX_DEVICES * MAX_KEY_PACKAGE_BYTES)),
        display_name=_read_name(reader),
        admission=_read_admission(reader),
        bundle_day=UtcDay(reader.u32()),
    )
