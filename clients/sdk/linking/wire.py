"""What two devices of one person say to each other (docs/PROTOCOL.md, section 7.8).

    struct { uint8 version = 1; opaque public_key<V>; } Hello;           /* new device, opening mailbox */

    struct { opaque kem_output<V>; opaque ciphertext<V>; } SealedOffer;  /* first device, opening mailbox */
    struct {
        uint8  version = 1;
        opaque link_secret[32];
        uint8  role;                     /* 1 client, 2 therapist */
        opaque device_name<V>;
        opaque display_name<V>;
        opaque identity_key<V>;          /* 32 bytes of a therapist; empty for a client */
        uint16 lines;
    } Offer;

    struct {
        uint8 kind;                      /* 1 here, 2 line, 3 answer, 4 removed */
        select (kind) {
            case 1: opaque line_ids<V>;  /* 16 bytes each */
            case 2: Line;
            case 3: Answer;
            case 4: struct {};
        };
    } LinkMessage;                       /* link mailbox; one in a cell */

    struct {
        opaque line_id[16]; opaque group_id<V>;
        opaque identity_key[32]; opaque peer_identity[32];
        opaque name<V>; opaque peer_name<V>;
        uint64 created; uint8 confirmed;
        opaque certificate<V>;           /* empty until the device key is known */
        opaque welcome<V>;               /* MLSMessage(Welcome), empty until the commit is merged */
    } Line;                              /* first device: everything it knows */

    struct {
        opaque line_id[16];
        opaque device_key[32]; opaque device_id[16];
        opaque key_package<V>;           /* empty until there is a certificate */
        uint8  joined;
    } Answer;                            /* new device: everything it knows */

Each LINE and ANSWER says the whole state of its sender, so that losing, repeating or reordering them does no
harm. The offer is sealed with HPKE (KEM, KDF and AEAD of suite 0xF002, base mode) to the key whose hash the
linking code names, info = "amanat link v1" ‖ SHA-256 of the code's body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from clients.sdk.model import Role
from crypto.codec import Reader, Writer, decode
from crypto.errors import ValidationError
from crypto.labels import expand_with_label
from crypto.sensitive import Secret
from crypto.suites import PRODUCT
from keys.certificates import CERTIFICATE_BYTES, DEVICE_ID_BYTES, KEY_BYTES
from keys.linking import LinkingCode

VERSION: Final = 1
LINK_SECRET_BYTES: Final = 32
LINE_ID_BYTES: Final = 16
MAX_NAME_BYTES: Final = 255
MAX_KEY_PACKAGE_BYTES: Final = 8_192
MAX_WELCOME_BYTES: Final = 15_600
MAX_LINES: Final = 900
"""Line ids in one HERE."""
INFO_PREFIX: Final = b"amanat link v1"
UP: Final = b"up"
"""Direction from the new device to the first one."""
DOWN: Final = b"down"
_ROLES: Final = {Role.CLIENT: 1, Role.THERAPIST: 2}
_HERE, _LINE, _ANSWER, _REMOVED = 1, 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """Address and key of one direction of a mailbox, 32 bytes each."""

    k: bytes = field(repr=False)
    key: bytes = field(repr=False)


def opening_direction(code: LinkingCode, direction: bytes) -> Direction:
    """Of the opening mailbox: from the secret in the linking code."""
    name = direction.decode("ascii")
    return Direction(k=code.derive(f"address {name}"), key=code.derive(f"key {name}"))


def link_direction(link_secret: bytes, direction: bytes) -> Direction:
    """Of the link mailbox: ``ExpandWithLabel(link_secret, "link address" | "link key", direction, 32)``."""
    return Direction(
        k=_bare(expand_with_label(PRODUCT, link_secret, "link address", direction, 32)),
        key=_bare(expand_with_label(PRODUCT, link_secret, "link key", direction, 32)),
    )


def _bare(key: bytes | Secret) -> bytes:
    return key.reveal() if isinstance(key, Secret) else key


# ------------------------------------------------------------------------------------------------ opening


def encode_hello(public_key: bytes) -> bytes:
    """The new device's one-time key."""
    return Writer().u8(VERSION).opaque(public_key).to_bytes()


def decode_hello(data: bytes, *, code_key_hash: bytes) -> bytes:
    """The key, if it is the one that the code names.

    Raises:
        CodecError: malformed.
        ValidationError: "link.key": another key than the one in the code.
    """

    def read(reader: Reader) -> bytes:
        if reader.u8() != VERSION:
            raise reader.error("unknown version of a hello")
        return reader.opaque(4_096)

    public_key = decode(data, read)
    if hashlib.sha256(public_key).digest() != code_key_hash:
        raise ValidationError("link.key")
    return public_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What makes a new device one of this person's."""

    link_secret: Secret
    role: Role
    device_name: str
    display_name: str
    identity_key: bytes
    lines: int

    def seal(self, public_key: bytes, *, code_digest: bytes, rng: Callable[[int], bytes]) -> bytes:
        """Seal it to the new device's one-time key.

        Raises:
            ValidationError: the key is none.
        """
        content = Writer().u8(VERSION).raw(self.link_secret.reveal()).u8(_ROLES[self.role])
        content.opaque(self.device_name.encode()).opaque(self.display_name.encode())
        content.opaque(self.identity_key).u16(self.lines)
        kem_output, ciphertext = PRODUCT.hpke_seal(
            public_key, info=INFO_PREFIX + code_digest, plaintext=content.to_bytes(), rng=rng
        )
        return Writer().opaque(kem_output).opaque(ciphertext).to_bytes()

    @staticmethod
    def open(data: bytes, private_key: Secret, *, code_digest: bytes) -> Offer:
        """Inverse of `seal`.

        Raises:
            CodecError: malformed.
            AuthenticationError: it is sealed to another key, or for another code.
        """
        kem_output, ciphertext = decode(data, lambda reader: (reader.opaque(4_096), reader.opaque(8_192)))
        content = PRODUCT.hpke_open(
            private_key.reveal(), kem_output, info=INFO_PREFIX + code_digest, ciphertext=ciphertext
        )
        return decode(content, _read_offer)


def _read_offer(reader: Reader) -> Offer:
    if reader.u8() != VERSION:
        raise reader.error("unknown version of an offer")
    secret, number = Secret(reader.bytes_(LINK_SECRET_BYTES)), reader.u8()
    role = next((role for role, code in _ROLES.items() if code == number), None)
    if role is None:
        raise reader.error("unknown role")
    device_name, display_name = _read_name(reader), _read_name(reader)
    identity_key = reader.opaque(KEY_BYTES)
    if len(identity_key) != (KEY_BYTES if role is Role.THERAPIST else 0):
        raise reader.error("identity key does not fit the role")
    return Offer(
        link_secret=secret,
        role=role,
        device_name=device_name,
        display_name=display_name,
        identity_key=identity_key,
        lines=reader.u16(),
    )


def _read_name(reader: Reader) -> str:
    try:
        return reader.opaque(MAX_NAME_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise reader.error("name is not UTF-8") from None


# --------------------------------------------------------------------------------------------- afterwards


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """The linked device is there, and has these lines."""

    line_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line, as far as the first device has come with it."""

    line_id: bytes
    group_id: bytes
    identity_key: bytes
    peer_identity: bytes
    name: str
    peer_name: str
    created: int
    confirmed: bool
    certificate: bytes = b""
    welcome: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One line, as far as the linked device has come with it."""

    line_id: bytes
    device_key: bytes
    device_id: bytes
    key_package: bytes = b""
    joined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The first device has removed the linked one."""


LinkMessage: TypeAlias = Here | Line | Answer | Removed


def encode_link_message(message: LinkMessage) -> bytes:
    """As above."""
    writer = Writer()
    match message:
        case Here():
            writer.u8(_HERE).opaque(b"".join(message.line_ids[:MAX_LINES]))
        case Line():
            writer.u8(_LINE).raw(message.line_id).opaque(message.group_id)
            writer.raw(message.identity_key).raw(message.peer_identity)
            writer.opaque(message.name.encode()).opaque(message.peer_name.encode())
            writer.u64(message.created).u8(int(message.confirmed))
            writer.opaque(message.certificate).opaque(message.welcome)
        case Answer():
            writer.u8(_ANSWER).raw(message.line_id).raw(message.device_key).raw(message.device_id)
            writer.opaque(message.key_package).u8(int(message.joined))
        case Removed():
            writer.u8(_REMOVED)
    return writer.to_bytes()


def decode_link_message(data: bytes) -> LinkMessage:
    """Inverse of `encode_link_message`.

    Raises:
        CodecError: malformed, or of an unknown kind.
    """
    return decode(data, _read_link_message)


def _read_link_message(reader: Reader) -> LinkMessage:
    match reader.u8():
        case 1:
            joined = reader.opaque(MAX_LINES * LINE_ID_BYTES)
            if len(joined) % LINE_ID_BYTES:
                raise reader.error("line ids are cut")
            return Here(
                line_ids=tuple(
                    joined[start : start + LINE_ID_BYTES] for start in range(0, len(joined), LINE_ID_BYTES)
                )
            )
        case 2:
            return Line(
                line_id=reader.bytes_(LINE_ID_BYTES),
                group_id=reader.opaque(255),
                identity_key=reader.bytes_(KEY_BYTES),
                peer_identity=reader.bytes_(KEY_BYTES),
                name=_read_name(reader),
                peer_name=_read_name(reader),
                created=reader.u64(),
                confirmed=_read_flag(reader),
                certificate=reader.opaque(CERTIFICATE_BYTES),
                welcome=reader.opaque(MAX_WELCOME_BYTES),
            )
        case 3:
            return Answer(
                line_id=reader.bytes_(LINE_ID_BYTES),
                device_key=reader.bytes_(KEY_BYTES),
                device_id=reader.bytes_(DEVICE_ID_BYTES),
                key_package=reader.opaque(MAX_KEY_PACKAGE_BYTES),
                joined=_read_flag(reader),
            )
        case 4:
            return Removed()
        case _:
            raise reader.error("unknown kind of message between devices")


def _read_flag(reader: Reader) -> bool:
    value = reader.u8()
    if value > 1:
        raise reader.error("flag is neither 0 nor 1")
    return value == 1
