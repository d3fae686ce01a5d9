"""Runs vector files and counts, per file and suite, what passed, failed and was skipped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from clients.conformance.case import Mismatch
from clients.conformance.registry import Check, recognise
from crypto.suites import SUITES

NO_SUITE: Final = "none"
"""Key for cases that name no cipher suite."""

MAX_REASONS: Final = 20
"""Failures and skips described per file; all are counted."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """How many cases went which way."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: Counts) -> None:
        """Add another's numbers to these."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def to_json(self) -> dict[str, int]:
        """For ``--json``."""
        return {"passed": self.passed, "failed": self.failed, "skipped": self.skipped}


@dataclass(slots=True, kw_only=True)
class FileReport:
    """Result of one file.

    Attributes:
        path: As given.
        kind: Name of its kind; None if it was not recognised.
        suites: Counts by cipher suite number as text, or :data:`NO_SUITE`.
        reasons: What failed or was skipped, and why.
    """

    path: str
    kind: str | None = None
    suites: dict[str, Counts] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def total(self) -> Counts:
        """Sum over the suites."""
        total = Counts()
        for counts in self.suites.values():
            total.add(counts)
        return total

    def count(self, suite: str) -> Counts:
        """The counter of a suite."""
        return self.suites.setdefault(suite, Counts())

    def fail_whole(self, reason: str) -> None:
        """Count the file itself as one failure."""
        self.count(NO_SUITE).failed += 1
        self.explain(reason)

    def explain(self, reason: str) -> None:
        """Note a reason once, up to :data:`MAX_REASONS` of them."""
        if len(self.reasons) < MAX_REASONS and reason not in self.reasons:
            self.reasons.append(reason)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "file": self.path,
            "kind": self.kind,
            **self.total.to_json(),
            "suites": {suite: counts.to_json() for suite, counts in sorted(self.suites.items())},
            "reasons": self.reasons,
        }


@dataclass(slots=True, kw_only=True)
class Report:
    """Results of all files."""

    files: list[FileReport] = field(default_factory=list)

    @property
    def total(self) -> Counts:
        """Sum over the files."""
        total = Counts()
        for report in self.files:
            total.add(report.total)
        return total

    def ok(self, *, allow_skips: bool) -> bool:
        """Whether something passed, nothing failed, and nothing was skipped unless that is allowed."""
        total = self.total
        if total.failed or (total.skipped and not allow_skips):
            return False
        return total.passed > 0 or total.skipped > 0

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.total.to_json(), "files": [report.to_json() for report in self.files]}


def run(paths: Iterable[str | Path]) -> Report:
    """Run vector files; a folder stands for the ``*.json`` files in it.

    Every defect of a file (missing, not JSON, of no known kind, without cases) is a failure in the report.
    """
    return Report(files=[run_file(path) for path in _expand(paths)])


def _expand(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(path.glob("*.json"))
        else:
            yield path


def run_file(path: Path) -> FileReport:
    """Run one file."""
    report = FileReport(path=str(path))
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        report.fail_whole(f"cannot be read: {error.strerror}")
        return report
    except (ValueError, RecursionError):
        report.fail_whole("is not JSON")
        return report
    cases = content if isinstance(content, list) else [content]
    kind = recognise(cases, path.stem)
    if kind is None:
        report.fail_whole("is of no known kind")
        return report
    report.kind = kind.name
    if not cases:
        report.fail_whole("has no cases")
    check = kind.load()
    for index, case in enumerate(cases):
        _run_case(report, check, index, case)
    return report


def _run_case(report: FileReport, check: Check | None, index: int, case: Any) -> None:
    code = case.get("cipher_suite") if isinstance(case, dict) else None
    counts = report.count(NO_SUITE if code is None else str(code))
    if check is None:
        counts.skipped += 1
        report.explain(f"skipped: {report.kind} is not checked in this version")
        return
    if isinstance(code, int) and code not in SUITES:
        counts.skipped += 1
        report.explain(f"skipped: cipher suite {code} is not implemented")
        return
    try:
        check(case)
    except Mismatch as error:
        counts.failed += 1
        report.explain(f"case {index}: {error}")
    except Exception as error:  # noqa: BLE001 - whatever a check raises, the case failed and the others go on
        counts.failed += 1
        report.explain(f"case {index}: {type(error).__name__}: {error}")
    else:
        counts.passed += 1
