"""The lock files pin versions and hashes, name no registry, and bring no package called `crypto`."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+)( ;.*)? \\$")
WANTED = re.compile(r"^([a-z0-9-]+)\b(.*)$")

# In two parts each, so that this file does not find itself.
REGISTRIES = ["pypi" + ".org", "python" + "hosted.org", "registry" + ".npmjs", "deb.debian" + ".org"]
MACHINE_PATHS = ["/ro" + "ot/", "/work" + "/", "/tmp/" + "amanat", "/ho" + "me/"]


def locked(name: str) -> dict[str, str]:
    lines = (REQUIREMENTS / name).read_text().splitlines()
    return {match[1]: match[2] for line in lines if (match := LOCKED.match(line))}


def wanted(name: str) -> dict[str, str]:
    lines = (REQUIREMENTS / name).read_text().splitlines()
    return {
        match[1]: match[2].strip()
        for line in lines
        if not line.startswith(("#", "-r")) and (match := WANTED.match(line))
    }


@pytest.mark.parametrize("name", ["run.txt", "test.txt"])
def test_every_line_is_a_pinned_version_or_one_of_its_hashes(name: str) -> None:
    lines = (REQUIREMENTS / name).read_text().splitlines()
    rest = [line for line in lines if line and not line.startswith("#")]
    for line, following in zip(rest, [*rest[1:], ""], strict=True):
        if LOCKED.match(line):
            assert following.startswith("    --hash=sha256:")
        else:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_what_is_wanted_is_locked() -> None:
    assert set(wanted("run.in")) <= set(locked("run.txt"))
    assert set(wanted("run.in")) | set(wanted("test.in")) <= set(locked("test.txt"))


def test_what_the_test_script_calls_is_locked() -> None:
    called = {"ruff", "mypy", "import-linter", "pytest", "pytest-asyncio", "pytest-cov", "hypothesis"}
    assert called <= set(locked("test.txt"))


def test_the_checks_run_on_the_versions_that_people_run() -> None:
    run, test = locked("run.txt"), locked("test.txt")
    assert {name: test.get(name) for name in run} == run


def test_the_project_file_wants_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {
        match[1]: match[2].strip().replace("'", '"')
        for line in project["project"]["dependencies"]
        if (match := WANTED.match(line))
    }
    built_by = {
        match[1]: match[2] for line in project["build-system"]["requires"] if (match := WANTED.match(line))
    }
    assert declared | built_by == wanted("run.in")


def test_no_dependency_brings_our_import_name() -> None:
    """pycrypto and pycryptodome install a package `Crypto`, which is ours on a file system without case."""
    for name in ("run.txt", "test.txt"):
        assert not {"crypto", "pycrypto", "pycryptodome", "keys", "clients", "chatserver"} & set(locked(name))


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture
        found += [f"{path.relative_to(ROOT)}: {word}" for word in REGISTRIES + MACHINE_PATHS if word in text]
    assert found == []
