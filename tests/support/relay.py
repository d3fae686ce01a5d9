"""A relay on loopback in the test's own event loop, and a client that speaks the wire by `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import websockets
from websockets.asyncio.client import ClientConnection as WebSocket

from chatserver.clock import ManualClock
from chatserver.config import Config
from chatserver.events import Log
from chatserver.relay import Relay
from chatserver.server import RelayServer
from chatserver.store.memory import MemoryStore
from chatserver.store.protocol import Store
from chatserver.wire import frames as f
from chatserver.wire.connection import ClientConnection
from chatserver.wire.limits import BODY_BYTES, NO_INCARNATION, SUBPROTOCOL, ChannelClass

STORED = ChannelClass.STORED
LIVE = ChannelClass.LIVE
PATIENCE_SECONDS = 60.0


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; fails after PATIENCE_SECONDS of real time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 (the condition is the relay's, which knows no test)
            await asyncio.sleep(0)


def seeded(seed: int = 1) -> Callable[[int], bytes]:
    """Randomness that a test can repeat."""
    return random.Random(seed).randbytes


@dataclass
class Running:
    """A relay that runs, and what a test turns or looks at."""

    relay: Relay
    server: RelayServer
    clock: ManualClock
    store: Store
    port: int
    log: list[str]

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def client(self, *, greet: bool = True, **options: object) -> AsyncIterator[Client]:
        """A client that has said HELLO."""
        async with self.socket(**options) as socket:
            client = Client(socket)
            if greet:
                await client.greet()
            yield client

    @contextlib.asynccontextmanager
    async def socket(self, **options: object) -> AsyncIterator[WebSocket]:
        """A bare WebSocket."""
        arguments: dict[str, object] = {
            "subprotocols": [SUBPROTOCOL],
            "compression": None,
            "max_size": 1 << 20,
            "ping_interval": None,
            "close_timeout": 1,
            **options,
        }
        async with websockets.connect(self.ws_url, **arguments) as socket:  # type: ignore[arg-type]  # plain options
            yield socket


@contextlib.asynccontextmanager
async def running_relay(
    config: Config | None = None,
    *,
    store: Store | None = None,
    clock: ManualClock | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Running]:
    """Start a relay on a free port of loopback; drain it at the end."""
    clock = clock or ManualClock()
    store = store or MemoryStore(rng=seeded(2))
    log: list[str] = []
    async with Relay(config or Config(), store, clock=clock, rng=seeded(3), log=Log(log.append)) as relay:
        server = RelayServer(relay)
        port = await server.start("127.0.0.1", 0, tls=tls)
        try:
            yield Running(relay, server, clock, store, port, log)
        finally:
            await server.stop()


@dataclass
class Client:
    """A device, as far as the wire goes: asks, waits for its answer, and keeps what was pushed meanwhile."""

    socket: WebSocket
    wire: ClientConnection = field(default_factory=ClientConnection)
    pushed: list[f.ServerFrame] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def greet(self) -> f.ServerHello:
        await self.socket.send(self.wire.hello_message())
        frame = await self.read()
        assert isinstance(frame, f.ServerHello)
        return frame

    async def read(self) -> f.ServerFrame:
        """The next frame, whatever it is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await self.socket.recv()
        assert isinstance(message, bytes)
        return self.wire.receive(message)

    async def say(self, frame: f.ClientFrame) -> None:
        await self.socket.send(self.wire.send(frame))

    async def ask(self, frame: f.ClientFrame) -> f.ServerFrame:
        """Send a request and return its answer; pushes go to `pushed`."""
        await self.say(frame)
        return await self.answer(frame)

    async def answer(self, frame: f.ClientFrame) -> f.ServerFrame:
        while True:
            received = await self.read()
            if self.wire.asked is frame:
                return received
            self.pushed.append(received)

    async def push(self) -> f.ServerFrame:
        """The next frame that answers nothing."""
        if self.pushed:
            return self.pushed.pop(0)
        frame = await self.read()
        assert self.wire.asked is None, frame
        return frame

    async def attach(
        self,
        k: bytes,
        token: bytes,
        *,
        cls: ChannelClass = STORED,
        readers: int = 2,
        incarnation: bytes = NO_INCARNATION,
        position: int = 0,
    ) -> f.ServerFrame:
        return await self.ask(
            f.Attach(
                request=next(self.numbers),
                cls=cls,
                readers=readers,
                k=k,
                token=token,
                incarnation=incarnation,
                position=position,
            )
        )

    async def attached(
        self,
        k: bytes,
        token: bytes,
        *,
        cls: ChannelClass = STORED,
        readers: int = 2,
        incarnation: bytes = NO_INCARNATION,
        position: int = 0,
    ) -> f.Attached:
        answer = await self.attach(
            k, token, cls=cls, readers=readers, incarnation=incarnation, position=position
        )
        assert isinstance(answer, f.Attached), answer
        return answer

    def deposit_frame(
        self,
        k: bytes,
        text: str,
        *,
        cls: ChannelClass = STORED,
        readers: int = 2,
        close: bool = False,
        deposit_id: bytes | None = None,
    ) -> f.Deposit:
        number = next(self.numbers)
        return f.Deposit(
            request=number,
            cls=cls,
            readers=readers,
            k=k,
            deposit_id=deposit_id or hashlib.sha256(f"{id(self)} {number}".encode()).digest()[:16],
            close=close,
            body=body(text, cls),
        )

    async def deposit(
        self,
        k: bytes,
        text: str,
        *,
        cls: ChannelClass = STORED,
        readers: int = 2,
        close: bool = False,
        deposit_id: bytes | None = None,
    ) -> f.ServerFrame:
        return await self.ask(
            self.deposit_frame(k, text, cls=cls, readers=readers, close=close, deposit_id=deposit_id)
        )

    async def ack(self, handle: int, seq: int) -> f.ServerFrame:
        return await self.ask(f.Ack(request=next(self.numbers), handle=handle, seq=seq))

    async def detach(self, handle: int) -> f.ServerFrame:
        return await self.ask(f.Detach(request=next(self.numbers), handle=handle))

    async def failure(self) -> int:
        """Read until FAILED and the close that follows; returns its code."""
        while True:
            frame = await self.read()
            if isinstance(frame, f.Failed):
                break
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.socket.wait_closed()
        return frame.code

    async def nothing_pushed(self) -> bool:
        """True if the relay has nothing to say: the answer to a new request comes at once."""
        answer = await self.detach(0xFFFFFFFF)
        assert isinstance(answer, f.Refused)
        return not self.pushed


def body(text: str, cls: ChannelClass = STORED) -> bytes:
    """A cell of the right size that begins with a text."""
    return text.encode().ljust(BODY_BYTES[cls], b".")


def text_of(cell: f.ServerFrame) -> str:
    """The text with which a cell begins."""
    assert isinstance(cell, f.Cell), cell
    return cell.body.rstrip(b".").decode()


def code_of(answer: f.ServerFrame) -> int:
    """The code of a refusal."""
    assert isinstance(answer, f.Refused), answer
    return answer.code
