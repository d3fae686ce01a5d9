"""Probes of a relay by its wire alone: slots, ends, restarts, kills, crashes.

A probe that must see how the relay ends and begins again prepares, yields, and goes on with the wait status
when that has happened: those that want the same kind of end share one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from websockets.exceptions import WebSocketException

from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.limits import ChannelClass
from clients.audit.live.patience import Patience
from clients.audit.live.relays import AuditedRelay
from clients.audit.live.wire_client import Place, WireClient
from clients.audit.model import Finding, broken, holds, judge, unchecked

CELL_SECONDS: Final = 5.0
"""In which a cell that is there comes, after the relay has answered that its reader is attached."""
Steps = Generator[None, int, Finding]


class End(Enum):
    """How a relay ends for a probe, in the order in which it does."""

    NONE = None
    STOP = signal.SIGTERM
    KILL = signal.SIGKILL
    ABORT = signal.SIGABRT


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What is asked of a relay, up to its end and after it."""

    steps: Callable[[AuditedRelay], Steps]
    end: End = End.NONE


def _is_refused(answer: f.ServerFrame, *codes: ErrorCode) -> bool:
    return isinstance(answer, f.Refused) and answer.code in codes


def own_slot(relay: AuditedRelay) -> Finding:
    """One reader acknowledges everything twice; the other comes later and gets its cell."""
    place, mine, other = Place(), os.urandom(32), os.urandom(32)
    with WireClient(relay.url) as first, WireClient(relay.url) as second:
        attached = first.attach(place, mine)
        if not isinstance(attached, f.Attached) or not isinstance(second.attach(place, other), f.Attached):
            return broken("The relay gave no place in a new channel.")
        first.deposit(place)
        for _ in range(2):
            first.ack(attached.handle, 1)
    with WireClient(relay.url) as third:
        again = third.attach(place, other)
        kept = (
            isinstance(again, f.Attached)
            and again.acked == 0
            and third.hears_cell(again.handle, 1, Patience(CELL_SECONDS))
        )
    return judge(
        [] if kept else ["the other reader did not get its cell"],
        "One reader's acknowledgements delete nothing that another has not fetched.",
        "One reader's acknowledgements delete what another has not fetched.",
    )


def no_further_reader(relay: AuditedRelay) -> Finding:
    """A third token in a channel of two readers, stored and live."""
    faults = []
    for cls in ChannelClass:
        place = Place(cls=cls)
        with WireClient(relay.url) as one, WireClient(relay.url) as two, WireClient(relay.url) as stranger:
            one.attach(place, os.urandom(32))
            two.attach(place, os.urandom(32))
            if not _is_refused(stranger.attach(place, os.urandom(32)), ErrorCode.FULL):
                faults.append(f"a third reader was let into a {cls.name.lower()} channel of two")
    return judge(faults, "There is no place for a third reader.", "A stranger gets a place as a reader.")


def finished(relay: AuditedRelay) -> Steps:
    """Close, acknowledge, try to come back; and again after a restart."""
    place, tokens = Place(), (os.urandom(32), os.urandom(32))
    with WireClient(relay.url) as one, WireClient(relay.url) as two:
        handles = []
        for client, token in zip((one, two), tokens, strict=True):
            answer = client.attach(place, token)
            if not isinstance(answer, f.Attached):
                return broken("The relay gave no place in a new channel.")
            handles.append(answer.handle)
        one.deposit(place, close=True)
        late = one.deposit(place)
        for client, handle in zip((one, two), handles, strict=True):
            client.ack(handle, 1)
    faults = [] if _is_refused(late, ErrorCode.CLOSED) else ["a cell was taken after the closing one"]
    faults += _let_in(relay, place, tokens[0], "at once")
    yield
    faults += _let_in(relay, place, tokens[0], "after a restart")
    return judge(
        faults,
        "A channel that was ended stays ended, also after a restart.",
        "A channel that was ended takes former readers back.",
    )


def _let_in(relay: AuditedRelay, place: Place, token: bytes, when: str) -> list[str]:
    faults = []
    with WireClient(relay.url) as back:
        if not _is_refused(back.attach(place, token), ErrorCode.GONE):
            faults.append(f"{when} a former reader was let in")
        if not _is_refused(back.deposit(place), ErrorCode.GONE):
            faults.append(f"{when} a former reader could write")
    return faults


def restart(relay: AuditedRelay) -> Steps:
    """A stored and a live cell, then SIGTERM and a new start."""
    return (
        yield from _survives(
            relay,
            live_too=True,
            good="What was stored is there after the relay's end, and what was live is not.",
        )
    )


def kill(relay: AuditedRelay) -> Steps:
    """A stored cell, and SIGKILL on the heels of the answer."""
    return (
        yield from _survives(
            relay, live_too=False, good="What was answered as stored survives the relay's sudden death."
        )
    )


def _survives(relay: AuditedRelay, *, live_too: bool, good: str) -> Steps:
    stored, live, token = Place(), Place(cls=ChannelClass.LIVE), os.urandom(32)
    with WireClient(relay.url) as client:
        client.attach(stored, token)
        if live_too:
            client.attach(live, token)
            client.deposit(live)
        answered = client.deposit(stored)
        yield
    if not isinstance(answered, f.Stored):
        return broken("The relay took no cell.")
    faults = []
    with WireClient(relay.url) as client:
        again = client.attach(stored, token)
        if not isinstance(again, f.Attached) or not client.hears_cell(
            again.handle, 1, Patience(CELL_SECONDS)
        ):
            faults.append("a cell that was answered as stored is lost")
        if live_too:
            anew = client.attach(live, token)
            if not isinstance(anew, f.Attached) or anew.head:
                faults.append("a live channel survived the restart")
    return judge(faults, good, "The relay's end loses what was stored, or keeps what was live.")


def core_none(relay: AuditedRelay) -> Steps:
    """Make it crash, with cores allowed from outside; look at how it ended and into its folder."""
    if not Path("/proc/sys/kernel/core_pattern").exists():
        return unchecked("This system does not say what it does with cores.")
    status = yield
    left = [path.name for path in relay.config.parent.rglob("*core*") if path.is_file()]
    if os.WCOREDUMP(status) or left:
        return broken(
            "A crash of the relay leaves a picture of its memory.", f"{len(left)} core files in its folder"
        )
    return holds(
        "A crash of the relay leaves nothing.", "ended by SIGABRT with cores allowed from outside; none came"
    )


def _at_once(look: Callable[[AuditedRelay], Finding]) -> Callable[[AuditedRelay], Steps]:
    """What needs no end of the relay."""

    def steps(relay: AuditedRelay) -> Steps:
        yield from ()
        return look(relay)

    return steps


PROBES: Final[dict[str, Probe]] = {
    "live.own-slot": Probe(steps=_at_once(own_slot)),
    "live.no-further-reader": Probe(steps=_at_once(no_further_reader)),
    "live.finished-stays-finished": Probe(steps=finished, end=End.STOP),
    "live.restart": Probe(steps=restart, end=End.STOP),
    "live.kill": Probe(steps=kill, end=End.KILL),
    "live.core-none": Probe(steps=core_none, end=End.ABORT),
}


def run_probes(
    relay: AuditedRelay, names: Sequence[str], say: Callable[[str], None]
) -> dict[str, tuple[Finding, float]]:
    """Ask a relay that runs; for each claim what was found, and in how many seconds.

    Raises:
        RelayFailed: the relay does not start again.
    """
    findings: dict[str, tuple[Finding, float]] = {}
    for end in End:
        waiting: dict[str, Steps] = {}
        begun = time.monotonic()
        for name in [name for name in names if PROBES[name].end is end]:
            say(f"live, by the wire: {name}")
            steps = PROBES[name].steps(relay)
            if (finding := _guarded(steps, None)) is not None:
                findings[name] = finding, time.monotonic() - begun
            else:
                waiting[name] = steps
        if not waiting or end.value is None:
            continue
        status = relay.end_now(end.value) if end is not End.STOP else asyncio.run(relay.stop())
        if end is not End.ABORT:  # the last
            asyncio.run(relay.start())
        for name, steps in waiting.items():
            finding = _guarded(steps, status) or unchecked("This check did not come to its end.")
            findings[name] = finding, time.monotonic() - begun
    return findings


def _guarded(steps: Steps, status: int | None) -> Finding | None:
    """One step of a probe: what it found, or None where it waits for the relay's end."""
    try:
        next(steps) if status is None else steps.send(status)
    except StopIteration as done:
        finding: Finding = done.value
        return finding
    except (TimeoutError, OSError, EOFError, WebSocketException):
        return unchecked("The relay gave no answer in time.")
    return None
