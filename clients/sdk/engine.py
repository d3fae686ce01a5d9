"""The running part of a device: its lines' machines, its connection, and what goes between them.

One `Engine` lives as long as a `Device` is open. Machines work offline too (they queue); `run` holds the
connection, feeds ticks, keeps a therapist's inbox, and delivers a client's first contacts. Everything
happens on one event loop, machines and vault are called synchronously, so a step is never interleaved with
another.

    frames ──▶ LineDriver ──▶ LineMachine ──▶ effects ──▶ outgoing list ──▶ writer task ──▶ frames
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from chatserver.wire import frames as f
from clients.sdk import renewal
from clients.sdk.client_contact import own_device
from clients.sdk.clock import Clock
from clients.sdk.connection import Connection, ConnectionLost
from clients.sdk.errors import (
    AmanatError,
    NotARelay,
    RelayUnreachable,
)
from clients.sdk.first_drops import FirstDrops
from clients.sdk.inbox_desk import InboxDesk, read_device
from clients.sdk.line import events as e
from clients.sdk.line.machine import LineMachine
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.line.view import LineView
from clients.sdk.line_driver import ChannelDriver, LineDriver, PeopleEffect
from clients.sdk.linking.desk import LinkDesk
from clients.sdk.linking.mailbox import Mailbox
from clients.sdk.model import (
    ConnectionChanged,
    ConnectionState,
    DevicesChanged,
    LineChanged,
    LineName,
    LineOpened,
    MessageStateChanged,
    Role,
    SessionOffered,
)
from clients.sdk.news import Line, News
from clients.sdk.records import (
    CONNECTED,
    DROPS,
    LINES,
    DeviceKeys,
    DeviceRecord,
    LineRecord,
    load_device,
    load_lines,
    save_device,
    save_line,
)
from clients.sdk.relay_link import RelayLink
from clients.sdk.session.rendezvous import OfferBody, OfferBook
from clients.sdk.summaries import show_state
from clients.sdk.upkeep import LOOK_SECONDS, therapist_of
from crypto.codec import CodecError
from crypto.errors import StateError
from keys.vault import VaultDamaged, VaultStore

LONGEST_SLEEP_SECONDS: Final = 30.0


class Engine:
    """See the module's docstring.

    Args:
        vault: Open, with a `DeviceRecord` in it.
        rng: Source of randomness.
        clock: Source of time.

    Raises:
        VaultDamaged: the records make no sense.
    """

    def __init__(self, vault: VaultStore, *, rng: Callable[[int], bytes], clock: Clock) -> None:
        self.vault = vault
        self.rng = rng
        self.clock = clock
        self.state = ConnectionState.OFFLINE
        self.trouble: AmanatError | None = None
        """Why there is no connection."""
        self.connection: Connection | None = None
        self.session_ears: dict[bytes, Callable[[PeopleEffect], None]] = {}
        """Per line: who wants to hear of OFFER, JOIN, WELCOME and their fate."""
        self.attempts_failed = 0
        self.last_frame_at = 0.0
        self.activity = asyncio.Event()
        self._link: RelayLink | None = None
        self._outgoing: deque[f.ClientFrame] = deque()
        self._outgoing_ready = asyncio.Event()
        self._wake = asyncio.Event()
        self._by_request: dict[int, ChannelDriver] = {}
        self._by_handle: dict[int, ChannelDriver] = {}
        self.closed = False
        self._renew_at = 0.0
        self._offers: dict[bytes, OfferBook] = {}
        try:
            with vault.transaction() as tx:
                record = load_device(tx)
                lines = load_lines(tx)
        except CodecError:
            raise VaultDamaged("the device's records do not parse") from None
        if record is None:
            raise VaultDamaged("it holds no device")
        self.record = record
        self.lines: dict[bytes, LineRecord] = {line.line_id: line for line in lines}
        self.drivers: dict[bytes, LineDriver] = {line.line_id: self._make_driver(line) for line in lines}
        self.news = News(vault, self.news_lines)
        self.linking = LinkDesk(self, self._make_box_driver)
        self.inbox = InboxDesk(self)
        self.first_drops = FirstDrops(self)

    # -- lines

    def news_lines(self) -> Iterator[Line]:
        """All lines as `News` wants them."""
        for line_id in list(self.drivers):
            yield self.news_line(line_id)

    def news_line(self, line_id: bytes) -> Line:
        """One line as `News` wants it."""
        return Line(
            line_id=line_id,
            name=lambda: LineName(self.lines[line_id].name),
            messages=self.drivers[line_id].machine.messages,
        )

    def add_line(self, record: LineRecord) -> LineDriver:
        """A line came to be in the vault: drive it from now on."""
        self.lines[record.line_id] = record
        driver = self.drivers[record.line_id] = self._make_driver(record)
        self.linking.touch()
        return driver

    def forget_line(self, line_id: bytes) -> None:
        """A line that never came about: end its machine and drop its records."""
        driver = self.drivers.pop(line_id)
        with contextlib.suppress(StateError):  # over already: the refusal was heard twice
            driver.handle(e.EndLine(block=True, keep_texts=False), self.clock.now())
        with self.vault.transaction() as tx:
            tx.delete(LINES, line_id)
            tx.delete(DROPS, line_id)
            for admitted, made in list(tx.items(CONNECTED)):
                if made == line_id:
                    tx.delete(CONNECTED, admitted)
        self.lines.pop(line_id)

    def change_line(self, record: LineRecord) -> None:
        """Write a changed record of a line."""
        with self.vault.transaction() as tx:
            save_line(tx, record)
        self.lines[record.line_id] = record

    def handle(self, line_id: bytes, event: e.Event) -> None:
        """Hand a wish of the person to a line's machine."""
        self.drivers[line_id].handle(event, self.clock.now())
        self._wake.set()

    def _make_driver(self, line: LineRecord) -> LineDriver:
        machine = LineMachine(self.vault, line.line_id, own_device(self.keys_of(line.line_id)), self.rng)
        return LineDriver(line.line_id, machine, self)

    def _make_box_driver(self, box_id: bytes, box: Mailbox) -> ChannelDriver:
        return ChannelDriver(box_id, box, self)

    # -- LinkHost

    @property
    def device(self) -> DeviceRecord:
        """See `linking.host.LinkHost`."""
        return self.record

    @property
    def line_records(self) -> dict[bytes, LineRecord]:
        """See `linking.host.LinkHost`."""
        return self.lines

    def keys_of(self, line_id: bytes) -> DeviceKeys:
        """See `linking.host.LinkHost`."""
        keys = self.lines[line_id].keys
        return keys if keys is not None else therapist_of(self.record).keys

    def view(self, line_id: bytes) -> LineView:
        """See `linking.host.LinkHost`."""
        return self.drivers[line_id].machine.view()

    def line_opened(self, record: LineRecord) -> None:
        """See `linking.host.LinkHost`."""
        self.add_line(record)
        self._connect_ready(self.clock.now())
        self.news.post(LineOpened(line=LineName(record.name)))
        self._wake.set()

    def renewed(self, line_id: bytes, keys: DeviceKeys) -> None:
        """See `linking.host.LinkHost`."""
        if self.lines[line_id].keys is not None:
            self.change_line(replace(self.lines[line_id], keys=keys))
        self.drivers[line_id].machine.take_certificate(own_device(keys))
        with contextlib.suppress(StateError):  # a line that is over
            self.handle(line_id, e.SelfUpdate())

    def _renew_certificates(self, now: float) -> None:
        """What `renewal` says, for the person's identity and for those of the lines."""
        if now < self._renew_at:
            return
        self._renew_at = now + LOOK_SECONDS
        theirs = None if self.record.therapist is None else renewal.renewed(self.record.therapist.keys, now)
        if theirs is not None:
            with self.vault.transaction() as tx:
                record = read_device(tx)
                state = replace(therapist_of(record), keys=theirs, published_day=0)
                save_device(tx, replace(record, therapist=state))
            self.became(replace(record, therapist=state))
        for line_id, line in list(self.lines.items()):
            keys = theirs if line.keys is None else renewal.renewed(line.keys, now)
            if keys is not None:
                self.renewed(line_id, keys)

    def became(self, record: DeviceRecord) -> None:
        """See `linking.host.LinkHost`."""
        self.record = record
        self.activity.set()
        self.news.post(DevicesChanged())

    def work_on_links(self) -> None:
        """A wish about devices stands in the vault: see to it now."""
        now = self.clock.now()
        self.linking.touch()
        self.linking.work(now)
        self.news.post(DevicesChanged())
        self._wake.set()

    # -- running

    def close(self) -> None:
        """Stop at once: the vault is about to be closed, also under a running connection (panic)."""
        self.closed = True
        self._wake.set()

    def prepare(self) -> None:
        """Get ready to `run` on the present event loop.

        Raises:
            StateError: it runs already.
        """
        if self._link is not None:
            raise StateError("the device is online already")
        self._link = RelayLink(self.record.relay_url, self, rng=self.rng)
        self.activity = asyncio.Event()
        self._outgoing_ready = asyncio.Event()
        self._wake = asyncio.Event()
        self.inbox.prepare()
        self.attempts_failed = 0
        self.trouble = None
        self._set_state(ConnectionState.CONNECTING)

    async def run(self) -> None:
        """Keep the connection until cancelled. `prepare` must have been called."""
        if self._link is None:
            raise StateError("not prepared")
        try:
            async with asyncio.TaskGroup() as group:
                link = group.create_task(self._link.run())
                await self._tick()
                link.cancel()
        finally:
            self._link = None
            self._gone()
            self._set_state(ConnectionState.OFFLINE)

    async def _tick(self) -> None:
        while not self.closed:
            self._wake.clear()
            now = self.clock.now()
            for driver in list(self.drivers.values()):
                due = driver.machine.next_wakeup()
                if due is not None and due <= now:
                    driver.handle(e.Tick(), now)
            self._connect_ready(now)
            self._renew_certificates(now)
            self.linking.tick(now)
            pause = self.clock.real(self._next_due(now) - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, LONGEST_SLEEP_SECONDS)):
                    await self._wake.wait()
            # Whatever the machines wish, they are not asked more often than this.
            await asyncio.sleep(0.005)

    def _next_due(self, now: float) -> float:
        due = [machine.next_wakeup() for machine in (driver.machine for driver in self.drivers.values())]
        due += self.linking.next_due()
        waiting = self.first_drops.waiting() if self.connection is not None else frozenset(self.lines)
        due += [
            line.not_before
            for line_id, line in self.lines.items()
            if line_id not in waiting and not self.drivers[line_id].connected
        ]
        return min((when for when in due if when is not None), default=now + 3_600.0)

    def _connect_ready(self, now: float) -> None:
        """Attach the lines whose first contact was taken and whose pause is over."""
        if self.connection is None:
            return
        waiting = self.first_drops.waiting()
        for line_id, driver in list(self.drivers.items()):
            if not driver.connected and line_id not in waiting and self.lines[line_id].not_before <= now:
                driver.connect(now)

    # -- LinkOwner

    async def connected(self, connection: Connection) -> None:
        """See `relay_link.LinkOwner`."""
        if self.closed:
            return
        self.connection = connection
        self.attempts_failed = 0
        self.trouble = None
        self.last_frame_at = self.clock.now()
        self._set_state(ConnectionState.ONLINE)
        self._connect_ready(self.clock.now())
        self.linking.connect(self.clock.now())
        self._wake.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write(connection))
            if self.keeps_inbox:
                group.create_task(self.inbox.keep(connection))
            else:
                group.create_task(self.first_drops.keep_delivering())

    def frame(self, frame: f.ServerFrame, asked: f.ClientFrame | None) -> None:
        """See `relay_link.LinkOwner`."""
        now = self.last_frame_at = self.clock.now()
        self.activity.set()
        if self.closed:
            return
        if asked is not None and not isinstance(asked, f.Hello):
            driver = self._by_request.pop(asked.request, None)
            if driver is not None:
                driver.answer(frame, asked, now)
        elif isinstance(frame, f.Cell | f.OwnCell | f.Expired | f.Superseded):
            driver = self._by_handle.get(frame.handle)
            if driver is not None:
                driver.push(frame, now)
        elif isinstance(frame, f.InboxCell):
            self.inbox.take(frame)
        self._wake.set()

    def disconnected(self, why: RelayUnreachable | NotARelay) -> None:
        """See `relay_link.LinkOwner`."""
        self._gone()
        self.attempts_failed += 1
        self.trouble = why
        self._set_state(ConnectionState.WAITING, why.sentence)
        self.activity.set()

    def _gone(self) -> None:
        self.connection = None
        self.inbox.disconnect()
        self._outgoing.clear()
        self._by_request.clear()
        self._by_handle.clear()
        if self.closed:
            return
        now = self.clock.now()
        for driver in self.drivers.values():
            driver.disconnect(now)
        self.linking.disconnect(now)

    def _set_state(self, state: ConnectionState, sentence: str = "") -> None:
        if state is not self.state or sentence:
            self.state = state
            self.news.post(ConnectionChanged(state=state, sentence=sentence))

    # -- DriverOwner

    def next_request(self) -> int:
        """See `line_driver.DriverOwner`; without a connection any number will do, since nothing is sent."""
        return 0 if self.connection is None else self.connection.next_request()

    def queue(self, driver: ChannelDriver, frame: f.ClientFrame) -> None:
        """See `line_driver.DriverOwner`."""
        if self.connection is None or isinstance(frame, f.Hello):
            return
        self._by_request[frame.request] = driver
        self._outgoing.append(frame)
        self._outgoing_ready.set()

    def own_handle(self, driver: ChannelDriver, handle: int) -> None:
        """See `line_driver.DriverOwner`."""
        self._by_handle[handle] = driver

    def reconnect(self) -> None:
        """See `line_driver.DriverOwner`."""
        if self._link is not None:
            self._link.reconnect()

    def told(self, driver: ChannelDriver, effect: PeopleEffect) -> None:
        """See `line_driver.DriverOwner`."""
        self.activity.set()
        if isinstance(effect, e.Notify | e.LineChanged):
            self.linking.touch()
        line = self.lines.get(driver.line_id)
        if line is None:
            return
        name = LineName(line.name)
        match effect:
            case e.MessageReceived():
                self.news.post_message(
                    self.news_line(driver.line_id),
                    sender_device=effect.sender_device,
                    counter=effect.counter,
                )
            case e.MessageStateChanged():
                self.news.post(
                    MessageStateChanged(
                        line=name, item_id=effect.item_id.hex(), state=show_state(effect.state)
                    )
                )
            case e.Notify():
                self.news.post(LineChanged(line=name, sentence=effect.sentence))
            case e.LineChanged() | e.MessagesMissing():
                self.news.post(LineChanged(line=name))
            case e.ControlReceived(kind=PayloadKind.OFFER) if self.record.role is Role.CLIENT:
                self._hear_offer(driver, effect)
            case e.ControlReceived() | e.ControlPlaced() | e.ControlNotSent() | e.ControlLost():
                self._tell_session(driver, effect)
            case e.WelcomeReady():
                self.linking.first.take_welcome(driver.line_id, effect)
                self.linking.sync(self.clock.now())

    def _tell_session(self, driver: ChannelDriver, effect: PeopleEffect) -> None:
        ear = self.session_ears.get(driver.line_id)
        if ear is not None:
            ear(effect)

    # -- offers of a session "now" (S1), in memory only

    def offer_book(self, line_id: bytes) -> OfferBook:
        """What the therapist has offered on a line since this device was opened."""
        return self._offers.setdefault(line_id, OfferBook(self.clock.scale))

    def offered_now(self, line_id: bytes) -> bool:
        """Whether the therapist is waiting in a session right now, as far as is known."""
        book = self._offers.get(line_id)
        return book is not None and book.heard_lately(self.clock.now())

    def _hear_offer(self, driver: ChannelDriver, effect: e.ControlReceived) -> None:
        line = self.lines[driver.line_id]
        if effect.sender_identity != line.peer_identity:
            return
        try:
            body = OfferBody.decode(effect.body.reveal())
        except CodecError:
            return
        self.offer_book(driver.line_id).hear(
            body,
            order=effect.order,
            sender_device=effect.sender_device,
            utc_seconds=effect.utc_seconds,
            now=self.clock.now(),
        )
        self.news.post(SessionOffered(line=LineName(line.name), session_id=body.session_id.hex()))
        self._tell_session(driver, effect)

    # -- writing

    @property
    def keeps_inbox(self) -> bool:
        """Whether first contacts come to this device (R21: to a therapist's first one)."""
        return self.record.therapist is not None

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written, answered or judged."""
        return (
            self.connection is not None
            and not self._outgoing
            and self.connection.outstanding == 0
            and not self._by_request
            and self.inbox.idle
            and self.linking.idle
        )

    async def _write(self, connection: Connection) -> None:
        while True:
            self._outgoing_ready.clear()
            while self._outgoing and not connection.draining:
                await connection.send(self._outgoing.popleft())
            await self._outgoing_ready.wait()

    # -- InboxHost and DropsHost

    def say(self, sentence: str) -> None:
        """See `inbox_desk.InboxHost`."""
        self.news.post(ConnectionChanged(state=self.state, sentence=sentence))

    def contacted(self, record: LineRecord) -> None:
        """See `inbox_desk.InboxHost`."""
        self.add_line(record)
        self._connect_ready(self.clock.now())
        self.news.post(LineOpened(line=LineName(record.name)))

    def say_of(self, line_id: bytes, sentence: str) -> None:
        """See `first_drops.DropsHost`."""
        self.news.post(LineChanged(line=LineName(self.lines[line_id].name), sentence=sentence))

    def wake(self) -> None:
        """See `first_drops.DropsHost`."""
        self._wake.set()

    async def admit_invitations(self) -> None:
        """Tell the relay of new invitations. Raises as `InboxKeeper.admit_all`."""
        if self.connection is None:
            raise ConnectionLost
        await self.inbox.admit_invitations(self.connection)

    def use_token(self, token: str) -> None:
        """Keep another registration token, and try at once."""
        with self.vault.transaction() as tx:
            record = read_device(tx)
            state = replace(therapist_of(record), token=token)
            self.record = replace(record, therapist=state)
            save_device(tx, self.record)
        self.reconnect()

    def start_line(self, line_id: bytes, *, not_before: float) -> None:
        """Let a line be attached from `not_before` (UTC seconds) on."""
        self.change_line(replace(self.lines[line_id], not_before=int(not_before)))
        self._wake.set()
