"""`amanat bench simulation`: figures in a checkout, a clear sentence outside of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clients.bench import simulation
from clients.bench.main import main
from clients.bench.raw_socket import BenchFailed
from clients.bench.simulation import as_text, measure


def test_it_measures_in_a_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulation", "--json", "--seeds", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"] == 1
    assert found["steps_per_second"] > 0
    assert found["violations"] == 0
    assert sum(found["where_the_time_goes"].values()) == pytest.approx(1, abs=0.02)
    assert "seeds per hour" in as_text(found)


def test_outside_of_a_checkout_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BenchFailed, match="checkout"):
        measure(seeds=1, checkout=tmp_path)
    monkeypatch.setattr(simulation.measure, "__kwdefaults__", {"first": 0, "checkout": tmp_path})
    assert main(["simulation"]) == 1
    assert "checkout" in capsys.readouterr().err


def test_numbers_out_of_bounds_are_usage() -> None:
    assert main(["simulation", "--seeds", "0"]) == 2
