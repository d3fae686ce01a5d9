"""The search for what must not be there: texts, secrets and identifiers in whatever the relay can see.

A *needle* is a byte string that the relay must never hold. It is searched raw, in hexadecimal (both cases),
in base64 (both alphabets, all three alignments) and, where it is text, in UTF-16 (both byte orders). Of a
text every window of 12 bytes is a needle, so that a part of it is found too.

There may be millions of needles and hundreds of megabytes to search, so the search goes through blocks: any
needle of at least 11 bytes that lies anywhere in the data covers a whole 8-byte block that begins at a
multiple of 4. The blocks of all needles are one set of integers, the data is read as integers at both
offsets, and only where the two sets meet is the exact needle looked for.
"""

from __future__ import annotations

import base64
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

WINDOW_BYTES: Final = 12
BLOCK_BYTES: Final = 8
SHORTEST_BYTES: Final = BLOCK_BYTES + 3
"""A shorter byte string may lie between two blocks and cannot be searched."""
CHUNK_BYTES: Final = 4 * 1024 * 1024


class Kind(Enum):
    """What a needle is."""

    TEXT = "text"
    """A window of a message."""
    PAYLOAD = "payload"
    """A message too short for a window, inside its encoding."""
    SECRET = "secret"  # noqa: S105 - the name of a kind, no secret
    IDENTIFIER = "identifier"
    """A client's key, a group id, a device id, a line's name."""


class Encoding(Enum):
    """How it may have been written."""

    RAW = "raw"
    HEX = "hex"
    BASE64 = "base64"
    UTF_16 = "utf-16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needle:
    """A byte string that must not be found."""

    kind: Kind
    conversation: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A needle was found. Says what and where, never the content."""

    kind: Kind
    encoding: Encoding
    conversation: int
    where: str


def _base64_forms(value: bytes) -> Iterator[bytes]:
    """The characters of base64 that `value` alone determines, wherever in a stream it may stand."""
    for ahead in range(3):
        bits = 8 * (ahead + len(value))
        padded = bytes(ahead) + value + bytes(-(ahead + len(value)) % 3)
        first, last = -(-8 * ahead // 6), bits // 6
        for encoded in {base64.b64encode(padded), base64.urlsafe_b64encode(padded)}:
            yield encoded[first:last]


def encodings(value: bytes) -> Iterator[tuple[Encoding, bytes]]:
    """A byte string in every form but UTF-16."""
    yield Encoding.RAW, value
    yield Encoding.HEX, value.hex().encode()
    yield Encoding.HEX, value.hex().upper().encode()
    for form in _base64_forms(value):
        yield Encoding.BASE64, form


def utf_16_windows(text: str) -> Iterator[bytes]:
    """The shortest runs of characters of at least 12 bytes in UTF-8 and in UTF-16, in both byte orders."""
    for start in range(len(text)):
        utf_8 = utf_16 = 0
        for end in range(start, len(text)):
            utf_8 += len(text[end].encode())
            utf_16 += len(text[end].encode("utf-16-le"))
            if min(utf_8, utf_16) >= WINDOW_BYTES:
                window = text[start : end + 1]
                yield window.encode("utf-16-le")
                yield window.encode("utf-16-be")
                break


def windows(text: str) -> Iterator[bytes]:
    """Every window of 12 bytes of the UTF-8 form."""
    encoded = text.encode()
    for start in range(len(encoded) - WINDOW_BYTES + 1):
        yield encoded[start : start + WINDOW_BYTES]


def _blocks(encoded: bytes) -> Iterator[int]:
    for start in range(4):
        yield int.from_bytes(encoded[start : start + BLOCK_BYTES], sys.byteorder)


class LeakSearch:
    """All needles of a run. Add them, then search as often as wanted."""

    def __init__(self) -> None:
        self._texts: list[tuple[int, str]] = []
        self._needles: list[Needle] = []
        self._blocks: set[int] = set()
        self._ignored: set[bytes] = set()
        self.counts: Counter[Kind] = Counter()
        self.too_short = 0
        """Needles that cannot be searched; a replay that has one is not good."""

    def add_text(self, conversation: int, text: str) -> None:
        """Search every window of a message; a message shorter than 12 bytes needs `add` with its payload."""
        if len(text.encode()) < WINDOW_BYTES:
            return
        self._texts.append((conversation, text))
        for _, encoded in self._forms_of_text(text):
            self._blocks.update(_blocks(encoded))
        self.counts[Kind.TEXT] += len(text.encode()) - WINDOW_BYTES + 1

    def add(self, needle: Needle) -> bool:
        """Search one byte string whole. Returns False where it is too short to be searched."""
        if len(needle.value) < SHORTEST_BYTES:
            self.too_short += 1
            return False
        self._needles.append(needle)
        for _, encoded in encodings(needle.value):
            self._blocks.update(_blocks(encoded))
        self.counts[needle.kind] += 1
        return True

    def ignore_what_is_in(self, data: bytes) -> int:
        """Never count what stands in `data`, which no device has touched. Returns how many forms."""
        found = {encoded for _, encoded, _ in self._found_in(data)}
        self._ignored |= found
        return len(found)

    def search(self, where: str, data: bytes, *, but: Collection[bytes] = ()) -> list[Finding]:
        """Search `data` for all needles but secrets with a value in `but`; each is told once per encoding."""
        findings = {
            Finding(kind=needle.kind, encoding=encoding, conversation=needle.conversation, where=where): None
            for encoding, encoded, needle in self._found_in(data, but)
            if encoded not in self._ignored
        }
        return list(findings)

    def found_values(self, data: bytes) -> set[bytes]:
        """The needles that stand in `data` as they are."""
        return {needle.value for encoding, _, needle in self._found_in(data) if encoding is Encoding.RAW}

    def _forms_of_text(self, text: str) -> Iterator[tuple[Encoding, bytes]]:
        for window in windows(text):
            yield from encodings(window)
        for window in utf_16_windows(text):
            yield Encoding.UTF_16, window

    def _all_forms(self) -> Iterator[tuple[Encoding, bytes, Needle]]:
        for conversation, text in self._texts:
            needle = Needle(kind=Kind.TEXT, conversation=conversation, value=b"")
            for encoding, encoded in self._forms_of_text(text):
                yield encoding, encoded, needle
        for needle in self._needles:
            for encoding, encoded in encodings(needle.value):
                yield encoding, encoded, needle

    def _found_in(self, data: bytes, but: Collection[bytes] = ()) -> list[tuple[Encoding, bytes, Needle]]:
        meeting = self._meeting_blocks(data)
        if not meeting:
            return []
        return [
            (encoding, encoded, needle)
            for encoding, encoded, needle in self._all_forms()
            if any(block in meeting for block in _blocks(encoded))
            and (needle.kind is not Kind.SECRET or needle.value not in but)
            and encoded in data
        ]

    def _meeting_blocks(self, data: bytes) -> set[int]:
        """Blocks that are both in the data, at a multiple of 4, and in a needle."""
        meeting: set[int] = set()
        view = memoryview(data)
        for offset in (0, 4):
            for start in range(offset, len(data), CHUNK_BYTES):
                part = view[start : start + CHUNK_BYTES]
                whole = part[: len(part) - len(part) % BLOCK_BYTES]
                meeting.update(self._blocks.intersection(_integers(whole)))
        return meeting


def _integers(part: memoryview) -> Iterable[int]:
    """The 8-byte blocks of `part` as integers in the machine's byte order."""
    return part.cast("Q")
