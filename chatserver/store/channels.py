"""Channels of the class `stored` in SQL: R3 to R6 of CHANNELS.md.

Each function is one step inside the writer's transaction: it checks first and writes last, and it raises
nothing but `sqlite3.Error`, because what it raises undoes everything that shares the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(slots=True, kw_only=True)
class _Channel:
    readers: int
    incarnation: bytes
    next_seq: int
    closed_seq: int
    expiry_day: int

    @property
    def head(self) -> int:
        return self.next_seq - 1


def _find(db: sqlite3.Connection, channel_id: ChannelId) -> _Channel | None:
    row = db.execute(
        "SELECT readers, incarnation, next_seq, closed_seq, expiry_day FROM channels WHERE channel_id = ?",
        (channel_id,),
    ).fetchone()
    if row is None:
        return None
    return _Channel(readers=row[0], incarnation=row[1], next_seq=row[2], closed_seq=row[3], expiry_day=row[4])


def _is_gone(db: sqlite3.Connection, channel_id: ChannelId) -> bool:
    return db.execute("SELECT 1 FROM tombstones WHERE channel_id = ?", (channel_id,)).fetchone() is not None


def _find_or_create(
    db: sqlite3.Connection,
    channel: ChannelRef,
    *,
    today: Day,
    may_create: bool,
    settings: StoreSettings,
    rng: Callable[[int], bytes],
) -> tuple[_Channel, bool] | Refused:
    """R4: ATTACH and DEPOSIT both create an unknown channel, unless a tombstone answers GONE (R6)."""
    found = _find(db, channel.channel_id)
    if found is not None:
        return found, False
    if _is_gone(
        db, channel.channel_id
    ):  # `remove` takes the one away in the transaction that makes the other
        return Refused(reason=Refusal.GONE)
    if not may_create:
        return Refused(reason=Refusal.CREATION_LIMIT)
    created = _Channel(
        readers=channel.readers,
        incarnation=rng(INCARNATION_BYTES),
        next_seq=1,
        closed_seq=0,
        expiry_day=today + settings.untouched_days,
    )
    return created, True


def _write(db: sqlite3.Connection, channel_id: ChannelId, channel: _Channel) -> None:
    db.execute(
        "INSERT INTO channels(channel_id, readers, incarnation, next_seq, closed_seq, expiry_day)"
        " VALUES(?, ?, ?, ?, ?, ?)",
        (
            channel_id,
            channel.readers,
            channel.incarnation,
            channel.next_seq,
            channel.closed_seq,
            channel.expiry_day,
        ),
    )


def _touch(
    db: sqlite3.Connection, channel_id: ChannelId, channel: _Channel, *, today: Day, settings: StoreSettings
) -> None:
    """R6: 90 days start anew. Written at most once a day, so that the log does not show each visit."""
    expiry_day = today + settings.untouched_days
    if expiry_day > channel.expiry_day:
        db.execute("UPDATE channels SET expiry_day = ? WHERE channel_id = ?", (expiry_day, channel_id))


def attach(
    db: sqlite3.Connection,
    channel: ChannelRef,
    token_hash: TokenHash,
    *,
    today: Day,
    may_create: bool,
    settings: StoreSettings,
    rng: Callable[[int], bytes],
) -> Attached | Refused:
    """R3: find or create the slot."""
    found = _find_or_create(db, channel, today=today, may_create=may_create, settings=settings, rng=rng)
    if isinstance(found, Refused):
        return found
    state, created = found
    channel_id = channel.channel_id
    slots: dict[bytes, int] = dict(
        db.execute("SELECT token_hash, acked FROM slots WHERE channel_id = ?", (channel_id,)).fetchall()
    )
    new_slot = token_hash not in slots
    if new_slot and len(slots) >= state.readers:
        return Refused(reason=Refusal.FULL)
    if created:
        _write(db, channel_id, state)
    else:
        _touch(db, channel_id, state, today=today, settings=settings)
    if new_slot:
        db.execute(
            "INSERT INTO slots(channel_id, token_hash, acked) VALUES(?, ?, 0)", (channel_id, token_hash)
        )
    return Attached(
        incarnation=state.incarnation,
        head=state.head,
        acked=slots.get(token_hash, 0),
        closed_seq=state.closed_seq,
        created=created,
        new_slot=new_slot,
    )


def deposit(
    db: sqlite3.Connection,
    channel: ChannelRef,
    *,
    deposit_id: bytes,
    close: bool,
    body: bytes,
    today: Day,
    may_create: bool,
    settings: StoreSettings,
    rng: Callable[[int], bytes],
) -> Deposited | Refused:
    """R4, R5: number the cell; a closing one closes the channel in the same transaction."""
    found = _find_or_create(db, channel, today=today, may_create=may_create, settings=settings, rng=rng)
    if isinstance(found, Refused):
        return found
    state, created = found
    channel_id = channel.channel_id
    waiting, known_seq = db.execute(
        "SELECT COUNT(*), MAX(CASE WHEN deposit_id = ? THEN seq END) FROM cells WHERE channel_id = ?",
        (deposit_id, channel_id),
    ).fetchone()
    if known_seq is not None:  # R4: the same deposit id while its cell exists gives the same seq
        _touch(db, channel_id, state, today=today, settings=settings)
        return Deposited(seq=known_seq, duplicate=True, created=False, incarnation=state.incarnation)
    if state.closed_seq:  # R5
        return Refused(reason=Refusal.CLOSED)
    if waiting >= settings.max_cells_per_channel and not close:  # R5: one closing cell even at quota
        return Refused(reason=Refusal.QUOTA)
    seq = state.next_seq
    if created:
        _write(db, channel_id, state)
    db.execute(
        "INSERT INTO cells(channel_id, seq, close, expiry_day, deposit_id, body) VALUES(?, ?, ?, ?, ?, ?)",
        (
            channel_id,
            seq,
            int(close),
            today + (settings.closing_days if close else settings.message_days),
            deposit_id,
            body,
        ),
    )
    db.execute(
        "UPDATE channels SET next_seq = ?, closed_seq = ?, expiry_day = MAX(expiry_day, ?)"
        " WHERE channel_id = ?",
        (seq + 1, seq if close else 0, today + settings.untouched_days, channel_id),
    )
    return Deposited(seq=seq, duplicate=False, created=created, incarnation=state.incarnation)


def acknowledge(
    db: sqlite3.Connection,
    channel_id: ChannelId,
    token_hash: TokenHash,
    seq: int,
    *,
    today: Day,
    settings: StoreSettings,
) -> Acknowledged | Refused:
    """R3: for one's own slot only.

    R6: what every slot has acknowledged goes; after the closing cell, the channel.
    """
    state = _find(db, channel_id)
    if state is None:
        gone = _is_gone(db, channel_id)
        return Refused(reason=Refusal.GONE if gone else Refusal.NOT_ATTACHED)
    slots: dict[bytes, int] = dict(
        db.execute("SELECT token_hash, acked FROM slots WHERE channel_id = ?", (channel_id,)).fetchall()
    )
    if token_hash not in slots:
        return Refused(reason=Refusal.NOT_ATTACHED)
    if seq > state.head:
        return Refused(reason=Refusal.ACK_BEYOND_HEAD)
    _touch(db, channel_id, state, today=today, settings=settings)
    if seq <= slots[token_hash]:
        return Acknowledged(acked=slots[token_hash], deleted_cells=0, finished=False)
    slots[token_hash] = seq
    db.execute(
        "UPDATE slots SET acked = ? WHERE channel_id = ? AND token_hash = ?", (seq, channel_id, token_hash)
    )
    if len(slots) < state.readers:
        return Acknowledged(acked=seq, deleted_cells=0, finished=False)
    all_acked = min(slots.values())
    deleted = db.execute(
        "DELETE FROM cells WHERE channel_id = ? AND seq <= ?", (channel_id, all_acked)
    ).rowcount
    finished = 0 < state.closed_seq <= all_acked
    if finished:
        remove(db, channel_id, tombstone_day=Day(today + settings.tombstone_days))
    return Acknowledged(acked=seq, deleted_cells=deleted, finished=finished)


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


def read(
    db: sqlite3.Connection, channel_id: ChannelId, position: int, *, max_cells: int
) -> CellPage | Refused:
    """Cells after a position; every number up to the head that has no cell any more is part of a range."""
    state = _find(db, channel_id)
    if state is None:
        gone = _is_gone(db, channel_id)
        return Refused(reason=Refusal.GONE if gone else Refusal.NOT_ATTACHED)
    position = min(position, state.head)
    rows = db.execute(
        "SELECT seq, close, body FROM cells WHERE channel_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        (channel_id, position, max_cells),
    ).fetchall()
    cells = [StoredCell(seq=seq, close=bool(close), body=body) for seq, close, body in rows]
    items, covered = page_items(cells, position=position, head=state.head, max_items=max_cells)
    return CellPage(items=items, position=covered, head=state.head, incarnation=state.incarnation)


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
