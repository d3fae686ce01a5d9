"""R3 to R6 for stored channels, in memory and deterministic, with every dishonesty that a relay can commit.

Honest by default. A connection is an object with a queue of machine events. Dishonesty comes in four forms:
``tamper`` rewrites what a connection is sent, ``swallow`` loses deposits, ``answer_lost`` loses STORED, and
methods change the store itself (`lose_store`, `snapshot`/`roll_back`, `insert`, `squat`, `bury`, `expire`).
"""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from chatserver.wire.errors import ErrorCode
from clients.sdk.line.events import (
    AckCell,
    AckConfirmed,
    AckRefused,
    Attach,
    Attached,
    AttachRefused,
    CellArrived,
    ChannelRef,
    DepositCell,
    DepositRefused,
    Expired,
    NetworkEvent,
    OwnCellArrived,
    Stored,
    Superseded,
)
from crypto.channel import BODY_BYTES, ChannelClass, channel_id

MESSAGE_DAYS = 30
CLOSING_DAYS = 90
TOMBSTONE_DAYS = 90


@dataclass
class Cell:
    seq: int
    close: bool
    deposit_id: bytes
    body: bytes
    day: int
    depositor: Connection | None


@dataclass
class Channel:
    ref: bytes
    readers: int
    incarnation: bytes
    next_seq: int = 1
    closed_seq: int = 0
    slots: dict[bytes, int] = field(default_factory=dict)
    cells: dict[int, Cell] = field(default_factory=dict)


class Connection:
    """One device's connection: what waits to be read, and what it is attached to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: deque[NetworkEvent] = deque()
        self.attached: dict[bytes, bytes] = {}
        self.sent: dict[bytes, int] = {}


Tamper = Callable[[Connection, NetworkEvent], list[NetworkEvent]]


class FakeRelay:
    """See the module."""

    def __init__(self, rng: Callable[[int], bytes]) -> None:
        self.rng = rng
        self.day = 20_000
        self.channels: dict[bytes, Channel] = {}
        self.tombstones: dict[bytes, int] = {}
        self.connections: list[Connection] = []
        self.deposits: list[bytes] = []
        self.tamper: Tamper = lambda connection, event: [event]
        self.swallow: Callable[[Connection, DepositCell], bool] = lambda connection, deposit: False
        self.answer_lost: Callable[[Connection, DepositCell], bool] = lambda connection, deposit: False
        self.refuse: Callable[[Connection, DepositCell], ErrorCode | None] = lambda connection, deposit: None

    # -- connections

    def connect(self, name: str) -> Connection:
        connection = Connection(name)
        self.connections.append(connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
        for channel in self.channels.values():
            for cell in channel.cells.values():
                if cell.depositor is connection:
                    cell.depositor = None

    def _send(self, connection: Connection, event: NetworkEvent) -> None:
        connection.queue.extend(self.tamper(connection, event))

    # -- requests

    def attach(self, connection: Connection, request: Attach) -> None:
        ref = channel_id(request.channel_class, request.readers, request.k.reveal())
        assert ref == request.ref
        assert request.channel_class is ChannelClass.STORED
        if ref in self.tombstones:
            self._send(connection, AttachRefused(ref=ChannelRef(ref), code=ErrorCode.GONE))
            return
        channel = self._channel(ref, request.readers)
        slot = hashlib.sha256(request.token.reveal()).digest()
        if slot not in channel.slots:
            if len(channel.slots) >= channel.readers:
                self._send(connection, AttachRefused(ref=ChannelRef(ref), code=ErrorCode.FULL))
                return
            channel.slots[slot] = 0
        for other in self.connections:
            if other is not connection and other.attached.get(ref) == slot:
                del other.attached[ref]
                self._send(other, Superseded(ref=ChannelRef(ref)))
        connection.attached[ref] = slot
        current = request.incarnation == channel.incarnation
        connection.sent[ref] = request.position if current else 0
        self._send(
            connection,
            Attached(
                ref=ChannelRef(ref),
                incarnation=channel.incarnation,
                head=channel.next_seq - 1,
                acked=channel.slots[slot],
                closed_seq=channel.closed_seq,
            ),
        )
        self._feed(connection, channel)
        self._collect(channel)

    def deposit(self, connection: Connection, request: DepositCell) -> None:
        ref = channel_id(request.channel_class, request.readers, request.k.reveal())
        assert len(request.body) == BODY_BYTES[request.channel_class]
        assert ref == request.ref
        self.deposits.append(request.body)
        if self.swallow(connection, request):
            return
        refusal = self.refuse(connection, request)
        if ref in self.tombstones:
            refusal = ErrorCode.GONE
        channel = self._channel(ref, request.readers) if refusal is None else None
        if channel is not None and channel.closed_seq:
            known = next((c for c in channel.cells.values() if c.deposit_id == request.deposit_id), None)
            refusal = ErrorCode.CLOSED if known is None else None
        if refusal is not None or channel is None:
            code = refusal or ErrorCode.GONE
            self._send(connection, DepositRefused(ref=request.ref, deposit_id=request.deposit_id, code=code))
            return
        cell = next((c for c in channel.cells.values() if c.deposit_id == request.deposit_id), None)
        if cell is None:
            cell = Cell(
                seq=channel.next_seq,
                close=request.close,
                deposit_id=request.deposit_id,
                body=request.body,
                day=self.day + (CLOSING_DAYS if request.close else MESSAGE_DAYS),
                depositor=connection,
            )
            self._append(channel, cell)
        if not self.answer_lost(connection, request):
            self._send(connection, Stored(ref=request.ref, deposit_id=request.deposit_id, seq=cell.seq))
        for reader in list(self.connections):
            self._feed(reader, channel)

    def ack(self, connection: Connection, request: AckCell) -> None:
        channel = self.channels.get(request.ref)
        slot = connection.attached.get(request.ref)
        if channel is None or slot is None:
            self._send(
                connection,
                AckRefused(ref=request.ref, seq=request.seq, code=ErrorCode.NOT_ATTACHED),
            )
            return
        if request.seq >= channel.next_seq:
            self._send(
                connection,
                AckRefused(ref=request.ref, seq=request.seq, code=ErrorCode.ACK_BEYOND_HEAD),
            )
            return
        channel.slots[slot] = max(channel.slots[slot], request.seq)
        self._send(connection, AckConfirmed(ref=request.ref, seq=request.seq))
        self._collect(channel)

    def detach(self, connection: Connection, ref: bytes) -> None:
        connection.attached.pop(ref, None)

    # -- the store

    def _channel(self, ref: bytes, readers: int) -> Channel:
        if ref not in self.channels:
            self.channels[ref] = Channel(ref=ref, readers=readers, incarnation=self.rng(16))
        return self.channels[ref]

    def _append(self, channel: Channel, cell: Cell) -> None:
        channel.cells[cell.seq] = cell
        channel.next_seq = cell.seq + 1
        if cell.close:
            channel.closed_seq = cell.seq

    def _feed(self, connection: Connection, channel: Channel) -> None:
        if channel.ref not in connection.attached:
            return
        ref = ChannelRef(channel.ref)
        seq = connection.sent.get(channel.ref, 0) + 1
        while seq < channel.next_seq:
            cell = channel.cells.get(seq)
            if cell is None:
                last = seq
                while last + 1 < channel.next_seq and last + 1 not in channel.cells:
                    last += 1
                self._send(connection, Expired(ref=ref, first=seq, last=last))
                seq = last
            elif cell.depositor is connection:
                digest = hashlib.sha256(cell.body).digest()
                self._send(connection, OwnCellArrived(ref=ref, seq=seq, close=cell.close, digest=digest))
            else:
                self._send(connection, CellArrived(ref=ref, seq=seq, close=cell.close, body=cell.body))
            connection.sent[channel.ref] = seq
            seq += 1

    def _collect(self, channel: Channel) -> None:
        if len(channel.slots) < channel.readers:
            return
        everybody = min(channel.slots.values())
        for seq in [seq for seq in channel.cells if seq <= everybody]:
            del channel.cells[seq]
        if channel.closed_seq and everybody >= channel.closed_seq:
            del self.channels[channel.ref]
            self.tombstones[channel.ref] = self.day + TOMBSTONE_DAYS

    def waiting_cells(self) -> int:
        """Cells that somebody has not acknowledged."""
        return sum(len(channel.cells) for channel in self.channels.values())

    # -- dishonesty and accidents

    def expire(self, day: int) -> None:
        """Move the calendar on."""
        self.day = day
        for channel in list(self.channels.values()):
            gone = [seq for seq, cell in channel.cells.items() if cell.day <= day]
            for seq in gone:
                close = channel.cells[seq].close
                del channel.cells[seq]
                if close:
                    del self.channels[channel.ref]
                    self.tombstones[channel.ref] = day + TOMBSTONE_DAYS

    def lose_store(self) -> None:
        """Everything is gone, and with it every connection."""
        self.channels.clear()
        self.tombstones.clear()

    def snapshot(self) -> tuple[dict[bytes, Channel], dict[bytes, int]]:
        """A backup of the store."""
        channels = {
            ref: Channel(
                ref=channel.ref,
                readers=channel.readers,
                incarnation=channel.incarnation,
                next_seq=channel.next_seq,
                closed_seq=channel.closed_seq,
                slots=dict(channel.slots),
                cells={seq: copy.copy(cell) for seq, cell in channel.cells.items()},
            )
            for ref, channel in self.channels.items()
        }
        return channels, dict(self.tombstones)

    def roll_back(self, backup: tuple[dict[bytes, Channel], dict[bytes, int]]) -> None:
        """Put a backup back."""
        self.channels, self.tombstones = backup
        for channel in self.channels.values():
            for cell in channel.cells.values():
                cell.depositor = None

    def insert(self, ref: bytes, body: bytes, *, close: bool = False) -> None:
        """Put a cell of the relay's own choice into a channel."""
        channel = self.channels[ref]
        cell = Cell(
            seq=channel.next_seq,
            close=close,
            deposit_id=self.rng(16),
            body=body,
            day=self.day + MESSAGE_DAYS,
            depositor=None,
        )
        self._append(channel, cell)
        for reader in list(self.connections):
            self._feed(reader, channel)

    def squat(self, ref: bytes, readers: int) -> None:
        """Take all free slots of a channel."""
        channel = self._channel(ref, readers)
        while len(channel.slots) < readers:
            channel.slots[self.rng(32)] = 0

    def bury(self, ref: bytes) -> None:
        """Answer GONE for a channel from now on."""
        self.channels.pop(ref, None)
        self.tombstones[ref] = self.day + TOMBSTONE_DAYS
