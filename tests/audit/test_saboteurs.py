"""Every check has been seen to fail: a saboteur breaks its promises, and nothing else in its group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from audit.against import HONEST, audited, expected, load_saboteurs, names_with
from clients.audit.claims import load
from clients.audit.live.judging import JUDGES
from clients.audit.live.wire_probes import PROBES
from clients.audit.model import Group, Verdict
from clients.audit.registry import CHECKS
from clients.audit.runner import register
from clients.replay.disk import strace_works
from support.audit_saboteurs import ROOT, SABOTEURS, Saboteur

TRACED = {"live.files", "live.session-writes-nothing"}
"""Claims that can be judged with strace only."""
AT_ONCE = 6
"""Live audits, which wait most of their time."""
PARTS = 8
load_saboteurs()


def _of(*groups: Group) -> list[str]:
    return [name for name, saboteur in SABOTEURS.items() if saboteur.group in groups]


def against(names: Iterable[str], *options: str) -> dict[str, dict[str, Any]]:
    """What `amanat audit` finds where these saboteurs are at work."""
    done = subprocess.run(
        [sys.executable, "tests/audit/against.py", *options, "--at-once", str(AT_ONCE), *names],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        timeout=3_000,
        check=False,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode in (0, 1), done.stderr
    return {one["name"]: one for one in told}


def check_all(names: list[str], *options: str, everything: bool) -> None:
    """Every one broke exactly what it declares; what was not checked needs strace, which is not here."""
    told = against(names, *options)
    wanted = {name: expected(SABOTEURS.get(name), everything=everything) for name in names}
    found = {name: set(one["broken"]) for name, one in told.items()}
    assert found == wanted, {
        name: one["why"] for name, one in told.items() if found[name] != wanted.get(name)
    }


@pytest.mark.parametrize("name", _of(Group.SOURCE, Group.STORE, Group.HOST))
def test_a_saboteur_breaks_its_promise_and_no_other(name: str, tmp_path: Path) -> None:
    saboteur = SABOTEURS[name]
    results = audited(saboteur.make(tmp_path), (saboteur.group,))
    assert set(names_with(results, Verdict.BROKEN)) == expected(saboteur, everything=False)


def _live() -> list[str]:
    """Live saboteurs whose deeds can be seen here."""
    seen = strace_works()
    return [name for name in _of(Group.LIVE) if seen or not SABOTEURS[name].breaks & TRACED]


@pytest.mark.system
def test_each_live_saboteur_breaks_its_promises_and_an_honest_relay_none() -> None:
    names = [HONEST, *_live()]
    check_all(names, everything=False)
    if len(names) <= len(_of(Group.LIVE)):
        pytest.skip("strace may not trace here: the saboteurs that only it can see were left out")


@pytest.mark.long
@pytest.mark.system
@pytest.mark.parametrize("part", range(PARTS))
def test_all_groups_against_each_saboteur(part: int) -> None:
    if not strace_works():
        pytest.skip("strace may not trace here")
    check_all(list(SABOTEURS)[part::PARTS], "--all", everything=True)


def test_every_check_has_a_saboteur_and_every_saboteur_a_claim() -> None:
    claims = {claim.id for claim in load()}
    for group in Group:
        register(group)
    checks = {*CHECKS, *JUDGES, *PROBES}
    own = {claim for saboteur in SABOTEURS.values() for claim in saboteur.breaks}
    assert checks - own == set(), "a check that nobody has seen to fail"
    assert own - claims == set(), "a saboteur of no promise"
    assert {claim for one in SABOTEURS.values() for claim in one.also} <= claims
    assert len(SABOTEURS) >= 24


def test_each_saboteur_is_of_one_group() -> None:
    def groups(saboteur: Saboteur) -> set[str]:
        return {claim.partition(".")[0] for claim in saboteur.breaks}

    assert [name for name, one in SABOTEURS.items() if len(groups(one)) != 1] == []
