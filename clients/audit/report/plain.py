"""The report as JSON, and back: what is signed and compared."""

from __future__ import annotations

import getpass
import json
import re
import socket
from pathlib import Path
from typing import Any, Final

from clients.audit.model import AuditReport, Figure, Verdict
from clients.sdk.errors import UsageError

FORMAT: Final = "amanat-audit-1"
_ADDRESS: Final = re.compile(r"\b(?!127\.0\.0\.1\b)\d{1,3}(?:\.\d{1,3}){3}\b")
_LONG_HEX: Final = re.compile(r"\b[0-9a-fA-F]{32,}\b")


def as_data(report: AuditReport) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "format": FORMAT,
        "begun": report.begun,
        "version": report.version,
        "revision": report.revision,
        "subject": report.subject,
        "groups": [group.value for group in report.groups],
        "good": report.good,
        "counts": {verdict.value: report.count(verdict) for verdict in Verdict},
        "seconds": report.seconds,
        "results": [
            {
                "claim": result.claim.id,
                "sentence": result.claim.sentence,
                "audience": result.claim.audience,
                "adversary": result.claim.adversary,
                "verdict": result.finding.verdict.value,
                "acceptable": result.acceptable,
                "reason": result.finding.reason,
                "evidence": list(result.finding.evidence),
                "how": result.claim.how,
                "cannot_see": result.claim.blind,
                "may_be_unchecked": result.claim.may_be_unchecked,
                "command": result.command,
                "seconds": result.seconds,
                "figures": [_figure(figure) for figure in result.finding.figures],
                "asvs": list(result.claim.asvs),
                "hipaa": list(result.claim.hipaa),
                "gdpr": list(result.claim.gdpr),
            }
            for result in report.results
        ],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "title": figure.title,
        "x": figure.x,
        "y": figure.y,
        "kind": figure.kind,
        "note": figure.note,
        "series": {name: [list(point) for point in points] for name, points in figure.series.items()},
    }


def as_json(report: AuditReport) -> str:
    """The report as one JSON object."""
    return json.dumps(as_data(report), ensure_ascii=False, indent=1) + "\n"


def read(path: Path) -> dict[str, Any]:
    """A JSON report from a file.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UsageError("The report cannot be read.") from None
    except ValueError:
        raise UsageError("The report is no JSON.") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UsageError("This is no report of `amanat audit --json`.")
    return data


def identifying(text: str) -> list[str]:
    """Kinds of things in a report's text that could point to a person or a machine; there should be none."""
    found = []
    if _ADDRESS.search(text):
        found.append("a network address")
    if _LONG_HEX.search(re.sub(r'"revision": "[0-9a-f]{40}\+?"', "", text)):
        found.append("a long identifier")
    if str(Path.home()) != "/" and f"{Path.home()}/" in text:
        found.append("a home folder")
    for what, name in (("the machine's name", socket.gethostname()), ("a user's name", _user())):
        if len(name) > 3 and name != "root" and re.search(rf"\b{re.escape(name)}\b", text):
            found.append(what)
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
