"""What all connections share: store, live channels, inboxes, rates, and the sweep that ends what is late.

No sockets here: `server` brings them as `Socket`s. Time is a clock that is asked, not waited for: `sweep` is
called every second by the server and by tests whenever they like, and does everything that depends on time:
live channels that linger (R6), peers that are silent, that never said HELLO, or that do not read (DESIGN
section 8), the hourly key of the address book, and the store's expiry when the UTC day changes (R6, R21).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Final, Self

from chatserver.clock import Clock, SystemClock
from chatserver.config import Config, networks
from chatserver.eager import Errand
from chatserver.events import Event, Log
from chatserver.inbox_desk import Inboxes
from chatserver.live import LiveChannels
from chatserver.peer import Peer, Socket
from chatserver.rates import AddressBook, AddressRecord, Kind, Meter, client_address, is_in
from chatserver.sender import Flusher
from chatserver.store.errors import StoreBusy, StoreClosed, StoreDamaged, StoreError, StoreFull, StoreReadOnly
from chatserver.store.protocol import Day, Store, day_of
from chatserver.stored import StoredChannels
from chatserver.tally import Tally
from chatserver.wire.bundle import encode_bucket
from chatserver.wire.client_frames import DEPOSIT_HEAD_BYTES
from chatserver.wire.errors import ErrorCode
from chatserver.wire.frames import Draining
from chatserver.wire.limits import BODY_BYTES, ChannelClass

_CAUSES: Final[dict[type[StoreError], str]] = {
    StoreFull: "full",
    StoreReadOnly: "read_only",
    StoreBusy: "busy",
    StoreDamaged: "damaged",
    StoreClosed: "closed",
}
"""How the log names what is wrong with the store."""

BUCKET_SECONDS: Final = 10.0
"""For so long a bucket of bundles is served without asking the store."""


class Relay:
    """The relay without its sockets. Use as an async context manager: inside, its tasks run.

    Attributes:
        config: settings.
        store: where the class `stored`, inboxes and bundles live.
        clock: time.
        rng: randomness.
        log: events.
        deposit_bytes: length of a whole DEPOSIT by class.
        draining: SIGTERM came; nothing new is taken.
        tally: what has happened since the start, in numbers.
        store_failed_at: monotonic seconds of the store's last failure, None if there was none.
        broken: why the relay must end: its store is damaged. Who runs it looks now and then.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        clock: Clock | None = None,
        rng: Callable[[int], bytes] = os.urandom,
        log: Log | None = None,
        cell_bytes: Mapping[ChannelClass, int] = BODY_BYTES,
    ) -> None:
        self.config = config
        self.store = store
        self.clock = clock or SystemClock()
        self.rng = rng
        self.log = log or Log()
        self.deposit_bytes = {int(cls): DEPOSIT_HEAD_BYTES + size for cls, size in cell_bytes.items()}
        self.draining = False
        self.tally = Tally()
        self.store_failed_at: float | None = None
        self.broken: StoreError | None = None
        self._store_failure: type[StoreError] | None = None
        self.peers: set[Peer] = set()
        self.live = LiveChannels(self.clock, rng, config.limits.live_channels)
        self.stored = StoredChannels(store, cell_bytes[ChannelClass.STORED])
        self.inboxes = Inboxes()
        self.addresses = AddressBook(self.clock, rng)
        self.flusher = Flusher(lambda run: asyncio.get_running_loop().call_soon(run))
        self._trusted = networks(config.listen.trusted_proxies)
        self._onion = networks(config.listen.onion_proxies)
        self._onion_record = AddressRecord()
        self._group: asyncio.TaskGroup | None = None
        self._in_store = 0
        self._idle: asyncio.Event | None = None
        self._buckets: dict[tuple[int, int], tuple[float, bytes]] = {}
        self._expired_day = 0

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What was asked of the store is waited for. The group is not told of an error in the body: it would
        # come out wrapped. Its own tasks let none out.
        if self._in_store:
            self._idle = asyncio.Event()
            await self._idle.wait()
        if self._group is not None:
            await self._group.__aexit__(None, None, None)
            self._group = None

    # -- connections ----------------------------------------------------------------------------------------

    def address_of(self, peer: str, forwarded_for: list[str]) -> tuple[AddressRecord | None, bool]:
        """The record of whoever connects (None: not limited by address), and whether they came by onion."""
        if is_in(peer, self._onion):
            return None, True
        return self.addresses.record(client_address(peer, forwarded_for, self._trusted)), False

    def full(self, address: AddressRecord | None) -> bool:
        """Whether another connection is too many."""
        limits = self.config.limits
        if len(self.peers) >= limits.connections:
            return True
        return address is not None and address.connections >= limits.connections_per_address

    def enter(self, socket: Socket, address: AddressRecord | None, *, onion: bool) -> Peer:
        """Serve one connection until `Peer.over`."""
        if address is not None:
            address.connections += 1
        peer = Peer(self, socket, Meter(self.config.limits, self.clock, address), onion=onion)
        self.peers.add(peer)
        return peer

    def left(self, peer: Peer) -> None:
        """A connection is over; called once."""
        self.peers.discard(peer)
        address = peer.meter.address
        if address is not None:
            address.connections -= 1

    def may_fetch(self, address: AddressRecord | None) -> bool:
        """Whether one more bucket may be fetched from this address; all of onion counts as one address."""
        return Meter(self.config.limits, self.clock, address or self._onion_record).try_take(Kind.FETCH)

    async def bucket(self, bits: int, prefix: int) -> bytes:
        """The encoded bucket of contact bundles (DESIGN section 6); kept until a bundle is published.

        Nor for longer than BUCKET_SECONDS: an operator may have removed a therapist.
        """
        now = self.clock.monotonic()
        known_until, found = self._buckets.get((bits, prefix), (now, b""))
        if known_until <= now:
            found = encode_bucket(await self.store.bundles(bits=bits, prefix=prefix))
            self._buckets[bits, prefix] = now + BUCKET_SECONDS, found
        return found

    def forget_buckets(self) -> None:
        """A bundle was published or has expired."""
        self._buckets.clear()

    # -- work that outlives a connection --------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run something of one connection; `work` lets no exception out. None: the relay is over."""
        if self._group is None:
            work.close()
            return None
        return self._group.create_task(work)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a request to the store; `work` lets no exception out."""
        if self._group is None:
            work.close()
            return
        self._in_store += 1
        Errand(work, self._answered).go_on()

    def _answered(self) -> None:
        self._in_store -= 1
        if not self._in_store and self._idle is not None:
            self._idle.set()

    def store_failed(self, error: StoreError) -> None:
        """Log that the store failed, by count and cause; of a flood of failures the 1st, 2nd, 4th, 8th.

        After damage, or when the store has ended by itself, the relay is `broken`: nothing that it could say
        about stored cells would be true any more.
        """
        self.tally.store_failures += 1
        self.store_failed_at = self.clock.monotonic()
        count = self.tally.store_failures
        if type(error) is not self._store_failure or count & (count - 1) == 0:
            self._store_failure = type(error)
            cause = _CAUSES.get(type(error))
            self.log.event(Event.STORE_FAILED, count=count, **({cause: 1} if cause else {}))
        if isinstance(error, (StoreDamaged, StoreClosed)) and not self.draining:
            self.broken = self.broken or error

    # -- time -----------------------------------------------------------------------------------------------

    def today(self) -> Day:
        """The UTC day."""
        return day_of(self.clock.utc_seconds())

    async def sweep(self) -> None:
        """End what is late; cheap, to be called about once a second."""
        now = self.clock.monotonic()
        times = self.config.times
        for peer in tuple(self.peers):
            since = peer.sender.blocked_since
            if since is not None and now - since > times.slow_reader_seconds:
                peer.abort()
            elif now - peer.heard_at > (times.idle_seconds if peer.greeted else times.handshake_seconds):
                peer.end(ErrorCode.TIMEOUT)
            else:
                peer.forgive()
        self.live.sweep()
        self.addresses.rotate()
        await self.expire()

    async def expire(self) -> None:
        """Once a day: remove what has expired (R6, R21)."""
        today = self.today()
        if today == self._expired_day:
            return
        self._expired_day = today
        try:
            report = await self.store.expire(today=today)
        except StoreError as error:
            self._expired_day = 0
            self.store_failed(error)
            return
        self.tally.expired_cells += report.cells
        self.forget_buckets()
        numbers = {
            "cells": _tens(report.cells),
            "channels": _tens(report.closed_channels + report.untouched_channels),
            "drops": _tens(report.drops),
        }
        if any(numbers.values()):  # a day on which nothing ended writes nothing, not even while sessions run
            self.log.event(Event.EXPIRED, **numbers)

    # -- the end --------------------------------------------------------------------------------------------

    async def drain(self, pause: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep) -> None:
        """Take nothing new, wait for what is on its way to disk, then close every connection."""
        seconds = self.config.times.drain_seconds
        self.draining = True
        self.log.event(Event.DRAINING, seconds=int(seconds))
        for peer in tuple(self.peers):
            if peer.greeted:
                peer.say(Draining(seconds=int(seconds)))
        self.flusher.flush()
        deadline = self.clock.monotonic() + seconds
        while self._in_store and self.clock.monotonic() < deadline:
            await pause(0.01)
        for peer in tuple(self.peers):
            peer.end(ErrorCode.SHUTDOWN)
        self.log.event(Event.STOPPED, flushed=int(self._in_store == 0))


def _tens(number: int) -> int:
    """Rounded up to tens, so that a log counts nobody."""
    return -(-number // 10) * 10
