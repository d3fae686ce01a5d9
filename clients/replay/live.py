"""A conversation in a live session: the replay drives both children over a Unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from clients.replay import session_front
from clients.replay.conversations import Conversation
from clients.replay.outcome import Outcome, Store, judge
from clients.replay.parties import Pair, Party
from clients.sdk.errors import AmanatError
from clients.sdk.model import Role
from clients.sdk.session.front import EndReason, Link
from clients.sdk.session.handle import SessionHandle
from crypto.codec import Writer

ESTABLISH_SECONDS: Final = 180.0
TURN_SECONDS: Final = 90.0
"""Longest wait for one text: a long one takes a cell, that is a second, for each 1,772 bytes."""
END_SECONDS: Final = 120.0
RECORD_OF_A_TEXT: Final = 1
"""Kind of a text in the session's stream."""


@dataclass(slots=True)
class Seat:
    """One side of a live session, as its child tells of it."""

    pid: int = 0
    link: str = ""
    """The newest state of the session's link: connected once the other side has been heard."""
    arrived: list[str] = field(default_factory=list, repr=False)
    short_records: list[bytes] = field(default_factory=list, repr=False)
    """Encodings of received texts too short to be searched by themselves."""
    ended: str = ""
    gone: bool = False
    writer: asyncio.StreamWriter | None = field(default=None, repr=False)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    def say(self, **fields: object) -> None:
        """Give the child an order."""
        if self.writer is None:
            raise AmanatError("The live session's child process is not connected.")
        self.writer.write(json.dumps(fields).encode() + b"\n")

    async def wait(
        self, *, arrived: int = 0, connected: bool = False, ended: bool = False, seconds: float
    ) -> None:
        """Wait until all that is asked has happened.

        Raises:
            TimeoutError: not in time.
            AmanatError: the child is gone, or the session over, before it happened.
        """

        def reached() -> bool:
            here = not connected or self.link == Link.CONNECTED.value
            return here and len(self.arrived) >= arrived and (bool(self.ended) or not ended)

        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: reached() or self.gone or bool(self.ended))
        if not reached():
            raise AmanatError(f"The live session was over too soon ({self.ended or 'its process ended'}).")


class Stage:
    """Where the children of all sessions of a replay report: `async with Stage(folder) as stage`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "stage"
        self._server: asyncio.Server | None = None
        self._seats: dict[str, Seat] = {}
        self.secrets: set[bytes] = set()
        self.identifiers: set[bytes] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(
            self._child, str(self._path), limit=session_front.LINE_LIMIT_BYTES
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    def options(self, side: str) -> dict[str, str]:
        """What the front end of that side needs to know."""
        return {"socket": str(self._path), "side": side}

    def seat(self, side: str) -> Seat:
        """The seat of that side, whether its child has come already or not."""
        return self._seats.setdefault(side, Seat())

    async def _child(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seat: Seat | None = None
        try:
            while line := await reader.readline():
                told: dict[str, Any] = json.loads(line)
                if "hello" in told:
                    seat = self.seat(told["hello"])
                    seat.writer = writer
                if seat is not None:
                    async with seat.changed:
                        self._note(seat, told)
                        seat.changed.notify_all()
        finally:
            if seat is not None:
                async with seat.changed:
                    seat.gone = True
                    seat.changed.notify_all()
            writer.close()

    def _note(self, seat: Seat, told: dict[str, Any]) -> None:
        seat.pid = told.get("pid", seat.pid)
        seat.link = told.get("link", seat.link)
        if "received" in told:
            text = told["received"]
            seat.arrived.append(text)
            record = Writer().u8(RECORD_OF_A_TEXT).u64(told["utc"]).opaque(text.encode())
            seat.short_records.append(record.to_bytes())
        if "ended" in told:
            seat.ended = told["ended"]
        self.secrets |= {bytes.fromhex(value) for value in told.get("secrets", ())}
        self.identifiers |= {bytes.fromhex(value) for value in told.get("identifiers", ())}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSession:
    """A session that both sides hold."""

    seats: dict[Role, Seat]
    handles: dict[Role, SessionHandle]

    @property
    def pids(self) -> list[int]:
        """The children."""
        return [seat.pid for seat in self.seats.values()]


@asynccontextmanager
async def live_session(pair: Pair, stage: Stage, number: int) -> AsyncIterator[LiveSession]:
    """Bring a session about on the pair's line; leaving the block ends what still runs."""
    async with (
        pair.therapist.device.session(pair.therapist.line) as therapist,
        pair.client.device.session(pair.client.line) as client,
    ):
        handles = {Role.THERAPIST: therapist, Role.CLIENT: client}
        seats = {role: stage.seat(f"{number}/{role.value}") for role in Role}

        async def start(party: Party) -> None:
            await handles[party.role].start(
                front=session_front.NAME,
                options=stage.options(f"{number}/{party.role.value}"),
                timeout_seconds=ESTABLISH_SECONDS,
            )
            await seats[party.role].wait(connected=True, seconds=ESTABLISH_SECONDS)

        async with asyncio.TaskGroup() as group:
            for party in pair.both:
                group.create_task(start(party))
        yield LiveSession(seats=seats, handles=handles)


async def run_in_session(conversation: Conversation, session: LiveSession) -> Outcome:
    """Say every turn, then END; both sides must say that they ended it in order."""
    due = dict.fromkeys(Role, 0)
    trouble = ""
    try:
        for turn in conversation.turns:
            await session.seats[turn.speaker].wait(arrived=due[turn.speaker], seconds=TURN_SECONDS)
            session.seats[turn.speaker].say(send=turn.text)
            due[turn.speaker.other] += 1
        for role, count in due.items():
            await session.seats[role].wait(arrived=count, seconds=TURN_SECONDS)
        session.seats[Role.THERAPIST].say(end=True)
        for seat in session.seats.values():
            await seat.wait(ended=True, seconds=END_SECONDS)
        for handle in session.handles.values():
            await handle.wait(END_SECONDS)
    except TimeoutError:
        trouble = "a text or the end did not arrive in time"
    except AmanatError as error:
        trouble = error.sentence
    reasons = {seat.ended for seat in session.seats.values()}
    if not trouble and reasons != {EndReason.ENDED.value}:
        trouble = f"the session ended otherwise: {', '.join(sorted(reasons))}"
    received = {role: seat.arrived for role, seat in session.seats.items()}
    return judge(conversation, store=Store.LIVE, received=received, trouble=trouble)
