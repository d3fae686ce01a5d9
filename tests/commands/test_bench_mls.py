"""`amanat bench mls`: the work runs, the ratios and verdicts are what they say."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from clients.bench import mls
from clients.bench.main import main
from clients.bench.mls import as_text, growth, measure, ratios, verdicts
from clients.bench.mls_group import living_group
from clients.bench.mls_members import make_member
from clients.bench.mls_work import LEAST_ROUNDS, founded, meet
from crypto.suites import X25519_AES128
from crypto.tree_math import NodeIndex

SUITE = X25519_AES128


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8, 9])
def test_a_living_group_has_every_parent_set_that_has_members_on_both_sides(size: int) -> None:
    tree = living_group(SUITE, size)._state.tree
    assert sum(1 for _ in tree.members()) == size
    for parent in range(1, tree.width, 2):
        first_leaf_on_the_right = (parent + 1) // 2
        assert (tree.node(NodeIndex(parent)) is not None) == (first_leaf_on_the_right < size)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_two_members_meet_and_are_in_step(size: int) -> None:
    first, second = meet("amanat", size)
    tree = second._group._state.tree  # type: ignore[attr-defined]  # ours, of the protocol's many
    assert sum(1 for _ in tree.members()) == size
    assert all(tree.node(parent) is not None for parent in range(1, 2 * size - 1, 2))
    first.process(second.commit(()).message)
    assert first.unprotect(second.protect(b"text")) == b"text"


def test_a_newcomer_joins_and_is_removed_again() -> None:
    first, second = meet("amanat", 4)
    newcomer = make_member("amanat", "newcomer")
    made = second.commit([newcomer.key_package()])
    assert made.welcome is not None
    newcomer.join(made.welcome)
    first.process(made.message)
    assert first.unprotect(newcomer.protect(b"text")) == b"text"
    first.process(second.remove(newcomer, 4))
    assert first.unprotect(second.protect(b"text")) == b"text"


def test_mls_rs_enters_the_same_group() -> None:
    pytest.importorskip("mls_rs_uniffi")
    first, second = meet("mls-rs", 4)
    assert first.unprotect(second.protect(b"text")) == b"text"
    size = second.state_bytes()
    assert size is not None
    assert size > 1000


def test_one_run_gives_every_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mls, "KINDS", ("amanat",))
    said: list[str] = []
    result = measure(sizes=[4], kinds=["amanat"], seconds=60, say=said.append)
    one = result["results"]["amanat"]["4"]
    times = {"commit", "process", "key_package", "add", "join"}
    assert set(one["figures"]) == times | {"state_bytes", "peak_kib", "growth_kib"}
    assert all(one["figures"][name] > 0 and one["rounds"][name] >= LEAST_ROUNDS for name in times)
    assert said == [said[0]]
    assert said[0].startswith("amanat, 4 members: ")
    assert "4 commit" in as_text(result)


def test_who_is_stopped_leaves_what_it_had_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"figures": {"commit": 1.0}, "rounds": {"commit": 3}})
    script = f"import time; print({line!r}); print('half a l', end='', flush=True); time.sleep(60)"
    monkeypatch.setattr(mls, "_command", lambda kind, size: [sys.executable, "-c", script])
    result = measure(sizes=[2], kinds=["amanat"], seconds=1)
    one = result["results"]["amanat"]["2"]
    assert one["figures"] == {"commit": 1.0}
    assert one["left_out"] == "what took longer than 1 seconds"


def test_several_runs_give_the_median_and_what_any_left_out() -> None:
    runs: list[dict[str, Any]] = [
        figures(commit=1.0, join=5.0),
        figures(commit=9.0) | {"left_out": "the rest"},
        figures(commit=2.0, join=7.0, state_bytes=None),
    ]
    merged = mls._together(runs)
    assert merged["figures"] == {"commit": 2.0, "join": 6.0, "state_bytes": None}
    assert merged["rounds"] == {"commit": 9, "join": 6, "state_bytes": 3}
    assert merged["left_out"] == "the rest"
    assert mls._together([{"left_out": "why"}]) == {"left_out": "why"}


def figures(**values: float | None) -> dict[str, Any]:
    return {"figures": values, "rounds": dict.fromkeys(values, 3)}


def test_ratios_compare_with_mls_rs_and_verdicts_take_the_worst() -> None:
    results: dict[str, dict[str, dict[str, Any]]] = {
        "amanat": {
            "2": figures(both_100=50.0, process=30.0),
            "64": figures(process=100.0, commit=100.0, state_bytes=9),
            "1000": figures(process=150.0, commit=170.0) | {"left_out": "the rest"},
        },
        "mls-rs": {"2": figures(both_100=100.0, process=10.0), "64": figures(process=20.0), "1000": {}},
    }
    found, grown = ratios(results), growth(results)
    assert found == {"2": {"both_100": 0.5, "process": 3.0}, "64": {"process": 5.0}, "1000": {}}
    assert grown == {"commit": 1.7, "process": 1.5}
    aims = verdicts(found, grown)
    assert list(aims.values()) == [
        "reached (worst 0.50)",
        "not reached (worst 5.00)",
        "not reached (worst 1.70)",
    ]
    nothing: dict[str, dict[str, dict[str, Any]]] = {"amanat": {"2": {"left_out": "why"}}}
    assert set(verdicts(ratios(nothing), growth(nothing)).values()) == {"not measured"}
    text = as_text(
        {
            "machine": {"platform": "here", "python": "3", "cores": 2, "load": [0.0, 1.0]},
            "unit": "us",
            "results": results,
            "ratios to mls-rs": found,
            "growth from 64 members to the most": grown,
            "aims": aims,
        }
    )
    assert "not reached (worst 5.00)" in text
    assert "left out: amanat, 1000 members: the rest" in text


@pytest.mark.parametrize("sizes", ["", "1", "2,x", "-2", "99999"])
def test_sizes_out_of_bounds_are_a_usage_error(sizes: str) -> None:
    assert main(["mls", f"--sizes={sizes}"]) == 2


def test_a_group_is_founded_for_strangers() -> None:
    member = make_member("amanat", "stranger")
    member.join(founded(1, 6, [member.key_package()]))
    assert member.state_bytes()
