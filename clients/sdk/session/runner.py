"""Runs a session machine on a real clock and a real connection, and is the front end's `SessionPort`.

Lives in the child process only. One runner serves a whole session; a peer that lost it and comes back (S2)
brings a new group, and with it a new machine, under the same runner and the same front end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.limits import ChannelClass
from clients.sdk.clock import steady_seconds
from clients.sdk.connection import Connection
from clients.sdk.errors import NotARelay, RelayUnreachable
from clients.sdk.model import Role
from clients.sdk.relay_link import RelayLink
from clients.sdk.session.control import ResultInfo
from clients.sdk.session.events import (
    Attached,
    AttachLive,
    AttachRefused,
    CellArrived,
    Connected,
    DepositAnswered,
    DepositLive,
    Disconnected,
    Effect,
    Emit,
    Expired,
    HandOver,
    NetworkEvent,
    Over,
    OwnCellArrived,
    Tick,
)
from clients.sdk.session.front import (
    Ended,
    EndReason,
    KeepChanged,
    Link,
    LinkChanged,
    PeerReturned,
    SessionEvent,
    TextDelivered,
)
from clients.sdk.session.machine import SessionCounts, SessionMachine
from crypto.errors import StateError
from crypto.group import Group

ATTACH_AGAIN_SECONDS: Final = 2.0
MAX_EVENTS: Final = 8_192
"""Events that a front end may leave unread; more end the session, since memory must not grow."""
MAX_COMMANDS: Final = 1_024


class SessionRunner:
    """See the module's docstring; `SessionPort` for front ends, `LinkOwner` for the connection.

    Args:
        role: Own role.
        relay_url: Where the channel is.
        peer_name: For the front end.
        session_seconds: Planned length.
        options: For the front end.
        report: Called with what the front end reports.
        heard: Called with True when the peer is heard (again), with False when it has fallen silent.
        rng: Source of randomness.
        utc: UTC seconds.
    """

    def __init__(
        self,
        *,
        role: Role,
        relay_url: str,
        peer_name: str,
        session_seconds: int,
        options: Mapping[str, str],
        report: Callable[[str, str], None],
        heard: Callable[[bool], None],
        rng: Callable[[int], bytes],
        utc: Callable[[], float],
    ) -> None:
        self._role = role
        self._peer_name = peer_name
        self._session_seconds = session_seconds
        self._options = MappingProxyType(dict(options))
        self._report = report
        self._tell_heard = heard
        self._rng = rng
        self._utc = utc
        self._link = RelayLink(relay_url, self, rng=rng)
        self._machine: SessionMachine | None = None
        self._handle: int | None = None
        self._attach: AttachLive | None = None
        self._attaching = False
        self._events: asyncio.Queue[SessionEvent] = asyncio.Queue(MAX_EVENTS)
        self._commands: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue(MAX_COMMANDS)
        self._over = asyncio.Event()
        self._reason = EndReason.NOT_JOINED
        self._earlier = SessionCounts()
        self._text_base = 0
        self._last_text = 0
        self._began_at: float | None = None
        self._kept: HandOver | None = None

    # -- SessionPort

    @property
    def role(self) -> Role:
        """See `SessionPort`."""
        return self._role

    @property
    def peer_name(self) -> str:
        """See `SessionPort`."""
        return self._peer_name

    @property
    def session_seconds(self) -> int:
        """See `SessionPort`."""
        return self._session_seconds

    @property
    def elapsed_seconds(self) -> float:
        """See `SessionPort`."""
        return 0.0 if self._began_at is None else steady_seconds() - self._began_at

    @property
    def link(self) -> Link:
        """See `SessionPort`."""
        return Link.CONNECTING if self._machine is None else self._machine.link

    @property
    def options(self) -> Mapping[str, str]:
        """See `SessionPort`."""
        return self._options

    async def events(self) -> AsyncIterator[SessionEvent]:
        """See `SessionPort`."""
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, Ended):
                return

    async def commands(self) -> AsyncIterator[tuple[str, str]]:
        """See `SessionPort`."""
        while (command := await self._commands.get()) is not None:
            yield command

    def send(self, text: str) -> int:
        """See `SessionPort`."""
        machine = self._require()
        number = machine.send_text(text, utc_seconds=int(self._utc()))
        self._last_text = self._text_base + number
        return self._last_text

    def set_typing(self, typing: bool) -> None:  # noqa: FBT001 - as SessionPort
        """See `SessionPort`."""
        if self._machine is not None:
            self._machine.set_typing(typing=typing)

    def keep(self, wish: bool) -> None:  # noqa: FBT001 - as SessionPort
        """See `SessionPort`."""
        if self._machine is not None:
            self._carry_out(self._machine.keep(wish=wish, utc_seconds=int(self._utc())))

    def end(self) -> None:
        """See `SessionPort`."""
        if self._machine is not None:
            self._machine.end(utc_seconds=int(self._utc()))

    def panic(self) -> None:
        """See `SessionPort`."""
        self.stop(EndReason.PANIC)

    def report(self, kind: str, value: str) -> None:
        """See `SessionPort`."""
        self._report(kind, value)

    # -- the child's side

    @property
    def heard(self) -> bool:
        """Whether the peer was heard in the present group."""
        return self._machine is not None and self._machine.heard

    @property
    def over(self) -> asyncio.Event:
        """Set when the session is over and everything is wiped."""
        return self._over

    def command(self, kind: str, value: str) -> None:
        """Pass on what the parent sent for the front end; beyond `MAX_COMMANDS` unread ones it is dropped."""
        if not self._commands.full():
            self._commands.put_nowait((kind, value))

    def begin(self, group: Group) -> None:
        """Go on in this group: at the start, and whenever the peer came back (S2)."""
        before, self._machine = self._machine, None
        if before is not None:
            self._retire(before)
        self._machine = SessionMachine(group, rng=self._rng, now=steady_seconds())
        if self._link.connection is not None:
            self._feed(Connected())

    def stop(self, reason: EndReason) -> None:
        """Wipe and leave at once."""
        if self._machine is not None:
            self._carry_out(self._machine.stop(reason, steady_seconds()))
        else:
            self._finish(reason)

    def take_kept(self) -> HandOver | None:
        """What both people agreed to keep, once, after a session that ended in order; else None."""
        kept, self._kept = self._kept, None
        return kept

    def result(self) -> ResultInfo:
        """Numbers of the whole session."""
        counts = [self._earlier] + ([] if self._machine is None else [self._machine.counts])
        seconds = self.elapsed_seconds
        return ResultInfo(
            reason=self._reason,
            texts_delivered=sum(c.texts_delivered for c in counts),
            texts_received=sum(c.texts_received for c in counts),
            milliseconds=int(seconds * 1_000),
            cells_sent=sum(c.cells_sent for c in counts),
            cells_received=sum(c.cells_received for c in counts),
        )

    async def run(self) -> None:
        """Keep the connection and the rhythm until the session is over."""
        async with asyncio.TaskGroup() as group:
            link = group.create_task(self._link.run())
            rhythm = group.create_task(self._rhythm())
            await self._over.wait()
            connection = self._link.connection
            if connection is not None:
                # The last cells (DONE) shall still leave; the relay's answers are of no interest.
                await asyncio.sleep(0.1)
            link.cancel()
            rhythm.cancel()

    # -- LinkOwner

    async def connected(self, connection: Connection) -> None:  # noqa: ARG002 - part of LinkOwner
        """See `LinkOwner`."""
        self._feed(Connected())
        while True:
            await asyncio.sleep(ATTACH_AGAIN_SECONDS)
            if self._handle is None and self._attach is not None and not self._attaching:
                self._carry_out([self._attach])

    def disconnected(self, why: RelayUnreachable | NotARelay) -> None:  # noqa: ARG002 - part of LinkOwner
        """See `LinkOwner`."""
        self._handle = None
        self._attach = None
        self._attaching = False
        self._feed(Disconnected())

    def frame(self, frame: f.ServerFrame, asked: f.ClientFrame | None) -> None:
        """See `LinkOwner`."""
        if isinstance(asked, f.Attach):
            self._attaching = False
        match frame, asked:
            case f.Attached(), f.Attach():
                if self._attach is not None and asked.k == self._attach.k:
                    self._handle = frame.handle
                    self._feed(Attached(incarnation=frame.incarnation, head=frame.head))
            case f.Refused(), f.Attach():
                if frame.code == ErrorCode.FULL and self._attach is not None and asked.k == self._attach.k:
                    self._feed(AttachRefused())
            case ((f.Stored() | f.Refused()), f.Deposit()):
                self._feed(DepositAnswered())
            case f.Cell(), _ if frame.handle == self._handle:
                self._feed(CellArrived(seq=frame.seq, body=frame.body))
            case f.OwnCell(), _ if frame.handle == self._handle:
                self._feed(OwnCellArrived(seq=frame.seq, digest=frame.digest))
            case f.Expired(), _ if frame.handle == self._handle:
                self._feed(Expired(first=frame.first, last=frame.last))
            case f.Superseded(), _ if frame.handle == self._handle:
                self._link.reconnect()
            case _:
                pass

    # -- inside

    async def _rhythm(self) -> None:
        while True:
            machine = self._machine
            now = steady_seconds()
            due = now + 0.2 if machine is None else machine.next_wakeup()
            await asyncio.sleep(max(0.0, due - now))
            self._feed(Tick())

    def _feed(self, event: NetworkEvent) -> None:
        if self._machine is not None:
            self._carry_out(self._machine.handle(event, steady_seconds()))

    def _carry_out(self, effects: list[Effect]) -> None:
        connection = self._link.connection
        for effect in effects:
            match effect:
                case AttachLive():
                    self._attach = effect
                    self._send_attach(effect)
                case DepositLive():
                    if connection is None or not connection.try_send(
                        f.Deposit(
                            request=connection.next_request(),
                            cls=ChannelClass.LIVE,
                            readers=effect.readers,
                            k=effect.k,
                            deposit_id=effect.deposit_id,
                            close=False,
                            body=effect.body,
                        )
                    ):
                        self._feed(DepositAnswered())
                case Emit():
                    self._emit(effect.event)
                case HandOver():
                    self._kept = effect
                case Over():
                    self._finish(effect.reason)

    def _send_attach(self, effect: AttachLive) -> None:
        connection = self._link.connection
        if connection is None:
            return
        frame = f.Attach(
            request=connection.next_request(),
            cls=ChannelClass.LIVE,
            readers=effect.readers,
            k=effect.k,
            token=effect.token,
            incarnation=effect.incarnation,
            position=effect.position,
        )
        self._attaching = connection.try_send(frame)

    def _emit(self, event: SessionEvent) -> None:
        if isinstance(event, LinkChanged):
            if event.link is Link.CONNECTED:
                if self._began_at is None:
                    self._began_at = steady_seconds()
                self._tell_heard(True)
            elif self._began_at is not None:
                self._tell_heard(False)
        if self._events.full():
            raise StateError("the front end does not read its events")
        self._events.put_nowait(self._renumbered(event))

    def _renumbered(self, event: SessionEvent) -> SessionEvent:
        """Texts are counted through over all groups of the session."""
        if isinstance(event, TextDelivered):
            return replace(event, text_id=event.text_id + self._text_base)
        return event

    def _retire(self, machine: SessionMachine) -> None:
        """The old group is given up (S2): wipe it, and say what was not acknowledged in it."""
        undelivered = tuple(number + self._text_base for number in machine.undelivered)
        connection = self._link.connection
        if connection is not None and self._handle is not None:
            connection.try_send(f.Detach(request=connection.next_request(), handle=self._handle))
        self._handle = None
        self._attach = None
        wished = machine.keeping.mine or machine.keeping.theirs
        machine.stop(EndReason.PEER_SILENT, steady_seconds())
        self._earlier = SessionCounts(
            cells_sent=self._earlier.cells_sent + machine.counts.cells_sent,
            cells_received=self._earlier.cells_received + machine.counts.cells_received,
            texts_delivered=self._earlier.texts_delivered + machine.counts.texts_delivered,
            texts_received=self._earlier.texts_received + machine.counts.texts_received,
        )
        self._text_base = self._last_text
        if machine.heard:
            self._emit(PeerReturned(undelivered=undelivered))
        if wished:
            self._emit(KeepChanged(mine=False, theirs=False))  # what was agreed went with the group

    def _finish(self, reason: EndReason) -> None:
        if self._over.is_set():
            return
        self._reason = reason
        self._over.set()
        if not self._commands.full():
            self._commands.put_nowait(None)

    def _require(self) -> SessionMachine:
        if self._machine is None:
            raise StateError("the session has not begun")
        return self._machine
