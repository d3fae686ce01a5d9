"""`amanat bench mls`: the work runs, the ratios and verdicts are what they say."""

from __future__ import annotations

from typing import Any

import pytest

from clients.bench.main import main
from clients.bench.mls import as_text, ratios, verdicts
from clients.bench.mls_members import make_member
from clients.bench.mls_work import build


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
def test_a_built_group_has_every_parent_set_and_two_members_in_step(size: int) -> None:
    first, second = build("amanat", size)
    tree = second._group._state.tree  # type: ignore[attr-defined]  # ours, of the protocol's many
    members = sum(1 for _ in tree.members())
    assert members == size
    for parent in range(1, 2 * size - 1, 2):
        assert tree.node(parent) is not None
    first.process(second.commit(()).message)
    assert first.unprotect(second.protect(b"text")) == b"text"


def test_a_newcomer_joins_a_built_group() -> None:
    first, second = build("amanat", 4)
    newcomer = make_member("amanat", "newcomer")
    made = second.commit([newcomer.key_package()])
    assert made.welcome is not None
    newcomer.join(made.welcome)
    first.process(made.message)
    assert first.unprotect(newcomer.protect(b"text")) == b"text"


def test_ratios_compare_with_mls_rs_and_verdicts_take_the_worst() -> None:
    results: dict[str, dict[str, dict[str, Any]]] = {
        "amanat": {"2": {"both_100": 50.0, "process": 30.0}, "8": {"process": 100.0, "state_bytes": 9}},
        "mls-rs": {"2": {"both_100": 100.0, "process": 10.0}, "8": {"process": 20.0, "state_bytes": None}},
    }
    found = ratios(results)
    assert found == {"2": {"both_100": 0.5, "process": 3.0}, "8": {"process": 5.0}}
    assert list(verdicts(found).values()) == ["reached (worst 0.50)", "not reached (worst 5.00)"]
    assert set(verdicts(ratios({"amanat": {"2": {"left_out": "why"}}})).values()) == {"not measured"}
    machine = {"platform": "here", "python": "3", "cores": 2, "load": 0.0}
    text = as_text(
        {
            "machine": machine,
            "unit": "us",
            "results": results,
            "ratios to mls-rs": found,
            "aims": verdicts(found),
        }
    )
    assert "not reached (worst 5.00)" in text


@pytest.mark.parametrize("sizes", ["", "1", "2,x", "-2", "99999"])
def test_sizes_out_of_bounds_are_a_usage_error(sizes: str) -> None:
    assert main(["mls", f"--sizes={sizes}"]) == 2
