"""Goes on with an interrupted ``./test --long``: leaves out the long tests that have passed on the same code.

A pytest plugin for ``pytest --resume FILE``. What passed is written to the file at once; it counts for one
state of the tree only, and a run that ends with every test passed removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("chatserver", "clients", "crypto", "keys", "scripts", "tests", "pyproject.toml", "requirements")
LEFT_OUT = frozenset({"__pycache__", "node_modules", "corpus"})


def digest_of_tree(root: Path = ROOT) -> str:
    """Of every source file, with its name."""
    digest = hashlib.sha256()
    for part in PARTS:
        path = root / part
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in files:
            if file.is_file() and LEFT_OUT.isdisjoint(file.parts):
                digest.update(f"{file.relative_to(root)} {file.stat().st_size}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


class Resume:
    """The plugin; registered by tests/conftest.py."""

    def __init__(self, record: Path, tree: str) -> None:
        self.record = record
        self.tree = tree
        self.passed: set[str] = set()
        self.long: set[str] = set()
        if record.is_file():
            known = json.loads(record.read_text(encoding="utf-8"))
            if known["tree"] == tree:
                self.passed = set(known["passed"])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what has passed."""
        done = [item for item in items if item.nodeid in self.passed]
        if done:
            config.hook.pytest_deselected(items=done)
            items[:] = [item for item in items if item.nodeid not in self.passed]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a long test that passed; with several processes, in the one that has the say."""
        if "PYTEST_XDIST_WORKER" in os.environ:
            return
        if report.when == "call" and report.passed and "long" in report.keywords:
            self.passed.add(report.nodeid)
            self.record.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"tree": self.tree, "passed": sorted(self.passed)})
            fresh = self.record.with_suffix(".new")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self.record)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """All is done: the next run begins anew."""
        if "PYTEST_XDIST_WORKER" not in os.environ and exitstatus == pytest.ExitCode.OK:
            self.record.unlink(missing_ok=True)
