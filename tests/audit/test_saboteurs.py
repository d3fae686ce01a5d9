"""Every check has been seen to fail: a saboteur breaks its promises, and nothing else in its group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.against import HONEST, audited, expected, hindered, judged, load_saboteurs, names_with
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
ALL_AT_ONCE = 2
"""Whole audits, which look into the source and the store as well."""
PARTS = 8
load_saboteurs()


def _of(*groups: Group) -> list[str]:
    return [name for name, saboteur in SABOTEURS.items() if saboteur.group in groups]


def against(names: Iterable[str], *options: str) -> dict[str, dict[str, Any]]:
    """What `amanat audit` finds where these saboteurs are at work."""
    done = subprocess.run(
        [sys.executable, "tests/audit/against.py", *options, *names],
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


def check_all(names: list[str], *options: str) -> None:
    """Every one broke exactly what it declares, and nothing else could not be checked."""
    told = against(names, *options)
    assert set(told) == set(names)
    assert {name: one["why"] for name, one in told.items() if not one["right"]} == {}


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
    check_all(names, "--at-once", str(AT_ONCE))
    if len(names) <= len(_of(Group.LIVE)):
        pytest.skip("strace may not trace here: the saboteurs that only it can see were left out")


@pytest.mark.long
@pytest.mark.system
@pytest.mark.parametrize("part", range(PARTS))
def test_all_groups_against_each_saboteur(part: int) -> None:
    if not strace_works():
        pytest.skip("strace may not trace here")
    check_all([HONEST, *SABOTEURS][part::PARTS], "--all", "--at-once", str(ALL_AT_ONCE))


def _never_seen_to_fail(saboteurs: Iterable[Saboteur]) -> set[str]:
    """Checks that no saboteur is made for; what a saboteur breaks besides does not count."""
    for group in Group:
        register(group)
    return {*CHECKS, *JUDGES, *PROBES} - {claim for saboteur in saboteurs for claim in saboteur.breaks}


def test_every_check_has_a_saboteur_and_every_saboteur_a_claim() -> None:
    claims = {claim.id for claim in load()}
    assert _never_seen_to_fail(SABOTEURS.values()) == set()
    for saboteur in SABOTEURS.values():
        assert saboteur.breaks
        assert saboteur.breaks | saboteur.also | saboteur.hinders <= claims
    assert len(SABOTEURS) >= 24


@pytest.mark.parametrize("claim", [claim.id for claim in load()])
def test_a_check_that_loses_its_saboteurs_is_found(claim: str) -> None:
    others = [saboteur for saboteur in SABOTEURS.values() if claim not in saboteur.breaks]
    assert claim in _never_seen_to_fail(others)


def _plant(monkeypatch: pytest.MonkeyPatch, planted: Saboteur) -> bool:
    monkeypatch.setitem(SABOTEURS, planted.name, planted)
    right: bool = judged(planted.name, everything=False)["right"]
    return right


def test_a_saboteur_that_nothing_catches_or_that_breaks_more_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swap_on, plain_disk = SABOTEURS["swap-on"], SABOTEURS["plain-disk"]
    no_swap = frozenset({"host.no-swap"})
    assert _plant(monkeypatch, replace(swap_on, name="as it is"))
    harmless = sys.modules["audit_saboteurs_hosts"].good_host
    assert not _plant(monkeypatch, replace(swap_on, name="harmless", make=harmless))
    assert not _plant(monkeypatch, replace(plain_disk, name="other", breaks=no_swap))
    assert not _plant(monkeypatch, replace(swap_on, name="less", also=frozenset({"host.no-core"})))
    assert not _plant(monkeypatch, replace(swap_on, name="more", breaks=no_swap | {"host.no-core"}))


def test_what_cannot_be_checked_and_must_be_is_found() -> None:
    assert hindered(None, ["live.kill", "live.files"]) == {"live.kill"}
    assert hindered(replace(SABOTEURS["swap-on"], hinders=frozenset({"live.kill"})), ["live.kill"]) == set()


def test_each_saboteur_is_of_one_group() -> None:
    def groups(saboteur: Saboteur) -> set[str]:
        return {claim.partition(".")[0] for claim in saboteur.breaks}

    assert [name for name, one in SABOTEURS.items() if len(groups(one)) != 1] == []
