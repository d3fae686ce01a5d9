"""The shell around one WebSocket, against a server of the test's own that may be strange or fail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.typing import Subprotocol

from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.limits import SUBPROTOCOL
from clients.sdk import relay_link
from clients.sdk.connection import (
    MAX_QUEUED_LIVE_FRAMES,
    Connection,
    ConnectionLost,
    RequestRefused,
    ask_once,
    how_it_ended,
    open_connection,
    websocket_url,
)
from clients.sdk.errors import NotARelay, RelayUnreachable
from clients.sdk.relay_link import MAX_PAUSE_SECONDS, RelayLink, pause_bound, random_fraction
from crypto.codec import CodecError

pytestmark = pytest.mark.asyncio

HELLO = f.ServerHello(version=1, bucket_bits=0, pow_bits=0, draining=False)
Talk = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk, *, subprotocol: str = SUBPROTOCOL) -> AsyncIterator[str]:
    """A relay that says what the test wants."""

    async def handle(socket: ServerConnection) -> None:
        try:
            await talk(socket)
        except ConnectionClosed:
            return

    async with serve(handle, "127.0.0.1", 0, subprotocols=[Subprotocol(subprotocol)]) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}"


async def greet(socket: ServerConnection) -> None:
    assert isinstance(f.decode_client(await receive(socket)), f.Hello)
    await socket.send(HELLO.encode())


async def receive(socket: ServerConnection) -> bytes:
    message = await socket.recv(decode=False)
    assert isinstance(message, bytes)
    return message


def challenge(number: int) -> f.ClientFrame:
    return f.InboxChallenge(request=number)


async def test_a_question_gets_its_answer() -> None:
    async def talk(socket: ServerConnection) -> None:
        await greet(socket)
        asked = f.decode_client(await receive(socket))
        assert isinstance(asked, f.InboxChallenge)
        await socket.send(f.Challenge(request=asked.request, nonce=b"n" * 32).encode())
        await socket.wait_closed()

    async with server(talk) as url:
        answer = await ask_once(url, challenge)
    assert isinstance(answer, f.Challenge)
    assert answer.nonce == b"n" * 32


async def test_a_refusal_is_told_with_its_code() -> None:
    async def talk(socket: ServerConnection) -> None:
        await greet(socket)
        asked = f.decode_client(await receive(socket))
        assert isinstance(asked, f.InboxChallenge)
        await socket.send(f.Refused(request=asked.request, code=ErrorCode.RATE).encode())
        await socket.wait_closed()

    async with server(talk) as url:
        with pytest.raises(RequestRefused) as refused:
            await ask_once(url, challenge)
    assert refused.value.code == ErrorCode.RATE


@pytest.mark.parametrize(
    "reply",
    [
        f.ServerHello(version=2, bucket_bits=0, pow_bits=0, draining=False).encode(),
        b"\x00garbage",
        f.Failed(code=ErrorCode.BAD_VERSION).encode(),
        f.Done(request=1).encode(),
        "text",
    ],
)
async def test_whoever_does_not_greet_properly_is_no_relay(reply: bytes | str) -> None:
    async def talk(socket: ServerConnection) -> None:
        await receive(socket)
        await socket.send(reply)
        await socket.wait_closed()

    async with server(talk) as url:
        with pytest.raises(NotARelay):
            async with open_connection(url):
                pass


async def test_a_relay_that_is_full_is_unreachable_for_now() -> None:
    async def talk(socket: ServerConnection) -> None:
        await receive(socket)
        await socket.send(f.Failed(code=ErrorCode.TOO_MANY_CONNECTIONS).encode())

    async with server(talk) as url:
        with pytest.raises(RelayUnreachable):
            async with open_connection(url):
                pass


async def test_another_subprotocol_is_no_relay() -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with server(talk, subprotocol="something.else") as url:
        with pytest.raises(NotARelay):
            async with open_connection(url):
                pass


async def test_a_relay_that_never_answers_the_greeting() -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with server(talk) as url:
        with pytest.raises(RelayUnreachable, match="no answer"):
            async with open_connection(url, open_seconds=0.3):
                pass


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (f.Failed(code=ErrorCode.SHUTDOWN).encode(), ConnectionLost),
        (f.Failed(code=999).encode(), ConnectionLost),
        (f.Stored(request=77, seq=1).encode(), NotARelay),
        (b"\xff", NotARelay),
        (b"", NotARelay),
        ("a text", NotARelay),
        (None, ConnectionLost),
    ],
)
async def test_the_ways_in_which_a_connection_ends(
    message: bytes | str | None, error: type[Exception]
) -> None:
    async def talk(socket: ServerConnection) -> None:
        await greet(socket)
        if message is not None:
            await socket.send(message)
            await socket.wait_closed()

    async with server(talk) as url, open_connection(url) as connection:
        with pytest.raises(error):
            await connection.run(lambda frame, asked: None)
        with pytest.raises(ConnectionLost):
            await connection.send(challenge(1))
        assert not connection.try_send(challenge(1))


async def test_an_answer_that_does_not_come_ends_the_wait() -> None:
    async def talk(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.wait_closed()

    async with server(talk) as url, open_connection(url) as connection, asyncio.TaskGroup() as group:
        reading = group.create_task(connection.run(lambda frame, asked: None))
        with pytest.raises(ConnectionLost):
            await connection.ask(challenge, answer_seconds=0.1)
        reading.cancel()


async def test_a_sessions_frames_do_not_pile_up() -> None:
    async def talk(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.wait_closed()

    async with server(talk) as url, open_connection(url) as connection:
        taken = [connection.try_send(challenge(number)) for number in range(MAX_QUEUED_LIVE_FRAMES + 3)]
        assert taken == [True] * MAX_QUEUED_LIVE_FRAMES + [False] * 3
        assert connection.outstanding == MAX_QUEUED_LIVE_FRAMES


async def test_addresses() -> None:
    assert websocket_url("https://relay.example") == "wss://relay.example/v1/ws"
    assert websocket_url("http://127.0.0.1:8080") == "ws://127.0.0.1:8080/v1/ws"


async def test_reader_and_writer_may_fail_at_once() -> None:
    lost, closed = ConnectionLost(ErrorCode.SHUTDOWN), ConnectionClosedOK(None, None)
    ended = how_it_ended(BaseExceptionGroup("", [closed, BaseExceptionGroup("", [ConnectionLost(), lost])]))
    assert isinstance(ended, ConnectionLost)
    assert ended.code is ErrorCode.SHUTDOWN
    nonsense = BaseExceptionGroup("", [closed, CodecError(0, "x")])
    assert isinstance(how_it_ended(nonsense), NotARelay)
    defect = ValueError("a defect of ours")
    assert how_it_ended(BaseExceptionGroup("", [closed, defect])) is defect


# -- coming back by itself


class Owner:
    """Notes what the link tells."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.changed = asyncio.Event()

    async def connected(self, connection: Connection) -> None:
        self.note("connected")
        await asyncio.Event().wait()

    def frame(self, frame: f.ServerFrame, asked: f.ClientFrame | None) -> None:
        self.note(type(frame).__name__)

    def disconnected(self, why: RelayUnreachable | NotARelay) -> None:
        self.note(type(why).__name__)

    def note(self, what: str) -> None:
        self.told.append(what)
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_a_link_reconnects_and_says_so_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_link, "FIRST_PAUSE_SECONDS", 0.001)

    async def talk(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.send(f.Draining(seconds=1).encode())

    owner = Owner()
    async with server(talk) as url, asyncio.TaskGroup() as group:
        running = group.create_task(RelayLink(url, owner, rng=os.urandom).run())
        await owner.until(6)
        running.cancel()
    assert owner.told[:6] == ["connected", "Draining", "RelayUnreachable"] * 2


async def test_a_link_drops_its_connection_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_link, "FIRST_PAUSE_SECONDS", 0.001)

    async def talk(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.wait_closed()

    owner = Owner()
    async with server(talk) as url, asyncio.TaskGroup() as group:
        link = RelayLink(url, owner, rng=os.urandom)
        running = group.create_task(link.run())
        await owner.until(1)
        link.reconnect()
        await owner.until(3)
        running.cancel()
    assert owner.told[:3] == ["connected", "RelayUnreachable", "connected"]


async def test_pauses_grow_to_a_minute_and_are_random() -> None:
    bounds = [pause_bound(failures) for failures in range(12)]
    assert bounds == sorted(bounds)
    assert (bounds[0], bounds[-1]) == (0.5, MAX_PAUSE_SECONDS)
    assert random_fraction(lambda n: b"\xff" * n) < 1.0
    assert random_fraction(bytes) == 0.0
