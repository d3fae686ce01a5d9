"""Probes of a relay by its wire alone: slots, ends, restarts, kills, crashes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.limits import ChannelClass
from clients.audit.live.relays import AuditedRelay
from clients.audit.live.wire_client import Place, WireClient
from clients.audit.model import Finding, broken, holds, judge, unchecked

PATIENCE_SECONDS: Final = 5.0
Probe = Callable[[AuditedRelay], Finding]


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
            and third.hears_cell(again.handle, 1, PATIENCE_SECONDS)
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


def finished(relay: AuditedRelay) -> Finding:
    """Close, acknowledge, try to come back; restart the relay, and try again."""
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
    for when in ("at once", "after a restart"):
        with WireClient(relay.url) as back:
            if not _is_refused(back.attach(place, tokens[0]), ErrorCode.GONE):
                faults.append(f"{when} a former reader was let in")
            if not _is_refused(back.deposit(place), ErrorCode.GONE):
                faults.append(f"{when} a former reader could write")
        if when == "at once":
            asyncio.run(_restart(relay))
    return judge(
        faults,
        "A channel that was ended stays ended, also after a restart.",
        "A channel that was ended takes former readers back.",
    )


def restart(relay: AuditedRelay) -> Finding:
    """A stored and a live cell, then SIGTERM and a new start."""
    return _survives(relay, lambda: asyncio.run(_restart(relay)), live_too=True)


def kill(relay: AuditedRelay) -> Finding:
    """A stored cell, and SIGKILL on the heels of the answer."""

    def murder() -> None:
        relay.end_now(signal.SIGKILL)
        asyncio.run(relay.start())

    return _survives(relay, murder, live_too=False)


async def _restart(relay: AuditedRelay) -> None:
    await relay.stop()
    await relay.start()


def _survives(relay: AuditedRelay, end: Callable[[], None], *, live_too: bool) -> Finding:
    stored, live, token = Place(), Place(cls=ChannelClass.LIVE), os.urandom(32)
    with WireClient(relay.url) as client:
        client.attach(stored, token)
        if live_too:
            client.attach(live, token)
            client.deposit(live)
        answered = client.deposit(stored)
        end()
    if not isinstance(answered, f.Stored):
        return broken("The relay took no cell.")
    faults = []
    with WireClient(relay.url) as client:
        again = client.attach(stored, token)
        if not isinstance(again, f.Attached) or not client.hears_cell(again.handle, 1, PATIENCE_SECONDS):
            faults.append("a cell that was answered as stored is lost")
        if live_too:
            anew = client.attach(live, token)
            if not isinstance(anew, f.Attached) or anew.head:
                faults.append("a live channel survived the restart")
    return judge(
        faults,
        "What was stored is there after the relay's end, and what was live is not."
        if live_too
        else "What was answered as stored survives the relay's sudden death.",
        "The relay's end loses what was stored, or keeps what was live.",
    )


def core_none(relay: AuditedRelay) -> Finding:
    """Make it crash, with cores allowed from outside; look at how it ended and into its folder."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    if not pattern.exists():
        return unchecked("This system does not say what it does with cores.")
    status = relay.end_now(signal.SIGABRT)
    left = [path.name for path in relay.config.parent.rglob("*core*") if path.is_file()]
    asyncio.run(relay.start())
    if os.WCOREDUMP(status) or left:
        return broken(
            "A crash of the relay leaves a picture of its memory.", f"{len(left)} core files in its folder"
        )
    return holds(
        "A crash of the relay leaves nothing.", "ended by SIGABRT with cores allowed from outside; none came"
    )


PROBES: Final[dict[str, Probe]] = {
    "live.own-slot": own_slot,
    "live.no-further-reader": no_further_reader,
    "live.finished-stays-finished": finished,
    "live.restart": restart,
    "live.kill": kill,
    "live.core-none": core_none,
}
