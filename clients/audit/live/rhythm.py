"""Whether a live session's cells follow the typing: cells a second of each side, in quiet and in writing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

LEAST_RATE: Final = 0.7
MOST_RATE: Final = 1.2
MOST_DIFFERENCE: Final = 0.3
"""Cells a second, for machines that are busy with something else; a cell per keystroke is far beyond."""
LEAST_LEANING: Final = 0.2
"""By which both sides send more in one span than in the other, where it is the typing that shows."""
LEAST_CELLS: Final = 3
"""Of a connection that carries a session; fewer come from an attempt that did not get so far."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """What was counted."""

    sides: tuple[list[float], ...]
    """Seconds at which each side sent a cell."""
    faults: tuple[str, ...]
    evidence: tuple[str, ...]
    leaning: int = 0
    """1 where both sides send more while they write, -1 where less, 0 where neither."""


def rhythm(connections: Iterable[list[float]], quiet: Span, writing: Span) -> Rhythm:
    """Count the cells of each side over both spans."""
    sides = tuple(times for times in connections if len(times) > LEAST_CELLS)
    if len(sides) < 2:
        fault = "the session's cells could not be told apart by their connections"
        return Rhythm(sides=sides, faults=(fault,), evidence=())
    faults, evidence, differences = [], [], []
    for number, times in enumerate(sides, start=1):
        before, during = _rate(times, quiet), _rate(times, writing)
        differences.append(during - before)
        evidence.append(f"side {number}: {before:.2f} cells a second in quiet, {during:.2f} while writing")
        if not (LEAST_RATE <= before <= MOST_RATE and LEAST_RATE <= during <= MOST_RATE):
            faults.append(f"side {number} does not send one cell a second")
        elif abs(before - during) > MOST_DIFFERENCE:
            faults.append(f"side {number} sends otherwise while it writes")
    more = all(one > LEAST_LEANING for one in differences)
    less = all(one < -LEAST_LEANING for one in differences)
    return Rhythm(sides=sides, faults=tuple(faults), evidence=tuple(evidence), leaning=int(more) - int(less))


def settled(counted: Sequence[Rhythm], *, disturbed: bool) -> bool:
    """Whether what was counted last can be judged.

    It can where it is as it should be, and where the machine was not busy. On a busy machine both spans may
    lack cells by chance; that both sides lean the same way twice is no chance.
    """
    last = counted[-1]
    return (
        not last.faults
        or not disturbed
        or (last.leaning != 0 and len(counted) > 1 and counted[-2].leaning == last.leaning)
    )


def _rate(times: list[float], window: Span) -> float:
    """Cells a second, counted from the last one before the window to the first one behind it."""
    begin = max((one for one in times if one <= window[0]), default=window[0])
    end = min((one for one in times if one >= window[1]), default=window[1])
    return sum(begin < one <= end for one in times) / max(0.001, end - begin)
