"""Runs the group `live`: the wire probes against one relay, the scene with two devices against another."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from clients.audit.live.judging import JUDGES, needs_of
from clients.audit.live.relays import AuditedRelay
from clients.audit.live.scene import Observed, play
from clients.audit.live.wire_probes import PROBES, run_probes
from clients.audit.model import Claim, Finding, Result, unchecked
from clients.audit.target import Target
from clients.replay.disk import strace_works
from clients.sdk.errors import AmanatError

Say = Callable[[str], None]
ATTEMPTS: Final = 2
"""Of the two devices: whether they come to their end is no promise, and on a busy machine may be chance."""
AGAIN_SECONDS: Final = 150.0
"""Only a failure within these is tried again: an audit ends within ten minutes."""


def run_live(target: Target, claims: Sequence[Claim], say: Say) -> list[Result]:
    """Check the claims of the group, in their order. The probes go on beside the two devices."""
    findings: dict[str, tuple[Finding, float]] = {}
    names = [claim.id for claim in claims]
    scene = [name for name in names if name in JUDGES]
    probes = [name for name in names if name in PROBES]
    with tempfile.TemporaryDirectory(prefix="amanat-audit-live-") as name, ThreadPoolExecutor(1) as beside:
        folder = Path(name)
        probing = beside.submit(_probes, target, folder, probes, say) if probes else None
        if scene:
            findings |= _scene(target, folder, scene, say)
        if probing is not None:
            findings |= probing.result()
    return [_result(claim, *findings[claim.id]) for claim in claims]


def _result(claim: Claim, finding: Finding, seconds: float) -> Result:
    command = f"amanat audit live --claim {claim.id}"
    return Result(claim=claim, finding=finding, command=command, seconds=round(seconds, 2))


def _scene(target: Target, folder: Path, names: list[str], say: Say) -> dict[str, tuple[Finding, float]]:
    begun = time.monotonic()
    needs = needs_of(names, strace=strace_works())
    seen: Observed | None = None
    trouble = ""
    for attempt in range(1, ATTEMPTS + 1):
        place = folder / f"devices-{attempt}"
        place.mkdir()
        relay = AuditedRelay(folder / f"watched-{attempt}", target, traced=needs.strace)
        try:
            seen = asyncio.run(play(target, place, relay, needs, say))
            break
        except* AmanatError as errors:
            trouble = f"The devices of the audit could not do their work. {_first(errors)}"
        except* TimeoutError:
            trouble = "Something did not happen in time between the devices of the audit."
        if attempt == ATTEMPTS or time.monotonic() - begun > AGAIN_SECONDS:
            break
        say(f"live: {trouble} Once more, with new devices")
    seconds = (time.monotonic() - begun) / len(names)
    if seen is None:
        return {name: (unchecked(trouble), seconds) for name in names}
    findings = {}
    for number, name in enumerate(names, start=1):
        say(f"live {number} of {len(names)}: {name}")
        began = time.monotonic()
        finding = JUDGES[name](seen)
        findings[name] = (finding, seconds + time.monotonic() - began)
    return findings


def _first(errors: ExceptionGroup[AmanatError]) -> str:
    """What the first of them says."""
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first.sentence if isinstance(first, AmanatError) else ""


def _probes(target: Target, folder: Path, names: list[str], say: Say) -> dict[str, tuple[Finding, float]]:
    relay = AuditedRelay(folder / "probed", target)
    findings: dict[str, tuple[Finding, float]] = {}
    try:
        relay.prepare()
        asyncio.run(relay.start())
        findings |= run_probes(relay, names, say)
    except AmanatError as error:
        for name in names:
            findings.setdefault(name, (unchecked(error.sentence), 0.0))
    finally:
        asyncio.run(relay.stop())
    return findings
