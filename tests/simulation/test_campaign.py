"""The campaign at length, and that it goes on where it stopped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from simulation import campaign, run
from simulation.run import Outcome, Plan

SEEDS = 100_000


def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "RECORD", tmp_path)
    monkeypatch.setattr(campaign, "CHUNK", 1)
    first = campaign.campaign(wanted=1, seconds=600, processes=1, profile="honest")
    second = campaign.campaign(wanted=2, seconds=600, processes=1, profile="honest")
    assert (first["seeds"], second["seeds"]) == (1, 2)
    assert not second["failures"]
    assert second["days"] > first["days"]


def test_a_failure_is_recorded_so_that_it_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted one: every run longer than 40 steps breaks something."""
    ran: list[Plan] = []

    def broken(plan: Plan, *, skip: Iterable[int] = ()) -> Outcome:
        ran.append(plan)
        return Outcome(
            plan=plan,
            kind="planted" if plan.steps > 40 else "",
            what="",
            trace=("a story",),
            digests=("", ""),
            happened={},
            days=1.0,
            events=1,
            seals=0,
        )

    monkeypatch.setattr(run, "simulate", broken)
    chunk = campaign.run_chunk(0, "honest")
    assert chunk["failures"]
    for failure in chunk["failures"]:
        plan = run.plan_of(
            failure["seed"], profile=failure["profile"], leaves=failure["leaves"], steps=failure["steps"]
        )
        assert plan in ran
        assert plan.steps > 40
    assert any(plan.steps not in {8, 15, 30, 60, 120} for plan in ran), "only the usual lengths"


@pytest.mark.long
def test_a_hundred_thousand_seeds_break_no_invariant() -> None:
    run = [sys.executable, str(campaign.ROOT / "tests" / "simulation" / "campaign.py"), f"--seeds={SEEDS}"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
