"""Mutation testing, at length: see tests/mutation/run.py and docs/MUTATION.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.mutate import mutants

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("codec", "tree_math", "key_schedule", "secret_tree")


@pytest.mark.long
@pytest.mark.parametrize("module", MODULES)
def test_each_mutant_is_killed_or_explained(module: str) -> None:
    run = [sys.executable, str(ROOT / "tests" / "mutation" / "run.py"), module]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_explanations_name_mutants_that_exist() -> None:
    names = {
        mutant.name
        for module in MODULES
        for mutant in mutants(module, (ROOT / "crypto" / f"{module}.py").read_text(encoding="utf-8"))
    }
    lines = (ROOT / "docs" / "MUTATION.md").read_text(encoding="utf-8").splitlines()
    explained = {
        line.removeprefix("* `` ").partition(" ``: ")[0] for line in lines if line.startswith("* `` ")
    }
    assert explained <= names, explained - names
