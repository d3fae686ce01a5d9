"""What goes when its last day has passed: R6 and R21 of CHANNELS.md.

The sweep walks each table in steps of bounded length, each a transaction step of its own, so that traffic
never waits for a whole table. No column is indexed by day: an index would cost two pages per cell written,
the walk happens daily.

Order matters: closing cells go before untouched channels, so that a channel that was closed 90 days ago and
then left alone leaves a tombstone (R6), and everything goes through `channels.remove`, so that no cell or
slot is orphaned.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from chatserver.store import channels
from chatserver.store.protocol import ChannelId, Day, StoreSettings

STEP_ROWS = 512
"""Rows looked at in one step; about 64 pages of the cells table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStep:
    """One step of the walk over cells: where it stopped (None: the end), and what it removed."""

    stopped_at: tuple[bytes, int] | None
    cells: int
    closed_channels: int


def expire_cells(
    db: sqlite3.Connection, after: tuple[bytes, int], *, today: Day, settings: StoreSettings
) -> CellStep:
    """Messages after 30 days; a closing cell after 90, and with it its channel, leaving a tombstone (R6)."""
    rows = db.execute(
        "SELECT channel_id, seq, close, expiry_day FROM cells WHERE (channel_id, seq) > (?, ?)"
        " ORDER BY channel_id, seq LIMIT ?",
        (*after, STEP_ROWS),
    ).fetchall()
    cells = closed_channels = 0
    for channel_id, seq, close, expiry_day in rows:
        if expiry_day >= today:
            continue
        if close:
            cells += channels.remove(
                db, ChannelId(channel_id), tombstone_day=Day(today + settings.tombstone_days)
            )
            closed_channels += 1
        else:
            cells += db.execute(
                "DELETE FROM cells WHERE channel_id = ? AND seq = ?", (channel_id, seq)
            ).rowcount
    stopped_at = (rows[-1][0], rows[-1][1]) if len(rows) == STEP_ROWS else None
    return CellStep(stopped_at=stopped_at, cells=cells, closed_channels=closed_channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStep:
    """One step of the walk over channels: where it stopped (None: the end), and what it removed."""

    stopped_at: bytes | None
    cells: int
    channels: int


def expire_channels(db: sqlite3.Connection, after: bytes, *, today: Day) -> ChannelStep:
    """A channel untouched for 90 days goes without a tombstone (R6)."""
    rows = db.execute(
        "SELECT channel_id, expiry_day FROM channels WHERE channel_id > ? ORDER BY channel_id LIMIT ?",
        (after, STEP_ROWS),
    ).fetchall()
    untouched = [ChannelId(channel_id) for channel_id, expiry_day in rows if expiry_day < today]
    cells = sum(channels.remove(db, channel_id, tombstone_day=None) for channel_id in untouched)
    stopped_at = rows[-1][0] if len(rows) == STEP_ROWS else None
    return ChannelStep(stopped_at=stopped_at, cells=cells, channels=len(untouched))


_SIMPLE = {
    "tombstones": "SELECT channel_id FROM tombstones WHERE expiry_day < ? LIMIT ?",
    "admissions": "SELECT admission FROM admissions WHERE expiry_day < ? LIMIT ?",
    "therapist_tokens": "SELECT token_hash FROM therapist_tokens WHERE expiry_day < ? LIMIT ?",
}
_SIMPLE_DELETE = {
    "tombstones": "DELETE FROM tombstones WHERE channel_id = ?",
    "admissions": "DELETE FROM admissions WHERE admission = ?",
    "therapist_tokens": "DELETE FROM therapist_tokens WHERE token_hash = ?",
}


def expire_simple(db: sqlite3.Connection, table: str, *, today: Day) -> int:
    """Up to `STEP_ROWS` rows of a table of short rows; 0 when none is left."""
    rows = db.execute(_SIMPLE[table], (today, STEP_ROWS)).fetchall()
    db.executemany(_SIMPLE_DELETE[table], rows)
    return len(rows)


def expire_drops(db: sqlite3.Connection, *, today: Day) -> int:
    """First contacts after 30 days (R21), up to `STEP_ROWS` at once."""
    rows = db.execute(
        "SELECT inbox_id, drop_id FROM drops WHERE expiry_day < ? LIMIT ?", (today, STEP_ROWS)
    ).fetchall()
    db.executemany("DELETE FROM drops WHERE inbox_id = ? AND drop_id = ?", rows)
    return len(rows)


def expire_bundles(db: sqlite3.Connection, *, today: Day) -> int:
    """Bundles past their last day go; the registration, its inbox and the serial reached stay."""
    return db.execute(
        "UPDATE therapists SET bundle = NULL, not_after_day = NULL WHERE not_after_day < ?", (today,)
    ).rowcount
