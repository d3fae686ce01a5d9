"""Frames that the relay sends: one dataclass each, with the syntax above its reader and writer.

`request` repeats the number of the request that is answered; `handle` is the number that ATTACHED gave to a
channel on this connection. Each request gets exactly one answer: ATTACHED, STORED, ACKED, CHALLENGE,
INBOX_OPENED, DONE, or REFUSED.

Order (R4): cells of one handle come in the order of their numbers, without a gap that EXPIRED does not
announce; the first follows its ATTACHED. A depositor that is attached and has nothing older to read gets
OWN_CELL before STORED.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Final

from chatserver.wire.client_frames import at_least, exact, flag
from chatserver.wire.errors import SizeError
from chatserver.wire.limits import (
    CHALLENGE_BYTES,
    DIGEST_BYTES,
    DROP_BYTES,
    DROP_ID_BYTES,
    INBOX_ID_BYTES,
    INCARNATION_BYTES,
    LIVE_CELL_BYTES,
    STORED_CELL_BYTES,
)

_SERVER_HELLO: Final = struct.Struct(">BHBBB")
_ATTACHED: Final = struct.Struct(f">BII{INCARNATION_BYTES}sQQQ")
_CELL: Final = struct.Struct(">BIQB")
_OWN_CELL: Final = struct.Struct(f">BIQB{DIGEST_BYTES}s")
_STORED: Final = struct.Struct(">BIQ")
_REQUEST: Final = struct.Struct(">BI")
_EXPIRED: Final = struct.Struct(">BIQQ")
_REFUSED: Final = struct.Struct(">BIH")
_U16: Final = struct.Struct(">BH")
_HANDLE: Final = struct.Struct(">BI")
_CHALLENGE: Final = struct.Struct(f">BI{CHALLENGE_BYTES}s")
_INBOX_OPENED: Final = struct.Struct(f">BI{INBOX_ID_BYTES}sI")
_INBOX_CELL: Final = struct.Struct(f">B{DROP_ID_BYTES}s")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHello:
    """Answer to HELLO.

    Attributes:
        version: the version that both now speak.
        bucket_bits: bits of the prefix by which contact bundles are to be asked for (DESIGN section 6).
        pow_bits: leading zero bits that a drop without an invitation must show; 0 if none are needed, 255 if
            only invitations are accepted.
        draining: the relay is shutting down; ATTACH and DEPOSIT are refused.
    """

    TYPE: ClassVar[int] = 0x81
    version: int
    bucket_bits: int
    pow_bits: int
    draining: bool

    def encode(self) -> bytes:
        """`u8 0x81; u16 version; u8 bucket_bits; u8 pow_bits; u8 draining`."""
        return _SERVER_HELLO.pack(self.TYPE, self.version, self.bucket_bits, self.pow_bits, self.draining)

    @classmethod
    def decode(cls, data: bytes) -> ServerHello:
        """Decode a frame."""
        exact(_SERVER_HELLO, data)
        _, version, bucket_bits, pow_bits, draining = _SERVER_HELLO.unpack(data)
        return cls(version=version, bucket_bits=bucket_bits, pow_bits=pow_bits, draining=flag(draining, 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The slot is the connection's (R3); cells after the position follow.

    Attributes:
        request: number of the ATTACH.
        handle: the channel's number on this connection.
        incarnation: 16 bytes, drawn when the relay created the channel.
        head: number of the newest cell, 0 if there was none.
        acked: highest number that this slot has acknowledged; 0 in class `live`.
        closed_seq: number of the closing cell, 0 while the channel is open.
    """

    TYPE: ClassVar[int] = 0x82
    request: int
    handle: int
    incarnation: bytes
    head: int
    acked: int
    closed_seq: int

    def encode(self) -> bytes:
        """`u8 0x82; u32 request; u32 handle; incarnation[16]; u64 head; u64 acked; u64 closed_seq`."""
        return _ATTACHED.pack(
            self.TYPE, self.request, self.handle, self.incarnation, self.head, self.acked, self.closed_seq
        )

    @classmethod
    def decode(cls, data: bytes) -> Attached:
        """Decode a frame."""
        exact(_ATTACHED, data)
        _, request, handle, incarnation, head, acked, closed_seq = _ATTACHED.unpack(data)
        return cls(
            request=request,
            handle=handle,
            incarnation=incarnation,
            head=head,
            acked=acked,
            closed_seq=closed_seq,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell that somebody else deposited, or that came before this attachment (R4)."""

    TYPE: ClassVar[int] = 0x83
    handle: int
    seq: int
    close: bool
    body: bytes

    def encode(self) -> bytes:
        """`u8 0x83; u32 handle; u64 seq; u8 close; body`."""
        return cell_head(self.handle, self.seq, close=self.close) + self.body

    @classmethod
    def decode(cls, data: bytes) -> Cell:
        """Decode a frame.

        Raises:
            SizeError: the body has the size of no class (R2).
        """
        at_least(_CELL, data)
        _, handle, seq, close = _CELL.unpack_from(data)
        if len(data) - _CELL.size not in {LIVE_CELL_BYTES, STORED_CELL_BYTES}:
            raise SizeError(_CELL.size, "cell has the size of no class")
        return cls(handle=handle, seq=seq, close=flag(close, 13), body=data[_CELL.size :])


def own_cell(handle: int, seq: int, *, close: bool, digest: bytes) -> bytes:
    """An encoded OWN_CELL, for the relay, which says one for every deposit."""
    return _OWN_CELL.pack(OwnCell.TYPE, handle, seq, close, digest)


def stored(request: int, seq: int) -> bytes:
    """An encoded STORED, likewise."""
    return _STORED.pack(Stored.TYPE, request, seq)


def cell_head(handle: int, seq: int, *, close: bool) -> bytes:
    """A CELL up to its body, for the relay, which need not build a frame per reader."""
    return _CELL.pack(Cell.TYPE, handle, seq, close)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCell:
    """A cell that this connection deposited while it was attached; `digest` is SHA-256 of its body (R4)."""

    TYPE: ClassVar[int] = 0x84
    handle: int
    seq: int
    close: bool
    digest: bytes

    def encode(self) -> bytes:
        """`u8 0x84; u32 handle; u64 seq; u8 close; digest[32]`."""
        return own_cell(self.handle, self.seq, close=self.close, digest=self.digest)

    @classmethod
    def decode(cls, data: bytes) -> OwnCell:
        """Decode a frame."""
        exact(_OWN_CELL, data)
        _, handle, seq, close, digest = _OWN_CELL.unpack(data)
        return cls(handle=handle, seq=seq, close=flag(close, 13), digest=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The deposit is cell `seq`; in class `stored` it is on disk (R4)."""

    TYPE: ClassVar[int] = 0x85
    request: int
    seq: int

    def encode(self) -> bytes:
        """`u8 0x85; u32 request; u64 seq`."""
        return stored(self.request, self.seq)

    @classmethod
    def decode(cls, data: bytes) -> Stored:
        """Decode a frame."""
        exact(_STORED, data)
        _, request, seq = _STORED.unpack(data)
        return cls(request=request, seq=seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acked:
    """The acknowledgement is on disk (R3)."""

    TYPE: ClassVar[int] = 0x86
    request: int

    def encode(self) -> bytes:
        """`u8 0x86; u32 request`."""
        return _REQUEST.pack(self.TYPE, self.request)

    @classmethod
    def decode(cls, data: bytes) -> Acked:
        """Decode a frame."""
        exact(_REQUEST, data)
        return cls(request=_REQUEST.unpack(data)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """Cells `first` to `last`, both included, existed and exist no more (R6)."""

    TYPE: ClassVar[int] = 0x87
    handle: int
    first: int
    last: int

    def encode(self) -> bytes:
        """`u8 0x87; u32 handle; u64 first; u64 last`."""
        return _EXPIRED.pack(self.TYPE, self.handle, self.first, self.last)

    @classmethod
    def decode(cls, data: bytes) -> Expired:
        """Decode a frame."""
        exact(_EXPIRED, data)
        _, handle, first, last = _EXPIRED.unpack(data)
        return cls(handle=handle, first=first, last=last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The request was not done; `code` is a `chatserver.wire.errors.ErrorCode` where it is known."""

    TYPE: ClassVar[int] = 0x88
    request: int
    code: int

    def encode(self) -> bytes:
        """`u8 0x88; u32 request; u16 code`."""
        return _REFUSED.pack(self.TYPE, self.request, self.code)

    @classmethod
    def decode(cls, data: bytes) -> Refused:
        """Decode a frame."""
        exact(_REFUSED, data)
        _, request, code = _REFUSED.unpack(data)
        return cls(request=request, code=code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The relay closes the connection after this frame; `code` is an `ErrorCode` where it is known."""

    TYPE: ClassVar[int] = 0x89
    code: int

    def encode(self) -> bytes:
        """`u8 0x89; u16 code`."""
        return _U16.pack(self.TYPE, self.code)

    @classmethod
    def decode(cls, data: bytes) -> Failed:
        """Decode a frame."""
        exact(_U16, data)
        return cls(code=_U16.unpack(data)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining:
    """The relay shuts down in at most `seconds`: nothing new is taken, outstanding answers still come."""

    TYPE: ClassVar[int] = 0x8A
    seconds: int

    def encode(self) -> bytes:
        """`u8 0x8a; u16 seconds`."""
        return _U16.pack(self.TYPE, self.seconds)

    @classmethod
    def decode(cls, data: bytes) -> Draining:
        """Decode a frame."""
        exact(_U16, data)
        return cls(seconds=_U16.unpack(data)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """Another attachment of the same slot has taken over; the handle is void (R3)."""

    TYPE: ClassVar[int] = 0x8B
    handle: int

    def encode(self) -> bytes:
        """`u8 0x8b; u32 handle`."""
        return _HANDLE.pack(self.TYPE, self.handle)

    @classmethod
    def decode(cls, data: bytes) -> Superseded:
        """Decode a frame."""
        exact(_HANDLE, data)
        return cls(handle=_HANDLE.unpack(data)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The nonce to sign for INBOX_OPEN on this connection (R21); good for one attempt."""

    TYPE: ClassVar[int] = 0x90
    request: int
    nonce: bytes

    def encode(self) -> bytes:
        """`u8 0x90; u32 request; nonce[32]`."""
        return _CHALLENGE.pack(self.TYPE, self.request, self.nonce)

    @classmethod
    def decode(cls, data: bytes) -> Challenge:
        """Decode a frame."""
        exact(_CHALLENGE, data)
        _, request, nonce = _CHALLENGE.unpack(data)
        return cls(request=request, nonce=nonce)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxOpened:
    """The inbox is this connection's; first contacts follow as INBOX_CELL, in no order (R21).

    Attributes:
        request: number of the INBOX_OPEN.
        inbox_id: 16 bytes, to be named in the contact bundle.
        waiting: first contacts that wait now.
    """

    TYPE: ClassVar[int] = 0x91
    request: int
    inbox_id: bytes
    waiting: int

    def encode(self) -> bytes:
        """`u8 0x91; u32 request; inbox_id[16]; u32 waiting`."""
        return _INBOX_OPENED.pack(self.TYPE, self.request, self.inbox_id, self.waiting)

    @classmethod
    def decode(cls, data: bytes) -> InboxOpened:
        """Decode a frame."""
        exact(_INBOX_OPENED, data)
        _, request, inbox_id, waiting = _INBOX_OPENED.unpack(data)
        return cls(request=request, inbox_id=inbox_id, waiting=waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxCell:
    """A first contact (R21). May come again, on another connection, until INBOX_ACK is done."""

    TYPE: ClassVar[int] = 0x92
    drop_id: bytes
    body: bytes

    def encode(self) -> bytes:
        """`u8 0x92; drop_id[16]; body[16384]`."""
        return _INBOX_CELL.pack(self.TYPE, self.drop_id) + self.body

    @classmethod
    def decode(cls, data: bytes) -> InboxCell:
        """Decode a frame.

        Raises:
            SizeError: the body is not 16,384 bytes long.
        """
        at_least(_INBOX_CELL, data)
        if len(data) - _INBOX_CELL.size != DROP_BYTES:
            raise SizeError(_INBOX_CELL.size, "drop is not of the size that inboxes take")
        return cls(drop_id=_INBOX_CELL.unpack_from(data)[1], body=data[_INBOX_CELL.size :])


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The request was done, or had been done before."""

    TYPE: ClassVar[int] = 0x93
    request: int

    def encode(self) -> bytes:
        """`u8 0x93; u32 request`."""
        return _REQUEST.pack(self.TYPE, self.request)

    @classmethod
    def decode(cls, data: bytes) -> Done:
        """Decode a frame."""
        exact(_REQUEST, data)
        return cls(request=_REQUEST.unpack(data)[1])


ServerFrame = (
    ServerHello
    | Attached
    | Cell
    | OwnCell
    | Stored
    | Acked
    | Expired
    | Refused
    | Failed
    | Draining
    | Superseded
    | Challenge
    | InboxOpened
    | InboxCell
    | Done
)
