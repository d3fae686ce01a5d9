"""Takes each rule out of the code, by the patches beside this file, and demands that a test notices.

For each patch: in a copy of the tree the patch is applied and the tests named in its header run; at least one
must fail in its own body. Before that the same tests are run once, all together, unpatched, and must pass. A
patch that no longer applies, a test that cannot be collected, and a hung test count against the patch: a rule
whose mutant is broken is a rule without proof.

    python tests/mutants/run.py [--long] [--jobs N] [PATCH ...]

Header of a patch, before the diff (``git diff -U1``):

    # rule: R7
    # what: one sentence on what is taken out
    # tests: tests/path/test_x.py::test_r07_name [more node ids]
    # slow                                            (optional: only with --long)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TREE = ("chatserver", "clients", "crypto", "keys", "scripts", "tests", "docs", "pyproject.toml", "README.md")
"""What a copy holds: enough for any test that a patch names."""

MUTANT_SECONDS = 180
BASELINE_SECONDS = 1800
PROGRESS_EVERY = 25
RULES = (*(f"R{n}" for n in range(1, 24)), *(f"S{n}" for n in range(1, 8)), "H1")


class PatchError(Exception):
    """A patch file is not as its format says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One patch and the tests that must notice it."""

    path: Path
    rule: str
    what: str
    tests: tuple[str, ...]
    slow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one mutant. ``kind``: caught, survived, broken or left out."""

    mutant: Mutant
    kind: str
    detail: str
    seconds: float


def read_mutant(path: Path) -> Mutant:
    """Read a patch's header.

    Raises:
        PatchError: A line of the header is missing or names an unknown rule.
    """
    fields: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if line.startswith(("diff --git ", "--- ")):
            break
        match = re.fullmatch(r"#\s*(rule|what|tests|slow)\b:?\s*(.*)", line)
        if match:
            name, value = match.groups()
            fields[name] = f"{fields[name]} {value}" if name in fields else value
    for name in ("rule", "what", "tests"):
        if not fields.get(name):
            raise PatchError(f"{path.name}: the header lacks '# {name}: ...'")
    if fields["rule"] not in RULES:
        raise PatchError(f"{path.name}: unknown rule {fields['rule']}")
    return Mutant(
        path=path,
        rule=fields["rule"],
        what=fields["what"],
        tests=tuple(fields["tests"].split()),
        slow="slow" in fields,
    )


def read_mutants(paths: Iterable[Path]) -> list[Mutant]:
    """Read many, sorted by name."""
    return [read_mutant(path) for path in sorted(paths)]


def copy_tree(target: Path) -> None:
    """Copy what the tests need, compiled modules included: with their times kept they stay valid."""
    ignored = shutil.ignore_patterns(".cache", "*.patch", "images")
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        elif source.exists():
            shutil.copy2(source, target / name)
    shared = ROOT.parent / "shared"
    if shared.is_dir() and not (target.parent / "shared").exists():  # found by the tests as ../shared
        (target.parent / "shared").symlink_to(shared)


def apply_patch(mutant: Mutant, tree: Path) -> str:
    """Apply the patch in ``tree``; returns what went wrong, or an empty string."""
    if shutil.which("git"):
        command = ["git", "apply", "-p1", "--whitespace=nowarn", str(mutant.path)]
    elif shutil.which("patch"):
        command = ["patch", "-p1", "--silent", "--batch", "-i", str(mutant.path)]
    else:
        return "neither git nor patch is installed"
    # GIT_CEILING_DIRECTORIES: a repository around the temporary folder must not be found
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip().replace("\n", "; ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What the plugin wrote, or ``hung``."""

    called: dict[str, str]
    errors: list[str]
    hung: bool
    output: str

    def of(self, test: str) -> list[str]:
        """Outcomes of a node id, of all its parameters where it names a parametrised test."""
        return [
            outcome
            for node, outcome in self.called.items()
            if node == test or node.startswith((f"{test}[", f"{test}::"))
        ]


class Runner:
    """One copy of the tree, and the process (``forks.py``) whose forks run its tests."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self._folder = folder
        copy_tree(self.tree)
        paths = [str(self.tree), str(self.tree / "tests"), str(HERE)]
        foreign = ("COV", "PYTHON")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self._report = folder / "outcomes.json"
        environment = {
            **inherited,
            "PYTHONPATH": os.pathsep.join(paths),
            "AMANAT_OUTCOMES": str(self._report),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forks.py")],
            cwd=self.tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, tests: Sequence[str], *, seconds: float, stop_at_first: bool) -> Outcomes:
        """Run tests with the copy's packages and no others.

        Raises:
            RuntimeError: The process that forks has died.
        """
        self._report.unlink(missing_ok=True)
        output = self._folder / "output.txt"
        arguments = ["-q", "--tb=line", "-p", "outcomes", "--no-header"]
        arguments += ["-o", f"cache_dir={self._folder / 'cache'}", *(["-x"] if stop_at_first else []), *tests]
        request = {"arguments": arguments, "output": str(output), "seconds": seconds}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the process that runs the tests has died: see above")
        seen: dict[str, Any] = {"called": {}, "errors": []}
        if self._report.exists():
            seen = json.loads(self._report.read_text())
        return Outcomes(
            called=seen["called"],
            errors=seen["errors"],
            hung=json.loads(answer)["hung"],
            output=output.read_text(errors="replace") if output.exists() else "",
        )

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)


@contextmanager
def patched(mutant: Mutant, tree: Path) -> Iterator[str]:
    """Apply the patch for the length of the block; gives what went wrong, or an empty string.

    What Python compiled of the touched files is thrown away before and after. Python takes a compiled file
    for current when the source has the second and the size it had, and two mutants of one file that follow
    each other within a second often have both: the second one would run as the first.
    """
    names = re.findall(r"^(?:---|\+\+\+) [ab]/(\S+)", mutant.path.read_text(), re.MULTILINE)
    try:
        trouble = apply_patch(mutant, tree)
        forget_compiled(tree, names)
        yield trouble
    finally:
        for name in names:
            if (ROOT / name).exists():
                shutil.copy2(ROOT / name, tree / name)
            else:
                (tree / name).unlink(missing_ok=True)
        forget_compiled(tree, names)


def forget_compiled(tree: Path, names: Iterable[str]) -> None:
    """Delete what Python compiled of these files."""
    for path in (tree / name for name in names):
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink(missing_ok=True)


def run_baseline(mutants: Sequence[Mutant], runner: Runner) -> Outcomes:
    """All named tests in an unpatched copy, in one go."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    return runner.run(tests, seconds=BASELINE_SECONDS, stop_at_first=False)


def judge_baseline(mutant: Mutant, baseline: Outcomes) -> tuple[str, str] | None:
    """Why this mutant cannot be judged, as (kind, detail), or None where its tests pass as they stand."""
    outcomes = {test: baseline.of(test) for test in mutant.tests}
    absent = [test for test, seen in outcomes.items() if not seen]
    if absent:
        return "broken", f"no such test, or it cannot be collected: {absent[0]}"
    failing = [test for test, seen in outcomes.items() if "failed" in seen]
    if failing:
        return "broken", f"fails without the patch: {failing[0]}"
    if all(outcome == "skipped" for seen in outcomes.values() for outcome in seen):
        return "left out", "its tests are skipped on this machine"
    return None


def run_mutant(mutant: Mutant, baseline: Outcomes, runner: Runner) -> Verdict:
    """Judge one mutant in a copy of the tree, which is left as it was."""
    begun = time.monotonic()

    def verdict(kind: str, detail: str) -> Verdict:
        return Verdict(mutant=mutant, kind=kind, detail=detail, seconds=time.monotonic() - begun)

    unfit = judge_baseline(mutant, baseline)
    if unfit is not None:
        return verdict(*unfit)
    with patched(mutant, runner.tree) as trouble:
        if trouble:
            return verdict("broken", f"does not apply: {trouble}")
        seen = runner.run(mutant.tests, seconds=MUTANT_SECONDS, stop_at_first=True)
    failed = [node for node, outcome in seen.called.items() if outcome == "failed"]
    if failed:
        return verdict("caught", f"by {failed[0].rpartition('::')[2]}")
    if seen.hung:
        return verdict("broken", f"the tests hung for {MUTANT_SECONDS} s instead of failing")
    if seen.errors:
        return verdict("broken", f"an error instead of a failed test: {seen.errors[0]}")
    if not seen.called:
        return verdict("broken", f"no test ran: {seen.output.strip().splitlines()[-1:]}")
    return verdict("survived", "no test noticed")


def judge_all(mutants: Sequence[Mutant], folder: Path, jobs: int, *, every: bool) -> dict[str, int]:
    """Judge all, some at once, each in one of as many copies.

    Prints a line for each that was not caught, and for each at all if ``every`` is set; otherwise a line now
    and then, so that what failed is not lost among what did not.
    """
    runners: SimpleQueue[Runner] = SimpleQueue()
    for number in range(jobs):
        runners.put(Runner(folder / str(number)))
    first = runners.get()
    baseline = run_baseline(mutants, first)
    runners.put(first)

    def judge(mutant: Mutant) -> Verdict:
        runner = runners.get()
        try:
            return run_mutant(mutant, baseline, runner)
        finally:
            runners.put(runner)

    counts = {"caught": 0, "survived": 0, "broken": 0, "left out": 0}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for number, verdict in enumerate(pool.map(judge, mutants), 1):
            counts[verdict.kind] += 1
            if every or verdict.kind != "caught":
                print(
                    f"[{number}/{len(mutants)}] {verdict.mutant.path.name} ({verdict.mutant.rule}) "
                    f"{verdict.kind}: {verdict.detail} ({verdict.seconds:.1f} s)",
                    flush=True,
                )
            elif number % PROGRESS_EVERY == 0:
                print(f"[{number}/{len(mutants)}] {counts['caught']} caught", flush=True)
    for _ in range(jobs):
        runners.get().close()
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: 0 when every mutant was caught (or left out), 1 otherwise."""
    parser = argparse.ArgumentParser(description="Takes each rule out and demands that a test notices.")
    parser.add_argument("--long", action="store_true", help="also the mutants marked slow")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default 2)")
    parser.add_argument("--verbose", action="store_true", help="a line for each, with the test that noticed")
    parser.add_argument("patches", nargs="*", type=Path, help="patch files (default: all)")
    options = parser.parse_args(argv)
    try:
        found = read_mutants([path.resolve() for path in options.patches] or HERE.glob("*.patch"))
    except PatchError as error:
        print(error)
        return 1
    mutants = [mutant for mutant in found if options.long or options.patches or not mutant.slow]
    if not mutants:
        print("no mutants")
        return 1
    print(f"the tests of {len(mutants)} mutants, unpatched ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="amanat-mutants-") as folder:
        counts = judge_all(
            mutants, Path(folder), max(1, options.jobs), every=options.verbose or bool(options.patches)
        )
    skipped = len(found) - len(mutants)
    print(
        f"mutants: {counts['caught']} caught, {counts['survived']} survived, {counts['broken']} broken, "
        f"{counts['left out'] + skipped} left out" + (f" ({skipped} slow: --long)" if skipped else "")
    )
    return 1 if counts["survived"] or counts["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
