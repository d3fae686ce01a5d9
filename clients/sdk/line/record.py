"""Binary form of the vault's records, described by one tuple per record instead of two functions.

A record is a dataclass with ``LAYOUT``: pairs of attribute name and field codec, in the order of the bytes.
Encodings are those of :mod:`crypto.codec`; damage is a ``CodecError``. The version of the whole stands once,
in the line's row (:mod:`clients.sdk.line.state`); a layout changes only together with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Generic, Self, TypeVar

from crypto.codec import Reader, Writer, decode

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
R = TypeVar("R", bound="Record")


@dataclass(frozen=True, slots=True)
class FieldCodec(Generic[T]):
    """How one attribute is read and written."""

    read: Callable[[Reader], T]
    write: Callable[[Writer, T], object]


class Record:
    """Base of everything that a line keeps in the vault."""

    __slots__ = ()
    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = ()

    def to_bytes(self) -> bytes:
        """The record as bytes."""
        writer = Writer()
        write_record(writer, self)
        return writer.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of :meth:`to_bytes`.

        Raises:
            CodecError: Damaged.
        """
        return decode(data, lambda reader: read_record(cls, reader))


def write_record(writer: Writer, record: Record) -> None:
    """Append a record field by field."""
    for name, codec in record.LAYOUT:
        codec.write(writer, getattr(record, name))


def read_record(cls: type[R], reader: Reader) -> R:
    """Read a record field by field.

    Raises:
        CodecError: Damaged.
    """
    return cls(**{name: codec.read(reader) for name, codec in cls.LAYOUT})


def _read_bool(reader: Reader) -> bool:
    value = reader.u8()
    if value > 1:
        raise reader.error("flag is neither 0 nor 1")
    return value == 1


def _write_seconds(writer: Writer, value: float) -> Writer:
    return writer.u64(round(value * 1_000))


U8: FieldCodec[int] = FieldCodec(Reader.u8, Writer.u8)
U16: FieldCodec[int] = FieldCodec(Reader.u16, Writer.u16)
U64: FieldCodec[int] = FieldCodec(Reader.u64, Writer.u64)
FLAG: FieldCodec[bool] = FieldCodec(_read_bool, lambda writer, value: writer.u8(1 if value else 0))
OPAQUE: FieldCodec[bytes] = FieldCodec(
    lambda reader: reader.opaque(), lambda writer, value: writer.opaque(value)
)
SECONDS: FieldCodec[float] = FieldCodec(lambda reader: reader.u64() / 1_000, _write_seconds)
"""UTC seconds or a duration, kept to the millisecond."""
TEXT: FieldCodec[str] = FieldCodec(
    lambda reader: reader.opaque().decode("utf-8", "replace"),
    lambda writer, value: writer.opaque(value.encode()),
)


def enum_field(enum: type[E]) -> FieldCodec[E]:
    """A field that holds one member of an enum with values below 65,536."""

    def read(reader: Reader) -> E:
        try:
            return enum(reader.u16())
        except ValueError:
            raise reader.error("unknown value of an enum") from None

    return FieldCodec(read, lambda writer, value: writer.u16(value.value))


def list_field(item: FieldCodec[T]) -> FieldCodec[list[T]]:
    """A field that holds a list."""
    return FieldCodec(
        lambda reader: reader.vector(item.read), lambda writer, value: writer.vector(value, item.write)
    )


def record_field(cls: type[R]) -> FieldCodec[R]:
    """A field that holds another record."""
    return FieldCodec(lambda reader: read_record(cls, reader), write_record)


def optional_field(item: FieldCodec[T]) -> FieldCodec[T | None]:
    """A field that may be None."""
    return FieldCodec(
        lambda reader: reader.optional(item.read), lambda writer, value: writer.optional(value, item.write)
    )
