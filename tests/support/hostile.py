"""What hostile peers do to a relay on this machine, each for a number of rounds; a program of its own too.

python tests/support/hostile.py NAME PORT ROUNDS attacks over and over from one line of its standard input to
the next, and says what it was answered, in JSON, when it has stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import aiohttp
import websockets

from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.limits import STORED_CELL_BYTES, SUBPROTOCOL, AdmissionKind
from support.raw_websocket import BINARY, PING, RawSocket, frame, raw_socket
from support.relay import LIVE, STORED, Client

Attack = Callable[[int, int], Coroutine[Any, Any, Counter[str]]]


@contextlib.asynccontextmanager
async def peer(port: int, **options: object) -> AsyncIterator[Client]:
    async with websockets.connect(
        f"ws://127.0.0.1:{port}/v1/ws",
        subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
        compression=None,
        max_size=1 << 20,
        ping_interval=None,
        close_timeout=1,
        **options,  # type: ignore[arg-type]  # plain options
    ) as opened:
        client = Client(opened)
        await client.greet()
        yield client


def said(answer: f.ServerFrame) -> str:
    """An answer in a word."""
    if isinstance(answer, f.Refused):
        return next((code.name for code in ErrorCode if code == answer.code), "REFUSED")
    return type(answer).__name__


async def deposits(port: int, rounds: int) -> Counter[str]:
    """Deposits as fast as they go, live and stored."""
    async with peer(port) as client:
        key = os.urandom(32)
        return Counter(
            [
                said(await client.deposit(key, "flood", cls=LIVE if number % 2 else STORED))
                for number in range(rounds)
            ]
        )


async def guesses(port: int, rounds: int) -> Counter[str]:
    """Attaching to addresses that might be somebody's, of both classes and all numbers of readers."""
    async with peer(port) as client:
        answers: Counter[str] = Counter()
        for number in range(rounds):
            answer = await client.attach(
                os.urandom(32), os.urandom(32), cls=LIVE if number % 2 else STORED, readers=1 + number % 4
            )
            answers[said(answer)] += 1
            if isinstance(answer, f.Attached):
                await client.detach(answer.handle)
        return answers


async def acknowledgements(port: int, rounds: int) -> Counter[str]:
    """Acknowledging what does not exist, under handles that are nobody's and one's own."""
    async with peer(port) as client:
        attached = await client.attached(os.urandom(32), os.urandom(32))
        return Counter(
            [
                said(await client.ack(attached.handle if number % 2 else number + 99, 1 + number))
                for number in range(rounds)
            ]
        )


async def bundles(port: int, rounds: int) -> Counter[str]:
    """Asking for KeyPackages again and again."""
    async with aiohttp.ClientSession() as session:
        answers: Counter[str] = Counter()
        for _ in range(rounds):
            async with session.get(f"http://127.0.0.1:{port}/v1/bundles/0/0") as answer:
                answers[str(answer.status)] += 1
        return answers


async def inboxes(port: int, rounds: int) -> Counter[str]:
    """Drops into inboxes that may exist, and openings without a signature."""
    async with peer(port) as client:
        answers: Counter[str] = Counter()
        for number in range(rounds):
            request: f.ClientFrame
            if number % 2:
                request = f.InboxChallenge(request=next(client.numbers))
            else:
                request = f.Drop(
                    request=next(client.numbers),
                    inbox_id=os.urandom(16),
                    admission=AdmissionKind.OPEN,
                    admission_value=b"",
                    drop_id=os.urandom(16),
                    body=bytes(STORED_CELL_BYTES),
                )
            answers[said(await client.ask(request))] += 1
        return answers


async def reconnects(port: int, rounds: int) -> Counter[str]:
    """A client that connects, says hello and goes, over and over."""
    answers: Counter[str] = Counter()
    for _ in range(rounds):
        async with peer(port):
            answers["hello"] += 1
    return answers


async def half_open(port: int, rounds: int) -> Counter[str]:
    """Connections that never finish their handshake; returns how many the relay has cut off."""
    opened = await asyncio.gather(
        *(asyncio.open_connection("127.0.0.1", port) for _ in range(min(rounds, 300)))
    )
    answers: Counter[str] = Counter()
    try:
        for number, (_, writer) in enumerate(opened):
            writer.write((b"", b"GET /v1/ws HT", b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX: ")[number % 3])
        for reader, _ in opened:
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(30):
                    await reader.read()
            answers["cut off"] += 1
    finally:
        for _, writer in opened:
            writer.close()
    return answers


async def garbage(port: int, rounds: int) -> Counter[str]:
    """Frames that are none: too long, too short, of no type, out of order."""
    bad = itertools.cycle(
        (b"\x04" + bytes(20_000), b"\xff" * 40, b"\x02short", b"", f.Hello(version=1).encode(), bytes(60_000))
    )

    async def one() -> str:
        async with raw_socket(port) as opened:
            await opened.say(frame(BINARY, f.Hello(version=1).encode()), frame(BINARY, next(bad)))
            heard = await opened.hear_all()
            return f"closed {heard[-1].close_code}"

    answers: Counter[str] = Counter()
    for begun in range(0, rounds, 6):  # each waits for the relay to close, which takes its time
        answers.update(await asyncio.gather(*(one() for _ in range(min(6, rounds - begun)))))
    return answers


async def deaf(port: int, rounds: int) -> Counter[str]:
    """Readers who ask for much and read nothing, and who ping without reading the pongs."""
    key = os.urandom(32)
    answers: Counter[str] = Counter()
    async with peer(port) as writer, contextlib.AsyncExitStack() as stack:
        for _ in range(64):
            await writer.deposit(key, "much", cls=LIVE)
        for number in range(min(rounds, 40)):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            raw.connect(("127.0.0.1", port))
            raw.setblocking(False)
            reader = await stack.enter_async_context(peer(port, sock=raw, max_queue=1))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    if number % 2:
                        await reader.attached(key, key, cls=LIVE)
                    while True:
                        reader.socket.transport.write(frame(PING, bytes(125)) * 50)
                        await asyncio.sleep(0.005)
            reader.socket.transport.abort()
            answers["deaf"] += 1
    return answers


async def idle(port: int, rounds: int) -> Counter[str]:
    """Connections that say hello and nothing more."""
    answers: Counter[str] = Counter()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(rounds):
            opened: RawSocket = await stack.enter_async_context(raw_socket(port))
            await opened.say(frame(BINARY, f.Hello(version=1).encode()))
            heard = await opened.hear()
            answers[
                "open" if heard is not None and heard.payload[0] == f.ServerHello.TYPE else "refused"
            ] += 1
    return answers


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        deposits,
        guesses,
        acknowledgements,
        bundles,
        inboxes,
        reconnects,
        half_open,
        garbage,
        deaf,
        idle,
    )
}


async def obey(name: str, port: int, rounds: int) -> None:
    """Attack from each odd line of standard input to the line after it."""
    while await asyncio.to_thread(sys.stdin.readline):
        answers: Counter[str] = Counter()
        attacking = asyncio.ensure_future(_over_and_over(name, port, rounds, answers))
        await asyncio.to_thread(sys.stdin.readline)
        attacking.cancel()
        await asyncio.wait([attacking])
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()


async def _over_and_over(name: str, port: int, rounds: int, answers: Counter[str]) -> None:
    while True:
        try:
            answers.update(await ATTACKS[name](port, rounds))
        except (OSError, aiohttp.ClientError, websockets.WebSocketException, AssertionError):
            answers["thrown out"] += 1
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    _name, _port, _rounds = sys.argv[1:]
    asyncio.run(obey(_name, int(_port), int(_rounds)))
