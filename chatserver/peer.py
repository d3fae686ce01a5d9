"""One connection: reads frames, hands requests to the desks, says what they answer, and ends in order.

Life of a peer: HELLO within the handshake time; then requests, each of which is either answered in the same
turn or handed to the store; at the end every attachment is left. What was asked of the store goes on without
the connection (`Relay.spawn`): a cell that was committed reaches the others though its depositor has gone.

Messages are pushed (`take`), as the transport finds them: an idle connection has no task, and a frame costs
no wakeup. Where the peer must wait (it does not read, or the store has enough to do for it) reading stops,
and what one reading has brought already waits in a backlog until there is room.

A peer that breaks the protocol gets FAILED with a code and is closed; nothing that it sent is ever logged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine
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


class Socket(Protocol):
    """A WebSocket, as far as a peer needs one. What comes is pushed: `Peer` is its `websocket.Messages`."""

    @property
    def transport(self) -> Transport:
        """The byte stream below, to which whole frames may be written."""
        ...

    def pause(self) -> None:
        """Read nothing more; what was read already still comes."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def close(self, code: int) -> None:
        """Close in order, with a WebSocket close code; ends in `Peer.over`, perhaps at once."""
        ...


FRAMES_AT_ONCE: Final = 64
"""Of one reading of a connection so many frames are taken before everybody else has a turn."""

REFUSALS_AT_ONCE: Final = 16
"""Refusals by a rate, or one reading full of frames that carry nothing, after which a connection is not read
until the next sweep: what is refused costs whoever asks more than the relay."""

_TOO_MANY: Final = frozenset({ErrorCode.RATE, ErrorCode.CREATION_LIMIT})

_HANG_UP: Final = b""
"""In the backlog: the peer has said CLOSE."""


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
        "_backlog",
        "_burst",
        "_connection",
        "_ended",
        "_going_on",
        "_gone",
        "_paused",
        "_refusals",
        "_socket",
        "_taken",
        "_tasks",
        "_turn_asked",
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
        self._going_on = False
        self._gone = False
        self._paused = False
        self._burst = 0
        self._taken = 0
        self._turn_asked = False
        self._refusals = 0
        self._backlog: deque[bytes] | None = None
        self._tasks: set[asyncio.Task[None]] | None = None
        self.sender = Sender(
            socket.transport,
            relay.flusher,
            relay.clock,
            limit_bytes=relay.config.limits.queued_kib * 1024,
        )
        self.channels = ChannelDesk(self)
        self.inbox = InboxDesk(self)

    # -- what comes (`websocket.Messages`) ------------------------------------------------------------------

    def take(self, message: memoryview | bytes) -> None:
        """A whole binary message; a view of it dies with the call."""
        if self._paused:
            self._wait(bytes(message))
            return
        if self._ended:
            return
        if self.greeted:
            self.heard_at = self.relay.clock.monotonic()
        self._act(message)
        if (
            self._taken >= FRAMES_AT_ONCE
            or self.in_flight >= self.relay.config.limits.requests_in_flight
            or self.sender.blocked
            or self._refusals >= REFUSALS_AT_ONCE
        ):
            self._pause()

    def take_text(self) -> None:
        """Nobody sends text here."""
        self.heard()
        self.end(ErrorCode.BAD_FRAME)

    def take_ping(self, payload: bytes) -> None:
        """Answer it, in the order of everything else that is said."""
        self.heard()
        if not self._ended:
            self.sender.pong(payload)
            if self.sender.blocked:
                self._pause()

    def heard(self) -> None:
        """The peer lives."""
        if self.greeted:
            self.heard_at = self.relay.clock.monotonic()
        self._count()
        if self._taken > FRAMES_AT_ONCE:  # nobody who means well says so much of nothing
            self._refusals = REFUSALS_AT_ONCE
            self._pause()

    def hang_up(self) -> None:
        """The peer has said CLOSE: what came before it is taken and answered, then ours follows."""
        if self._paused:
            self._wait(_HANG_UP)
        else:
            self._close(1000)

    def over(self) -> None:
        """Nothing comes any more, and nothing can be said."""
        self._ended = True
        self.sender.forget()
        self._leave()

    def drained(self) -> None:
        """The peer has read on."""
        self.sender.drained()
        self.go_on()

    def _count(self) -> None:
        burst = self.relay.flusher.bursts
        if burst != self._burst:
            self._burst = burst
            self._taken = 0
        self._taken += 1

    def _act(self, message: memoryview | bytes) -> None:
        self._count()
        try:
            frame = self._connection.receive(message)
        except (CodecError, OrderError, VersionError) as error:
            self.end(code_of(error))
            return
        try:
            self._dispatch(frame)
        except Exception as error:  # noqa: BLE001 (a bug of ours ends this connection, never the relay)
            self.relay.log.fault(error)
            self.end(ErrorCode.INTERNAL)

    def _dispatch(self, frame: f.ClientFrame) -> None:
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

    # -- not more than can be answered ----------------------------------------------------------------------

    def _pause(self) -> None:
        """Take nothing more for now; what one reading has brought beyond that waits."""
        if self._ended or self._paused or not self._busy():
            return
        self._paused = True
        self._socket.pause()

    def _busy(self) -> bool:
        if self._refusals >= REFUSALS_AT_ONCE:
            return True
        if self._taken >= FRAMES_AT_ONCE:
            if not self._turn_asked:
                self._turn_asked = True
                asyncio.get_running_loop().call_soon(self._turn)
            return True
        if self.in_flight >= self.relay.config.limits.requests_in_flight:
            return True
        if self.sender.blocked:
            self.sender.flush()  # what is said in this turn may be all that is too much
        return self.sender.blocked

    def _turn(self) -> None:
        """Everybody else had a turn."""
        self._turn_asked = False
        self._taken = 0
        self.go_on()

    def forgive(self) -> None:
        """A sweep has come: refusals are forgotten."""
        if self._refusals:
            self._refusals = 0
            self.go_on()

    def _wait(self, message: bytes) -> None:
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(message)

    def go_on(self) -> None:
        """There may be room: take what waits, then read on."""
        if not self._paused or self._going_on:  # a request that is answered at once comes back here
            return
        self._going_on = True
        try:
            while not self._busy() and not self._ended:
                if not self._backlog:
                    self._paused = False
                    self._backlog = None
                    self._socket.resume()
                    return
                message = self._backlog.popleft()
                if message is _HANG_UP:
                    self._close(1000)
                else:
                    self._act(message)
        finally:
            self._going_on = False

    # -- the end --------------------------------------------------------------------------------------------

    def _close(self, code: int) -> None:
        if self._ended:
            return
        self._ended = True
        self.sender.flush()
        self._socket.close(code)
        self._leave()

    def _leave(self) -> None:
        """Give back everything that the connection held."""
        if self._gone:
            return
        self._gone = True
        self._backlog = None
        for task in self._tasks or ():
            task.cancel()
        self.relay.left(self)
        self.channels.leave()
        self.inbox.leave()
        self.sender.drained()

    # -- saying ---------------------------------------------------------------------------------------------

    @property
    def blocked(self) -> bool:
        """Too much waits for the peer already, though what was said in this turn is on its way."""
        if self.sender.blocked:
            self.sender.flush()
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
        if code in _TOO_MANY:
            self._refusals += 1
        self.say(f.Refused(request=request, code=code))

    def end(self, code: ErrorCode) -> None:
        """Say FAILED and close in order; nothing is said afterwards."""
        if self._ended:
            return
        if self.sender.blocked:
            self.abort()
            return
        self.say(f.Failed(code=code))
        self._close(1001 if code is ErrorCode.SHUTDOWN else _CLOSE_CODES[code.blame])

    def abort(self) -> None:
        """Disconnect at once: the peer does not read."""
        self._ended = True
        self.sender.abort()
        self._leave()

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
            if self._paused:
                self.go_on()

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
        if self._ended:
            work.close()
            return
        task = self.relay.run(self._contained(work))
        if task is None:
            return
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _contained(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StoreError as error:
            self.relay.store_failed(error)
            self.end(ErrorCode.INTERNAL)
        except Exception as error:  # noqa: BLE001 (as in _guarded)
            self.relay.log.fault(error)
            self.end(ErrorCode.INTERNAL)
