"""Foreign program parts: pinned by version and hash, and in these versions installed."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Final

from clients.audit.model import Finding, broken, judge, unchecked
from clients.audit.registry import check
from clients.audit.source.trees import cone, foreign, modules
from clients.audit.target import Target

LOCK: Final = Path("requirements") / "run.txt"
PINNED: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?P<marker>\s*;[^\\]*)?\s*\\$")
HASH: Final = re.compile(r"^\s+--hash=sha256:[0-9a-f]{64}(\s*\\)?$")
PROVIDED_BY: Final = {"nacl": "pynacl"}
"""Import name → distribution, where they differ."""
PEERS_OF_TESTS: Final = ("clients.bench", "clients.conformance")


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _locked(path: Path) -> tuple[dict[str, str], list[str]]:
    """(name → version, faults of the file)."""
    versions: dict[str, str] = {}
    faults = []
    current, hashes = "", 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if HASH.match(line):
            hashes += 1
            continue
        if current and not hashes:
            faults.append(f"{current} has no hash")
        match = PINNED.match(line)
        if match is None:
            faults.append(f"line {number} is neither a pinned version nor a hash")
            current = ""
            continue
        current, hashes = match["name"], 0
        versions[_key(match["name"])] = match["version"]
    if current and not hashes:
        faults.append(f"{current} has no hash")
    return versions, faults


@check("source.pinned")
def pinned(target: Target) -> Finding:
    """Each line of the lock file, and each foreign package that our modules import."""
    path = target.tree / LOCK
    if not path.is_file():
        return unchecked("There is no lock file here: this is an installed program, not its source tree.")
    versions, faults = _locked(path)
    found = modules(target.tree)
    imported = foreign(found, set(found)) - sys.stdlib_module_names
    missing = sorted(
        name
        for name in imported
        if _key(PROVIDED_BY.get(name, name)) not in versions and name not in {"", "__future__"}
    )
    faults += [f"{name} is imported and not pinned" for name in missing]
    return judge(
        faults,
        "Every foreign part is pinned by its version and the hashes of its files.",
        "Foreign parts are not pinned by version and hash.",
        f"{len(versions)} foreign parts are pinned; our modules import {len(imported)} of them",
    )


@check("source.installed")
def installed(target: Target) -> Finding:
    """The versions installed in the interpreter that runs this audit, against the lock file."""
    path = target.tree / LOCK
    if not path.is_file():
        return unchecked("There is no lock file here: this is an installed program, not its source tree.")
    versions, _ = _locked(path)
    found = modules(target.tree)
    starts = [name for name in found if name.startswith(("chatserver", "clients"))]
    used = foreign(found, cone(found, *starts))
    wanted = {_key(PROVIDED_BY.get(name, name)) for name in used} & set(versions)
    faults = []
    for name in sorted(wanted):
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{name} is not installed")
            continue
        if here != versions[name]:
            faults.append(f"{name} is installed in another version than the one pinned")
    if not wanted:
        return broken("The lock file names none of the foreign parts that are used.")
    return judge(
        faults,
        "What is installed here are the versions that the lock file pins.",
        "Other versions are installed than the lock file pins.",
        f"{len(wanted)} foreign parts compared",
    )
