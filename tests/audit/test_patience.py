"""Waits grow with the load, and what a busy machine does to a rhythm is no verdict."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clients.audit.live.judging import constant_rate
from clients.audit.live.patience import MOST, Patience, busy
from clients.audit.live.rhythm import Rhythm, rhythm, settled
from clients.audit.live.scene import Observed
from clients.audit.model import Verdict

QUIET, WRITING = (10.0, 18.0), (18.0, 26.0)


def _cells(before: float, during: float) -> list[float]:
    """Seconds of cells at two rates."""
    first = [10.0 + number / before for number in range(int(8 * before))]
    return first + [18.0 + number / during for number in range(int(8 * during) + 1)]


def _counted(before: float, during: float) -> Rhythm:
    return rhythm([_cells(before, during), _cells(before, during)], QUIET, WRITING)


@pytest.mark.parametrize(
    ("told", "times"),
    [
        ("0.10 0.20 0.30 1/99 7\n", 1.0),
        (f"{3 * (os.cpu_count() or 1)}.0 0.2 0.3 1/99 7\n", 3.0),
        (f"0.1 0.2 0.3 {2 * (os.cpu_count() or 1)}/99 7\n", 2.0),
        ("9999.0 0.2 0.3 1/99 7\n", MOST),
        ("nonsense", 1.0),
        ("", 1.0),
    ],
)
def test_a_busy_machine_is_waited_for(tmp_path: Path, told: str, times: float) -> None:
    load = tmp_path / "loadavg"
    load.write_text(told)
    assert busy(load) == times
    assert busy(tmp_path / "none") == 1.0


def test_patience_ends() -> None:
    assert Patience(-1.0).over
    assert not Patience(60.0).over


def test_a_rhythm_that_follows_the_typing_is_told_from_one_that_does_not() -> None:
    assert _counted(1.0, 1.0).faults == ()
    assert _counted(0.5, 1.0).leaning == 1
    assert _counted(1.0, 0.5).leaning == -1
    assert len(_counted(0.5, 1.0).faults) == 2
    assert len(_counted(0.5, 0.5).faults) == 2
    assert rhythm([_cells(1.0, 1.0)], QUIET, WRITING).faults != ()


@pytest.mark.parametrize(
    ("counted", "disturbed", "verdict"),
    [
        ([(1.0, 1.0)], True, Verdict.HOLDS),
        ([(0.5, 1.0)], False, Verdict.BROKEN),
        ([(0.5, 1.0)], True, Verdict.UNCHECKED),
        ([(0.5, 1.0), (0.5, 1.0)], True, Verdict.BROKEN),
        ([(0.5, 1.0), (1.0, 0.5)], True, Verdict.UNCHECKED),
        ([(0.5, 0.5), (0.5, 0.5)], True, Verdict.UNCHECKED),
        ([(0.5, 0.5), (1.0, 1.0)], True, Verdict.HOLDS),
    ],
)
def test_on_a_busy_machine_only_what_leans_the_same_way_twice_is_broken(
    counted: list[tuple[float, float]], disturbed: bool, verdict: Verdict
) -> None:
    seen = Observed(quiet=QUIET, writing=WRITING, disturbed=disturbed)
    seen.rhythms = [_counted(*rates) for rates in counted]
    assert settled(seen.rhythms, disturbed=disturbed) is (verdict is not Verdict.UNCHECKED)
    assert constant_rate(seen).verdict is verdict
