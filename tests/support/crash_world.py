"""Traffic that survives the relay's death, and the books by which it is judged.

A `Circle` is a group as the wire sees it: some members, one channel at a time, each closed after a while and
followed by the next. A `Member` is a device reduced to R3, R4, R7 and R9: it keeps what a vault would keep
(token, incarnation, position, outbox), lives on connections that break at any moment, reads to the head
before it sends, hands in again under the same deposit id what was not answered, and acknowledges what it has
read. Whatever contradicts a promise of the relay raises `Broken`, at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import dataclass, field
from typing import Final

import websockets
from websockets.asyncio.client import ClientConnection as WebSocket

from chatserver.store.protocol import hash_token
from chatserver.wire import frames as f
from chatserver.wire.connection import ClientConnection
from chatserver.wire.errors import ErrorCode
from chatserver.wire.ids import channel_id
from chatserver.wire.limits import NO_INCARNATION, STORED_CELL_BYTES, SUBPROTOCOL, ChannelClass
from support.marked import Marks

WINDOW: Final = 3
"""Deposits of one member that wait for their answer."""

RETRY_SECONDS: Final = 0.03

CONNECTION_ENDS: Final = (websockets.WebSocketException, OSError, EOFError, TimeoutError)


class Broken(AssertionError):
    """The relay broke a promise."""


def demand(kept: bool, promise: str) -> None:
    """Raise `Broken` with the promise's words unless it was kept."""
    if not kept:
        raise Broken(promise)


@dataclass
class Epoch:
    """One channel and its books.

    Attributes:
        log: number to SHA-256 of the cell, as the first reader saw it.
        marks: number to the mark of the cell.
        stored: deposit id to the number that STORED gave.
        handed_in: deposit id to SHA-256 of the cell.
        closing: number of the closing cell, once a reader saw it.
    """

    k: bytes
    readers: int
    cells: int
    log: dict[int, bytes] = field(default_factory=dict)
    marks: dict[int, bytes] = field(default_factory=dict)
    stored: dict[bytes, int] = field(default_factory=dict)
    handed_in: dict[bytes, bytes] = field(default_factory=dict)
    closing: int | None = None

    @property
    def channel_id(self) -> bytes:
        return channel_id(ChannelClass.STORED, self.readers, self.k)


@dataclass
class Letter:
    """Something to send: kept until it was read back or answered."""

    deposit_id: bytes
    mark: bytes
    close: bool

    @property
    def body(self) -> bytes:
        return self.mark * (STORED_CELL_BYTES // 8)


@dataclass
class Circle:
    """Some members and the channels that they have used, one after the other."""

    world: World
    readers: int
    epochs: list[Epoch] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)

    def epoch(self, number: int) -> Epoch:
        while len(self.epochs) <= number:
            rng = self.world.rng
            self.epochs.append(Epoch(k=rng.randbytes(32), readers=self.readers, cells=rng.randint(6, 30)))
        return self.epochs[number]

    def gone(self) -> set[bytes]:
        """Marks of the cells of which every reader's acknowledgement was confirmed."""
        found: set[bytes] = set()
        for number, epoch in enumerate(self.epochs):
            upto = min(member.confirmed(number) for member in self.members)
            found.update(mark for seq, mark in epoch.marks.items() if seq <= upto)
        return found


class World:
    """All circles, what they share, and the end of the talking."""

    def __init__(self, url: str, seed: int, circles: list[int]) -> None:
        self.url = url.replace("http://", "ws://") + "/v1/ws"
        self.rng = random.Random(seed)
        self.marks = Marks()
        self.talking = True
        self.stored = 0
        self.connections = 0
        self.circles = [Circle(self, readers) for readers in circles]
        for circle in self.circles:
            circle.members = [Member(circle, index) for index in range(circle.readers)]

    @property
    def members(self) -> list[Member]:
        return [member for circle in self.circles for member in circle.members]

    async def run(self) -> None:
        """Until cancelled, or until a promise is broken."""
        async with asyncio.TaskGroup() as group:
            for member in self.members:
                group.create_task(member.live())

    def gone(self) -> set[bytes]:
        return set[bytes]().union(*(circle.gone() for circle in self.circles))

    def where(self) -> str:
        """Where everybody stands, for a message."""
        return f"{self.connections} connections; " + "; ".join(
            f"channel {member.number}: read {member.position} of {len(member.epoch.log)},"
            f" acked {member.acked}, end {member.epoch.closing}, outbox {len(member.outbox)}"
            for member in self.members
        )

    @property
    def quiet(self) -> bool:
        """Everybody has sent, read and acknowledged all there is, in the same channel."""
        return not self.talking and all(member.quiet for member in self.members)

    def judge(self) -> None:
        """After `quiet`: every acknowledged cell was read by every reader, once, under its number.

        That each reader's numbers were 1, 2, 3 … and that all saw the same cell under the same number was
        checked as they came.
        """
        for circle in self.circles:
            for number, epoch in enumerate(circle.epochs):
                for member in circle.members:
                    demand(member.read_upto(number) == len(epoch.log), "every reader gets every cell")
                for deposit_id, seq in epoch.stored.items():
                    demand(epoch.log.get(seq) == epoch.handed_in[deposit_id], "what was STORED is delivered")
                digests = list(epoch.log.values())
                demand(len(set(digests)) == len(digests), "every cell is delivered once")

    def secrets(self) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Hashes of the tokens of finished channels, ids of finished channels, ids of the others."""
        finished = [
            (number, circle, epoch)
            for circle in self.circles
            for number, epoch in enumerate(circle.epochs)
            if all(member.number > number for member in circle.members)
        ]
        tokens: list[bytes] = [
            hash_token(member.tokens[number]) for number, circle, _ in finished for member in circle.members
        ]
        ids = [epoch.channel_id for _, _, epoch in finished]
        others = [e.channel_id for c in self.circles for e in c.epochs if e.channel_id not in ids]
        return tokens, ids, others


class Member:
    """One reader of a circle."""

    def __init__(self, circle: Circle, index: int) -> None:
        self.circle = circle
        self.index = index
        self.number = 0
        self.tokens: list[bytes] = []
        self.outbox: list[Letter] = []
        self._begin()

    def _begin(self) -> None:
        """The first or the next channel."""
        self.tokens.append(self.circle.world.rng.randbytes(32))
        self.incarnation = NO_INCARNATION
        self.position = 0
        self.acked = 0
        self.ack_sent = 0
        for letter in self.outbox:
            letter.close = False

    @property
    def epoch(self) -> Epoch:
        return self.circle.epoch(self.number)

    def confirmed(self, number: int) -> int:
        """Number up to which ACKED (or GONE) has confirmed this member's acknowledgement."""
        if number < self.number:
            return 1 << 62
        return self.acked if number == self.number else 0

    def read_upto(self, number: int) -> int:
        return len(self.circle.epochs[number].log) if number < self.number else self.position

    @property
    def quiet(self) -> bool:
        others = self.circle.members
        return (
            not self.outbox
            and self.acked == self.position == len(self.epoch.log)
            and all(member.number == self.number for member in others)
        )

    # -- one life after the other ---------------------------------------------------------------------------

    async def live(self) -> None:
        world = self.circle.world
        while True:
            try:
                async with websockets.connect(
                    world.url,
                    subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
                    compression=None,
                    ping_interval=None,
                    close_timeout=1,
                    open_timeout=10,
                ) as socket:
                    world.connections += 1
                    await self._connected(socket)
            except CONNECTION_ENDS:
                await asyncio.sleep(RETRY_SECONDS)

    async def _connected(self, socket: WebSocket) -> None:
        wire = ClientConnection()
        await socket.send(wire.hello_message())
        link = _Link(self, socket, wire)
        async for message in socket:
            if not isinstance(message, bytes):
                raise Broken("the relay says binary messages only")
            await link.take(wire.receive(message))

    # -- what a device does with what it is told ------------------------------------------------------------

    def saw(self, seq: int, digest: bytes, mark: bytes | None, *, close: bool) -> None:
        """A cell came: in order, once, and the same for all."""
        epoch = self.epoch
        demand(seq == self.position + 1, "cells come in order, once, and without a hole")
        demand(epoch.log.setdefault(seq, digest) == digest, "all readers see the same cell under a number")
        if mark is not None:
            epoch.marks[seq] = mark
        self.position = seq
        for letter in self.outbox:
            if epoch.handed_in.get(letter.deposit_id) == digest:
                epoch.marks[seq] = letter.mark
                self.outbox.remove(letter)
                break
        if close:
            epoch.closing = seq

    def finished(self) -> None:
        """The closing cell's acknowledgement is confirmed: on to the next channel."""
        self.number += 1
        self._begin()

    @property
    def at_end(self) -> bool:
        """The closing cell was read."""
        return self.epoch.closing is not None and self.position >= self.epoch.closing

    def write(self) -> None:
        """Something new for the outbox; the first member closes a channel that is long enough."""
        world, epoch = self.circle.world, self.epoch
        if not world.talking or len(self.outbox) >= WINDOW:
            return
        close = self.index == 0 and self.position >= epoch.cells
        self.outbox.append(Letter(world.marks.bytes16(), world.marks.mark(), close))


class _Link:
    """A member on one connection."""

    def __init__(self, member: Member, socket: WebSocket, wire: ClientConnection) -> None:
        self.member = member
        self.socket = socket
        self.wire = wire
        self.request = 0
        self.handle = 0
        self.head = 0
        self.acking = 0
        self.asked: set[bytes] = set()

    async def _say(self, frame: f.ClientFrame) -> None:
        await self.socket.send(self.wire.send(frame))

    def _next(self) -> int:
        self.request += 1
        return self.request

    async def take(self, frame: f.ServerFrame) -> None:
        member = self.member
        match frame:
            case f.ServerHello():
                await self._attach()
                return
            case f.Attached():
                self._attached(frame)
                if member.at_end and member.acked == member.epoch.closing:
                    await self._next_channel()
                    return
            case f.Cell():
                digest = hashlib.sha256(frame.body).digest()
                member.saw(frame.seq, digest, frame.body[:8], close=bool(frame.close))
            case f.OwnCell():
                member.saw(frame.seq, frame.digest, None, close=bool(frame.close))
            case f.Stored():
                asked = self.wire.asked
                if isinstance(asked, f.Deposit):
                    known = member.epoch.stored.setdefault(asked.deposit_id, frame.seq)
                    demand(known == frame.seq, "a deposit id keeps its number")
                    member.circle.world.stored += 1
            case f.Acked():
                asked = self.wire.asked
                if isinstance(asked, f.Ack):
                    member.acked = max(member.acked, asked.seq)
                    if member.at_end and member.acked == member.epoch.closing:
                        await self._next_channel()
                        return
            case f.Refused():
                if await self._refused(frame):
                    return
            case f.Draining() | f.Failed():
                return
            case _:
                raise Broken(f"nothing of this kind was to come: {type(frame).__name__}")
        await self._go_on()

    async def _attach(self) -> None:
        member = self.member
        self.asked.clear()
        self.handle = 0
        await self._say(
            f.Attach(
                request=self._next(),
                cls=ChannelClass.STORED,
                readers=member.circle.readers,
                k=member.epoch.k,
                token=member.tokens[-1],
                incarnation=member.incarnation,
                position=member.position,
            )
        )

    def _attached(self, frame: f.Attached) -> None:
        member = self.member
        if member.incarnation != NO_INCARNATION:
            demand(frame.incarnation == member.incarnation, "a channel keeps its incarnation")
        demand(frame.head >= member.position, "no cell that was read is lost")
        demand(member.acked <= frame.acked, "a confirmed acknowledgement stays")
        demand(frame.acked <= member.ack_sent, "nobody acknowledges for another")
        member.incarnation = frame.incarnation
        member.acked = frame.acked
        self.handle, self.head, self.acking = frame.handle, frame.head, frame.acked

    async def _refused(self, frame: f.Refused) -> bool:
        """True if there is nothing more to do now."""
        member, asked = self.member, self.wire.asked
        if isinstance(asked, f.Deposit) and frame.code in {ErrorCode.CLOSED, ErrorCode.GONE}:
            return False
        if frame.code in {ErrorCode.STORE_FAILED, ErrorCode.DRAINING, ErrorCode.RATE}:
            await asyncio.sleep(RETRY_SECONDS)
            await self.socket.close()
            return True
        gone = isinstance(asked, (f.Attach, f.Ack)) and frame.code == ErrorCode.GONE
        demand(gone, f"an honest member is not refused: {frame.code}")
        demand(
            member.epoch.closing is not None and member.ack_sent >= member.epoch.closing,
            "a channel goes only when every reader has acknowledged its end",
        )
        await self._next_channel()
        return True

    async def _next_channel(self) -> None:
        self.member.finished()
        await self._attach()

    async def _go_on(self) -> None:
        """Acknowledge what was read; once at the head, hand in what waits."""
        member = self.member
        if not self.handle or member.position < self.head:
            return
        if member.position > self.acking:
            member.ack_sent = self.acking = member.position
            await self._say(f.Ack(request=self._next(), handle=self.handle, seq=member.position))
        if member.at_end:
            return
        member.write()
        for letter in tuple(member.outbox):
            if letter.deposit_id not in self.asked:
                self.asked.add(letter.deposit_id)
                member.epoch.handed_in[letter.deposit_id] = hashlib.sha256(letter.body).digest()
                await self._say(
                    f.Deposit(
                        request=self._next(),
                        cls=ChannelClass.STORED,
                        readers=member.circle.readers,
                        k=member.epoch.k,
                        deposit_id=letter.deposit_id,
                        close=letter.close,
                        body=letter.body,
                    )
                )
