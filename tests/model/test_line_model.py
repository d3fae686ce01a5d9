"""The models of channels and commits (line.pml) and of the way back (returns.pml) under Spin.

All states are visited, and each rule is needed.

Spin writes a C program that searches all states; both run in a folder of pytest's. See docs/MODEL.md.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("line.pml")
RETURNS = Path(__file__).with_name("returns.pml")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "MODEL.md"
SEARCH_SECONDS = 3_000
DEPTH = 100_000

pytestmark = pytest.mark.skipif(
    shutil.which("spin") is None or shutil.which("gcc") is None,
    reason="spin and gcc are not installed: the model of channels and commits was left out",
)

SMALL = {"N": 2, "K": 1, "COMMITS": 2, "BAD": 1}
"""Two devices, one text of each, two commits, one of which may be of a malicious device."""

WHOLE = [
    pytest.param(SMALL, id="two devices, two commits"),
    pytest.param({"N": 2, "K": 1, "COMMITS": 1, "BAD": 2}, id="two devices, up to FAULT"),
    pytest.param(
        {"N": 2, "K": 2, "COMMITS": 1, "BAD": 1}, id="two devices, two texts each", marks=pytest.mark.long
    ),
    pytest.param({"N": 3, "K": 1, "COMMITS": 1, "BAD": 1}, id="three devices", marks=pytest.mark.long),
]

LEFT_OUT = {
    "R4": ["NO_R4_DURABLE"],
    "R5": ["NO_R5_CLOSED"],
    "R6": ["NO_R6_ALL_SLOTS"],
    "R11": ["NO_R11_ONCE", "NO_R4_SAME_DEPOSIT"],  # either alone is made up for by the other
    "R12": ["NO_R12_REQUEUE"],
    "R13": ["NO_R13_OWN_CELL"],
    "R13, reading on": ["NO_R13_READ_TO_WINNER"],
    "R14": ["NO_R14_TURN"],
    "R19": ["NO_R19_STUB"],
}
RETURNS_SMALL = {"N": 3, "LOSSES": 2, "DEAD": 1}
RETURNS_WHOLE = [
    pytest.param({"N": 2, "LOSSES": 3, "DEAD": 0}, id="two devices"),
    pytest.param({"N": 3, "LOSSES": 3, "DEAD": 1}, id="three, one of them dead"),
    pytest.param({"N": 4, "LOSSES": 3, "DEAD": 1}, id="four, one of them dead"),
    pytest.param({"N": 2, "LOSSES": 6, "DEAD": 0}, id="two devices, six losses", marks=pytest.mark.long),
    pytest.param({"N": 4, "LOSSES": 3, "DEAD": 2}, id="four, two of them dead", marks=pytest.mark.long),
]
RETURNS_LEFT_OUT = {
    "R16, the request tells": ["NO_R16_ASKED_TELLS"],
    "R18, one stays": ["NO_R18_STAYS"],
    "R18, a dead leaf": ["NO_R18_DEAD_LEAF"],
    "R18, the hour": ["NO_R18_HOUR"],
    "R18, since the newest request": ["NO_R18_NEWEST"],
}
COVER_FOR_EACH_OTHER = ["NO_R11_ONCE", "NO_R4_SAME_DEPOSIT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What Spin's search came to."""

    errors: int
    states: int
    complete: bool


def search(folder: Path, sizes: dict[str, int], left_out: list[str], model: Path = MODEL) -> Search:
    """Build and run the search."""
    given = [f"-D{name}={value}" for name, value in sizes.items()] + [f"-D{name}" for name in left_out]
    run(folder, ["spin", "-a", *given, str(model)], 60)
    run(folder, ["gcc", "-w", "-O1", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=6000", "-o", "pan", "pan.c"], 120)
    printed = run(folder, ["./pan", f"-m{DEPTH}"], SEARCH_SECONDS)
    errors = re.search(r"errors: (\d+)", printed)
    states = re.search(r"(\d+) states, stored", printed)
    assert errors is not None, printed
    assert states is not None, printed
    cut_short = "max search depth too small" in printed or "Search not completed" in printed
    return Search(errors=int(errors[1]), states=int(states[1]), complete=not cut_short)


def run(folder: Path, command: list[str], seconds: float) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("sizes", WHOLE)
def test_every_state_keeps_the_promises(tmp_path: Path, sizes: dict[str, int]) -> None:
    found = search(tmp_path, sizes, [])
    assert found.complete
    assert found.errors == 0
    assert found.states > 100_000


@pytest.mark.parametrize("rule", LEFT_OUT)
def test_a_rule_left_out_breaks_a_promise(tmp_path: Path, rule: str) -> None:
    assert search(tmp_path, SMALL, LEFT_OUT[rule]).errors == 1


@pytest.mark.long
@pytest.mark.parametrize("flag", COVER_FOR_EACH_OTHER)
def test_two_rules_cover_for_each_other(tmp_path: Path, flag: str) -> None:
    """Without lost stores (the simulator has them) one of the two is enough."""
    found = search(tmp_path, {"N": 2, "K": 1, "COMMITS": 1, "BAD": 1}, [flag])
    assert found.complete
    assert found.errors == 0


@pytest.mark.parametrize("sizes", RETURNS_WHOLE)
def test_whoever_lost_its_place_comes_back_in_every_state(tmp_path: Path, sizes: dict[str, int]) -> None:
    found = search(tmp_path, sizes, [], RETURNS)
    assert found.complete
    assert found.errors == 0
    assert found.states > 2_000


@pytest.mark.parametrize("rule", RETURNS_LEFT_OUT)
def test_a_rule_of_the_way_back_left_out_breaks_a_promise(tmp_path: Path, rule: str) -> None:
    found = search(tmp_path, {"N": 3, "LOSSES": 3, "DEAD": 1}, RETURNS_LEFT_OUT[rule], RETURNS)
    assert found.errors == 1


def test_that_the_best_stays_and_the_newest_request_cover_for_each_other(tmp_path: Path) -> None:
    flags = ["NO_R18_BEST_STAYS", "NO_R18_NEWEST"]
    for flag in flags:
        assert search(tmp_path, RETURNS_SMALL, [flag], RETURNS).errors == 0
    assert search(tmp_path, RETURNS_SMALL, flags, RETURNS).errors == 1


def test_one_loss_more_than_there_are_leaves_is_the_split_that_people_are_told_of(tmp_path: Path) -> None:
    """A request of before is taken for one of now: two branches, which are noticed (docs/adr/0045)."""
    assert search(tmp_path, {"N": 3, "LOSSES": 4, "DEAD": 0}, [], RETURNS).errors == 1


def test_every_switch_of_the_models_is_tried_and_written_down() -> None:
    switches = set(re.findall(r"\bNO_\w+", MODEL.read_text() + RETURNS.read_text())) - {"NO_"}
    tried = {flag for flags in (*LEFT_OUT.values(), *RETURNS_LEFT_OUT.values()) for flag in flags}
    tried.add("NO_R18_BEST_STAYS")
    assert switches == tried
    document = DOCUMENT.read_text()
    assert [flag for flag in sorted(switches) if flag not in document] == []
