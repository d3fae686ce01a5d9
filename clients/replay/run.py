"""A whole replay: a relay of its own, the conversations in batches, then the search and the report."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.replay import recorder
from clients.replay.batch import Gathered, Setting, run_batch
from clients.replay.capture import Capture, RecordingFront
from clients.replay.conversations import Conversation
from clients.replay.disk import strace_works
from clients.replay.leaks import Kind, LeakSearch, Needle
from clients.replay.live import Stage
from clients.replay.outcome import Report, Store
from clients.replay.relay_process import RelayProcess, StoreWatch

BATCH: Final = 12
"""Conversations at once: two devices and, in a live session, two processes each."""

CONTROL_VALUES: Final = 64
"""Enough to see that the search is not blind; each found one costs a pass over the frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a replay is asked to do."""

    conversations: Sequence[Conversation]
    stores: frozenset[Store]
    time_scale: float
    at_once: int = BATCH


async def replay(options: Options, say: Callable[[str], None]) -> Report:
    """Replay, search, and report. `say` gets a line of progress now and then.

    Raises:
        AmanatError: The relay could not be started.
    """
    begun = time.monotonic()
    recorded = recorder.install()
    gathered = Gathered()
    with tempfile.TemporaryDirectory(prefix="amanat-replay-") as name:
        folder = Path(name)
        relay = RelayProcess(folder / "relay")
        async with Stage(folder) as stage:
            async with relay, RecordingFront(relay.url) as front:
                watch = StoreWatch(relay)
                watch.look()
                before = watch.data() + relay.log.read_bytes()
                setting = Setting(
                    relay=relay,
                    stage=stage,
                    folder=folder,
                    relay_url=front.url,
                    time_scale=options.time_scale,
                    stores=options.stores,
                    use_strace=Store.LIVE in options.stores and await asyncio.to_thread(strace_works),
                    say=say,
                )
                async with _looking_on(watch):
                    await _all_batches(options, setting, gathered)
                    await relay.wait_quiet()
                    left = relay.left()
                watch.look()
                capture = front.capture
            watch.look()  # once more, after the relay's end
            say("searching what the relay saw ...")
            search = _needles(options.conversations, gathered)
            for value in (*recorded.secrets, *stage.secrets):
                search.add(Needle(kind=Kind.SECRET, conversation=0, value=value))
            for value in _private_identifiers(recorded.identifiers | stage.identifiers, capture):
                search.add(Needle(kind=Kind.IDENTIFIER, conversation=0, value=value))
            already_there = search.ignore_what_is_in(before)
            places = {"files": watch.data(), "log": relay.log.read_bytes(), "frames": bytes(capture.data)}
            control = _control(capture, places["frames"])
            findings = [
                finding
                for place, data in places.items()
                for finding in search.search(
                    place, data, but=capture.address_secrets if place == "frames" else ()
                )
            ]
    live = Store.LIVE in options.stores
    return Report(
        time_scale=options.time_scale,
        outcomes=gathered.outcomes,
        cells_by_size=dict(capture.cells),
        unreadable_frames=capture.unreadable,
        findings=findings,
        searched={place: len(data) for place, data in places.items()},
        needles={kind.value: search.counts[kind] for kind in Kind},
        too_short=search.too_short,
        already_there=already_there,
        control=control,
        left=left,
        live_disk_bytes=sum(gathered.disk_files.values()) if live else None,
        live_disk_method=gathered.disk_method,
        live_disk_files=gathered.disk_files,
        seconds=round(time.monotonic() - begun, 1),
    )


async def _all_batches(options: Options, setting: Setting, gathered: Gathered) -> None:
    """Conversations of about the same length together, so that a batch does not wait for its longest."""
    by_length = sorted(options.conversations, key=lambda conversation: len(conversation.turns))
    for start in range(0, len(by_length), options.at_once):
        batch = by_length[start : start + options.at_once]
        setting.say(f"conversations {start + 1} to {start + len(batch)} of {len(by_length)} ...")
        await run_batch(batch, setting, gathered)
    gathered.outcomes.sort(key=lambda outcome: (outcome.conversation, outcome.store.value))


@asynccontextmanager
async def _looking_on(watch: StoreWatch) -> AsyncIterator[None]:
    """Look at the relay's files once a second for the length of the block."""
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(watch.watch())
        yield
        looking.cancel()


def _needles(conversations: Sequence[Conversation], gathered: Gathered) -> LeakSearch:
    search = LeakSearch()
    for conversation in conversations:
        for turn in conversation.turns:
            search.add_text(conversation.id, turn.text)
    for number, payload in gathered.payloads:
        search.add(Needle(kind=Kind.PAYLOAD, conversation=number, value=payload))
    for name in gathered.line_names:
        search.add(Needle(kind=Kind.IDENTIFIER, conversation=0, value=name.encode()))
    return search


def _control(capture: Capture, frames: bytes) -> tuple[int, int]:
    """The search on what must be found: addresses and tokens that devices told the relay. (sought, found)."""
    search = LeakSearch()
    sought = sorted(value for value in capture.address_secrets if value)[:CONTROL_VALUES]
    for value in sought:
        search.add(Needle(kind=Kind.SECRET, conversation=0, value=value))
    return search.counts[Kind.SECRET], len(search.found_values(frames))


def _private_identifiers(identifiers: set[bytes], capture: Capture) -> Iterator[bytes]:
    """All but what therapists publish."""
    for value in identifiers:
        if not any(value in bundle for bundle in capture.published):
            yield value
