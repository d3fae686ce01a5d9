"""One connection: reads frames, hands requests to the desks, says what they answer, and ends in order.

Life of a peer: HELLO within the handshake time; then requests, each of which is either answered in the same
turn or handed to the store; at the end every attachment is left. What was asked of the store goes on without
the connection (`Relay.spawn`): a cell that was committed reaches the others though its depositor has gone.

A peer that breaks the protocol gets FAILED with a code and is closed; nothing that it sent is ever logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol, assert_never

from chatserver.channel_desk import ChannelDesk
from chatserver.fanout import Attachment
from chatserver.inbox_desk import InboxDesk
from chatserver.rates import Meter
from chatserver.sender import Sender, Transport
from chatserver.store.errors import StoreError
from chatserver.store.protocol import Refused
from chatserver.wire import frames as f
from chatserver.wire.connection import RelayConnection, code_of
from chatserver.wire.errors import Blame, ErrorCode, OrderError, VersionError
from chatserver.wire.limits import PROTOCOL_VERSION
from crypto.codec import CodecError

if TYPE_CHECKING:
    from chatserver.relay import Relay

_CLOSE_CODES: Final = {Blame.PEER: 1008, Blame.LIMIT: 1013, Blame.RELAY: 1011, Blame.REQUEST: 1008}
"""WebSocket close codes (RFC 6455 section 7.4) by blame; FAILED says more."""


class Kind(Enum):
    """What a WebSocket brought."""

    BINARY = "a frame"
    TEXT = "text, which nobody sends here"
    ALIVE = "a ping or pong"
    OVER = "the end"


class Socket(Protocol):
    """A WebSocket, as far as a peer needs one."""

    @property
    def transport(self) -> Transport:
        """The byte stream below, to which whole frames may be written."""
        ...

    async def receive(self) -> tuple[Kind, bytes]:
        """The next message."""
        ...

    async def drain(self) -> None:
        """Wait until the transport has room again."""
        ...

    async def close(self, code: int) -> None:
        """Close in order, with a WebSocket close code."""
        ...


class Peer:
    """One connection, and the recipient of the channels that it has attached.

    Attributes:
        relay: what all connections share.
        meter: this connection's rates.
        onion: it came through a Tor daemon.
        heard_at: when anything was last heard; before HELLO, when the connection began.
        greeted: HELLO was answered.
        in_flight: requests that wait for the store.
    """

    __slots__ = (
        "_connection",
        "_ended",
        "_group",
        "_room",
        "_socket",
        "_tasks",
        "channels",
        "greeted",
        "heard_at",
        "in_flight",
        "inbox",
        "meter",
        "onion",
        "relay",
        "sender",
    )

    def __init__(self, relay: Relay, socket: Socket, meter: Meter, *, onion: bool) -> None:
        self.relay = relay
        self.meter = meter
        self.onion = onion
        self.heard_at = relay.clock.monotonic()
        self.greeted = False
        self.in_flight = 0
        self._socket = socket
        self._connection = RelayConnection(relay.deposit_bytes)
        self._ended = False
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] | None = None
        self._room: asyncio.Event | None = None
        self.sender = Sender(
            socket.transport,
            relay.flusher,
            relay.clock,
            limit_bytes=relay.config.limits.queued_kib * 1024,
            on_blocked=self._on_blocked,
        )
        self.channels = ChannelDesk(self)
        self.inbox = InboxDesk(self)

    # -- life -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the connection to its end."""
        self.relay.peers.add(self)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._read()
                for task in self._tasks or ():
                    task.cancel()
        finally:
            self.relay.peers.discard(self)
            self.channels.leave()
            self.inbox.leave()
        self.sender.flush()
        await self._socket.close(1000)

    async def _read(self) -> None:
        limit = self.relay.config.limits.requests_in_flight
        receive = self._socket.receive
        while not self._ended:
            kind, data = await receive()
            if self.greeted:
                self.heard_at = self.relay.clock.monotonic()
            if kind is Kind.BINARY:
                self._take(data)
                if self.sender.blocked:
                    await self.sender.writable()
                if self.in_flight >= limit:
                    await self._room_for_more()
            elif kind is Kind.TEXT:
                self.end(ErrorCode.BAD_FRAME)
            elif kind is Kind.OVER:
                return

    def _take(self, data: bytes) -> None:
        try:
            frame = self._connection.receive(data)
        except (CodecError, OrderError, VersionError) as error:
            self.end(code_of(error))
            return
        match frame:
            case f.Deposit():
                self.channels.deposit(frame)
            case f.Ack():
                self.channels.ack(frame)
            case f.Attach():
                self.channels.attach(frame)
            case f.Detach():
                self.channels.detach(frame)
            case f.Hello():
                self._hello()
            case f.InboxChallenge() | f.InboxOpen() | f.InboxAck() | f.Admit() | f.Publish() | f.Drop():
                self.inbox.take(frame)
            case _:
                assert_never(frame)

    def _hello(self) -> None:
        self.greeted = True
        self.heard_at = self.relay.clock.monotonic()
        self.relay.tally.connections += 1
        config = self.relay.config
        self.say(
            f.ServerHello(
                version=PROTOCOL_VERSION,
                bucket_bits=config.bundles.bucket_bits,
                pow_bits=self.inbox.wanted_bits(),
                draining=self.relay.draining,
            )
        )

    async def _room_for_more(self) -> None:
        self._room = asyncio.Event()
        await self._room.wait()

    # -- saying ---------------------------------------------------------------------------------------------

    @property
    def blocked(self) -> bool:
        """Too much waits for the peer already."""
        return self.sender.blocked

    def say(self, frame: f.ServerFrame) -> None:
        """Send a frame; after the end, nothing."""
        if not self._ended:
            self.sender.send(self._connection.send(frame))

    def say_encoded(self, message: bytes, body: bytes = b"") -> None:
        """Send a frame that is already encoded, its body apart; only what may follow in the present state."""
        if not self._ended:
            self.sender.send(message, body)

    def refuse(self, request: int, code: ErrorCode) -> None:
        """Answer a request with REFUSED."""
        self.relay.tally.requests_refused += 1
        self.say(f.Refused(request=request, code=code))

    def end(self, code: ErrorCode) -> None:
        """Say FAILED and close in order; nothing is said afterwards."""
        if self._ended or self._group is None:
            return
        if self.sender.blocked:
            self.abort()
            return
        self.say(f.Failed(code=code))
        self._ended = True
        self.sender.flush()
        close_code = 1001 if code is ErrorCode.SHUTDOWN else _CLOSE_CODES[code.blame]
        # Not among the tasks that the end of reading cancels: closing in order lets the peer see the code.
        self._group.create_task(self._socket.close(close_code))

    def abort(self) -> None:
        """Disconnect at once: the peer does not read."""
        self._ended = True
        self.sender.abort()

    # -- work that waits ------------------------------------------------------------------------------------

    def ask_store(self, request: int, work: Coroutine[Any, Any, None]) -> None:
        """Run a request that waits for the store; it goes on even if this connection ends (R4)."""
        self.in_flight += 1
        self.relay.spawn(self._guarded(request, work))

    async def _guarded(self, request: int, work: Awaitable[None]) -> None:
        try:
            await work
        except StoreError as error:
            self.relay.store_failed(error)
            self.refuse(request, ErrorCode.STORE_FAILED)
        except Exception as error:  # noqa: BLE001 (a bug of ours ends this connection, never the relay)
            self.relay.log.fault(error)
            self.end(ErrorCode.INTERNAL)
        finally:
            self.in_flight -= 1
            if self._room is not None:
                self._room.set()
                self._room = None

    def catch_up(self, attachment: Attachment) -> None:
        """Read a channel for an attachment, at the pace of the peer."""
        self.start(self._catch_up(attachment))

    async def _catch_up(self, attachment: Attachment) -> None:
        while attachment.behind():
            await self.sender.writable()
            page = await attachment.channel.page(attachment.cursor)
            if isinstance(page, Refused):
                break
            attachment.take(page)
        attachment.reading = False

    def superseded(self, attachment: Attachment) -> None:
        """The attachment's slot was taken over by a newer one (R3)."""
        self.channels.forget(attachment)
        self.say(f.Superseded(handle=attachment.handle))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that ends with this connection."""
        if self._group is None or self._ended:
            work.close()
            return
        self._start(self._contained(work))

    async def _contained(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StoreError as error:
            self.relay.store_failed(error)
            self.end(ErrorCode.INTERNAL)
        except Exception as error:  # noqa: BLE001 (as in _guarded)
            self.relay.log.fault(error)
            self.end(ErrorCode.INTERNAL)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            work.close()
            return
        task = self._group.create_task(work)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_blocked(self) -> None:
        self._start(self._drain())

    async def _drain(self) -> None:
        try:
            await self._socket.drain()
        except OSError:
            self._ended = True
        finally:
            self.sender.drained()
