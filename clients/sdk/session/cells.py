"""What stands inside a session's cells (S5): one struct of a fixed size, and records in its byte stream.

    struct {
        uint8  version = 1;
        uint8  flags;              /* 1 typing, 2 done; others are ignored */
        uint64 offset;             /* of data[0] in the sender's byte stream */
        uint64 ack;                /* bytes of the peer's stream that are here without a gap */
        uint16 length;
        opaque data[length];
        opaque zeros[1772 - length];
    } SessionContent;              /* 1,792 bytes, filled or empty */

    struct {
        uint8  kind;               /* 1 text, 2 keep, 3 end */
        uint64 utc_seconds;        /* the sender's claim */
        opaque body<V>;            /* text: UTF-8, 1 to 12,288 bytes; keep: uint8 wish, 0 or 1; end: empty */
    } Record;

A record is cut across contents as it comes. Since every content has the same length, every MLSMessage has,
and padding lies inside the encryption: neither cell nor message tells what it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final

from clients.sdk.errors import MAX_TEXT_BYTES
from crypto.codec import CodecError, Reader, Writer, decode

CONTENT_VERSION: Final = 1
CONTENT_BYTES: Final = 1_792
HEADER_BYTES: Final = 20
DATA_BYTES: Final = CONTENT_BYTES - HEADER_BYTES
"""Bytes of the stream in one cell."""
MAX_RECORD_BODY_BYTES: Final = 16_384
"""Longest body of a record, of later versions too; a longer one breaks the protocol."""


class ContentFlags(IntFlag):
    """Bits of `flags`."""

    TYPING = 1
    DONE = 2
    """Own END is acknowledged and the peer's END is here: the sender is about to wipe."""


NO_FLAGS: Final = ContentFlags(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionContent:
    """The plaintext of one session message."""

    flags: ContentFlags = NO_FLAGS
    offset: int
    ack: int
    data: bytes = field(default=b"", repr=False)


def encode_content(content: SessionContent) -> bytes:
    """Exactly `CONTENT_BYTES`.

    Raises:
        ValueError: too much data.
    """
    if len(content.data) > DATA_BYTES:
        raise ValueError("too much data for one cell")
    writer = Writer().u8(CONTENT_VERSION).u8(content.flags).u64(content.offset).u64(content.ack)
    return writer.u16(len(content.data)).raw(content.data.ljust(DATA_BYTES, b"\0")).to_bytes()


def decode_content(data: bytes) -> SessionContent:
    """Inverse of `encode_content`.

    Raises:
        CodecError: another size or version, or padding that is not zero.
    """
    return decode(data, _read_content)


def _read_content(reader: Reader) -> SessionContent:
    if reader.u8() != CONTENT_VERSION:
        raise reader.error("unknown version of a session's content")
    flags, offset, ack, length = reader.u8(), reader.u64(), reader.u64(), reader.u16()
    if length > DATA_BYTES:
        raise reader.error("too much data for one cell")
    data = reader.bytes_(length)
    if any(reader.bytes_(DATA_BYTES - length)):
        raise reader.error("padding is not zero")
    return SessionContent(flags=ContentFlags(flags), offset=offset, ack=ack, data=data)


class RecordKind(IntEnum):
    """Known kinds of records. Unknown ones are skipped, so that a later version can speak to this one."""

    TEXT = 1
    KEEP = 2
    """Whether the sender wants the session's text kept (S7); see `keep`."""
    END = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing said in the stream. `kind` is a plain int, because it may be of a later version."""

    kind: int
    utc_seconds: int
    body: bytes = field(default=b"", repr=False)

    def text(self) -> str:
        """The body of a TEXT.

        Raises:
            CodecError: empty, too long, or not UTF-8.
        """
        if not 1 <= len(self.body) <= MAX_TEXT_BYTES:
            raise CodecError(0, "text of a wrong length")
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError:
            raise CodecError(0, "text is not UTF-8") from None

    def wish(self) -> bool:
        """The body of a KEEP.

        Raises:
            CodecError: it is neither 0 nor 1.
        """
        if self.body not in {b"\0", b"\1"}:
            raise CodecError(0, "a wish is 0 or 1")
        return self.body == b"\1"


def encode_record(record: Record) -> bytes:
    """The record as it goes into the stream."""
    return Writer().u8(record.kind).u64(record.utc_seconds).opaque(record.body).to_bytes()


class RecordAssembler:
    """Collects the bytes of the stream and gives out whole records. Holds at most one unfinished record."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Record]:
        """Add bytes; returns the records that became whole.

        Raises:
            CodecError: a record that can never become right.
        """
        self._buffer += data
        records = []
        while (found := self._cut()) is not None:
            records.append(found)
        return records

    def wipe(self) -> None:
        """Forget what was collected."""
        self._buffer[:] = bytes(len(self._buffer))
        self._buffer.clear()

    def _cut(self) -> Record | None:
        # The longest head (kind, seconds, 4-byte length) decides whether the record is whole.
        reader = Reader(bytes(self._buffer[:13]))
        if reader.remaining < 10:
            return None
        kind, utc_seconds = reader.u8(), reader.u64()
        # An invalid prefix (0b11) is not waited for: `length` refuses it.
        if self._buffer[9] >> 6 != 3 and reader.remaining < 1 << (self._buffer[9] >> 6):
            return None
        length = reader.length()
        if length > MAX_RECORD_BODY_BYTES:
            raise reader.error("record is too long")
        start = reader.offset
        if len(self._buffer) < start + length:
            return None
        body = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        return Record(kind=kind, utc_seconds=utc_seconds, body=body)
