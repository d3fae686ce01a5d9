"""Passive clients of ours over groups that ts-mls 1.6.4 makes: what the official vectors do not have.

External joins, new members who propose themselves, external PSKs, new extensions, a ReInit, a branch.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from clients.conformance.kinds.passive_client import check
from support import peer_ts

SCENARIOS = {"externalJoins", "proposals", "reinitialisation", "branch"}
SECONDS = 300


def cases_of(code: int) -> dict[str, Any]:
    reason = peer_ts.why_not()
    if reason is not None:
        pytest.skip(reason)
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, "passive.js", str(code)], cwd=peer_ts.HERE, capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    cases: dict[str, Any] = json.loads(done.stdout)
    return cases


@pytest.mark.parametrize(
    "code", [1, 0xF002, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)]
)
def test_passive_clients_follow_what_ts_mls_does(code: int) -> None:
    cases = cases_of(code)
    assert set(cases) == SCENARIOS
    for case in cases.values():
        check(case)
