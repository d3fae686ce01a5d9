"""./run, ./test and .ci/run: what they say where something is missing, and how ./test judges."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("run", "test", ".ci/run")


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("script", SCRIPTS)
def test_they_are_programs_of_bash(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    assert (ROOT / script).read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)


def test_the_continuous_integration_calls_the_test_and_nothing_else() -> None:
    lines = [
        line
        for line in (ROOT / ".ci/run").read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert lines == ["exec ./test </dev/null"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the scripts with a `bin` of its own, in which `python3` can be anything."""
    here = tmp_path / "checkout"
    (here / "scripts").mkdir(parents=True)
    (here / "bin").mkdir()
    for name in (
        "run",
        "test",
        "scripts/python.sh",
        "scripts/setup.py",
        "scripts/check.py",
        "scripts/tools.py",
    ):
        shutil.copy2(ROOT / name, here / name)
    for program in ("bash", "env", "dirname", "cat"):
        found = shutil.which(program)
        assert found is not None
        (here / "bin" / program).symlink_to(found)
    return here


def call(checkout: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / script), *arguments],
        env={"PATH": str(checkout / "bin")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def pretend_python(checkout: Path, body: str) -> None:
    program = checkout / "bin" / "python3"
    program.write_text(f"#!/usr/bin/env bash\n{body}\n")
    program.chmod(0o755)


@pytest.mark.parametrize("script", ["run", "test"])
def test_without_python_the_line_that_installs_it_is_printed(checkout: Path, script: str) -> None:
    done = call(checkout, script)
    assert done.returncode == 3
    assert "needs Python 3.11 or newer (found: none)" in done.stderr
    assert "sudo apt-get install -y python3 python3-venv" in done.stderr


@pytest.mark.parametrize("script", ["run", "test"])
def test_an_old_python_is_named(checkout: Path, script: str) -> None:
    pretend_python(checkout, 'case "$2" in *print*) echo 3.9 ;; *) exit 1 ;; esac')
    done = call(checkout, script)
    assert done.returncode == 3
    assert "found: 3.9" in done.stderr


@pytest.mark.parametrize("script", ["run", "test"])
def test_a_python_without_venv_gets_its_line(checkout: Path, script: str) -> None:
    pretend_python(checkout, 'case "$2" in *print*) echo 3.12 ;; *ensurepip*) exit 1 ;; *) exit 0 ;; esac')
    done = call(checkout, script)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].strip() == "sudo apt-get install -y python3.12-venv"


def test_help_needs_nothing(checkout: Path) -> None:
    done = call(checkout, "run", "--help")
    assert done.returncode == 0
    assert "--stop" in done.stdout


def test_an_unknown_option_of_the_test_is_refused() -> None:
    check = load("check")
    with pytest.raises(SystemExit) as stopped:
        check.parse(["--nonsense"])
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("failed", "left_out", "arguments", "code"),
    [
        (0, [], [], 0),
        (1, [], [], 1),
        (0, ["strace: ..."], [], 3),
        (0, ["strace: ..."], ["--allow-missing"], 0),
        (1, ["strace: ..."], ["--allow-missing"], 1),
    ],
)
def test_the_verdict(
    failed: int, left_out: list[str], arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    check = load("check")
    tally = check.Tally(passed=7, failed=failed, skipped=2, left_out=left_out)
    assert check.verdict(tally, check.parse(arguments), 61.0) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"7 passed, {failed} failed, 2 skipped"
    assert ("left out: strace: ..." in lines) == bool(left_out)


def test_pytests_own_count_is_read(tmp_path: Path) -> None:
    check = load("check")
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="10" failures="1" errors="1" skipped="3"/></testsuites>')
    tally = check.Tally()
    check.count_tests(tally, report)
    assert (tally.passed, tally.failed, tally.skipped) == (5, 2, 3)
    check.count_tests(tally, tmp_path / "none.xml")
    assert tally.passed == 5


def test_a_failed_test_is_shown_again_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = load("check")
    report = tmp_path / "report.xml"
    case = '<testcase classname="tests.a" name="test_b"><failure message="m">%s</failure></testcase>'
    text = "\n".join(str(line) for line in range(40))
    report.write_text(f'<testsuite tests="2" failures="1"><testcase name="c"/>{case % text}</testsuite>')
    tally = check.Tally()
    check.count_tests(tally, report)
    assert check.verdict(tally, check.parse([]), 1.0) == 1
    lines = capsys.readouterr().out.splitlines()
    first = lines.index("failed test: tests.a::test_b")
    assert lines[first + 1 : first + 13] == [f"    {line}" for line in range(28, 40)]


def test_a_step_that_fails_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    check = load("check")
    tally = check.Tally()
    assert check.step(tally, "good", ["true"], "Never said.")
    assert not check.step(tally, "bad", ["false"], "Mend it.")
    assert (tally.passed, tally.failed, tally.failures) == (1, 1, ["bad: Mend it."])
    assert "== bad: FAILED. Mend it." in capsys.readouterr().out


def test_missing_programs_are_listed_where_they_cannot_be_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = load("check")
    monkeypatch.setattr(check.shutil, "which", lambda name: None)
    tally = check.Tally()
    check.install_system_packages(tally)
    missing = ["node", "npm", "spin", "gcc", "strace", "tmux"]
    assert [entry.partition(":")[0] for entry in tally.left_out] == missing
    assert "sudo apt-get install -y nodejs npm spin gcc libc6-dev strace tmux" in capsys.readouterr().out


def test_ts_mls_is_left_out_where_node_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    check, setup = load("check"), sys.modules["setup"]
    old = subprocess.CompletedProcess(["node"], 0, stdout="v18.19.0\n")
    monkeypatch.setattr(check.shutil, "which", lambda name: name)
    monkeypatch.setattr(setup.subprocess, "run", lambda *_, **__: old)
    tally = check.Tally()
    check.install_peers(tally)
    assert tally.left_out == [
        "ts-mls: ts-mls needs Node 20 or newer, found v18.19.0; its tests are left out."
    ]


def test_a_changed_lock_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = load("setup")
    locks = {name: tmp_path / f"{name}.txt" for name in ("run", "test")}
    for lock in locks.values():
        lock.write_text("a==1\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(setup, "LOCK_FILES", locks)
    monkeypatch.setattr(setup, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(setup, "VENV_PYTHON", python)
    assert not setup.is_current("run")
    (tmp_path / ".venv" / "amanat-test.stamp").write_text(setup.stamp("test"))
    assert setup.is_current("test")
    assert setup.is_current("run")  # the checks' environment holds what runs
    locks["test"].write_text("a==2\n")
    assert not setup.is_current("test")


def test_a_set_up_that_fails_shows_its_end_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = load("setup")
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    with pytest.raises(setup.SetupError) as caught:
        setup._run(["bash", "-c", "echo no network; exit 1"], tmp_path / "log", "Try again.")
    assert "no network" in str(caught.value)
    assert "Try again." in str(caught.value)
