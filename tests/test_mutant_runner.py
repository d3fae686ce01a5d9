"""The runner of the mutants, tried on a small tree of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mutants import run
from mutants.run import Mutant, PatchError

GUARD = """\
def check(size: int) -> None:
    if size != 32:
        raise ValueError("size")
"""

TESTS = """\
import pytest
from crypto.guard import check

def test_r02_refuses():
    with pytest.raises(ValueError):
        check(31)

def test_r02_blind():
    check(32)

def test_r02_wrong():
    assert False

@pytest.mark.skip(reason="no such machine")
def test_r02_elsewhere():
    check(32)
"""

DIFF = """\
diff --git a/crypto/guard.py b/crypto/guard.py
--- a/crypto/guard.py
+++ b/crypto/guard.py
@@ -1,3 +1,3 @@
 def check(size: int) -> None:
-    if size != 32:
+    if size == {size}:
         raise ValueError("size")
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "checkout" / "tree"
    (root / "crypto").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "crypto" / "__init__.py").write_text("")
    (root / "crypto" / "guard.py").write_text(GUARD)
    (root / "tests" / "test_guard.py").write_text(TESTS)
    (root / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n')
    monkeypatch.setattr(run, "ROOT", root)
    return root


def mutant(tree: Path, test: str, diff: str, *, slow: bool = False) -> Mutant:
    path = tree.parent / "R02.patch"
    header = f"# rule: R2\n# what: sizes are not checked\n# tests: tests/test_guard.py::{test}\n"
    path.write_text(header + ("# slow\n" if slow else "") + diff)
    return run.read_mutant(path)


def judge(tree: Path, test: str, diff: str) -> str:
    one = mutant(tree, test, diff)
    runner = run.Runner(tree.parent / "copy")
    try:
        verdict = run.run_mutant(one, run.run_baseline([one], runner), runner)
    finally:
        runner.close()
    assert (runner.tree / "crypto" / "guard.py").read_text() == GUARD  # left as it was
    return verdict.kind


@pytest.mark.parametrize(
    ("test", "diff", "kind"),
    [
        ("test_r02_refuses", DIFF.format(size=-1), "caught"),
        ("test_r02_blind", DIFF.format(size=-1), "survived"),
        ("test_r02_wrong", DIFF.format(size=-1), "broken"),
        ("test_r02_absent", DIFF.format(size=-1), "broken"),
        ("test_r02_elsewhere", DIFF.format(size=-1), "left out"),
        ("test_r02_refuses", DIFF.format(size=-1).replace("32", "33"), "broken"),
        ("test_r02_refuses", DIFF.format(size=-1).replace("-1:", "(:"), "broken"),
    ],
    ids=[
        "noticed",
        "not noticed",
        "fails already",
        "no such test",
        "skipped",
        "does not apply",
        "collection error is no proof",
    ],
)
def test_verdicts(tree: Path, test: str, diff: str, kind: str) -> None:
    assert judge(tree, test, diff) == kind


def test_a_mutant_does_not_run_as_the_one_before_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have the same second and the same size, by which alone Python knows a compiled file."""
    apply_patch = run.apply_patch

    def in_one_second(one: Mutant, copy: Path) -> str:
        trouble = apply_patch(one, copy)
        os.utime(copy / "crypto" / "guard.py", (1_000_000_000, 1_000_000_000))
        return trouble

    monkeypatch.setattr(run, "apply_patch", in_one_second)
    runner = run.Runner(tree.parent / "copy")
    try:
        kinds = []
        baseline = run.run_baseline([mutant(tree, "test_r02_refuses", DIFF)], runner)
        for refused in ("!= 33", "!= 31"):
            one = mutant(tree, "test_r02_refuses", DIFF.format(size=32).replace("== 32", refused))
            kinds.append(run.run_mutant(one, baseline, runner).kind)
    finally:
        runner.close()
    assert kinds == ["survived", "caught"]  # 31 is refused by the first, and not by the second


@pytest.mark.parametrize("missing", ["# rule: R2\n", "# what: sizes are not checked\n"])
def test_a_header_must_be_whole(tree: Path, missing: str) -> None:
    path = mutant(tree, "test_r02_refuses", DIFF.format(size=-1)).path
    path.write_text(path.read_text().replace(missing, ""))
    with pytest.raises(PatchError, match="lacks"):
        run.read_mutant(path)


def test_an_unknown_rule_is_refused(tree: Path) -> None:
    path = mutant(tree, "test_r02_refuses", DIFF.format(size=-1)).path
    path.write_text(path.read_text().replace("R2\n", "R99\n"))
    with pytest.raises(PatchError, match="unknown rule"):
        run.read_mutant(path)


def test_slow_is_read(tree: Path) -> None:
    assert mutant(tree, "test_r02_refuses", DIFF.format(size=-1), slow=True).slow
    assert not mutant(tree, "test_r02_refuses", DIFF.format(size=-1)).slow
