"""deserialization: headers of variable-length vectors (RFC 9420 section 2.1.2)."""

from __future__ import annotations

from clients.conformance.case import Case, expect_equal, integer, unhex
from crypto.codec import Reader, decode, encode_length


def check(case: Case) -> None:
    """Decode the header, compare the length, and encode it again."""
    header, length = unhex(case, "vlbytes_header"), integer(case, "length")
    expect_equal("length", decode(header, Reader.length), length)
    expect_equal("vlbytes_header", encode_length(length), header)
