"""Whether anything of a value is left in some bytes: runs of 16 bytes, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

RUN_BYTES: Final = 16
_BLOCK_BYTES: Final = 8


def files_of(directory: Path) -> list[bytes]:
    """Every file below a directory. Not for a store that is open in this very process: a descriptor closed
    here would drop SQLite's locks."""
    return [path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()]


def runs_left(contents: Iterable[bytes], values: Iterable[bytes]) -> list[bytes]:
    """Those of the values of which some run of 16 bytes occurs in the contents.

    Every run of 16 bytes of a value contains one whole block of 8 that begins at a multiple of 8, so only
    those are looked for, and their surroundings compared where one is found.
    """
    kept = list(contents)
    return [value for value in values if any(_has_run(content, value) for content in kept)]


def _has_run(content: bytes, value: bytes) -> bool:
    for start in range(0, len(value) - _BLOCK_BYTES + 1, _BLOCK_BYTES):
        block = value[start : start + _BLOCK_BYTES]
        at = content.find(block)
        while at >= 0:
            if _run_around(content, at, value, start) >= RUN_BYTES:
                return True
            at = content.find(block, at + 1)
    return False


def _run_around(content: bytes, at: int, value: bytes, start: int) -> int:
    before = 0
    while before < min(at, start) and content[at - before - 1] == value[start - before - 1]:
        before += 1
    length = 0
    while (
        start + length < len(value)
        and at + length < len(content)
        and content[at + length] == value[start + length]
    ):
        length += 1
    return before + length


def occurrences(contents: Iterable[bytes], value: bytes) -> int:
    """How often a whole value occurs."""
    return sum(content.count(value) for content in contents)
