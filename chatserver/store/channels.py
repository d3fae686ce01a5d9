"""Channels of the class `stored` in SQL: R3 to R6 of CHANNELS.md.

`Channels` is what the writer's thread knows of the channels in use: everything but the cells' bodies.
Requests are judged by it, and what they change is written when the transaction ends (`write`), with one
statement for all rows of a kind: a cell costs one inserted row and its share of one changed row of its
channel, however many cells and acknowledgements the transaction holds. That is sound because the relay alone
writes these tables while it runs (`owner.lock`). What nobody has asked for lately is forgotten; so is
everything when a transaction is undone, or when something else has changed the tables (`expiry`).

Each method is one step inside the writer's transaction; it raises nothing but `sqlite3.Error`, because what
it raises undoes everything that shares the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from chatserver.store.protocol import (
    INCARNATION_BYTES,
    Acknowledged,
    Attached,
    CellPage,
    ChannelId,
    ChannelRef,
    Day,
    Deposited,
    ExpiredRange,
    Refusal,
    Refused,
    StoredCell,
    StoreSettings,
    TokenHash,
)

KNOWN: Final = 65_536
"""So many waiting cells are remembered, some 120 bytes each; a channel counts as CHANNEL_WEIGHT of them."""

CHANNEL_WEIGHT: Final = 9
"""A channel with two slots takes some 1,050 bytes."""


@dataclass(slots=True, kw_only=True)
class _Channel:
    """One channel as it will stand in the tables.

    Attributes:
        slots: token hash to what the slot has acknowledged.
        waiting: deposit id to number, of every cell that is there, in the order of the numbers.
        unwritten: rows of cells to be inserted.
        acked: what every slot had acknowledged when that last deleted cells; 0 if nothing is to be deleted.
        changed_slots: tokens whose rows are to be written.
    """

    readers: int
    incarnation: bytes
    next_seq: int
    closed_seq: int
    expiry_day: int
    slots: dict[bytes, int] = field(default_factory=dict)
    waiting: dict[bytes, int] = field(default_factory=dict)
    unwritten: list[tuple[bytes, int, int, int, bytes, bytes]] = field(default_factory=list)
    acked: int = 0
    changed: bool = False
    changed_slots: set[bytes] = field(default_factory=set)

    @property
    def head(self) -> int:
        return self.next_seq - 1

    @property
    def weight(self) -> int:
        return CHANNEL_WEIGHT + len(self.waiting)

    def touch(self, today: Day, settings: StoreSettings) -> None:
        """R6: 90 days start anew. Written at most once a day, so that the log does not show each visit."""
        expiry_day = today + settings.untouched_days
        if expiry_day > self.expiry_day:
            self.expiry_day = expiry_day
            self.changed = True

    def forget_acked(self, acked: int) -> int:
        """R6: cells up to this number are to go; returns how many there were."""
        gone = [deposit_id for deposit_id, _ in takewhile(lambda one: one[1] <= acked, self.waiting.items())]
        for deposit_id in gone:
            del self.waiting[deposit_id]
        if gone:
            self.acked = acked
        return len(gone)


class Channels:
    """See the module. Belongs to one thread.

    Args:
        settings: limits and times.
        rng: draws incarnations.
    """

    def __init__(self, settings: StoreSettings, rng: Callable[[int], bytes]) -> None:
        self._settings = settings
        self._rng = rng
        self._known: dict[bytes, _Channel] = {}
        self._touched: dict[bytes, _Channel] = {}
        self._size = self._kept = 0

    @property
    def remembered(self) -> int:
        """How much is remembered, in waiting cells."""
        return sum(one.weight for one in self._known.values())

    # -- the transaction ------------------------------------------------------------------------------------

    def write(self, db: sqlite3.Connection) -> None:
        """Bring the tables up to date."""
        self._kept = 0
        if not self._touched:
            return
        touched = self._touched
        self._touched = {}
        channels = []
        slots = []
        cells = []
        deleted = []
        for channel_id, state in touched.items():
            if state.changed:
                channels.append(
                    (
                        channel_id,
                        state.readers,
                        state.incarnation,
                        state.next_seq,
                        state.closed_seq,
                        state.expiry_day,
                    )
                )
                state.changed = False
            if state.changed_slots:
                slots += [
                    (channel_id, token_hash, state.slots[token_hash]) for token_hash in state.changed_slots
                ]
                state.changed_slots.clear()
            if state.unwritten:
                cells += state.unwritten
                state.unwritten = []
            if state.acked:
                deleted.append((channel_id, state.acked))
                state.acked = 0
        if channels:
            db.executemany(
                "INSERT INTO channels(channel_id, readers, incarnation, next_seq, closed_seq, expiry_day)"
                " VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(channel_id) DO UPDATE SET"
                " next_seq = excluded.next_seq, closed_seq = excluded.closed_seq,"
                " expiry_day = excluded.expiry_day",
                channels,
            )
        if slots:
            db.executemany(
                "INSERT INTO slots(channel_id, token_hash, acked) VALUES(?, ?, ?)"
                " ON CONFLICT(channel_id, token_hash) DO UPDATE SET acked = excluded.acked",
                slots,
            )
        if cells:
            db.executemany(
                "INSERT INTO cells(channel_id, seq, close, expiry_day, deposit_id, body)"
                " VALUES(?, ?, ?, ?, ?, ?)",
                cells,
            )
        if deleted:
            db.executemany("DELETE FROM cells WHERE channel_id = ? AND seq <= ?", deleted)

    def forget(self) -> None:
        """The tables are not what they were: the transaction was undone, or something else wrote them."""
        self._known.clear()
        self._touched.clear()
        self._size = self._kept = 0

    def _find(self, db: sqlite3.Connection, channel_id: ChannelId) -> _Channel | None:
        state = self._known.get(channel_id)
        if state is not None:
            return state
        row = db.execute(
            "SELECT readers, incarnation, next_seq, closed_seq, expiry_day FROM channels"
            " WHERE channel_id = ?",
            (channel_id,),
        ).fetchone()
        if row is None:
            return None
        slots = db.execute("SELECT token_hash, acked FROM slots WHERE channel_id = ?", (channel_id,))
        cells = db.execute(
            "SELECT deposit_id, seq FROM cells WHERE channel_id = ? ORDER BY seq", (channel_id,)
        )
        state = _Channel(
            readers=row[0],
            incarnation=row[1],
            next_seq=row[2],
            closed_seq=row[3],
            expiry_day=row[4],
            slots=dict(slots.fetchall()),
            waiting=dict(cells.fetchall()),
        )
        self._remember(channel_id, state)
        return state

    def _remember(self, channel_id: ChannelId, state: _Channel) -> None:
        """Keep a channel that was read or made."""
        self._trim()
        self._known[channel_id] = state
        self._size += state.weight

    def _trim(self) -> None:
        """When too much is remembered, forget all but what this transaction has touched.

        Where that is too much itself, not again before it has doubled: each time costs a walk over all of it.
        """
        if self._size > max(KNOWN, 2 * self._kept):
            self._known = dict(self._touched)
            self._size = self._kept = sum(one.weight for one in self._known.values())

    def _find_or_create(
        self, db: sqlite3.Connection, channel: ChannelRef, *, today: Day, may_create: bool
    ) -> tuple[_Channel, bool] | Refused:
        """R4: ATTACH and DEPOSIT both create an unknown channel, unless a tombstone answers GONE (R6)."""
        found = self._find(db, channel.channel_id)
        if found is not None:
            return found, False
        # `remove` takes the one away in the transaction that makes the other
        if _is_gone(db, channel.channel_id):
            return Refused(reason=Refusal.GONE)
        if not may_create:
            return Refused(reason=Refusal.CREATION_LIMIT)
        created = _Channel(
            readers=channel.readers,
            incarnation=self._rng(INCARNATION_BYTES),
            next_seq=1,
            closed_seq=0,
            expiry_day=today + self._settings.untouched_days,
            changed=True,
        )
        return created, True

    # -- requests -------------------------------------------------------------------------------------------

    def attach(
        self,
        db: sqlite3.Connection,
        channel: ChannelRef,
        token_hash: TokenHash,
        *,
        today: Day,
        may_create: bool,
    ) -> Attached | Refused:
        """R3: find or create the slot."""
        found = self._find_or_create(db, channel, today=today, may_create=may_create)
        if isinstance(found, Refused):
            return found
        state, created = found
        new_slot = token_hash not in state.slots
        if new_slot and len(state.slots) >= state.readers:
            return Refused(reason=Refusal.FULL)
        if created:
            self._remember(channel.channel_id, state)
        state.touch(today, self._settings)
        if new_slot:
            state.slots[token_hash] = 0
            state.changed_slots.add(token_hash)
        self._touched[channel.channel_id] = state
        return Attached(
            incarnation=state.incarnation,
            head=state.head,
            acked=state.slots[token_hash],
            closed_seq=state.closed_seq,
            created=created,
            new_slot=new_slot,
        )

    def deposit(
        self,
        db: sqlite3.Connection,
        channel: ChannelRef,
        *,
        deposit_id: bytes,
        close: bool,
        body: bytes,
        today: Day,
        may_create: bool,
    ) -> Deposited | Refused:
        """R4, R5: number the cell; a closing one closes the channel in the same transaction."""
        found = self._find_or_create(db, channel, today=today, may_create=may_create)
        if isinstance(found, Refused):
            return found
        state, created = found
        channel_id = channel.channel_id
        known_seq = state.waiting.get(deposit_id)
        if known_seq is not None:  # R4: the same deposit id while its cell exists gives the same seq
            state.touch(today, self._settings)
            self._touched[channel_id] = state
            return Deposited(seq=known_seq, duplicate=True, created=False, incarnation=state.incarnation)
        if state.closed_seq:  # R5
            return Refused(reason=Refusal.CLOSED)
        settings = self._settings
        full = len(state.waiting) >= settings.max_cells_per_channel
        if full and not close:  # R5: one closing cell even at quota
            return Refused(reason=Refusal.QUOTA)
        if created:
            self._remember(channel_id, state)
        seq = state.next_seq
        expiry_day = today + (settings.closing_days if close else settings.message_days)
        state.unwritten.append((channel_id, seq, int(close), expiry_day, deposit_id, body))
        state.waiting[deposit_id] = seq
        self._size += 1
        state.next_seq = seq + 1
        if close:
            state.closed_seq = seq
        state.expiry_day = max(state.expiry_day, today + settings.untouched_days)
        state.changed = True
        self._touched[channel_id] = state
        self._trim()
        return Deposited(seq=seq, duplicate=False, created=created, incarnation=state.incarnation)

    def acknowledge(
        self,
        db: sqlite3.Connection,
        channel_id: ChannelId,
        token_hash: TokenHash,
        seq: int,
        *,
        today: Day,
    ) -> Acknowledged | Refused:
        """R3: for one's own slot only.

        R6: what every slot has acknowledged goes; after the closing cell, the channel.
        """
        state = self._find(db, channel_id)
        if state is None:
            gone = _is_gone(db, channel_id)
            return Refused(reason=Refusal.GONE if gone else Refusal.NOT_ATTACHED)
        slots = state.slots
        if token_hash not in slots:
            return Refused(reason=Refusal.NOT_ATTACHED)
        if seq > state.head:
            return Refused(reason=Refusal.ACK_BEYOND_HEAD)
        state.touch(today, self._settings)
        self._touched[channel_id] = state
        if seq <= slots[token_hash]:
            return Acknowledged(acked=slots[token_hash], deleted_cells=0, finished=False)
        slots[token_hash] = seq
        state.changed_slots.add(token_hash)
        if len(slots) < state.readers:
            return Acknowledged(acked=seq, deleted_cells=0, finished=False)
        all_acked = min(slots.values())
        deleted = state.forget_acked(all_acked)
        self._size -= deleted
        finished = 0 < state.closed_seq <= all_acked
        if finished:
            self.write(db)
            remove(db, channel_id, tombstone_day=Day(today + self._settings.tombstone_days))
            del self._known[channel_id]
            self._size -= state.weight
        return Acknowledged(acked=seq, deleted_cells=deleted, finished=finished)

    def read(
        self, db: sqlite3.Connection, channel_id: ChannelId, position: int, *, max_cells: int
    ) -> CellPage | Refused:
        """Cells after a position; a number up to the head that has no cell any more is part of a range."""
        state = self._find(db, channel_id)
        if state is None:
            gone = _is_gone(db, channel_id)
            return Refused(reason=Refusal.GONE if gone else Refusal.NOT_ATTACHED)
        self.write(db)
        position = min(position, state.head)
        rows = db.execute(
            "SELECT seq, close, body FROM cells WHERE channel_id = ? AND seq > ? ORDER BY seq LIMIT ?",
            (channel_id, position, max_cells),
        ).fetchall()
        cells = [StoredCell(seq=seq, close=bool(close), body=body) for seq, close, body in rows]
        items, covered = page_items(cells, position=position, head=state.head, max_items=max_cells)
        return CellPage(items=items, position=covered, head=state.head, incarnation=state.incarnation)


def _is_gone(db: sqlite3.Connection, channel_id: ChannelId) -> bool:
    return db.execute("SELECT 1 FROM tombstones WHERE channel_id = ?", (channel_id,)).fetchone() is not None


def remove(db: sqlite3.Connection, channel_id: ChannelId, *, tombstone_day: Day | None) -> int:
    """R6: the channel goes, with a tombstone if it was finished.

    Returns the number of cells that went with it.
    """
    cells = db.execute("DELETE FROM cells WHERE channel_id = ?", (channel_id,)).rowcount
    db.execute("DELETE FROM slots WHERE channel_id = ?", (channel_id,))
    db.execute("DELETE FROM channels WHERE channel_id = ?", (channel_id,))
    if tombstone_day is not None:
        db.execute("INSERT INTO tombstones(channel_id, expiry_day) VALUES(?, ?)", (channel_id, tombstone_day))
    return cells


def page_items(
    cells: list[StoredCell], *, position: int, head: int, max_items: int
) -> tuple[tuple[StoredCell | ExpiredRange, ...], int]:
    """Join up to `max_items` cells after `position` with the ranges between them (R6).

    Returns:
        The items in order, and the number up to which they cover the log.
    """
    items: list[StoredCell | ExpiredRange] = []
    for cell in cells:
        if cell.seq > position + 1:
            items.append(ExpiredRange(first=position + 1, last=cell.seq - 1))
        items.append(cell)
        position = cell.seq
    if len(cells) < max_items and position < head:
        items.append(ExpiredRange(first=position + 1, last=head))
    items = items[:max_items]
    if not items:
        return (), position
    last = items[-1]
    return tuple(items), last.seq if isinstance(last, StoredCell) else last.last
