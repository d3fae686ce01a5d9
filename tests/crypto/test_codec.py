"""codec.py: strict, minimal, symmetrical (RFC 9420 section 2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.codec import (
    MAX_VECTOR_BYTES,
    CodecError,
    Reader,
    Writer,
    decode,
    encode,
    encode_length,
    encode_opaque,
)


@given(st.integers(0, MAX_VECTOR_BYTES))
def test_lengths_survive_the_round_trip(length: int) -> None:
    assert decode(encode_length(length), Reader.length) == length


@pytest.mark.parametrize(
    ("length", "size"),
    [(0, 1), (63, 1), (64, 2), (16383, 2), (16384, 4), (MAX_VECTOR_BYTES, 4)],
)
def test_lengths_take_the_fewest_bytes(length: int, size: int) -> None:
    assert len(encode_length(length)) == size


@pytest.mark.parametrize("header", ["4000", "403f", "80000000", "8000003f", "80003fff"])
def test_longer_than_needed_lengths_are_refused(header: str) -> None:
    with pytest.raises(CodecError, match="not minimal"):
        Reader(bytes.fromhex(header)).length()


@given(st.integers(0, 63))
def test_the_length_prefix_of_two_one_bits_is_refused(rest: int) -> None:
    with pytest.raises(CodecError, match="prefix"):
        Reader(bytes([0xC0 | rest]) + bytes(7)).length()


@pytest.mark.parametrize("length", [-1, MAX_VECTOR_BYTES + 1])
def test_lengths_out_of_range_are_our_mistake(length: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_length(length)


@given(
    st.integers(0, 2**8 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=300),
    st.lists(st.binary(max_size=100), max_size=8),
    st.none() | st.integers(0, 255),
)
def test_values_survive_the_round_trip(
    u8: int, u16: int, u32: int, u64: int, data: bytes, items: list[bytes], maybe: int | None
) -> None:
    writer = Writer().u8(u8).u16(u16).u32(u32).u64(u64).opaque(data)
    encoded = writer.vector(items, Writer.opaque).optional(maybe, Writer.u8).raw(b"end").to_bytes()
    reader = Reader(encoded)
    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64()) == (u8, u16, u32, u64)
    assert reader.opaque() == data
    assert reader.vector(Reader.opaque) == items
    assert reader.optional(Reader.u8) == maybe
    assert reader.remaining == 3
    assert reader.bytes_(3) == b"end"
    reader.finish()


@given(st.binary(max_size=200))
def test_whatever_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        items = decode(data, lambda reader: reader.vector(Reader.opaque))
    except CodecError:
        return
    assert encode(items, lambda writer, value: writer.vector(value, Writer.opaque)) == data


@given(st.binary(max_size=64), st.data())
def test_every_truncation_is_refused(content: bytes, data: st.DataObject) -> None:
    encoded = encode_opaque(content)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(CodecError):
        decode(encoded[:cut], Reader.opaque)


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(CodecError, match="trailing") as caught:
        decode(b"\x01\x02\x03", Reader.u16)
    assert caught.value.offset == 2


def test_a_lying_length_is_refused_before_anything_is_read() -> None:
    with pytest.raises(CodecError, match="longer than the input"):
        Reader(encode_length(MAX_VECTOR_BYTES) + b"x").opaque()


def test_a_vector_beyond_the_cap_is_refused() -> None:
    with pytest.raises(CodecError, match="allowed"):
        Reader(encode_opaque(bytes(11))).opaque(max_len=10)
    with pytest.raises(CodecError, match="allowed"):
        Reader(encode_opaque(bytes(11))).vector(Reader.u8, max_bytes=10)
    assert Reader(encode_opaque(bytes(10))).opaque(max_len=10) == bytes(10)


def test_an_item_may_not_cross_the_end_of_its_vector() -> None:
    reader = Reader(b"\x03\x00\x01\x00\x02")
    with pytest.raises(CodecError, match="early"):
        reader.vector(Reader.u16)


def test_an_item_of_no_bytes_cannot_loop_for_ever() -> None:
    with pytest.raises(CodecError, match="empty item"):
        Reader(b"\x01\x00").vector(lambda reader: reader.remaining)


@pytest.mark.parametrize("presence", [2, 255])
def test_presence_is_zero_or_one(presence: int) -> None:
    with pytest.raises(CodecError, match="presence"):
        Reader(bytes([presence, 0])).optional(Reader.u8)


def test_errors_tell_the_offset_in_the_whole_message_and_no_content() -> None:
    with pytest.raises(CodecError) as caught:
        Reader(b"SECRET", offset=100).bytes_(7)
    assert caught.value.offset == 100
    assert "SECRET" not in str(caught.value)


def test_later_writes_to_a_buffer_do_not_change_what_is_read() -> None:
    buffer = bytearray(b"ab")
    reader = Reader(memoryview(buffer))
    buffer[0] = 0
    assert reader.bytes_(2) == b"ab"


@pytest.mark.parametrize("write", [Writer.u8, Writer.u16, Writer.u32, Writer.u64])
def test_an_integer_that_does_not_fit_is_our_mistake(write: object) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        write(Writer(), 2**64)  # type: ignore[operator]  # the four writers have one signature
    with pytest.raises(ValueError, match="does not fit"):
        Writer().u8(-1)


def test_negative_sizes_are_refused() -> None:
    with pytest.raises(CodecError):
        Reader(b"abc").bytes_(-1)


@pytest.mark.parametrize(
    ("encoded", "length"),
    [
        ("00", 0),
        ("3f", 63),
        ("4040", 64),
        ("7fff", 16_383),
        ("80004000", 16_384),
        ("bfffffff", 1_073_741_823),
    ],
)
def test_lengths_at_the_edges_of_each_form(encoded: str, length: int) -> None:
    assert encode_length(length).hex() == encoded
    assert Writer().length(length).length(0).to_bytes().hex() == encoded + "00"
    assert decode(bytes.fromhex(encoded), Reader.length) == length


def test_the_longest_vector_is_that_of_section_2_1_2() -> None:
    assert MAX_VECTOR_BYTES == 0x3FFF_FFFF


def test_an_error_says_where_and_why() -> None:
    reader = Reader(b"\x01\x02", offset=7)
    reader.u8()
    with pytest.raises(CodecError) as caught:
        reader.optional(Reader.u8)
    assert (caught.value.offset, caught.value.reason) == (8, "presence byte is neither 0 nor 1")
    assert str(caught.value) == "malformed input at offset 8: presence byte is neither 0 nor 1"


def test_what_was_read_since_an_offset_is_given_back_as_it_was() -> None:
    reader = Reader(b"abcdef", offset=100)
    reader.bytes_(1)
    start = reader.offset
    reader.bytes_(3)
    assert reader.since(start) == b"bcd"


def test_a_writer_function_fills_what_is_encoded() -> None:
    assert encode(258, lambda writer, value: writer.u16(value)) == b"\x01\x02"
