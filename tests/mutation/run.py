"""Mutation testing of the parts of ``crypto`` on which everything rests; see docs/MUTATION.md.

Each mutant of a module runs against the tests of that module in a forked child: the parent has imported
pytest, Hypothesis and `cryptography` once, nothing of ours, so a mutant costs a fraction of a second. A child
sees the changed module through an import hook; nothing is written into the checkout but the record in
``.cache/mutation``, from which a run that was interrupted goes on: a verdict stands as long as the module's
code and its tests are the same.

Usage: ``python tests/mutation/run.py [MODULE ...]``. Ends with 0 if every survivor is explained in
docs/MUTATION.md, else with 1.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / ".cache" / "mutation"
DOCUMENT = ROOT / "docs" / "MUTATION.md"
TIMEOUT_SECONDS = 60
"""A mutant that loops is noticed by this; the tests of one module take about a second."""

TESTS = {
    "codec": ["tests/crypto/test_codec.py"],
    "tree_math": ["tests/crypto/test_tree_math.py"],
    "key_schedule": ["tests/crypto/test_key_schedule.py"],
    "secret_tree": ["tests/crypto/test_secret_tree.py"],
}
"""What each module is tested by: its own test file, so that the file earns its name."""


def say(text: str) -> None:
    """A line for the person who waits, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _mutants_of(module: str) -> list[tuple[str, int, str]]:
    sys.path.insert(0, str(ROOT / "tests"))
    from support.mutate import mutants

    source = (ROOT / "crypto" / f"{module}.py").read_text(encoding="utf-8")
    return [(mutant.name, mutant.line, mutant.source) for mutant in mutants(module, source)]


class _Hook(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, f"<mutant of {self.name}>", "exec"), module.__dict__)


def _run_child(module: str, source: str, tests: Sequence[str]) -> int:
    """In the child: 0 if all tests pass against this source."""
    import pytest
    from hypothesis import Phase, settings

    settings.register_profile(
        "mutation", max_examples=60, deadline=None, database=None, derandomize=True,
        phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip
    settings.load_profile("mutation")
    sys.meta_path.insert(0, _Hook(f"crypto.{module}", source))
    sys.dont_write_bytecode = True
    cache = f"cache_dir={ROOT / '.cache' / 'pytest'}"
    options = ["-x", "-q", "--no-header", "-m", "not long", "-o", cache, "-o", "filterwarnings=ignore"]
    return int(pytest.main([*options, *tests]))


def verdict(module: str, source: str, tests: Sequence[str]) -> str:
    """``killed``, ``timeout`` (killed too) or ``survived``."""
    child = os.fork()
    if child == 0:
        code = 1
        signal.alarm(TIMEOUT_SECONDS)
        with contextlib.suppress(BaseException):
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            code = 0 if _run_child(module, source, tests) == 0 else 1
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
    return "survived" if os.WEXITSTATUS(status) == 0 else "killed"


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def test_module(module: str, tests: Sequence[str]) -> dict[str, str]:
    """Judge every mutant of a module, going on where an earlier run stopped; returns name to verdict."""
    original = (ROOT / "crypto" / f"{module}.py").read_text(encoding="utf-8")
    key = [(ROOT / name.partition("::")[0]).read_text(encoding="utf-8") for name in tests]
    if verdict(module, original, tests) != "survived":
        raise SystemExit(f"the tests of {module} fail without any mutant")
    RECORD.mkdir(parents=True, exist_ok=True)
    record = RECORD / f"{module}.json"
    known: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    verdicts: dict[str, str] = {}
    kept: dict[str, str] = {}
    begun = time.monotonic()
    for name, line, source in _mutants_of(module):
        digest = _digest([source, *key])
        kept[digest] = known.get(digest) or verdict(module, source, tests)
        verdicts[name] = kept[digest]
        if digest not in known:
            record.write_text(json.dumps({**known, **kept}), encoding="utf-8")
        if kept[digest] == "survived":
            say(f"  survived: {name} (line {line})")
    record.write_text(json.dumps(kept), encoding="utf-8")
    survivors = sum(found == "survived" for found in verdicts.values())
    seconds = time.monotonic() - begun
    say(f"{module}: {len(verdicts)} mutants, {survivors} survived ({seconds:.0f} s)")
    return verdicts


def explained() -> set[str]:
    """Names of the survivors that docs/MUTATION.md explains: its list items that begin with the name."""
    if not DOCUMENT.is_file():
        return set()
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    return {line.removeprefix("* `` ").partition(" ``: ")[0] for line in lines if line.startswith("* `` ")}


def main(argv: Sequence[str]) -> int:
    """Run the modules named, all if none is."""
    import cryptography.hazmat.primitives.hpke
    import hypothesis.strategies
    import pytest

    del cryptography, hypothesis, pytest  # imported for the children only
    os.chdir(ROOT)
    unexplained: list[str] = []
    for module in argv or list(TESTS):
        verdicts = test_module(module, TESTS[module])
        known = explained()
        unexplained += [name for name, found in verdicts.items() if found == "survived" and name not in known]
    for name in unexplained:
        say(f"not explained in docs/MUTATION.md: {name}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
