"""The campaign at length, and that it goes on where it stopped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simulation import campaign

SEEDS = 100_000


def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "RECORD", tmp_path)
    monkeypatch.setattr(campaign, "CHUNK", 1)
    first = campaign.campaign(wanted=1, seconds=600, processes=1, profile="honest")
    second = campaign.campaign(wanted=2, seconds=600, processes=1, profile="honest")
    assert (first["seeds"], second["seeds"]) == (1, 2)
    assert not second["failures"]
    assert second["days"] > first["days"]


@pytest.mark.long
def test_a_hundred_thousand_seeds_break_no_invariant() -> None:
    run = [sys.executable, str(campaign.ROOT / "tests" / "simulation" / "campaign.py"), f"--seeds={SEEDS}"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
