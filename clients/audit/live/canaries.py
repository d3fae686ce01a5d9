"""What is searched for, and in how many forms: marked texts, keys, identifiers."""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from urllib.parse import quote_from_bytes

from clients.replay.leaks import SHORTEST_BYTES, Kind, LeakSearch, Needle

URDU: Final = "ابپتٹجچحخدڈرڑزسشصطعغفقکگلمنوہیے"
STREAM_HEADS: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b\x08")
"""How a zlib or gzip stream begins (RFC 1950 section 2.2, RFC 1952 section 2.3.1)."""
LEAST_KINDS: Final = 4
"""Of byte values in a key: MLS knows a secret of zeros (RFC 9420 section 8.4), which stands everywhere."""
SOUGHT_LETTERS: Final = 40
"""Of each text, in windows of 12 bytes; more would make the search long and find no more."""
LEAST_STREAM_BYTES: Final = 12
_DIGITS: Final = re.compile("%[0-9A-F]{2}")
FIRST_LOOK_BYTES: Final = 512
MOST_STREAM_BYTES: Final = 1 << 20


def text(letters: int = 60) -> str:
    """A text that nobody has ever written: Urdu and Latin letters at random, with blanks."""
    words: list[str] = []
    while len(" ".join(words)) < letters:
        alphabet = secrets.choice((URDU, "abcdefghijklmnopqrstuvwxyz"))
        words.append("".join(secrets.choice(alphabet) for _ in range(3 + secrets.randbelow(6))))
    return " ".join(words)


def search_for(
    texts: Iterable[str], secret_values: Iterable[bytes] = (), identifiers: Iterable[bytes] = ()
) -> LeakSearch:
    """A search for all of these: raw, hexadecimal, base64, UTF-16 and percent-encoded.

    UTF-16 of a key is that of its hexadecimal form: bytes as such have none.
    """
    search = LeakSearch()
    for one in texts:
        search.add_text(0, one[:SOUGHT_LETTERS])
        for quoted in _percent(one[:SOUGHT_LETTERS].encode()):
            search.add_text(0, quoted)
    for kind, values in ((Kind.SECRET, secret_values), (Kind.IDENTIFIER, identifiers)):
        for value in values:
            if len(value) < SHORTEST_BYTES or len(set(value)) < LEAST_KINDS:
                continue
            for form in (value, *(quoted.encode() for quoted in _percent(value)), *_wide(value)):
                search.add(Needle(kind=kind, conversation=0, value=form))
    return search


def _percent(value: bytes) -> set[str]:
    """Percent-encoded with large and with small digits (RFC 3986 section 2.1 holds them for the same)."""
    large = quote_from_bytes(value, safe="")
    return {large, _DIGITS.sub(lambda found: found[0].lower(), large)}


def _wide(value: bytes) -> Iterator[bytes]:
    """What a program that writes UTF-16 makes of it: of printable text, else of its hexadecimal form."""
    printable = value.isascii() and value.decode("ascii").isprintable()
    for form in (value.decode("ascii"),) if printable else (value.hex(), value.hex().upper()):
        yield form.encode("utf-16-le")
        yield form.encode("utf-16-be")


def inflated(data: bytes) -> Iterator[bytes]:
    """What every zlib or gzip stream in the data holds, as far as it can be read."""
    view = memoryview(data)
    for head in STREAM_HEADS:
        start = data.find(head)
        while start >= 0:
            content = _inflate(view[start : start + FIRST_LOOK_BYTES])
            if len(content) >= LEAST_STREAM_BYTES:
                yield _inflate(view[start : start + MOST_STREAM_BYTES]) or content
            start = data.find(head, start + 1)


def _inflate(stream: memoryview) -> bytes:
    """What a stream gives as far as it goes; nothing where it is none."""
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(stream, MOST_STREAM_BYTES)
    except zlib.error:
        return b""


def found_in(search: LeakSearch, data: bytes, *, but: Collection[bytes] = ()) -> list[str]:
    """What was found, as kinds and encodings, never as values."""
    faults = {f"a {one.kind.value}, {one.encoding.value}" for one in search.search("", _even(data), but=but)}
    for content in inflated(data):
        faults |= {f"a {one.kind.value}, compressed" for one in search.search("", _even(content), but=but)}
    return sorted(faults)


def _even(data: bytes) -> bytes:
    """Padded, so that no block at the end is missed."""
    return data + bytes(16 - len(data) % 8)
