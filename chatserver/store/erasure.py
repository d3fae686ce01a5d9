"""Erasure of what was deleted, on one machine: H1 of CHANNELS.md, and one step more than it names.

`secure_delete=ON` overwrites a deleted row where it lies, but not everywhere that it has lain:

* Earlier versions of a page stay in the write-ahead log, and after truncation in the free blocks of the disk:
  hence H1's checkpoint, overwriting, truncation.
* When SQLite spreads rows over neighbouring pages, it lays the surviving rows of a page out anew from its end
  and leaves what stood in the hole between the pointer array and the rows. Measured with 3.40: with
  `secure_delete=ON`, of 2,361 live channels 5 had such a second copy of their id or token hash, and it
  outlives the deletion of the row. Hence
  `clear_holes`: after the checkpoint, holes in the pages that the log has named are overwritten in place.

Why writing to relay.db beside SQLite is safe: only bytes that SQLite's file format calls unallocated are
changed, to zero; a write torn by a crash leaves a valid page; the writer's lock is held; every frame of the
log has been copied (RESTART returned not busy) and the hole bytes of a page in SQLite's cache are never read.
A cached page that brings its old hole back when it is next written passes through the log, and so through
here, again.

The order, each step on disk before the next (a crash anywhere leaves a whole store, and `erase` at the next
start finishes the work):
    1  wal_checkpoint(RESTART)             every committed page is in relay.db, and synced
    2  holes of these pages overwritten    while the log can still name them
    3  header of the log overwritten       from now on the log is empty for SQLite's recovery. Were its end
                                           overwritten first, a crash could leave a valid beginning: recovery
                                           would bring old pages back over newer ones and damage the store
    4  rest of the log overwritten
    5  wal_checkpoint(TRUNCATE)
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from typing import Protocol

from chatserver.store.database import BUSY_SECONDS, Database
from chatserver.store.errors import DAMAGED, StoreDamaged

WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
ZERO_CHUNK_BYTES = 1 << 20

_BTREE_HEADER_BYTES = {0x02: 12, 0x05: 12, 0x0A: 8, 0x0D: 8}
"""First byte of a b-tree page → length of its header (https://sqlite.org/fileformat2.html section 1.6).
Overflow and free-list pages begin with a page number below 2^25, so with a byte of 0 or 1."""


class FileCalls(Protocol):
    """The system calls that erasure makes; tests record their order."""

    def pread(self, descriptor: int, length: int, offset: int, /) -> bytes: ...  # noqa: D102 (as in os)

    def pwrite(self, descriptor: int, data: bytes, offset: int, /) -> int: ...  # noqa: D102 (as in os)

    def fdatasync(self, descriptor: int, /) -> None: ...  # noqa: D102 (as in os)


class SystemCalls:
    """The real ones. Where a system has no fdatasync (macOS), fsync does more than is needed."""

    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)
    fdatasync = staticmethod(getattr(os, "fdatasync", os.fsync))


SYSTEM_CALLS = SystemCalls()


def erase(database: Database, *, calls: FileCalls = SYSTEM_CALLS) -> bool:
    """Erase what was deleted so far; the caller holds the writer's lock, and no transaction is open.

    Returns: True when no deleted byte remains in the store's files; False if another connection reads or
        writes (try again).

    Raises:
        StoreDamaged: a page contradicts itself.
        sqlite3.Error, OSError: the disk failed.
    """
    if database.wal_bytes() == 0:
        return True
    db = database.connection
    db.execute("PRAGMA busy_timeout = 0")
    try:
        version = db.execute("PRAGMA data_version").fetchone()
        if db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]:
            return False
        # Our own processes hold the writer's lock; this keeps out a stranger with an SQLite shell.
        db.execute("BEGIN IMMEDIATE")
        try:
            if db.execute("PRAGMA data_version").fetchone() != version:
                return False
            _overwrite(database, calls)
        finally:
            db.execute("ROLLBACK")
        return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise
    finally:
        db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1_000)}")


def _overwrite(database: Database, calls: FileCalls) -> None:
    log = os.open(database.wal_path, os.O_RDWR | os.O_CLOEXEC)
    try:
        length = os.fstat(log).st_size
        pages = _pages_in_log(log, length, database.page_bytes, calls)
        clear_holes(database.descriptor, pages, database.page_bytes, calls)
        overwrite_log(log, length, calls)
    finally:
        os.close(log)


def overwrite_log(log: int, length: int, calls: FileCalls) -> None:
    """Steps 3 and 4: the header first and alone, then the rest, each synced."""
    calls.pwrite(log, bytes(min(WAL_HEADER_BYTES, length)), 0)
    calls.fdatasync(log)
    for offset in range(WAL_HEADER_BYTES, length, ZERO_CHUNK_BYTES):
        chunk = bytes(min(ZERO_CHUNK_BYTES, length - offset))
        if calls.pwrite(log, chunk, offset) != len(chunk):
            raise OSError(28, "short write")
    calls.fdatasync(log)


def _pages_in_log(log: int, length: int, page_bytes: int, calls: FileCalls) -> set[int]:
    """Numbers of the pages whose images are b-tree pages, in any frame of the log."""
    pages: set[int] = set()
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    for offset in range(WAL_HEADER_BYTES, length - frame_bytes + 1, frame_bytes):
        number = int.from_bytes(calls.pread(log, 4, offset), "big")
        if number:
            pages.add(number)
    return pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Unallocated bytes of a page, from `start` up to but without `end`, within the page."""

    start: int
    end: int


def find_hole(page: bytes, *, first_page: bool) -> Hole | None:
    """The hole between the pointers and the rows of a b-tree page; None for pages of other kinds.

    Raises:
        StoreDamaged: the header contradicts itself.
    """
    start = 100 if first_page else 0
    header_bytes = _BTREE_HEADER_BYTES.get(page[start])
    if header_bytes is None:
        return None
    rows = int.from_bytes(page[start + 3 : start + 5], "big")
    content = int.from_bytes(page[start + 5 : start + 7], "big") or 65_536
    hole_start = start + header_bytes + 2 * rows
    if not hole_start <= content <= len(page):
        raise StoreDamaged(DAMAGED)
    return Hole(start=hole_start, end=content)


def clear_holes(descriptor: int, pages: set[int], page_bytes: int, calls: FileCalls) -> int:
    """Step 2: overwrite and sync the holes of these pages of relay.db. Returns how many held anything."""
    cleared = 0
    for number in sorted(pages):
        offset = (number - 1) * page_bytes
        page = calls.pread(descriptor, page_bytes, offset)
        if len(page) != page_bytes:  # beyond the end: allocated and rolled back
            continue
        hole = find_hole(page, first_page=number == 1)
        if hole is None or not any(page[hole.start : hole.end]):
            continue
        calls.pwrite(descriptor, bytes(hole.end - hole.start), offset + hole.start)
        cleared += 1
    if cleared:
        calls.fdatasync(descriptor)
    return cleared
