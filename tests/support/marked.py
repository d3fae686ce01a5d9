"""Values that can be found again: ids, hashes and cells made of an eight-byte mark repeated.

Any run of 15 bytes of such a value contains its whole mark, so one pass over a file finds every remainder of
16 bytes of every value ever made, and says which value it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from chatserver.store.protocol import CELL_BYTES, STORED_CLASS, ChannelId, ChannelRef, TokenHash

_MAGIC = b"\xa7CEL"
_FIND = re.compile(re.escape(_MAGIC) + rb"[\x00-\xff]{4}")


class Marks:
    """Makes marked values; the order of their keys is scrambled, as that of random ids is."""

    def __init__(self, start: int = 0) -> None:
        self._count = start

    def mark(self) -> bytes:
        self._count += 1
        return _MAGIC + (self._count * 2_654_435_761 & 0xFFFFFFFF).to_bytes(4, "big")

    def bytes16(self) -> bytes:
        return self.mark() * 2

    def hash32(self) -> TokenHash:
        return TokenHash(self.mark() * 4)

    def cell(self) -> bytes:
        return self.mark() * (CELL_BYTES // 8)

    def channel(self, readers: int = 2) -> ChannelRef:
        return ChannelRef(channel_id=ChannelId(self.mark() * 4), channel_class=STORED_CLASS, readers=readers)


def marks_in(*contents: bytes) -> Counter[bytes]:
    """How often each mark occurs."""
    found: Counter[bytes] = Counter()
    for content in contents:
        found.update(_FIND.findall(content))
    return found


def remainders(contents: Iterable[bytes], values: Iterable[bytes]) -> set[bytes]:
    """Those of the marked values of which a run of 16 bytes (two marks in a row) is in the contents."""
    wanted = {value[:8] for value in values}
    found: set[bytes] = set()
    for content in contents:
        for match in _FIND.finditer(content):
            mark = match.group()
            # 16 bytes of a repeated mark: the mark, and 8 bytes of its neighbours on one side or both.
            around = content[max(0, match.start() - 8) : match.end() + 8]
            if mark in wanted and _longest_run(around, mark) >= 16:
                found.add(mark)
    return found


def _longest_run(around: bytes, mark: bytes) -> int:
    at = around.index(mark)
    start, end = at, at + 8
    while start > 0 and around[start - 1] == mark[(start - 1 - at) % 8]:
        start -= 1
    while end < len(around) and around[end] == mark[(end - at) % 8]:
        end += 1
    return end - start
