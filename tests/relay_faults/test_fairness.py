"""No connection, and no crowd of them, takes the whole of a turn: what a flood costs the others is bounded.

What it amounts to in milliseconds is measured in `test_floods` and recorded in docs/PERFORMANCE.md.
"""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

import pytest

from chatserver.config import parse
from chatserver.peer import FRAMES_AT_ONCE, REFUSALS_AT_ONCE
from chatserver.turns import AT_ONCE, Turns
from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from support.raw_websocket import BINARY, CONTINUATION, PING, PONG, Heard, RawSocket, frame, raw_socket
from support.relay import running_relay, until

HELLO = frame(BINARY, f.Hello(version=1).encode())


async def greeted(socket: RawSocket) -> None:
    await socket.say(HELLO)
    assert await socket.hear() is not None


def detach(number: int) -> bytes:
    return frame(BINARY, f.Detach(request=number, handle=0xFFFF_FFFF).encode())


class Listening:
    """Collects what a socket says, beside whatever else happens."""

    def __init__(self, socket: RawSocket) -> None:
        self.heard: list[Heard] = []
        self._task = asyncio.ensure_future(self._listen(socket))

    async def _listen(self, socket: RawSocket) -> None:
        while (one := await socket.hear()) is not None:
            self.heard.append(one)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.heard) < count:  # noqa: ASYNC110 - another end of a socket
                await asyncio.sleep(0.001)

    def stop(self) -> None:
        self._task.cancel()


@pytest.mark.asyncio
async def test_who_is_refused_again_and_again_is_not_read_until_the_next_sweep() -> None:
    config = parse("[limits]\nrequests_per_minute = 5\n")
    async with (
        running_relay(config) as running,
        raw_socket(running.port) as socket,
        running.client() as bystander,
    ):
        await greeted(socket)
        listening = Listening(socket)
        await socket.say(b"".join(detach(number) for number in range(1, 101)))
        await listening.until(5 + REFUSALS_AT_ONCE)
        for _ in range(3):  # everybody else goes on, and nothing more is answered
            assert await bystander.nothing_pushed()
        assert len(listening.heard) == 5 + REFUSALS_AT_ONCE
        await running.relay.sweep()
        await listening.until(5 + 2 * REFUSALS_AT_ONCE)
        assert await bystander.nothing_pushed()
        assert len(listening.heard) == 5 + 2 * REFUSALS_AT_ONCE
        for _ in range(100 // REFUSALS_AT_ONCE):
            await running.relay.sweep()
        await listening.until(100)
        rate = f.Refused(request=100, code=ErrorCode.RATE).encode()
        assert listening.heard[-1].payload == rate, "in order, and all of them in the end"
        listening.stop()


@pytest.mark.asyncio
async def test_others_have_a_turn_while_a_connection_says_much_at_once() -> None:
    """One piece with a thousand small requests: they are taken in portions."""
    async with running_relay() as running, raw_socket(running.port) as socket:
        await greeted(socket)
        [peer] = running.relay.peers
        portions: list[int] = []
        loop = asyncio.get_running_loop()

        def look() -> None:
            portions.append(peer._taken)
            if running.relay.tally.requests_refused < 1_000:
                loop.call_soon(look)

        listening = Listening(socket)
        look()
        await socket.say(b"".join(detach(number) for number in range(1, 1_001)))
        await listening.until(1_000)
        assert max(portions) <= FRAMES_AT_ONCE
        assert portions.count(FRAMES_AT_ONCE) >= 5
        listening.stop()


@pytest.mark.parametrize(
    ("opcode", "payload"), [(PING, b""), (PONG, b""), (CONTINUATION, b"x")], ids=["ping", "pong", "fragment"]
)
@pytest.mark.asyncio
async def test_who_says_much_of_nothing_is_not_read_until_the_next_sweep(opcode: int, payload: bytes) -> None:
    async with running_relay() as running, raw_socket(running.port) as socket:
        await greeted(socket)
        flood = [frame(opcode, payload, fin=opcode != CONTINUATION) for _ in range(FRAMES_AT_ONCE * 2)]
        if opcode == CONTINUATION:
            flood[0] = frame(BINARY, b"x", fin=False)
        await socket.say(b"".join(flood))
        listening = Listening(socket)
        async with running.client() as bystander:
            assert await bystander.nothing_pushed()
            [peer] = [one for one in running.relay.peers if one._refusals]
            assert peer._paused
            await running.relay.sweep()
            await until(lambda: not peer._paused)
        listening.stop()


@pytest.mark.asyncio
async def test_a_crowd_is_served_a_few_at_a_time_and_in_order() -> None:
    turns, done, seen = Turns(), list[int](), list[int]()

    def serve(number: int) -> bool:
        done.append(number)
        return True

    for number in range(3 * AT_ONCE):
        turns.do(partial(serve, number))
    while len(done) < 3 * AT_ONCE:
        seen.append(len(done))
        await asyncio.sleep(0)
    assert seen == sorted(set(seen))
    assert seen[0] == AT_ONCE
    assert all(after - before <= AT_ONCE for before, after in itertools.pairwise(seen))
    assert done == list(range(3 * AT_ONCE))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    turns.do(partial(serve, -1))
    assert done[-1] == -1, "without a crowd nobody waits"


@pytest.mark.asyncio
async def test_who_has_gone_uses_up_nobodys_turn() -> None:
    turns, served = Turns(), list[str]()

    def serve(name: str) -> bool:
        served.append(name)
        return True

    for _ in range(AT_ONCE):
        turns.do(partial(serve, "first"))
    for _ in range(100):
        turns.do(lambda: False)
    turns.do(partial(serve, "last"))
    await asyncio.sleep(0)
    assert served[-1] == "last", "a hundred who have gone are passed in one turn"
    assert not len(turns)
