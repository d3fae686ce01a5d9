"""The WebSocket end keeps to RFC 6455: Autobahn's cases by hand, against an echo and against the relay."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest

from chatserver.clock import SystemClock
from chatserver.sender import Flusher, Sender
from chatserver.server import Front, RelayServer
from chatserver.upgrade import read_head
from chatserver.websocket import Framing, WebSocket
from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from support.raw_websocket import (
    BINARY,
    CLOSE,
    PONG,
    TEXT,
    Heard,
    RawSocket,
    closing,
    frame,
    handshake,
    http_head,
    raw_socket,
)
from support.relay import Running, running_relay
from support.websocket_cases import Case, all_cases

CASES = all_cases()
BROKEN = [case for case in CASES if case.fails]


class Echo:
    """The relay's end of a WebSocket with an echo behind it."""

    def __init__(self, socket: WebSocket, flusher: Flusher) -> None:
        self._socket = socket
        self._sender = Sender(socket.transport, flusher, SystemClock(), limit_bytes=1 << 30)

    def take(self, message: memoryview | bytes) -> None:
        self._sender.send(bytes(message))

    def take_text(self) -> None:
        self._socket.close(1003)

    def take_ping(self, payload: bytes) -> None:
        self._sender.pong(payload)

    def hang_up(self) -> None:
        self._sender.flush()
        self._socket.close(1000)

    def heard(self) -> None:
        return

    drained = heard

    def over(self) -> None:
        self._sender.forget()


class EchoFront(Front):
    """Whose WebSockets are those of the relay."""

    def _upgrade(self, transport: asyncio.Transport, head: bytes, rest: bytes) -> None:
        socket = WebSocket(transport)
        flusher = Flusher(asyncio.get_running_loop().call_soon)
        socket.messages = Echo(socket, flusher)
        Framing(socket, flusher, {}).begin(read_head(head), rest)


@contextlib.asynccontextmanager
async def echo_port(server: RelayServer) -> AsyncIterator[int]:
    listening = await asyncio.get_running_loop().create_server(lambda: EchoFront(server), "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def outcome(port: int, case: Case) -> list[Heard]:
    """Everything that the server says, up to the end of the connection."""
    async with raw_socket(port) as socket:
        speaking = asyncio.ensure_future(socket.say(*case.says))
        heard: list[Heard] = []
        if not case.fails and case.ends is None:
            awaited = len(case.echoes) + len(case.pongs)
            while len(heard) < awaited and (one := await socket.hear()) is not None:
                heard.append(one)
            await speaking
            await socket.say(closing(1000))
        heard += await socket.hear_all()
        await speaking
        return heard


def judge(case: Case, heard: list[Heard]) -> None:
    assert all(one.fin for one in heard)
    messages = tuple(one.payload for one in heard if one.opcode == BINARY)
    pongs = tuple(one.payload for one in heard if one.opcode == PONG)
    ends = [one for one in heard if one.opcode == CLOSE]
    assert heard == [*heard[: len(heard) - len(ends)], *ends], "nothing follows a CLOSE"
    assert len(ends) <= 1
    if case.fails:
        # What came before the fault may or may not have been answered (section 7.1.7).
        assert messages == case.echoes[: len(messages)]
        assert not ends or ends[0].close_code in case.fails
        return
    assert messages == case.echoes
    assert pongs == case.pongs
    # Section 5.5.1: an answer to a CLOSE typically, but not always, repeats its code.
    assert len(ends) == 1
    assert ends[0].close_code in {1000, case.ends}


@pytest.mark.asyncio
async def test_autobahns_cases_against_the_echo() -> None:
    wrong: dict[str, str] = {}
    async with running_relay() as running, echo_port(running.server) as port:
        for case in CASES:
            try:
                async with asyncio.timeout(20):
                    judge(case, await outcome(port, case))
            except (AssertionError, TimeoutError) as error:
                wrong[case.number] = f"{type(error).__name__} {str(error)[:300]}"
    assert wrong == {}
    assert len({case.number for case in CASES}) == len(CASES) > 100


@contextlib.asynccontextmanager
async def sweeping(running: Running) -> AsyncIterator[None]:
    """Who sends a thousand tiny fragments is read on with each sweep only (`test_fairness`)."""

    async def sweep() -> None:
        while True:
            await running.relay.sweep()
            await asyncio.sleep(0.01)

    task = asyncio.ensure_future(sweep())
    yield
    task.cancel()


@pytest.mark.asyncio
async def test_autobahns_broken_cases_against_the_relay() -> None:
    """Who breaks RFC 6455 is disconnected; nobody else notices, and nothing is logged."""
    wrong: dict[str, str] = {}
    async with running_relay() as running, running.client() as bystander, sweeping(running):
        for case in BROKEN:
            async with raw_socket(running.port) as socket:
                await socket.say(frame(BINARY, f.Hello(version=1).encode()))
                assert (await socket.hear()) is not None
                speaking = asyncio.ensure_future(socket.say(*case.says))
                ends = [one for one in await socket.hear_all() if one.opcode == CLOSE]
                await speaking
                # 1008: a message of the case that was whole is no frame of the protocol.
                if ends and ends[0].close_code not in {*case.fails, 1008}:
                    wrong[case.number] = str(ends)
        assert wrong == {}
        await bystander.attached(b"k" * 32, b"t" * 32)
        assert running.log == []
        assert len(running.relay.peers) == 1


@pytest.mark.parametrize("text", [b"Hello", b"\xce\xba\xff" * 20_000], ids=len)
@pytest.mark.asyncio
async def test_text_is_refused_whatever_it_says(text: bytes) -> None:
    """Sections 1.1 and 6: the relay takes no text, valid UTF-8 or not."""
    async with running_relay() as running, raw_socket(running.port) as socket:
        await socket.say(frame(BINARY, f.Hello(version=1).encode()), frame(TEXT, text))
        heard = await socket.hear_all()
        assert heard[-2].payload == f.Failed(code=ErrorCode.BAD_FRAME).encode()
        assert (heard[-1].opcode, heard[-1].close_code) == (CLOSE, 1008)


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Connection": None},
        {"Connection": "close"},
        {"Sec_WebSocket_Version": "12"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Protocol": None},
        {"Sec_WebSocket_Protocol": "amanat.v2, chat"},
    ],
    ids=str,
)
@pytest.mark.asyncio
async def test_a_handshake_that_is_none_gets_400(changes: dict[str, str | None]) -> None:
    async with running_relay() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(handshake(**changes))
        assert (await http_head(reader)).startswith(b"HTTP/1.1 400 ")
        writer.close()


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "x-webkit-deflate-frame, foo; bar=1",
    ],
)
@pytest.mark.asyncio
async def test_no_extension_is_agreed_to(offer: str) -> None:
    """Sections 12 and 13."""
    async with running_relay() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(handshake(Sec_WebSocket_Extensions=offer))
        head = await http_head(reader)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-extensions" not in head.lower()
        assert re.search(rb"(?i)sec-websocket-protocol: amanat\.v1\r\n", head)
        socket = RawSocket(reader, writer)
        await socket.say(frame(BINARY, b"compressed", reserved=4))
        heard = await socket.hear_all()
        assert [one.close_code for one in heard] == [1002]
        writer.close()
