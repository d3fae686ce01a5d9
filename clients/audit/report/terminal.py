"""The summary for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from clients.audit.model import AuditReport, Result, Verdict

MARKS: Final = {Verdict.HOLDS: "holds  ", Verdict.BROKEN: "BROKEN ", Verdict.UNCHECKED: "not here"}
COLUMNS: Final = 100


def summary(report: AuditReport) -> Iterator[str]:
    """Line by line: each claim with its verdict, the reasons for what does not hold, then the count."""
    yield f"Audited: {report.subject}; version {report.version}"
    group = None
    for result in report.results:
        if result.claim.group is not group:
            group = result.claim.group
            yield ""
            yield group.value
        yield from _lines(result)
    yield ""
    counts = ", ".join(f"{report.count(verdict)} {verdict.value}" for verdict in Verdict)
    yield f"{counts}; {report.seconds:.0f} seconds"
    for result in report.results:
        if not result.acceptable and result.finding.verdict is Verdict.UNCHECKED:
            yield f"{result.claim.id} must be checkable here: this audit is not complete."
    yield (
        "Every promise that can be checked here holds."
        if report.good
        else "Not every promise that must hold here holds."
    )


def _lines(result: Result) -> Iterator[str]:
    mark = MARKS[result.finding.verdict]
    yield from textwrap.wrap(
        result.claim.sentence, COLUMNS, initial_indent=f"  {mark:<9}", subsequent_indent=" " * 11
    )
    if result.finding.verdict is Verdict.HOLDS:
        return
    for text in (result.finding.reason, *result.finding.evidence, f"again: {result.command}"):
        yield from textwrap.wrap(text, COLUMNS, initial_indent=" " * 11 + "- ", subsequent_indent=" " * 13)
