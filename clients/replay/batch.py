"""A handful of conversations at once, against one relay: over their lines, in live sessions, or both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from clients.replay.conversations import Conversation
from clients.replay.curtain import Curtain
from clients.replay.leaks import WINDOW_BYTES
from clients.replay.live import LiveSession, Stage, live_session, run_in_session
from clients.replay.outcome import Outcome, Store, judge
from clients.replay.parties import Pair, fresh_pair, payloads_of_short_texts, run_over_line
from clients.replay.relay_process import RelayProcess
from clients.sdk.errors import AmanatError

SHORT_TEXT_BYTES: Final = WINDOW_BYTES - 1


@dataclass(slots=True)
class Gathered:
    """What the batches leave behind for the search and the report."""

    outcomes: list[Outcome] = field(default_factory=list)
    payloads: list[tuple[int, bytes]] = field(default_factory=list, repr=False)
    """(conversation, encoding) of texts too short to be searched by themselves."""
    line_names: set[str] = field(default_factory=set, repr=False)
    disk_files: dict[str, int] = field(default_factory=dict)
    disk_method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all batches of a replay share."""

    relay: RelayProcess
    stage: Stage
    folder: Path
    relay_url: str
    time_scale: float
    stores: frozenset[Store]
    use_strace: bool
    say: Callable[[str], None]


async def run_batch(conversations: Sequence[Conversation], setting: Setting, gathered: Gathered) -> None:
    """Replay some conversations at once and add what came of it to `gathered`."""
    live = Store.LIVE in setting.stores
    curtain = Curtain(len(conversations) if live else 0)
    async with asyncio.TaskGroup() as group:
        for conversation in conversations:
            group.create_task(_Play(conversation, setting, gathered, curtain).run())
        if live:
            watch = await curtain.conduct(
                setting.relay, setting.folder, use_strace=setting.use_strace, say=setting.say
            )
            gathered.disk_method = watch.method
            for name, size in watch.written.items():
                gathered.disk_files[name] = gathered.disk_files.get(name, 0) + size


class _Play:
    """One conversation from the making of its devices to their last acknowledgement."""

    def __init__(
        self, conversation: Conversation, setting: Setting, gathered: Gathered, curtain: Curtain
    ) -> None:
        self._conversation = conversation
        self._setting = setting
        self._gathered = gathered
        self._curtain = curtain
        self._wanted = set(setting.stores)
        self._on_stage = False

    async def run(self) -> None:
        """Play it; what goes wrong becomes the trouble of this conversation's outcome, not of the others."""
        trouble = ""
        try:
            async with fresh_pair(
                self._setting.folder / str(self._conversation.id),
                relay_url=self._setting.relay_url,
                time_scale=self._setting.time_scale,
            ) as pair:
                await self._with(pair)
        except* AmanatError as errors:
            trouble = _first_sentence(errors)
        except* TimeoutError:
            trouble = "something did not happen in time"
        finally:
            if Store.LIVE in self._setting.stores and not self._on_stage:
                self._curtain.stay_away()
        if not trouble:
            return
        for store in tuple(self._wanted):  # what was not reached
            self._add(judge(self._conversation, store=store, received={}, trouble=trouble))
        if not self._wanted:  # it came after the last word
            place = self._place()
            self._gathered.outcomes[place] = replace(self._gathered.outcomes[place], trouble=trouble)

    async def _with(self, pair: Pair) -> None:
        self._gathered.line_names.update(pair.names())
        if Store.STORED in self._wanted:
            self._add(await _timed(run_over_line(self._conversation, pair)))
            self._note_short(payloads_of_short_texts(pair, SHORT_TEXT_BYTES))
        if Store.LIVE in self._wanted:
            async with live_session(pair, self._setting.stage, self._conversation.id) as session:
                await pair.settle()
                self._on_stage = True
                async with self._curtain.playing(session.pids):
                    self._add(await _timed(run_in_session(self._conversation, session)))
                self._note_short(_short_records(session))
        await pair.settle()

    def _add(self, outcome: Outcome) -> None:
        self._wanted.discard(outcome.store)
        self._gathered.outcomes.append(outcome)

    def _place(self) -> int:
        """Where this conversation's newest outcome stands."""
        ids = [outcome.conversation for outcome in self._gathered.outcomes]
        return len(ids) - 1 - ids[::-1].index(self._conversation.id)

    def _note_short(self, encodings: Sequence[bytes]) -> None:
        self._gathered.payloads += [(self._conversation.id, encoding) for encoding in encodings]


def _short_records(session: LiveSession) -> list[bytes]:
    return [
        record
        for seat in session.seats.values()
        for text, record in zip(seat.arrived, seat.short_records, strict=True)
        if len(text.encode()) <= SHORT_TEXT_BYTES
    ]


def _first_sentence(errors: BaseExceptionGroup[AmanatError]) -> str:
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first.sentence if isinstance(first, AmanatError) else "it failed"


async def _timed(work: Awaitable[Outcome]) -> Outcome:
    begun = time.monotonic()
    outcome = await work
    return replace(outcome, seconds=round(time.monotonic() - begun, 1))
