"""What `amanat-relay check-config` says of the machine: shown beside what the audit saw itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Final

from clients.audit.report.plain import identifying
from clients.audit.target import Target

CLAIMS: Final = {
    "swap": "host.no-swap",
    "core-dumps": "host.no-core",
    "proxy-logs": "host.no-access-log",
    "volume": "host.disk-encrypted",
    "reach": "host.ports",
    "permissions": "host.permissions",
}
"""Id of a finding of check-config → the claim beside which it stands."""
ANSWER_SECONDS: Final = 60.0


def told_by_the_relay(target: Target) -> dict[str, list[str]]:
    """Claim → what check-config says to it; nothing without settings, or for a machine that is a fixture."""
    if target.root != Path("/") or target.config is None:
        return {}
    try:
        done = subprocess.run(
            [*target.relay, "--config", str(target.config), "check-config", "--json"],
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
            env={**os.environ, "PYTHONPATH": str(target.tree), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        findings = json.loads(done.stdout)["findings"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError):
        return {}
    told: dict[str, list[str]] = {}
    for one in findings:
        claim, sentence = CLAIMS.get(one.get("id")), str(one.get("sentence", ""))
        if claim is not None and sentence and not identifying(sentence):
            told.setdefault(claim, []).append(f"amanat-relay check-config: {sentence}")
    return told
