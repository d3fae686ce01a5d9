"""Reads the memory of a process that runs: what it could write, not the program's own text."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_REGION: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)$")
CHUNK_BYTES: Final = 1 << 20
PAGE_BYTES: Final = 4096
EMPTY_PAGE: Final = bytes(PAGE_BYTES)


class MemoryClosed(Exception):
    """The memory of that process may not be read by this user, or the process has gone."""


def read(pid: int) -> bytes:
    """Every readable byte of the writable regions, one after the other.

    Raises:
        MemoryClosed: the kernel says no, or the process is not there.
    """
    found = bytearray()
    try:
        regions = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for line in regions:
                match = _REGION.match(line)
                if match is None or not match[3].startswith("rw") or match[4] in ("[vvar]", "[vsyscall]"):
                    continue
                start, end = int(match[1], 16), int(match[2], 16)
                found += _region(memory.fileno(), start, end)
    except OSError:
        raise MemoryClosed from None
    if not found:
        raise MemoryClosed
    return bytes(found)


def _region(descriptor: int, start: int, end: int) -> bytes:
    """One region without its pages of zeros; some cannot be read at all."""
    pieces = []
    for place in range(start, end, CHUNK_BYTES):
        try:
            piece = os.pread(descriptor, min(CHUNK_BYTES, end - place), place)
        except OSError:
            continue
        pages = (piece[page : page + PAGE_BYTES] for page in range(0, len(piece), PAGE_BYTES))
        pieces += [page for page in pages if page != EMPTY_PAGE]
    return b"".join(pieces)
