"""``./test``: sets everything up, runs every check, lists what was left out, and ends with one verdict.

Runs on the system's Python, with the standard library only; the checks themselves run in ``.venv``.
Ends with 0 when everything passed, 1 when something failed, 2 for a wrong option, 3 when everything that ran
passed but something was left out and ``--allow-missing`` was not given.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tools
from setup import CACHE, ROOT, VENV, SetupError, set_up, set_up_peers

BIN = VENV / "bin"
PYTHON = str(BIN / "python")
SHARED = ROOT.parent / "shared"

SYSTEM_PACKAGES = {
    "node": "runs ts-mls, the other implementation that tests/peers talks to",
    "npm": "installs ts-mls for it",
    "spin": "searches the model of channels and commits (docs/MODEL.md)",
    "gcc": "compiles that search",
    "strace": "counts what a live session writes to disk (otherwise /proc is read, which sees less)",
    "tmux": "runs the terminal app in a real terminal",
}
"""Program and what is left out without it; it is also the name of its Debian package, but for:"""

PACKAGE_OF = {"node": "nodejs", "gcc": "gcc libc6-dev"}

LONG_TOOLS = {
    "mmdebstrap": "builds the root file system of the container",
    "docker-compose": "judges deploy/compose.yaml",
}
"""Debian packages with much behind them: used where they are, and missed by --long alone."""

STEP_SECONDS = 3600
"""No step may take longer; a hung one is ended and counted as failed."""

LONG_STEP_SECONDS = 12 * 3600
"""The same with ``--long``: campaigns take hours, and go on from where a run was stopped."""

TEST_PROCESSES = 2

COVERAGE_PERCENT = 85
"""Branch coverage of our four packages below which ./test fails."""

UNMEASURED = (
    "tests/audit/test_saboteurs.py",
    "tests/crypto/test_adversarial_relay.py",
    "tests/crypto/test_passive_client.py",
    "tests/crypto/test_tree_vectors.py",
    "tests/deploy",
    "tests/model",
    "tests/peers",
    "tests/relay_faults",
    "tests/simulation",
)
"""What runs without coverage: measuring makes code three times slower, and these run the same lines often."""


@dataclass(slots=True)
class Tally:
    """What happened so far."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def say(text: str = "") -> None:
    """Print a line at once, so that progress is seen through a pipe too."""
    print(text, flush=True)


def _strace_works() -> bool:
    """Installed, strace may still be forbidden to trace, in a container for instance."""
    done = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, check=False)
    return done.returncode == 0


def install_system_packages(tally: Tally) -> None:
    """Install what is missing where this is root on Debian or Ubuntu; otherwise print the line to type."""
    missing = [name for name in SYSTEM_PACKAGES if shutil.which(name) is None]
    packages = " ".join(PACKAGE_OF.get(name, name) for name in missing).split()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"Set-up: installing {' '.join(packages)} by apt-get ...")
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (install, ["apt-get", "update", "-qq"], install):
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            if command is install and done.returncode == 0:
                break
        missing = [name for name in SYSTEM_PACKAGES if shutil.which(name) is None]
    if missing:
        say(f"Missing: {', '.join(missing)}. On Debian or Ubuntu this installs them:")
        say(f"    sudo apt-get install -y {' '.join(PACKAGE_OF.get(name, name) for name in missing)}")
        tally.left_out += [f"{name}: {SYSTEM_PACKAGES[name]}" for name in missing]
    if "strace" not in missing and not _strace_works():
        tally.left_out.append("strace is there but may not trace here (a container without ptrace?)")


def install_peers(tally: Tally) -> None:
    """Install ts-mls for Node; without Node that was said already, and its tests are left out."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return
    try:
        set_up_peers()
    except SetupError as error:
        say(str(error))
        tally.left_out.append(f"ts-mls: {str(error).splitlines()[-1]}")


def fetch_tools(tally: Tally, *, long: bool) -> None:
    """Unpack nginx and the others that judge deploy/ into .cache; say which of their checks are left out."""
    try:
        tools.fetch(list(tools.PACKAGES))
    except SetupError as error:
        say(f"{error}; what needs these programs is left out.")
    missing = [name for name in tools.PACKAGES if tools.find(name) is None]
    tally.left_out += [f"{name}: judges its files in deploy/" for name in missing]
    for name, use in LONG_TOOLS.items() if long else ():
        if shutil.which(name) is None:
            tally.left_out.append(f"{name}: {use} (apt-get install {name})")


def step(
    tally: Tally,
    name: str,
    command: list[str],
    advice: str,
    extra: Mapping[str, str] | None = None,
    *,
    seconds: int = STEP_SECONDS,
) -> bool:
    """Run one check with its output shown; count it as one passed or one failed."""
    say(f"\n== {name}")
    begun = time.monotonic()
    try:
        code = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            env=environment(extra),
            timeout=seconds,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        say(f"{name}: ended after {seconds} seconds")
        code = 1
    verdict = "ok" if code == 0 else f"FAILED. {advice}"
    say(f"== {name}: {verdict} ({time.monotonic() - begun:.0f} s)")
    if code == 0:
        tally.passed += 1
        return True
    tally.failed += 1
    tally.failures.append(f"{name}: {advice}")
    return False


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The checks' environment: nothing of the caller's Python, and our tools first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AMANAT_"))}
    kept["PATH"] = f"{BIN}{os.pathsep}{kept.get('PATH', '')}"
    kept["COVERAGE_CORE"] = kept.get("COVERAGE_CORE", "sysmon" if sys.version_info >= (3, 14) else "ctrace")
    return {**kept, **(extra or {})}


DETAIL_LINES = 12
"""So many last lines of what a failed test said are shown again at the end."""

DETAILS = 20
"""So many failed tests are shown again at the end."""


def count_tests(tally: Tally, report: Path) -> None:
    """Add up pytest's own report; the step itself was counted as one, which the tests replace.

    What failed is kept for the end of the output, where it is found although thousands of lines came before.
    """
    if not report.is_file():
        return
    for suite in ET.parse(report).getroot().iter("testsuite"):
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        tally.passed += total - skipped - bad
        tally.failed += bad
        tally.skipped += skipped
        for case in suite.iter("testcase"):
            said = [text for kind in ("failure", "error") for text in case.iter(kind)]
            for text in said[:1]:
                lines = (text.text or text.get("message") or "").strip().splitlines()[-DETAIL_LINES:]
                name = f"{case.get('classname', '')}::{case.get('name', '')}"
                tally.details.append("\n    ".join([name, *lines]))


def run_checks(tally: Tally, options: argparse.Namespace) -> None:
    """Every check in the order of how soon it can tell that something is wrong."""
    step(
        tally,
        "lint (ruff)",
        [str(BIN / "ruff"), "check", "."],
        "`.venv/bin/ruff check --fix .` mends a part.",
    )
    step(
        tally,
        "format (ruff)",
        [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
        "`.venv/bin/ruff format .` mends it.",
    )
    step(tally, "types (mypy --strict)", [str(BIN / "mypy")], "Mend the types named above.")
    step(
        tally,
        "layers (import-linter)",
        [str(BIN / "lint-imports"), "--no-logo", "--cache-dir", ".cache/import-linter"],
        "A module imports what its layer may not: see docs/ARCHITECTURE.md.",
    )
    (CACHE / "coverage").mkdir(parents=True, exist_ok=True)
    coverage = ["--cov", "--cov-report=", f"--cov-fail-under={COVERAGE_PERCENT}"]
    coverage += [f"--ignore={path}" for path in UNMEASURED]
    run_tests(tally, "tests (pytest, with coverage of branches)", "measured", coverage, long=options.long)
    run_tests(tally, "tests (pytest, the heavy ones)", "unmeasured", [*UNMEASURED], long=options.long)
    step(
        tally,
        "mutants (each rule taken out must be noticed)",
        [PYTHON, "tests/mutants/run.py", *(["--long"] if options.long else [])],
        "A rule was taken out and no test failed, or a patch no longer applies: see CONTRIBUTING.md.",
        seconds=LONG_STEP_SECONDS if options.long else STEP_SECONDS,
    )


def run_tests(tally: Tally, name: str, part: str, arguments: list[str], *, long: bool) -> None:
    """Run one part of the tests on all cores that we use, and count its tests one by one."""
    report = CACHE / f"pytest-{part}.xml"
    report.unlink(missing_ok=True)
    arguments = ["-q", "--durations=8", "--tb=short", f"--junitxml={report}", *arguments]
    selection = ["--resume", str(CACHE / f"long-{part}.json")] if long else ["-m", "not long"]
    if (os.cpu_count() or 1) > 1:
        selection += ["-n", str(TEST_PROCESSES), "--dist", "worksteal"]
    step(
        tally,
        name,
        [PYTHON, "-m", "pytest", *selection, *arguments],
        "Mend the tests named above; `.venv/bin/python -m pytest PATH` runs a few.",
        {"AMANAT_HYPOTHESIS": "long" if long else "usual"},
        seconds=LONG_STEP_SECONDS if long else STEP_SECONDS,
    )
    count_tests(tally, report)


def parse(argv: list[str]) -> argparse.Namespace:
    """The options of ./test."""
    parser = argparse.ArgumentParser(
        prog="./test",
        description="Sets everything up and runs every check: lint, types, layers, tests, mutants.",
        epilog="Ends with 0: all passed; 1: something failed; 2: wrong option; 3: something was left out, or "
        "Python is missing.",
    )
    parser.add_argument("--setup", action="store_true", help="do the set-up only")
    parser.add_argument("--long", action="store_true", help="also the tests and mutants that take long")
    parser.add_argument(
        "--allow-missing", action="store_true", help="end with 0 although system packages are missing"
    )
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code."""
    options = parse(argv)
    tally = Tally()
    begun = time.monotonic()
    try:
        set_up("test")
    except SetupError as error:
        say(str(error))
        return 1
    install_system_packages(tally)
    install_peers(tally)
    fetch_tools(tally, long=options.long)
    if options.setup:
        return 3 if tally.left_out and not options.allow_missing else 0
    if not SHARED.is_dir():
        tally.notes.append(
            "../shared is not beside this checkout: the official MLS vectors and all 98 shapes"
        )
    run_checks(tally, options)
    return verdict(tally, options, time.monotonic() - begun)


def verdict(tally: Tally, options: argparse.Namespace, seconds: float) -> int:
    """Print what failed and what was left out, then one line that counts; return the exit code."""
    say()
    for detail in tally.details[:DETAILS]:
        say(f"failed test: {detail}")
    if len(tally.details) > DETAILS:
        say(f"... and {len(tally.details) - DETAILS} more failed tests, named above")
    for failure in tally.failures:
        say(f"FAILED: {failure}")
    for missing in tally.left_out:
        say(f"left out: {missing}")
    for note in tally.notes:
        say(f"left out (does not count): {note}")
    if not options.long:
        say("left out (does not count): what takes long; ./test --long runs it too")
    say(f"{seconds / 60:.1f} minutes")
    if tally.left_out and not tally.failed and not options.allow_missing:
        say("Everything that ran has passed, but not everything ran: install what is named above, or give")
        say("--allow-missing.")
    say(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    if tally.failed:
        return 1
    return 3 if tally.left_out and not options.allow_missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
