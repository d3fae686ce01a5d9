"""docs/SIMULATION.md's table says what was recorded, and what was recorded is still so."""

from __future__ import annotations

import pytest

from simulation import proof

QUICK = ("R01.patch", "R12.patch")
RECORD = proof.known()
FOUND = sorted(name for name, found in RECORD.items() if found["kind"])


def test_the_table_in_the_document_is_the_record() -> None:
    text = proof.DOCUMENT.read_text(encoding="utf-8")
    shown = text.partition(proof.BEGIN)[2].partition(proof.END)[0].strip()
    assert shown == proof.table()


def test_every_mutant_recorded_exists() -> None:
    assert {name for name in RECORD if not (proof.PATCHES / name).is_file()} == set()


def test_a_mutant_that_nothing_finds_has_a_reason() -> None:
    """Its fault is missing, or it is superfluous: the table says which (issue 4)."""
    assert {name for name, found in RECORD.items() if not found["kind"] and not found.get("why")} == set()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in FOUND]
)
def test_the_seed_recorded_still_breaks_the_same_invariant(name: str) -> None:
    entry = RECORD[name]
    runs = [(str(entry["profile"]), int(entry["seed"]))]
    assert proof.try_seeds(proof.PATCHES / name, runs, seconds=300)["kind"] == entry["kind"]


@pytest.mark.long
@pytest.mark.parametrize("pair", sorted({(RECORD[name]["profile"], RECORD[name]["seed"]) for name in FOUND}))
def test_without_a_mutant_the_same_seeds_find_nothing(pair: tuple[str, int]) -> None:
    assert not proof.try_seeds(None, [pair], seconds=300)["kind"]
