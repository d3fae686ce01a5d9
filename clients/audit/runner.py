"""Runs the checks of the groups asked for, with progress, and makes the report."""

from __future__ import annotations

import datetime as dt
import importlib
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from clients.audit.claims import load
from clients.audit.host.advice import told_by_the_relay
from clients.audit.model import AuditReport, Claim, Finding, Group, Result, unchecked
from clients.audit.registry import of_group
from clients.audit.target import Target

Say = Callable[[str], None]

MODULES: Final = {
    Group.SOURCE: ("cones", "wire", "relay_text", "locks", "rules"),
    Group.STORE: ("checks",),
    Group.HOST: ("checks",),
}
"""Where the checks of a group register themselves."""
ORDER: Final = (Group.SOURCE, Group.STORE, Group.HOST, Group.LIVE)


def register(group: Group) -> None:
    """Load the checks of a group."""
    for name in MODULES.get(group, ()):
        importlib.import_module(f"clients.audit.{group.value}.{name}")


def audit(
    target: Target, groups: Sequence[Group], say: Say, *, only: frozenset[str] | None = None
) -> AuditReport:
    """Check every claim of the groups.

    Args:
        target: what to look at.
        groups: which groups, in any order.
        say: gets a line of progress now and then.
        only: ids of claims; the live checks then do only what these need. None for all.
    """
    begun = time.monotonic()
    hour = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:00Z")
    results: list[Result] = []
    for group in ORDER:
        if group in groups:
            results += run_group(target, group, say, only=only)
    return AuditReport(
        begun=hour,
        version=_version(),
        revision=_revision(target.tree),
        subject=target.subject,
        groups=tuple(group for group in ORDER if group in groups),
        results=tuple(results),
        seconds=round(time.monotonic() - begun, 1),
    )


def run_group(target: Target, group: Group, say: Say, *, only: frozenset[str] | None = None) -> list[Result]:
    """Check the claims of one group, in the order of the claims."""
    claims = [claim for claim in load() if claim.group is group and (only is None or claim.id in only)]
    if group is Group.LIVE:
        from clients.audit.live.group import run_live

        return run_live(target, claims, say)
    register(group)
    checks = of_group(group)
    advice = told_by_the_relay(target) if group is Group.HOST else {}
    results = []
    for number, claim in enumerate(claims, start=1):
        say(f"{group.value} {number} of {len(claims)}: {claim.id}")
        began = time.monotonic()
        finding = _guarded(lambda run=checks[claim.id]: run(target))  # type: ignore[misc]  # a default binds the loop's value
        finding = replace(finding, evidence=(*finding.evidence, *advice.get(claim.id, ())))
        results.append(result_of(claim, finding, time.monotonic() - began))
    return results


def result_of(claim: Claim, finding: Finding, seconds: float) -> Result:
    """A claim with its finding and the command that shows it again."""
    command = f"amanat audit {claim.group.value} --claim {claim.id}"
    return Result(claim=claim, finding=finding, command=command, seconds=round(seconds, 2))


def _guarded(run: Callable[[], Finding]) -> Finding:
    """A check that fails has not looked: it never passes for one that found nothing."""
    try:
        return run()
    except (OSError, ValueError, sqlite3.Error, subprocess.SubprocessError) as error:
        return unchecked(f"The check itself failed ({type(error).__name__}).")


def _version() -> str:
    try:
        return version("amanat")
    except PackageNotFoundError:
        return "not installed"


def _revision(tree: Path) -> str:
    """The commit of a checkout, with `+` where files differ from it; empty elsewhere."""
    if not (tree / ".git").exists():
        return ""
    try:
        commit = subprocess.run(
            ["git", "-C", str(tree), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(tree), "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed else "")
