"""The presentation language of RFC 9420 section 2.1: big-endian integers, variable-length vectors, optionals.

Standard library only: the relay imports this module (through ``chatserver.wire``) and nothing else of
``crypto``.

Invariants:

* Decoding is strict. A length that is not minimal, a length beyond the input or beyond the reader's cap, a
  presence byte other than 0 or 1, and bytes left over are each a :class:`CodecError` (RFC 9420 section 2.1.2
  makes the first a MUST; ``docs/VALIDATION.md``).
* An error says where and why, and never repeats a byte of the input.
* Sizes are checked before anything is copied, so a lying length costs nothing.

Deliberately not here: any struct of MLS. Each struct brings its own reader and writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

MAX_VECTOR_BYTES: Final = (1 << 30) - 1
"""Longest vector that the variable-length prefix can express (RFC 9420 section 2.1.2), in bytes."""


class CodecError(Exception):
    """Bytes from a peer (or from storage) that do not parse.

    Attributes:
        offset: Position in the input, in bytes, where parsing stopped.
        reason: One fixed phrase; never content of the input.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"malformed input at offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class Reader:
    """A cursor over immutable bytes.

    Args:
        data: The input. A memoryview is copied once, so that later writes cannot change what was checked.
        offset: Where ``data`` begins in the message that it was cut from; added to the offsets of errors.
    """

    __slots__ = ("_base", "_data", "_end", "_pos")

    def __init__(self, data: bytes | memoryview, *, offset: int = 0) -> None:
        self._data = data if type(data) is bytes else bytes(data)
        self._pos = 0
        self._end = len(self._data)
        self._base = offset

    @property
    def offset(self) -> int:
        """Bytes from the start of the whole message to the cursor."""
        return self._base + self._pos

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self._end - self._pos

    def since(self, offset: int) -> bytes:
        """The input from an earlier :attr:`offset` to the cursor, so that nothing decoded is re-encoded."""
        return self._data[offset - self._base : self._pos]

    def error(self, reason: str) -> CodecError:
        """Make (not raise) an error at the cursor, for readers of structs. ``reason`` holds no content."""
        return CodecError(self.offset, reason)

    def bytes_(self, length: int) -> bytes:
        """Read exactly ``length`` bytes.

        Raises:
            CodecError: Fewer are left.
        """
        start = self._pos
        stop = start + length
        if length < 0 or stop > self._end:
            raise self.error("input ends early")
        self._pos = stop
        return self._data[start:stop]

    def _uint(self, size: int) -> int:
        start = self._pos
        stop = start + size
        if stop > self._end:
            raise self.error("input ends early")
        self._pos = stop
        return int.from_bytes(self._data[start:stop], "big")

    def u8(self) -> int:
        """Read a uint8."""
        return self._uint(1)

    def u16(self) -> int:
        """Read a uint16."""
        return self._uint(2)

    def u32(self) -> int:
        """Read a uint32."""
        return self._uint(4)

    def u64(self) -> int:
        """Read a uint64."""
        return self._uint(8)

    def length(self) -> int:
        """Read a variable-length prefix: 1, 2 or 4 bytes, minimal (RFC 9420 section 2.1.2).

        Raises:
            CodecError: Prefix 0b11, a longer form than needed, or the input ends early.
        """
        start = self.offset
        first = self.u8()
        match first >> 6:
            case 0:
                return first
            case 1:
                value = (first & 0x3F) << 8 | self.u8()
                if value < 1 << 6:
                    raise CodecError(start, "length is not minimal")
                return value
            case 2:
                value = (first & 0x3F) << 24 | self._uint(3)
                if value < 1 << 14:
                    raise CodecError(start, "length is not minimal")
                return value
            case _:
                raise CodecError(start, "invalid length prefix")

    def _bounded_length(self, max_bytes: int) -> int:
        start = self.offset
        length = self.length()
        if length > max_bytes:
            raise CodecError(start, "vector is longer than allowed here")
        if length > self.remaining:
            raise CodecError(start, "vector is longer than the input")
        return length

    def opaque(self, max_len: int = MAX_VECTOR_BYTES) -> bytes:
        """Read ``opaque x<V>``.

        Args:
            max_len: Longest content accepted, in bytes.

        Raises:
            CodecError: Not minimal, longer than ``max_len``, or longer than the input.
        """
        return self.bytes_(self._bounded_length(max_len))

    def vector(self, read_item: Callable[[Reader], T], max_bytes: int = MAX_VECTOR_BYTES) -> list[T]:
        """Read ``T xs<V>``: items until the prefixed number of bytes is used up exactly.

        Args:
            read_item: Reads one item from the reader given to it.
            max_bytes: Longest content accepted, in bytes.

        Raises:
            CodecError: As for :meth:`opaque`; or an item crosses the vector's end, or an item takes no bytes.
        """
        length = self._bounded_length(max_bytes)
        stop = self._pos + length
        # The same reader, narrowed: an item that reads past the vector fails like one past the input.
        outer_end, self._end = self._end, stop
        items: list[T] = []
        try:
            while self._pos < stop:
                before = self._pos
                items.append(read_item(self))
                if self._pos == before:
                    raise self.error("empty item in a vector")
        finally:
            self._end = outer_end
        return items

    def optional(self, read: Callable[[Reader], T]) -> T | None:
        """Read ``optional<T>``: a presence byte, then the value (RFC 9420 section 2.1.1).

        Raises:
            CodecError: The presence byte is neither 0 nor 1.
        """
        match self.u8():
            case 0:
                return None
            case 1:
                return read(self)
            case _:
                raise CodecError(self.offset - 1, "presence byte is neither 0 nor 1")

    def finish(self) -> None:
        """Demand that everything was read.

        Raises:
            CodecError: Bytes are left over.
        """
        if self._pos != self._end:
            raise self.error("trailing bytes")


class Writer:
    """Collects encoded bytes. Its callers are ours, so a value out of range is a ValueError."""

    __slots__ = ("_out",)

    def __init__(self) -> None:
        self._out = bytearray()

    def _uint(self, value: int, size: int) -> Writer:
        try:
            self._out += value.to_bytes(size, "big")
        except OverflowError:
            raise ValueError(f"integer does not fit into {size} bytes") from None
        return self

    def u8(self, value: int) -> Writer:
        """Append a uint8."""
        return self._uint(value, 1)

    def u16(self, value: int) -> Writer:
        """Append a uint16."""
        return self._uint(value, 2)

    def u32(self, value: int) -> Writer:
        """Append a uint32."""
        return self._uint(value, 4)

    def u64(self, value: int) -> Writer:
        """Append a uint64."""
        return self._uint(value, 8)

    def raw(self, data: bytes | bytearray) -> Writer:
        """Append bytes as they are."""
        self._out += data
        return self

    def length(self, length: int) -> Writer:
        """Append a minimal variable-length prefix.

        Raises:
            ValueError: ``length`` is beyond :data:`MAX_VECTOR_BYTES`.
        """
        self._out += encode_length(length)
        return self

    def opaque(self, data: bytes | bytearray) -> Writer:
        """Append ``opaque x<V>``."""
        self._out += encode_length(len(data))
        self._out += data
        return self

    def vector(self, items: Iterable[T], write_item: Callable[[Writer, T], object]) -> Writer:
        """Append ``T xs<V>``: each item written by ``write_item(writer, item)``."""
        inner = Writer()
        for item in items:
            write_item(inner, item)
        return self.opaque(inner._out)

    def optional(self, value: T | None, write: Callable[[Writer, T], object]) -> Writer:
        """Append ``optional<T>``."""
        if value is None:
            return self.u8(0)
        self.u8(1)
        write(self, value)
        return self

    def to_bytes(self) -> bytes:
        """Everything appended so far."""
        return bytes(self._out)


def encode_length(length: int) -> bytes:
    """The minimal variable-length prefix for ``length`` bytes (RFC 9420 section 2.1.2).

    Raises:
        ValueError: Negative, or beyond :data:`MAX_VECTOR_BYTES`.
    """
    if 0 <= length < 1 << 6:
        return length.to_bytes(1, "big")
    if 0 <= length < 1 << 14:
        return (length | 1 << 14).to_bytes(2, "big")
    if 0 <= length <= MAX_VECTOR_BYTES:
        return (length | 1 << 31).to_bytes(4, "big")
    raise ValueError("length does not fit into a variable-length prefix")


def encode_opaque(data: bytes) -> bytes:
    """``opaque x<V>`` as bytes, for callers that need no :class:`Writer`."""
    return encode_length(len(data)) + data


def decode(data: bytes | memoryview, read: Callable[[Reader], T]) -> T:
    """Decode one value that must fill ``data`` exactly.

    Raises:
        CodecError: Whatever ``read`` raises, or trailing bytes.
    """
    reader = Reader(data)
    value = read(reader)
    reader.finish()
    return value


def encode(value: T, write: Callable[[Writer, T], object]) -> bytes:
    """Encode one value with its writer function."""
    writer = Writer()
    write(writer, value)
    return writer.to_bytes()
