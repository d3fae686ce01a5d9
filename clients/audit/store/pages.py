"""Reads the pages of an SQLite file as bytes: which of them hold rows, and what stands where nothing should.

Format: https://sqlite.org/fileformat2.html sections 1.3 to 1.6 and 4. Only what the relay's store uses: no
auto-vacuum, no reserved bytes, UTF-8. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

HEADER_BYTES: Final = 100
WAL_HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
INDEX_INTERIOR: Final = 0x02
TABLE_INTERIOR: Final = 0x05
INDEX_LEAF: Final = 0x0A
TABLE_LEAF: Final = 0x0D
TREE_HEADER_BYTES: Final = {INDEX_INTERIOR: 12, TABLE_INTERIOR: 12, INDEX_LEAF: 8, TABLE_LEAF: 8}
FRAGMENT_BYTES: Final = 3
"""SQLite counts gaps of up to 3 bytes as fragments; no more than 3 bytes of anything can be left there."""


class DamagedPage(Exception):
    """A page contradicts itself."""


def varint(data: bytes, offset: int) -> tuple[int, int]:
    """(value, offset behind it) of a variable-length integer."""
    value = 0
    for count in range(8):
        byte = data[offset + count]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + count + 1
    return value << 8 | data[offset + 8], offset + 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A cell of a b-tree page: where it lies in the page, and where it goes on."""

    start: int
    end: int
    payload_start: int
    payload_bytes: int
    local_bytes: int
    overflow: int
    """First overflow page, 0 where all is here."""


def rows(page: bytes, *, first: bool) -> Iterator[Row]:
    """Rows of a b-tree page, also of a stale image of one.

    Args:
        page: the whole page.
        first: whether it is page 1, which begins with the file's header.

    Raises:
        DamagedPage: it contradicts itself.
    """
    base = HEADER_BYTES if first else 0
    kind = page[base]
    usable = len(page)
    is_index = kind in (INDEX_INTERIOR, INDEX_LEAF)
    most = (usable - 12) * 64 // 255 - 23 if is_index else usable - 35
    least = (usable - 12) * 32 // 255 - 23
    count = int.from_bytes(page[base + 3 : base + 5])
    pointers = base + TREE_HEADER_BYTES[kind]
    try:
        for number in range(count):
            start = int.from_bytes(page[pointers + 2 * number : pointers + 2 * number + 2])
            place = start + (4 if kind in (INDEX_INTERIOR, TABLE_INTERIOR) else 0)
            if kind == TABLE_INTERIOR:
                _, end = varint(page, place)
                yield Row(start=start, end=end, payload_start=end, payload_bytes=0, local_bytes=0, overflow=0)
                continue
            payload, place = varint(page, place)
            if kind == TABLE_LEAF:
                _, place = varint(page, place)
            local = payload
            if payload > most:
                surplus = least + (payload - least) % (usable - 4)
                local = surplus if surplus <= most else least
            end = place + local
            overflow = 0
            if local < payload:
                overflow = int.from_bytes(page[end : end + 4])
                end += 4
            if end > usable:
                raise DamagedPage("a row goes beyond its page")
            yield Row(
                start=start,
                end=max(end, start + 4),
                payload_start=place,
                payload_bytes=payload,
                local_bytes=local,
                overflow=overflow,
            )
    except IndexError:
        raise DamagedPage("a row begins beyond its page") from None


def children(page: bytes, *, first: bool) -> Iterator[int]:
    """Page numbers below an interior page."""
    base = HEADER_BYTES if first else 0
    if page[base] in (INDEX_INTERIOR, TABLE_INTERIOR):
        for row in rows(page, first=first):
            yield int.from_bytes(page[row.start : row.start + 4])
        yield int.from_bytes(page[base + 8 : base + 12])


@dataclass(slots=True)
class Residue:
    """Bytes that are not zero where the file format holds nothing."""

    free_pages: int = 0
    holes: int = 0
    tails: int = 0
    left_bytes: int = 0
    pages: int = 0
    """Pages of the file."""
    rows_with_body: set[bytes] = field(default_factory=set, repr=False)
    """What of each row too long for its page lies in the page itself."""


class PageFile:
    """A database file as pages, numbered from 1."""

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[16:18])
        self.page_bytes = 65_536 if size == 1 else size
        self.data = data
        self.count = len(data) // self.page_bytes if self.page_bytes else 0

    def page(self, number: int) -> bytes:
        """One page.

        Raises:
            DamagedPage: there is no such page.
        """
        if not 1 <= number <= self.count:
            raise DamagedPage("a page that is not in the file")
        return self.data[(number - 1) * self.page_bytes : number * self.page_bytes]

    def free_list(self) -> tuple[list[int], list[int]]:
        """(trunk pages, leaf pages) of the list of free pages."""
        trunks: list[int] = []
        leaves: list[int] = []
        number = int.from_bytes(self.data[32:36])
        while number and number not in trunks:
            trunks.append(number)
            page = self.page(number)
            count = int.from_bytes(page[4:8])
            leaves += [int.from_bytes(page[8 + 4 * item : 12 + 4 * item]) for item in range(count)]
            number = int.from_bytes(page[:4])
        return trunks, leaves

    def roots(self) -> list[int]:
        """Root pages of all tables and indexes, the schema's own first, read from the schema's rows."""
        found = [1]
        for page_number in self._tree(1):
            page = self.page(page_number)
            if page[HEADER_BYTES if page_number == 1 else 0] != TABLE_LEAF:
                continue
            found += [_root_page(page, row) for row in rows(page, first=page_number == 1)]
        return [number for number in found if number]

    def _tree(self, root: int) -> Iterator[int]:
        waiting = [root]
        while waiting:
            number = waiting.pop()
            yield number
            waiting += children(self.page(number), first=number == 1)

    def residue(self) -> Residue:
        """Everything that is not zero and belongs to no row.

        Raises:
            DamagedPage: the file contradicts itself.
        """
        found = Residue(pages=self.count)
        for root in self.roots():
            for number in self._tree(root):
                self._look_into(number, found)
        trunks, leaves = self.free_list()
        for number in leaves:
            left = _not_zero(self.page(number))
            found.free_pages += bool(left)
            found.left_bytes += left
        for number in trunks:
            page = self.page(number)
            words = memoryview(page[8:])
            left = sum(
                4
                for start in range(0, len(words), 4)
                if int.from_bytes(words[start : start + 4]) > self.count
            )
            found.free_pages += bool(left)
            found.left_bytes += left
        return found

    def _look_into(self, number: int, found: Residue) -> None:
        page, first = self.page(number), number == 1
        base = HEADER_BYTES if first else 0
        taken = bytearray(len(page))
        kind = page[base]
        if kind not in TREE_HEADER_BYTES:
            raise DamagedPage("a page of a table is none")
        count = int.from_bytes(page[base + 3 : base + 5])
        taken[: base + TREE_HEADER_BYTES[kind] + 2 * count] = b"\1" * (
            base + TREE_HEADER_BYTES[kind] + 2 * count
        )
        for row in rows(page, first=first):
            taken[row.start : row.end] = b"\1" * (row.end - row.start)
            if row.overflow:
                found.rows_with_body.add(page[row.payload_start : row.payload_start + row.local_bytes])
                self._look_at_tail(row, found)
        block = int.from_bytes(page[base + 1 : base + 3])
        while block:
            taken[block : block + 4] = b"\1" * 4
            block = int.from_bytes(page[block : block + 2])
        left = _left_between(page, taken)
        found.holes += bool(left)
        found.left_bytes += left

    def _look_at_tail(self, row: Row, found: Residue) -> None:
        number, rest = row.overflow, row.payload_bytes - row.local_bytes
        while number and rest > 0:
            page = self.page(number)
            here = min(rest, len(page) - 4)
            rest -= here
            left = _not_zero(page[4 + here :])
            found.tails += bool(left)
            found.left_bytes += left
            number = int.from_bytes(page[:4])


def _root_page(page: bytes, row: Row) -> int:
    """The fourth column of a row of the schema table."""
    payload = page[row.payload_start : row.payload_start + row.local_bytes]
    header_bytes, place = varint(payload, 0)
    kinds = []
    while place < header_bytes:
        kind, place = varint(payload, place)
        kinds.append(kind)
    place = header_bytes + sum(_content_bytes(kind) for kind in kinds[:3])
    return int.from_bytes(payload[place : place + _content_bytes(kinds[3])]) if kinds[3] != 9 else 1


def _content_bytes(kind: int) -> int:
    """Length of a value by its serial type (section 2.1)."""
    if kind >= 12:
        return (kind - 12) // 2
    return (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]


def _not_zero(data: bytes) -> int:
    return len(data) - data.count(0)


def _left_between(page: bytes, taken: bytearray) -> int:
    """Bytes that are not zero in gaps longer than a fragment."""
    left, start = 0, 0
    while (start := taken.find(0, start)) >= 0:
        end = taken.find(1, start)
        end = len(page) if end < 0 else end
        if end - start > FRAGMENT_BYTES:
            left += _not_zero(page[start:end])
        start = end
    return left


def log_images(log: bytes, page_bytes: int) -> Iterator[tuple[int, bytes]]:
    """(page number, image) of every frame in a write-ahead log, whether SQLite would still read it or not."""
    step = FRAME_HEADER_BYTES + page_bytes
    for offset in range(WAL_HEADER_BYTES, len(log) - step + 1, step):
        number = int.from_bytes(log[offset : offset + 4])
        yield number, log[offset + FRAME_HEADER_BYTES : offset + step]


def deleted_bodies(images: Iterator[tuple[int, bytes]], final: PageFile, rows_with_body: set[bytes]) -> int:
    """How many page images hold a piece of a sealed body that the final state of the file does not hold."""
    kept = {final.page(number)[4:] for number in range(1, final.count + 1)}
    stale = 0
    for number, image in images:
        if not any(image):
            continue
        first = number == 1
        base = HEADER_BYTES if first else 0
        if image[base] in TREE_HEADER_BYTES:
            try:
                pieces = [
                    image[row.payload_start : row.payload_start + row.local_bytes]
                    for row in rows(image, first=first)
                    if row.overflow
                ]
            except DamagedPage:
                continue
            stale += any(piece not in rows_with_body for piece in pieces)
        elif image[4:] not in kept and not _is_trunk(image, final.count):
            stale += 1
    return stale


def _is_trunk(image: bytes, pages: int) -> bool:
    return all(
        int.from_bytes(image[start : start + 4]) <= max(pages, 1 << 20) for start in range(0, len(image), 4)
    )
