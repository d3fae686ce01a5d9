"""The bounded part of the simulation that every ./test runs: a few hundred days of disasters."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from crypto.suites import PRODUCT
from simulation.aimed import AIMS
from simulation.run import ALL_PROFILES, Outcome, minimise, plan_of, simulate

ROOT = Path(__file__).resolve().parents[2]
FOUND = json.loads((ROOT / "tests" / "simulation" / "found.json").read_text(encoding="utf-8"))
QUICK_SEEDS = 6
"""Of each profile; the campaign does the rest."""
DEAR = {"meeting": 3}
"""Profiles whose runs hold minutes of sessions, a cell each second."""


def _tell(outcome: Outcome) -> str:
    """The story of a failure, as short as it can be made."""
    plan = outcome.plan
    skip = minimise(plan, outcome.kind, budget=20)
    story = "\n".join(simulate(plan, skip=skip).trace)
    return f"seed {plan.seed} ({plan.profile}): {outcome.kind}: {outcome.what}\n{story}"


@pytest.mark.parametrize("profile", ALL_PROFILES)
def test_a_few_seeds_of_each_profile_break_no_invariant(profile: str) -> None:
    for seed in range(DEAR.get(profile, QUICK_SEEDS)):
        outcome = simulate(plan_of(seed, profile=profile, steps=20))
        assert not outcome.kind, _tell(outcome)


@pytest.mark.parametrize("aim", AIMS)
def test_the_disaster_of_each_aim_breaks_no_invariant(aim: str) -> None:
    outcome = simulate(plan_of(0, profile=aim))
    assert not outcome.kind, _tell(outcome)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(
            entry,
            id=f"{entry['profile']}-{entry['seed']}",
            marks=pytest.mark.long if entry.get("dear") else (),
        )
        for entry in FOUND
    ],
)
def test_seeds_that_once_found_a_fault_find_none_now(entry: dict[str, str | int]) -> None:
    plan = plan_of(
        int(entry["seed"]),
        profile=str(entry["profile"]),
        steps=int(entry.get("steps", 0)),
        leaves=int(entry.get("leaves", 0)),
    )
    outcome = simulate(plan)
    assert not outcome.kind, _tell(outcome)


def test_a_run_is_repeatable_to_the_byte() -> None:
    plan = plan_of(3, profile="all", leaves=3, steps=30)
    first, second = simulate(plan), simulate(plan)
    assert first.digests == second.digests
    assert first.trace == second.trace


def test_a_run_is_the_same_in_another_process() -> None:
    plan = plan_of(5, profile="store", leaves=3, steps=20)
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from simulation.run import plan_of, simulate\n"
        "print(*simulate(plan_of(5, profile='store', leaves=3, steps=20)).digests)"
    )
    found = {simulate(plan).digests}
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(ROOT), str(ROOT / "tests")],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed},
        )
        events, wire = done.stdout.split()
        found.add((events, wire))
    assert len(found) == 1


def test_first_contact_repeats_its_events() -> None:
    plan = plan_of(9, profile="contact", leaves=3, steps=15)
    first, second = simulate(plan), simulate(plan)
    assert not first.kind
    assert first.trace == second.trace


def test_the_product_suite_repeats_its_events() -> None:
    plan = plan_of(7, profile="honest", leaves=2, steps=12)
    first, second = simulate(plan, suite=PRODUCT), simulate(plan, suite=PRODUCT)
    assert not first.kind
    assert first.digests[0] == second.digests[0]
    assert first.digests[1] != second.digests[1]  # 0xF002 encapsulates with randomness of its own


def test_sqlite_and_memory_are_the_same_relay(tmp_path: Path) -> None:
    plan = plan_of(11, profile="honest", leaves=3, steps=20)
    in_memory = simulate(plan)
    on_disk = simulate(plan, store=tmp_path / "store")
    assert not in_memory.kind
    assert in_memory.digests == on_disk.digests


def test_no_product_entry_point_chooses_a_suite_or_seeds_randomness() -> None:
    """The constructor arguments that make a run repeatable are for simulations, tests and benchmarks."""
    makers = {
        "LineMachine", "create_as_client", "create_from_welcome", "found_line", "join_line", "import_line",
        "SessionMachine", "prepare_join", "welcome_client",
    }  # fmt: skip
    real = {"os.urandom", "rng", "self._rng", "self.rng", "engine.rng", "host.rng", "self._host.rng"}
    seen = 0
    for path in sorted((ROOT / "clients").rglob("*.py")):
        part = path.relative_to(ROOT / "clients").parts
        if part[0] in {"bench", "conformance"} or part[:2] == ("sdk", "line"):
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or ast.unparse(call.func).split(".")[-1] not in makers:
                continue
            seen += 1
            for word in call.keywords:
                value = ast.unparse(word.value)
                if word.arg == "rng":
                    assert value in real, f"{path}:{call.lineno}: {value}"
                if word.arg == "suite":
                    assert value in {"PRODUCT", "self._suite", "suite"}, f"{path}:{call.lineno}: {value}"
    assert seen > 5
    commands, terminal = ROOT / "clients" / "commands", ROOT / "clients" / "terminal"
    for path in [*commands.rglob("*.py"), *terminal.rglob("*.py")]:
        assert "rng=" not in path.read_text(encoding="utf-8"), path
