"""The report as OSCAL assessment results, version 1.2.1 (https://pages.nist.gov/OSCAL/).

Each claim becomes an observation with its evidence, and a finding whose target says `satisfied` or
`not-satisfied`; what could not be checked here is an observation without a finding, and a remark says so.
Identifiers are derived from the report (UUID version 5), so that the same report gives the same document.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any, Final

from clients.audit.model import Verdict

VERSION: Final = "1.2.1"
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://amanat.invalid/ns/audit")
STATES: Final = {Verdict.HOLDS.value: "satisfied", Verdict.BROKEN.value: "not-satisfied"}


def document(report: dict[str, Any]) -> str:
    """The report (plain data, as in JSON) as a document of the assessment-results model."""
    seed = json.dumps(report, sort_keys=True)

    def ident(*parts: str) -> str:
        return str(uuid.uuid5(NAMESPACE, "\n".join((seed, *parts))))

    moment = report["begun"].replace("Z", ":00+00:00") if report["begun"].count(":") == 1 else report["begun"]
    results = report["results"]
    findings = [_finding(result, ident) for result in results if result["verdict"] in STATES]
    outcome: dict[str, Any] = {
        "uuid": ident("result"),
        "title": "amanat audit",
        "description": f"Promises of Amanat {report['version']}, checked on {report['subject']}.",
        "start": moment,
        "reviewed-controls": {
            "control-selections": [{"description": "every promise of docs/claims.toml", "include-all": {}}]
        },
        "observations": [_observation(result, ident, moment) for result in results],
    }
    if findings:
        outcome["findings"] = findings
    told = {
        "assessment-results": {
            "uuid": ident("document"),
            "metadata": {
                "title": "Amanat: audit of its promises",
                "last-modified": moment,
                "version": report["version"],
                "oscal-version": VERSION,
            },
            "import-ap": {"href": "docs/AUDIT.md", "remarks": "the guide for auditors is the plan"},
            "results": [outcome],
        }
    }
    return json.dumps(told, ensure_ascii=False, indent=1) + "\n"


def _observation(result: dict[str, Any], ident: Callable[..., str], moment: str) -> dict[str, Any]:
    seen = [{"description": line} for line in (result["reason"], *result["evidence"]) if line.strip()]
    return {
        "uuid": ident("observation", result["claim"]),
        "title": result["claim"],
        "description": result["sentence"],
        "methods": ["TEST"] if result["claim"].startswith("live.") else ["EXAMINE"],
        "collected": moment,
        "relevant-evidence": seen,
        "remarks": f"{result['verdict']}. Again: {result['command']}. Not seen: {result['cannot_see']}",
    }


def _finding(result: dict[str, Any], ident: Callable[..., str]) -> dict[str, Any]:
    return {
        "uuid": ident("finding", result["claim"]),
        "title": result["sentence"],
        "description": result["reason"],
        "target": {
            "type": "objective-id",
            "target-id": result["claim"],
            "status": {"state": STATES[result["verdict"]]},
        },
        "related-observations": [{"observation-uuid": ident("observation", result["claim"])}],
    }
