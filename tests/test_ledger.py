"""Every rule of channels and sessions has a test that bears its number and a patch that takes it out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mutants.run import RULES, Mutant, read_mutants

TESTS = Path(__file__).resolve().parent
TEST_NAME = re.compile(r"def (test_(?:r(\d\d)|s(\d)|h(1))_\w+)\(")


def rule_of(match: re.Match[str]) -> str:
    _, r, s, h = match.groups()
    return f"R{int(r)}" if r else f"S{s}" if s else f"H{h}"


def named_by_rule() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        if path.name == "test_mutant_runner.py":
            continue  # its rules are a story
        for match in TEST_NAME.finditer(path.read_text()):
            found.setdefault(rule_of(match), set()).add(match[1])
    return found


BY_RULE = named_by_rule()
MUTANTS = read_mutants((TESTS / "mutants").glob("*.patch"))


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_has_a_test(rule: str) -> None:
    assert BY_RULE.get(rule), f"no test_{rule.lower()}_... anywhere"


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_has_a_mutant_that_names_one_of_its_tests(rule: str) -> None:
    mutants = [mutant for mutant in MUTANTS if mutant.rule == rule]
    assert mutants, f"no patch takes {rule} out"
    named = {test.rpartition("::")[2].partition("[")[0] for mutant in mutants for test in mutant.tests}
    assert named & BY_RULE.get(rule, set()), f"no patch for {rule} names a test that bears it"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.path.stem)
def test_a_patch_bears_its_rule_in_its_name(mutant: Mutant) -> None:
    name = mutant.path.stem.partition("-")[0]
    assert re.sub(r"^R0", "R", name) == mutant.rule


def test_the_document_of_the_rules_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(TESTS.parent / "scripts" / "ledger.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
