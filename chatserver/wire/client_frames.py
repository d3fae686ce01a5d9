"""Frames that a client sends: one dataclass each, with the syntax above its reader and writer.

A frame is `u8 type ‖ fields`, big-endian, one per binary WebSocket message. `decode` of each class gets the
whole message, type byte included, and rejects anything but the exact length. `request` is a number that the
client chooses and that the answer repeats; it must not be one that is still unanswered.

Rules: R2 (class, readers, k), R3 (ATTACH), R4 (DEPOSIT), R21 (inboxes). Meaning of the answers:
`server_frames`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from chatserver.wire.errors import SizeError
from chatserver.wire.limits import (
    BODY_BYTES,
    CHANNEL_KEY_BYTES,
    DEPOSIT_ID_BYTES,
    DIGEST_BYTES,
    DROP_BYTES,
    DROP_ID_BYTES,
    IDENTITY_KEY_BYTES,
    INBOX_ID_BYTES,
    INCARNATION_BYTES,
    MAX_ADMISSION_VALUE_BYTES,
    MAX_BUNDLE_BYTES,
    MAX_READERS,
    MAX_THERAPIST_TOKEN_BYTES,
    SIGNATURE_BYTES,
    SLOT_TOKEN_BYTES,
    AdmissionKind,
    ChannelClass,
)
from crypto.codec import CodecError, Reader, encode_opaque

_HELLO: Final = struct.Struct(">BH")
_ATTACH: Final = struct.Struct(f">BIBB{CHANNEL_KEY_BYTES}s{SLOT_TOKEN_BYTES}s{INCARNATION_BYTES}sQ")
_DEPOSIT: Final = struct.Struct(f">BIBB{CHANNEL_KEY_BYTES}s{DEPOSIT_ID_BYTES}sB")
_ACK: Final = struct.Struct(">BIIQ")
_DETACH: Final = struct.Struct(">BII")
_REQUEST: Final = struct.Struct(">BI")
_INBOX_OPEN: Final = struct.Struct(f">BI{IDENTITY_KEY_BYTES}s{SIGNATURE_BYTES}s")
_INBOX_ACK: Final = struct.Struct(f">BI{DROP_ID_BYTES}s")
_ADMIT: Final = struct.Struct(f">BI{DIGEST_BYTES}sI")
_DROP: Final = struct.Struct(f">BI{INBOX_ID_BYTES}sB")

_CLASSES: Final = {int(value): value for value in ChannelClass}
DEPOSIT_HEAD_BYTES: Final = _DEPOSIT.size
DEPOSIT_BYTES: Final = {int(c): _DEPOSIT.size + size for c, size in BODY_BYTES.items()}
"""Length of a whole DEPOSIT by class."""


def exact(layout: struct.Struct, data: bytes) -> None:
    """Demand a frame of fixed length.

    Raises:
        CodecError: another length.
    """
    if len(data) != layout.size:
        raise CodecError(min(len(data), layout.size), "frame of a wrong length")


def at_least(layout: struct.Struct, data: bytes | memoryview) -> None:
    """Demand that a frame has at least its fixed part.

    Raises:
        CodecError: it is shorter.
    """
    if len(data) < layout.size:
        raise CodecError(len(data), "frame of a wrong length")


def flag(value: int, offset: int) -> bool:
    """A u8 that may be 0 or 1 only.

    Raises:
        CodecError: any other value.
    """
    if value > 1:
        raise CodecError(offset, "flag is neither 0 nor 1")
    return value == 1


def _channel_class(value: int) -> ChannelClass:
    found = _CLASSES.get(value)
    if found is None:
        raise CodecError(5, "unknown class of channel")
    return found


def _readers(value: int) -> int:
    if not 1 <= value <= MAX_READERS:
        raise CodecError(6, "number of readers out of range")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First frame of a connection. Answer: SERVER_HELLO or FAILED(BAD_VERSION)."""

    TYPE: ClassVar[int] = 0x01
    version: int

    def encode(self) -> bytes:
        """`u8 0x01; u16 version`."""
        return _HELLO.pack(self.TYPE, self.version)

    @classmethod
    def decode(cls, data: bytes) -> Hello:
        """Decode a frame. Later versions may append fields, so only this frame tolerates more bytes."""
        at_least(_HELLO, data)
        _, version = _HELLO.unpack_from(data)
        return cls(version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Take or resume a slot of a channel and read on after `position` (R3). Answer: ATTACHED or REFUSED.

    Attributes:
        request: number of the request.
        cls: class of the channel.
        readers: slots of the channel, 1 to 4.
        k: the 32-byte address secret.
        token: 32 random bytes that hold the slot.
        incarnation: the one to which `position` belongs; zeros if none is known.
        position: number of the last cell that the device has processed; the relay starts after it, or at 1 if
            the channel's incarnation is another.
    """

    TYPE: ClassVar[int] = 0x02
    request: int
    cls: ChannelClass
    readers: int
    k: bytes
    token: bytes
    incarnation: bytes
    position: int

    def encode(self) -> bytes:
        """`u8 0x02; u32 request; u8 class; u8 readers; k[32]; token[32]; incarnation[16]; u64 position`."""
        return _ATTACH.pack(
            self.TYPE,
            self.request,
            self.cls,
            self.readers,
            self.k,
            self.token,
            self.incarnation,
            self.position,
        )

    @classmethod
    def decode(cls, data: bytes) -> Attach:
        """Decode a frame."""
        exact(_ATTACH, data)
        _, request, channel_class, readers, k, token, incarnation, position = _ATTACH.unpack(data)
        return cls(
            request=request,
            cls=_channel_class(channel_class),
            readers=_readers(readers),
            k=k,
            token=token,
            incarnation=incarnation,
            position=position,
        )


@dataclass(slots=True, kw_only=True)
class Deposit:
    """Append a cell to a channel; needs no slot (R4). Answer: STORED or REFUSED.

    Not frozen, as are the other frames: the relay makes one for every message, and freezing costs time.

    Attributes:
        request: number of the request.
        cls: class of the channel.
        readers: slots of the channel, 1 to 4.
        k: the 32-byte address secret.
        deposit_id: 16 random bytes; the same one again gives the same number while its cell exists.
        close: the cell closes the channel (class `stored` only, R5).
        body: exactly 16,384 bytes (`stored`) or 2,048 (`live`).
    """

    TYPE: ClassVar[int] = 0x03
    request: int
    cls: ChannelClass
    readers: int
    k: bytes
    deposit_id: bytes
    close: bool
    body: bytes

    def encode(self) -> bytes:
        """`u8 0x03; u32 request; u8 class; u8 readers; k[32]; deposit_id[16]; u8 close; body`."""
        if len(self.body) != BODY_BYTES[self.cls]:
            raise ValueError("a cell has exactly the size of its class")
        return (
            _DEPOSIT.pack(
                self.TYPE, self.request, self.cls, self.readers, self.k, self.deposit_id, self.close
            )
            + self.body
        )

    @classmethod
    def decode(cls, data: bytes | memoryview, lengths: Mapping[int, int] = DEPOSIT_BYTES) -> Deposit:
        """Decode a frame; of a view, the body is the one copy that is made.

        Args:
            data: the message, type byte included.
            lengths: of the whole frame by class; others than the protocol's only where speed is measured.

        Raises:
            SizeError: the body is not of the size of its class (R2).
        """
        if len(data) < DEPOSIT_HEAD_BYTES:
            raise CodecError(len(data), "frame of a wrong length")
        _, request, channel_class, readers, k, deposit_id, close = _DEPOSIT.unpack_from(data)
        found = _CLASSES.get(channel_class)
        if found is None:
            raise CodecError(5, "unknown class of channel")
        if len(data) != lengths[channel_class]:
            raise SizeError(_DEPOSIT.size, "cell is not of the size of its class")
        if not 0 < readers <= MAX_READERS or close > 1:
            _readers(readers)
            flag(close, DEPOSIT_HEAD_BYTES - 1)
        return cls(
            request=request,
            cls=found,
            readers=readers,
            k=k,
            deposit_id=deposit_id,
            close=close == 1,
            body=bytes(data[DEPOSIT_HEAD_BYTES:]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Acknowledge all cells up to `seq` for one's own slot (R3; class `stored`). Answer: ACKED or REFUSED."""

    TYPE: ClassVar[int] = 0x04
    request: int
    handle: int
    seq: int

    def encode(self) -> bytes:
        """`u8 0x04; u32 request; u32 handle; u64 seq`."""
        return _ACK.pack(self.TYPE, self.request, self.handle, self.seq)

    @classmethod
    def decode(cls, data: bytes) -> Ack:
        """Decode a frame."""
        exact(_ACK, data)
        _, request, handle, seq = _ACK.unpack(data)
        return cls(request=request, handle=handle, seq=seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detach:
    """Stop receiving a channel; the slot stays (R3). Answer: DONE or REFUSED(NOT_ATTACHED)."""

    TYPE: ClassVar[int] = 0x05
    request: int
    handle: int

    def encode(self) -> bytes:
        """`u8 0x05; u32 request; u32 handle`."""
        return _DETACH.pack(self.TYPE, self.request, self.handle)

    @classmethod
    def decode(cls, data: bytes) -> Detach:
        """Decode a frame."""
        exact(_DETACH, data)
        _, request, handle = _DETACH.unpack(data)
        return cls(request=request, handle=handle)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxChallenge:
    """Ask for a nonce to sign (R21). Answer: CHALLENGE; a later one replaces it."""

    TYPE: ClassVar[int] = 0x10
    request: int

    def encode(self) -> bytes:
        """`u8 0x10; u32 request`."""
        return _REQUEST.pack(self.TYPE, self.request)

    @classmethod
    def decode(cls, data: bytes) -> InboxChallenge:
        """Decode a frame."""
        exact(_REQUEST, data)
        _, request = _REQUEST.unpack(data)
        return cls(request=request)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxOpen:
    """Open, or register, the inbox of an identity key (R21). Answer: INBOX_OPENED or REFUSED.

    Attributes:
        request: number of the request.
        identity_key: 32 bytes, Ed25519.
        signature: 64 bytes over `ids.inbox_challenge_content`, label "inbox open".
        token: a one-use token of `amanat-relay therapist-token` when registering needs one, else empty.
    """

    TYPE: ClassVar[int] = 0x11
    request: int
    identity_key: bytes
    signature: bytes
    token: bytes = b""

    def encode(self) -> bytes:
        """`u8 0x11; u32 request; identity_key[32]; signature[64]; token<V>`."""
        head = _INBOX_OPEN.pack(self.TYPE, self.request, self.identity_key, self.signature)
        return head + encode_opaque(self.token)

    @classmethod
    def decode(cls, data: bytes) -> InboxOpen:
        """Decode a frame."""
        at_least(_INBOX_OPEN, data)
        _, request, identity_key, signature = _INBOX_OPEN.unpack_from(data)
        reader = Reader(data[_INBOX_OPEN.size :], offset=_INBOX_OPEN.size)
        token = reader.opaque(MAX_THERAPIST_TOKEN_BYTES)
        reader.finish()
        return cls(request=request, identity_key=identity_key, signature=signature, token=token)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxAck:
    """A first contact is kept on the device and may be deleted here (R21). Answer: DONE."""

    TYPE: ClassVar[int] = 0x12
    request: int
    drop_id: bytes

    def encode(self) -> bytes:
        """`u8 0x12; u32 request; drop_id[16]`."""
        return _INBOX_ACK.pack(self.TYPE, self.request, self.drop_id)

    @classmethod
    def decode(cls, data: bytes) -> InboxAck:
        """Decode a frame."""
        exact(_INBOX_ACK, data)
        _, request, drop_id = _INBOX_ACK.unpack(data)
        return cls(request=request, drop_id=drop_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """Let one first contact with this admission value into the open inbox (DESIGN section 6). Answer: DONE.

    Attributes:
        request: number of the request.
        admit_hash: SHA-256 of the invitation's 32-byte admit value.
        expires_day: last whole UTC day since 1970 on which it is good.
    """

    TYPE: ClassVar[int] = 0x13
    request: int
    admit_hash: bytes
    expires_day: int

    def encode(self) -> bytes:
        """`u8 0x13; u32 request; admit_hash[32]; u32 expires_day`."""
        return _ADMIT.pack(self.TYPE, self.request, self.admit_hash, self.expires_day)

    @classmethod
    def decode(cls, data: bytes) -> Admit:
        """Decode a frame."""
        exact(_ADMIT, data)
        _, request, admit_hash, expires_day = _ADMIT.unpack(data)
        return cls(request=request, admit_hash=admit_hash, expires_day=expires_day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Publish the contact bundle of the identity whose inbox is open. Answer: DONE or REFUSED.

    Attributes:
        request: number of the request.
        bundle: an encoded `chatserver.wire.bundle.SignedBundle`.
    """

    TYPE: ClassVar[int] = 0x14
    request: int
    bundle: bytes

    def encode(self) -> bytes:
        """`u8 0x14; u32 request; bundle<V>`."""
        return _REQUEST.pack(self.TYPE, self.request) + encode_opaque(self.bundle)

    @classmethod
    def decode(cls, data: bytes) -> Publish:
        """Decode a frame."""
        at_least(_REQUEST, data)
        _, request = _REQUEST.unpack_from(data)
        reader = Reader(data[_REQUEST.size :], offset=_REQUEST.size)
        bundle = reader.opaque(MAX_BUNDLE_BYTES)
        reader.finish()
        return cls(request=request, bundle=bundle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Put a first contact into an inbox (R21). Answer: DONE or REFUSED.

    Attributes:
        request: number of the request.
        inbox_id: 16 bytes, from the therapist's bundle.
        admission: how the drop asks to be let in.
        admission_value: what that kind of admission shows.
        drop_id: 16 random bytes; the same drop again is DONE again.
        body: exactly 16,384 bytes.
    """

    TYPE: ClassVar[int] = 0x15
    request: int
    inbox_id: bytes
    admission: AdmissionKind
    admission_value: bytes
    drop_id: bytes
    body: bytes

    def encode(self) -> bytes:
        """`u8 0x15; u32 request; inbox_id[16]; u8 admission; value<V>; drop_id[16]; body[16384]`."""
        if len(self.body) != DROP_BYTES or len(self.drop_id) != DROP_ID_BYTES:
            raise ValueError("a drop has an id of 16 bytes and a body of 16,384 bytes")
        head = _DROP.pack(self.TYPE, self.request, self.inbox_id, self.admission)
        return head + encode_opaque(self.admission_value) + self.drop_id + self.body

    @classmethod
    def decode(cls, data: bytes) -> Drop:
        """Decode a frame.

        Raises:
            SizeError: the body is not 16,384 bytes long (R21).
        """
        at_least(_DROP, data)
        _, request, inbox_id, admission = _DROP.unpack_from(data)
        try:
            kind = AdmissionKind(admission)
        except ValueError:
            raise CodecError(_DROP.size - 1, "unknown kind of admission") from None
        reader = Reader(data[_DROP.size :], offset=_DROP.size)
        value = reader.opaque(MAX_ADMISSION_VALUE_BYTES)
        drop_id = reader.bytes_(DROP_ID_BYTES)
        if reader.remaining != DROP_BYTES:
            raise SizeError(reader.offset, "drop is not of the size that inboxes take")
        return cls(
            request=request,
            inbox_id=inbox_id,
            admission=kind,
            admission_value=value,
            drop_id=drop_id,
            body=reader.bytes_(DROP_BYTES),
        )


ClientFrame = (
    Hello | Attach | Deposit | Ack | Detach | InboxChallenge | InboxOpen | InboxAck | Admit | Publish | Drop
)
