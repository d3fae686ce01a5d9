"""What stands in the cells of a return channel (R18).

    struct {
        uint8  kind;                     /* 1 request, 2 welcome, 3 whereabouts */
        select (kind) {
            case 1: RejoinRequest;
            case 2: opaque welcome<V>;   /* MLSMessage(Welcome) */
            case 3: Whereabouts;         /* docs/adr/0046 */
        };
    } ReturnMessage;

    struct {
        opaque group_id<V>;
        uint64 epoch;                    /* that the device is stranded in */
        uint16 reason;
        uint8  stay;                     /* 0 never, 1 if nobody else can, 2 if no better one asks */
        uint64 next_counter;             /* of the device that is asked: above all that was seen of it */
        opaque device_id[16];
        opaque key_package<V>;           /* fresh; its leaf has the stranded leaf's certificate and key */
        opaque signature[64];            /* label "rejoin request", by the leaf's key, over all above */
    } RejoinRequest;

    struct {
        opaque group_id<V>;
        uint64 epoch;                    /* that the device is in */
        uint64 joined_epoch;             /* in which its leaf came in */
        opaque tag[32];                  /* SHA-256("amanat branch v1" || epoch_authenticator) */
        opaque device_id[16];
        opaque signature[64];            /* label "whereabouts", by the leaf's key, over all above */
    } Whereabouts;

A cell is sealed as in R1, with ``ExpandWithLabel(R, "return key", "", 32)`` and the return channel's id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from clients.sdk.line.events import RejoinReason
from clients.sdk.line.payloads import DEVICE_ID_BYTES
from crypto.codec import Reader, Writer, decode
from crypto.errors import AuthenticationError
from crypto.sensitive import Secret
from keys import signing
from keys.signing import SIGNATURE_BYTES, AuthenticationFailed, Label

KIND_REQUEST: Final = 1
KIND_WELCOME: Final = 2
KIND_WHEREABOUTS: Final = 3
TAG_BYTES: Final = 32
MAX_KEY_PACKAGE_BYTES: Final = 8_192
MAX_WELCOME_BYTES: Final = 16_300


class Stay(Enum):
    """Whether a stranded device may stay on its branch and let the others in; the value is on the wire."""

    NEVER = 0
    ALONE = 1
    """If everybody is stranded, and nobody is sound."""
    SOUND = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RejoinRequest:
    """A stranded device asks to be removed and added again.

    ``next_counter`` is for the one device that is asked: it may wait for just that (R16), and only the
    stranded one could have told it.
    """

    group_id: bytes
    epoch: int
    reason: RejoinReason
    device_id: bytes
    key_package: bytes
    stay: Stay = Stay.NEVER
    next_counter: int = 1
    signature: bytes = b""

    def signed_content(self) -> bytes:
        """Everything above the signature."""
        writer = Writer().opaque(self.group_id).u64(self.epoch).u16(self.reason.value)
        writer.u8(self.stay.value).u64(self.next_counter)
        return writer.raw(self.device_id).opaque(self.key_package).to_bytes()

    def verify(self, signature_key: bytes) -> None:
        """Check that the leaf's own key signed it.

        Raises:
            AuthenticationError: It did not.
        """
        try:
            signing.verify(signature_key, Label.REJOIN_REQUEST, self.signed_content(), self.signature)
        except AuthenticationFailed:
            raise AuthenticationError from None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejoinWelcome:
    """The answer."""

    welcome: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """A device tells another one, of which it has heard nothing in this epoch, where it is."""

    group_id: bytes
    epoch: int
    joined_epoch: int
    tag: bytes
    device_id: bytes
    signature: bytes = b""

    def signed_content(self) -> bytes:
        """Everything above the signature."""
        writer = Writer().opaque(self.group_id).u64(self.epoch).u64(self.joined_epoch)
        return writer.raw(self.tag).raw(self.device_id).to_bytes()

    def verify(self, signature_key: bytes) -> None:
        """Check that the leaf's own key signed it.

        Raises:
            AuthenticationError: It did not.
        """
        try:
            signing.verify(signature_key, Label.WHEREABOUTS, self.signed_content(), self.signature)
        except AuthenticationFailed:
            raise AuthenticationError from None


def encode_whereabouts(note: Whereabouts, signature_private: Secret) -> bytes:
    """Sign and encode."""
    content = note.signed_content()
    signature = signing.sign(signature_private.reveal(), Label.WHEREABOUTS, content)
    return bytes([KIND_WHEREABOUTS]) + content + signature


def encode_request(request: RejoinRequest, signature_private: Secret) -> bytes:
    """Sign and encode a request."""
    content = request.signed_content()
    signature = signing.sign(signature_private.reveal(), Label.REJOIN_REQUEST, content)
    return bytes([KIND_REQUEST]) + content + signature


def encode_welcome(welcome: bytes) -> bytes:
    """Encode an answer."""
    return Writer().u8(KIND_WELCOME).opaque(welcome).to_bytes()


def decode_return_message(data: bytes) -> RejoinRequest | RejoinWelcome | Whereabouts:
    """Read what a return channel's cell holds. A request is not verified yet.

    Raises:
        CodecError: Malformed, or of an unknown kind.
    """
    return decode(data, _read)


def _read(reader: Reader) -> RejoinRequest | RejoinWelcome | Whereabouts:
    match reader.u8():
        case 1:
            group_id, epoch = reader.opaque(255), reader.u64()
            try:
                reason = RejoinReason(reader.u16())
            except ValueError:
                raise reader.error("unknown reason") from None
            try:
                stay = Stay(reader.u8())
            except ValueError:
                raise reader.error("unknown value of stay") from None
            return RejoinRequest(
                group_id=group_id,
                epoch=epoch,
                reason=reason,
                stay=stay,
                next_counter=reader.u64(),
                device_id=reader.bytes_(DEVICE_ID_BYTES),
                key_package=reader.opaque(MAX_KEY_PACKAGE_BYTES),
                signature=reader.bytes_(SIGNATURE_BYTES),
            )
        case 2:
            return RejoinWelcome(welcome=reader.opaque(MAX_WELCOME_BYTES))
        case 3:
            return Whereabouts(
                group_id=reader.opaque(255),
                epoch=reader.u64(),
                joined_epoch=reader.u64(),
                tag=reader.bytes_(TAG_BYTES),
                device_id=reader.bytes_(DEVICE_ID_BYTES),
                signature=reader.bytes_(SIGNATURE_BYTES),
            )
        case _:
            raise reader.error("unknown kind of message in a return channel")
