"""A store that came from a backup, or from a machine put back to an earlier state: made safe to serve (R9).

Such a store gives numbers away a second time. A device that comes back after others have written would find
other cells under numbers that it has read: two records of one conversation, a fork, after which people must
decide (R10). So every channel becomes what it would be after a loss, and devices recover by R9: a new
incarnation, counting from 1, open, without cells.

Why more than the incarnation has to change:

* The cells go. Each carries in its authenticated data the incarnation under which it was sealed; a device
  that attaches to the channel for the first time could not tell it from a fork. Their senders still hold
  what was not receipted and deposit it again (R12). Many of them had been acknowledged since and were
  promised to be gone (H1).
* The acknowledgements of the slots go back to 0, or R9 would take every device for a clone. The slots stay.
* Tokens for therapists go: those used since the backup would be good once more. The operator makes new
  ones.

Registrations, bundles, first contacts and invitations stay: therapists' devices refuse a first contact that
they have seen, and each use of an invitation after the first.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chatserver.store.errand import errand
from chatserver.store.protocol import INCARNATION_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was done, in numbers.

    Attributes:
        channels: that got a new incarnation.
        cells: that were removed.
        tokens: for therapists that were withdrawn.
    """

    channels: int
    cells: int
    tokens: int


def restored(directory: Path, *, rng: Callable[[int], bytes] = os.urandom) -> Restored:
    """Begin every channel anew, in one transaction: wholly, or not at all. No relay may run on the store.

    The write-ahead log grows by as much as is removed: the disk needs that much room.

    Raises:
        StoreMissing, StoreBusy, StoreDamaged, StoreTooNew, StoreFull, StoreError: nothing was done.
    """
    with errand(directory, owner=True) as db:
        return _begin_anew(db, rng)


def _begin_anew(db: sqlite3.Connection, rng: Callable[[int], bytes]) -> Restored:
    cells = db.execute("DELETE FROM cells").rowcount
    channel_ids = db.execute("SELECT channel_id FROM channels").fetchall()
    db.executemany(
        "UPDATE channels SET incarnation = ?, next_seq = 1, closed_seq = 0 WHERE channel_id = ?",
        ((rng(INCARNATION_BYTES), channel_id) for (channel_id,) in channel_ids),
    )
    db.execute("UPDATE slots SET acked = 0")
    tokens = db.execute("DELETE FROM therapist_tokens").rowcount
    return Restored(channels=len(channel_ids), cells=cells, tokens=tokens)
