"""docs/VALIDATION.md names every rule by which ``crypto`` refuses a peer's data, its module and its test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEDGER = ROOT / "docs" / "VALIDATION.md"
ROW = re.compile(r"^\| `([\w.-]+)` \| (.+?) \| (.+?) \| (.+?) \|$")


def literals(node: ast.AST) -> Iterator[str]:
    """The strings that an expression can be."""
    return (
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def rules_in_code() -> dict[str, set[str]]:
    """Rule to modules: arguments of ValidationError, and of the helpers that pass a rule on to it."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "crypto").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in {"ValidationError", "check_certificate"}:
                for rule in (literal for argument in node.args for literal in literals(argument)):
                    found.setdefault(rule, set()).add(str(path.relative_to(ROOT)))
    found.setdefault("R11.generation-used", set()).add("crypto/errors.py")
    return found


def rows() -> dict[str, tuple[str, str]]:
    """Rule to module and test files, as the ledger says."""
    matches = [ROW.match(line) for line in LEDGER.read_text().splitlines()]
    listed = [match.groups() for match in matches if match is not None]
    assert len({row[0] for row in listed}) == len(listed), "a rule stands there twice"
    return {rule: (module, tests) for rule, _, module, tests in listed}


def paths(cell: str) -> set[str]:
    return set(re.findall(r"[\w/]+\.py", cell))


def test_every_rule_in_the_code_stands_in_the_ledger_and_no_other() -> None:
    assert set(rows()) == set(rules_in_code())


def test_the_ledger_names_the_modules_that_enforce_a_rule() -> None:
    code = rules_in_code()
    assert {rule: paths(module) for rule, (module, _) in rows().items()} == code


def test_the_ledger_names_test_files_in_which_the_rule_stands() -> None:
    for rule, (_, tests) in rows().items():
        named = paths(tests)
        assert named, f"{rule} has no test"
        for path in named:
            text = (ROOT / path).read_text().replace("\\", "")
            assert rule in text, f"{path} does not name {rule}"


DEMAND = re.compile(r"^\| ([\d.]+|pq) \| (.+?) \| (.+?) \| (.+?) \|$")
REFERENCE = re.compile(r"`([\w/]+\.py)::([\w.]+)`")
SECTIONS = {"7.3", "8", "10", "12", "13", "pq"}


def demands() -> list[tuple[str, str, str]]:
    """Section, what enforces it, and what shows it."""
    matches = [DEMAND.match(line) for line in LEDGER.read_text().splitlines()]
    return [(match[1], match[3], match[4]) for match in matches if match is not None]


def defined(path: str) -> set[str]:
    """Names of a module's functions and classes, and of their methods after a dot."""
    names: set[str] = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return names


def test_every_section_is_covered() -> None:
    present = {section for section, _, _ in demands()}
    assert all(any(have == want or have.startswith(f"{want}.") for have in present) for want in SECTIONS), (
        present
    )


def test_every_reference_of_the_sections_table_resolves() -> None:
    rules = set(rows())
    for section, enforced, shown in demands():
        for path, name in REFERENCE.findall(enforced + shown):
            assert name in defined(path), f"{section}: {path} has no {name}"
        for rule in re.findall(r"`([\w-]+\.[\w-]+|[PR]\d+)`", enforced):
            assert rule in rules, f"{section}: no rule {rule}"
        assert REFERENCE.search(shown) or shown.startswith("see "), f"{section}: nothing shows it"
        assert all(path.startswith("tests/") for path, _ in REFERENCE.findall(shown)), section
