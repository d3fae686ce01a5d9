"""Saboteurs of `amanat audit`: each makes a target that breaks one promise, and says which."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clients.audit.model import Group
from clients.audit.target import Target

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[[Path], Target]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saboteur:
    """Breaks `breaks`; `make(folder)` gives the target that does."""

    name: str
    what: str
    breaks: frozenset[str]
    make: Make
    also: frozenset[str] = frozenset()
    """Broken as well, in its own group and others: the same deed seen from elsewhere."""
    hinders: frozenset[str] = frozenset()
    """What cannot be checked beside this deed."""

    @property
    def group(self) -> Group:
        (group,) = {Group(claim.partition(".")[0]) for claim in self.breaks}
        return group


SABOTEURS: dict[str, Saboteur] = {}


def saboteur(
    name: str,
    *breaks: str,
    what: str,
    also: frozenset[str] = frozenset(),
    hinders: frozenset[str] = frozenset(),
) -> Callable[[Make], Make]:
    """Register what makes a target."""

    def register(make: Make) -> Make:
        assert name not in SABOTEURS
        SABOTEURS[name] = Saboteur(
            name=name, what=what, breaks=frozenset(breaks), make=make, also=also, hinders=hinders
        )
        return make

    return register


def copied_tree(folder: Path) -> Path:
    """The packages, the lock files and the mutants, to be spoilt."""
    tree = folder / "tree"
    for package in ("chatserver", "clients", "crypto", "keys"):
        shutil.copytree(ROOT / package, tree / package)  # with its compiled modules
    shutil.copytree(ROOT / "requirements", tree / "requirements")
    shutil.copytree(ROOT / "tests" / "mutants", tree / "tests" / "mutants")
    return tree


def insert(
    tree: Path, module: str, line: str, *, after: str = "from __future__ import annotations\n"
) -> None:
    """Put a line behind another one, once."""
    path = tree / module
    source = path.read_text()
    assert after in source
    path.write_text(source.replace(after, after + line + "\n", 1))


def replace(tree: Path, module: str, old: str, new: str) -> None:
    """Put a text in the place of another."""
    path = tree / module
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new, 1))
