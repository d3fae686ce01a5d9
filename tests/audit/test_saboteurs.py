"""Every check has been seen to fail: a saboteur breaks its promise, and nothing else in its group."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from clients.audit.claims import load
from clients.audit.model import Group, Verdict
from clients.audit.runner import audit, run_group
from clients.audit.store.snapshot import forget
from clients.audit.target import Target
from clients.replay.disk import strace_works
from support.audit_saboteurs import ROOT, SABOTEURS, Saboteur

TRACED = {"live.files", "live.session-writes-nothing"}
FOLDER = Path(__file__).parent / "saboteurs"


def _load(name: str) -> None:
    spec = importlib.util.spec_from_file_location(f"audit_saboteurs_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


for _name in sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("bad_")):
    _load(_name)


@pytest.fixture(autouse=True)
def fronts_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of the devices import the bad front ends from the tests' folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))


def broken_by(target: Target, group: Group, only: frozenset[str] | None = None) -> set[str]:
    try:
        results = run_group(target, group, lambda line: None, only=only)
    finally:
        forget()
    return {result.claim.id for result in results if result.finding.verdict is Verdict.BROKEN}


def _of(*groups: Group) -> list[object]:
    return [
        pytest.param(saboteur, id=name) for name, saboteur in SABOTEURS.items() if saboteur.group in groups
    ]


@pytest.mark.parametrize("saboteur", _of(Group.SOURCE, Group.STORE, Group.HOST))
def test_a_saboteur_breaks_its_promise_and_no_other(saboteur: Saboteur, tmp_path: Path) -> None:
    target = saboteur.make(tmp_path)
    assert broken_by(target, saboteur.group, saboteur.only) == saboteur.breaks


QUICK = {
    "core-left", "foreign-acks", "open-house", "let-back", "forgetful-stop", "forgetful-kill",  # by the wire
    "noted-frames", "drafts",  # two devices and a line
}  # fmt: skip
"""Live saboteurs that are caught within seconds; the others need two devices and a session of their own."""


def _live(name: str) -> object:
    marks = [pytest.mark.system] if name in QUICK else [pytest.mark.system, pytest.mark.long]
    return pytest.param(SABOTEURS[name], id=name, marks=marks)


@pytest.mark.parametrize(
    "saboteur", [_live(name) for name, one in SABOTEURS.items() if one.group is Group.LIVE]
)
def test_a_live_saboteur_breaks_its_promise(saboteur: Saboteur, tmp_path: Path) -> None:
    if saboteur.breaks & TRACED and not strace_works():
        pytest.skip("strace may not trace here")
    assert broken_by(saboteur.make(tmp_path), Group.LIVE, saboteur.only) == saboteur.breaks


def test_every_check_has_a_saboteur_and_every_saboteur_a_claim() -> None:
    claims = {claim.id for claim in load()}
    caught = {claim for saboteur in SABOTEURS.values() for claim in saboteur.breaks}
    assert claims - caught == set(), "a check that nobody has seen to fail"
    assert caught - claims == set(), "a saboteur of no promise"
    assert len(SABOTEURS) >= 24


@pytest.mark.long
@pytest.mark.parametrize("saboteur", _of(*Group))
def test_all_groups_against_each_saboteur(saboteur: Saboteur, tmp_path: Path) -> None:
    target = saboteur.make(tmp_path)
    try:
        report = audit(target, tuple(Group), lambda line: None)
    finally:
        forget()
    broken = {result.claim.id for result in report.results if result.finding.verdict is Verdict.BROKEN}
    inside = {claim for claim in broken if claim.startswith(f"{saboteur.group.value}.")}
    assert saboteur.breaks <= inside <= saboteur.breaks | saboteur.also
    assert not report.good
