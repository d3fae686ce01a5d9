"""Reads the packages of a source tree without running them: modules, what each imports, what each calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

OURS: Final = ("chatserver", "clients", "crypto", "keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module of ours."""

    name: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """What a relative import is relative to."""
        return self.name.rpartition(".")[0]


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def modules(tree: Path, *packages: str) -> dict[str, Module]:
    """Every module of the packages named, by its dotted name; `__init__` under the package's own."""
    found = {}
    for package in packages or OURS:
        for path in sorted((tree / package).rglob("*.py")):
            parts = path.relative_to(tree).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name=name, tree=_parsed(path.read_text(encoding="utf-8")))
    return found


_imports: Final[dict[int, tuple[ast.Module, tuple[str, ...]]]] = {}


def imports(module: Module) -> tuple[str, ...]:
    """Every name that a module imports anywhere in it, functions included, as a dotted name."""
    known = _imports.get(id(module.tree))
    if known is None:
        known = _imports[id(module.tree)] = module.tree, tuple(_read_imports(module))
    return known[1]


def _read_imports(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                base = source or ""
                if level:
                    above = module.name.split(".")[: -level or None]
                    base = ".".join([*above, *([source] if source else [])])
                yield base
                yield from (f"{base}.{alias.name}" for alias in names)
            case _:
                pass


def cone(found: dict[str, Module], *starts: str) -> set[str]:
    """All modules of ours that the starting ones reach by imports, themselves included."""
    reached: set[str] = set()
    waiting = [name for name in starts if name in found]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for imported in imports(found[name]):
            parts = imported.split(".")
            names = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
            waiting += [known for known in names if known in found and known not in reached]
    return reached


def foreign(found: dict[str, Module], names: set[str]) -> set[str]:
    """Top-level packages that are not ours and that these modules import."""
    return {
        imported.partition(".")[0] for name in names for imported in imports(found[name]) if imported
    } - set(OURS)


def dotted(node: ast.expr) -> str:
    """The dotted name of what is called, as far as it is one: `a.b.c`; otherwise what ends it."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            before = dotted(value)
            return f"{before}.{name}" if before else name
        case _:
            return ""


def calls(module: Module) -> Iterator[tuple[str, ast.Call, str]]:
    """(dotted name, call, innermost function that it stands in) of each call of a module."""

    def walk(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.Call, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from walk(child, child.name)
                continue
            if isinstance(child, ast.Call):
                yield dotted(child.func), child, inside
            yield from walk(child, inside)

    yield from walk(module.tree, "")
