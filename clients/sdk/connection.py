"""One WebSocket to the relay: an I/O shell around `chatserver.wire.connection.ClientConnection`.

What is decided there (which frame may come when, which answer belongs to which request) is not decided here.
This module adds what needs a clock or a socket: opening with a time-out, HELLO, a writer with a bounded
queue, awaiting one answer, and an error for each way in which a connection can fail. Reconnecting is the
business of `relay_link`.

Sends no user agent, offers no compression (a side channel), logs nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection as WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from chatserver.wire import frames as f
from chatserver.wire.connection import ClientConnection, State
from chatserver.wire.errors import ErrorCode, OrderError, VersionError
from chatserver.wire.limits import MAX_FRAME_BYTES, SUBPROTOCOL, WEBSOCKET_PATH
from clients.sdk.errors import NotARelay, RelayUnreachable
from crypto.codec import CodecError

OPEN_SECONDS: Final = 10.0
"""For TCP, TLS, the WebSocket handshake and SERVER_HELLO together."""
ANSWER_SECONDS: Final = 30.0
PING_SECONDS: Final = 20.0
"""Well below the relay's idle time; an unanswered ping ends the connection after as long again."""
MAX_QUEUED_FRAMES: Final = 256
"""Frames that wait to be written; whoever sends more waits."""
MAX_QUEUED_LIVE_FRAMES: Final = 4
"""Of a session's frames: a cell that cannot leave at once is not sent at all (S5)."""
MAX_FRAMES_READ_AHEAD: Final = 64
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})

CERTIFICATE_REFUSED: Final = (
    "its certificate is not of a known authority, not for this name, or not valid today; nothing was sent"
)
NO_COMMON_TLS: Final = "it does not speak TLS there, or none that this program accepts; nothing was sent"

FrameHandler: TypeAlias = Callable[[f.ServerFrame, f.ClientFrame | None], None]
"""Gets each frame and the request that it answers, if any; must not block or raise."""


class ConnectionLost(Exception):
    """The connection is gone. What was not answered may or may not have been done."""

    def __init__(self, code: ErrorCode | None = None) -> None:
        super().__init__("the connection to the relay is gone")
        self.code = code
        """What FAILED said, if the relay said anything."""


class RequestRefused(Exception):
    """REFUSED came as an answer to `ask`."""

    def __init__(self, code: int) -> None:
        super().__init__("the relay refused the request")
        self.code = code


def websocket_url(relay_url: str) -> str:
    """`wss://HOST/v1/ws` for `https://HOST`, `ws://` for `http://`."""
    parts = urlsplit(relay_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return f"{scheme}://{parts.netloc}{WEBSOCKET_PATH}"


class Connection:
    """An open connection, after HELLO and SERVER_HELLO. Made by `open_connection`."""

    def __init__(self, socket: WebSocket, machine: ClientConnection) -> None:
        self._socket = socket
        self._machine = machine
        self._numbers = itertools.count(1)
        self._queue: asyncio.Queue[f.ClientFrame] = asyncio.Queue(MAX_QUEUED_FRAMES)
        self._awaited: dict[int, asyncio.Future[f.ServerFrame]] = {}
        self._closed = False

    @property
    def hello(self) -> f.ServerHello:
        """What the relay said about itself."""
        if self._machine.hello is None:
            raise ConnectionLost
        return self._machine.hello

    @property
    def draining(self) -> bool:
        """The relay is shutting down: nothing new should be asked."""
        return self._machine.state is State.DRAINING or self.hello.draining

    @property
    def outstanding(self) -> int:
        """Requests written or waiting to be written that have no answer yet."""
        return self._machine.outstanding + self._queue.qsize()

    def next_request(self) -> int:
        """A request number not used before on this connection."""
        return next(self._numbers) & 0xFFFFFFFF

    async def send(self, frame: f.ClientFrame) -> None:
        """Queue a frame for writing; waits while the queue is full.

        Raises:
            ConnectionLost: the connection is closed.
        """
        if self._closed:
            raise ConnectionLost
        await self._queue.put(frame)

    def try_send(self, frame: f.ClientFrame) -> bool:
        """Queue a frame, unless several wait already or the connection is closed (S5)."""
        if self._closed or self._queue.qsize() >= MAX_QUEUED_LIVE_FRAMES:
            return False
        self._queue.put_nowait(frame)
        return True

    async def ask(
        self, make: Callable[[int], f.ClientFrame], *, answer_seconds: float = ANSWER_SECONDS
    ) -> f.ServerFrame:
        """Send the request that `make(number)` builds and wait for its answer.

        Raises:
            RequestRefused: the answer was REFUSED.
            ConnectionLost: the connection ended first, or no answer came in time.
        """
        number = self.next_request()
        future: asyncio.Future[f.ServerFrame] = asyncio.get_running_loop().create_future()
        self._awaited[number] = future
        try:
            await self.send(make(number))
            async with asyncio.timeout(answer_seconds):
                answer = await future
        except TimeoutError:
            raise ConnectionLost from None
        finally:
            self._awaited.pop(number, None)
        if isinstance(answer, f.Refused):
            raise RequestRefused(answer.code)
        return answer

    async def run(self, handler: FrameHandler) -> None:
        """Read and write until the connection ends. Answers to `ask` go to who asked, the rest to `handler`.

        Raises:
            ConnectionLost: always, in the end, unless cancelled.
            NotARelay: the peer does not keep to the protocol.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                group.create_task(self._read(handler))
        except BaseExceptionGroup as group_of_ends:
            raise how_it_ended(group_of_ends) from None
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Fail everything that waits for this connection."""
        self._closed = True
        self._machine.close()
        for future in self._awaited.values():
            if not future.done():
                future.set_exception(ConnectionLost())
        self._awaited.clear()

    async def close(self) -> None:
        """Write what is queued, then close the socket."""
        self.abandon()
        await self._socket.close()

    async def _write(self) -> None:
        while True:
            frame = await self._queue.get()
            await self._socket.send(self._machine.send(frame))

    async def _read(self, handler: FrameHandler) -> None:
        async for message in self._socket:
            if isinstance(message, str):
                raise CodecError(0, "a text message")
            frame = self._machine.receive(message)
            asked = self._machine.asked
            if isinstance(frame, f.Failed):
                raise ConnectionLost(_error_code(frame.code))
            future = None
            if asked is not None and not isinstance(asked, f.Hello):
                future = self._awaited.get(asked.request)
            if future is None:
                handler(frame, asked)
            elif not future.done():
                future.set_result(frame)
        raise ConnectionLost


def _error_code(code: int) -> ErrorCode | None:
    return next((known for known in ErrorCode if known == code), None)


def how_it_ended(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """One error for all the ways in which reader and writer of one connection failed, perhaps both at once.

    What is no end of a connection (a defect, a broken vault) comes first, and as it is.
    """
    errors = list(_leaves(group))
    for error in errors:
        if not isinstance(error, _ENDS | _NONSENSE):
            return error
    if any(isinstance(error, _NONSENSE) for error in errors):
        return NotARelay("its address")
    codes = [error.code for error in errors if isinstance(error, ConnectionLost) and error.code is not None]
    return ConnectionLost(codes[0] if codes else None)


_ENDS: Final = ConnectionLost | ConnectionClosed
_NONSENSE: Final = NotARelay | CodecError | OrderError | VersionError


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


@asynccontextmanager
async def open_connection(relay_url: str, *, open_seconds: float = OPEN_SECONDS) -> AsyncIterator[Connection]:
    """Open a connection and greet; the block gets it, and it is closed when the block is left.

    Whoever enters the block must let `Connection.run` run beside what it asks.

    Raises:
        RelayUnreachable: nothing answers there.
        NotARelay: what answers does not speak our protocol.
    """
    try:
        async with asyncio.timeout(open_seconds):
            socket = await _open_socket(relay_url)
            try:
                machine = await _greet(socket, relay_url)
            except BaseException:
                await socket.close()
                raise
    except TimeoutError:
        raise RelayUnreachable(relay_url, "no answer in time") from None
    connection = Connection(socket, machine)
    try:
        yield connection
    finally:
        await connection.close()


async def _open_socket(relay_url: str) -> WebSocket:
    on_this_machine = urlsplit(relay_url).hostname in LOOPBACK_HOSTS
    try:
        return await connect(
            websocket_url(relay_url),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            user_agent_header=None,
            open_timeout=None,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            close_timeout=1.0,
            max_size=MAX_FRAME_BYTES,
            max_queue=MAX_FRAMES_READ_AHEAD,
            proxy=None if on_this_machine else True,
        )
    except ssl.SSLCertVerificationError:
        raise RelayUnreachable(relay_url, CERTIFICATE_REFUSED, refused=True) from None
    except ssl.SSLError:
        raise RelayUnreachable(relay_url, NO_COMMON_TLS, refused=True) from None
    except ConnectionRefusedError:
        raise RelayUnreachable(relay_url, "nothing listens there", refused=True) from None
    except OSError:
        raise RelayUnreachable(relay_url, "no way to that address") from None
    except (InvalidHandshake, InvalidURI, ConnectionClosed, ValueError, EOFError):
        raise NotARelay(relay_url) from None


async def _greet(socket: WebSocket, relay_url: str) -> ClientConnection:
    machine = ClientConnection()
    try:
        if socket.subprotocol != SUBPROTOCOL:
            raise OrderError("no common subprotocol")
        await socket.send(machine.hello_message())
        message = await socket.recv(decode=False)
        frame = machine.receive(message)
    except (CodecError, OrderError, VersionError, ConnectionClosed):
        raise NotARelay(relay_url) from None
    match frame:
        case f.ServerHello():
            return machine
        case f.Failed() if frame.code in {ErrorCode.TOO_MANY_CONNECTIONS, ErrorCode.SHUTDOWN}:
            raise RelayUnreachable(relay_url, "it takes no more connections now")
        case _:
            raise NotARelay(relay_url)


async def ask_once(relay_url: str, make: Callable[[int], f.ClientFrame]) -> f.ServerFrame:
    """Ask one thing over a connection of its own.

    Raises:
        RequestRefused: the answer was REFUSED.
        ConnectionLost: there was no answer.
        RelayUnreachable, NotARelay: there was no connection.
    """
    outcome: f.ServerFrame | RequestRefused | ConnectionLost = ConnectionLost()
    async with open_connection(relay_url) as connection:

        async def work(reading: asyncio.Task[None]) -> None:
            nonlocal outcome
            try:
                outcome = await connection.ask(make)
            except (RequestRefused, ConnectionLost) as error:
                outcome = error
            finally:
                reading.cancel()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(work(group.create_task(connection.run(_ignore))))
        except BaseExceptionGroup as group_of_ends:
            error = how_it_ended(group_of_ends)
            if not isinstance(error, ConnectionLost | NotARelay):
                raise error from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _ignore(frame: f.ServerFrame, asked: f.ClientFrame | None) -> None:
    """What nobody asked for on such a connection is nothing to us."""
