"""Saboteurs of a relay's store: a good one with channels, cells and inboxes, then one thing wrong."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path

from chatserver.store.database import open_database
from chatserver.store.erasure import erase
from chatserver.store.protocol import ChannelId, ChannelRef, Day, Deposited, InboxOpened, TokenHash
from chatserver.store.sqlite import SqliteStore, init_store
from clients.audit.target import Target
from support.audit_saboteurs import saboteur

CELL = 16_384
TODAY = Day(int(time.time() // 86_400))


async def _fill(store: Path) -> None:
    opened = await SqliteStore.open(store)
    for _ in range(6):
        channel = ChannelRef(channel_id=ChannelId(os.urandom(32)), channel_class=1, readers=2)
        tokens = [TokenHash(os.urandom(32)) for _ in range(2)]
        for token in tokens:
            await opened.attach(channel, token, today=TODAY)
        for _ in range(4):
            stored = await opened.deposit(
                channel, deposit_id=os.urandom(16), close=False, body=os.urandom(CELL), today=TODAY
            )
            assert isinstance(stored, Deposited)
        for token in tokens:
            await opened.ack(channel.channel_id, token, 2, today=TODAY)
    inbox = await opened.open_inbox(os.urandom(32), token_hash=None, admit_all=True, today=TODAY)
    assert isinstance(inbox, InboxOpened)
    await opened.drop(
        inbox.inbox_id, drop_id=os.urandom(16), body=os.urandom(CELL), admit_hash=None, today=TODAY
    )
    await opened.close()


def good_store(folder: Path) -> Path:
    """A store that keeps every promise."""
    store = folder / "store"
    init_store(store)
    asyncio.run(_fill(store))
    return store


def _spoilt(
    folder: Path, *statements: tuple[str, tuple[object, ...]], before: str = "secure_delete=ON"
) -> Target:
    """A good store after some statements."""
    store = good_store(folder)
    database = open_database(store, owner=True, check=False)
    database.writer_lock.acquire()
    database.connection.execute(f"PRAGMA {before}")
    database.connection.execute("BEGIN IMMEDIATE")
    for statement, values in statements:
        database.connection.execute(statement, values)
    database.connection.execute("COMMIT")
    assert erase(database)
    database.close()
    return Target(store=store)


def _place(path: Path, content: bytes) -> None:
    """A file that only the relay's user may read: what it is about is its being there."""
    path.write_bytes(content)
    path.chmod(0o600)


@saboteur("arrival-column", "store.schema", what="the store has a column that is not published")
def arrival_column(folder: Path) -> Target:
    return _spoilt(folder, ("ALTER TABLE slots ADD COLUMN seen BLOB", ()))


@saboteur("counted-rows", "store.schema", what="a table that counts its rows")
def counted_rows(folder: Path) -> Target:
    return _spoilt(folder, ("CREATE TABLE visits(channel_id BLOB)", ()))


@saboteur("kept-journal", "store.files", what="a copy of the store beside it")
def kept_journal(folder: Path) -> Target:
    store = good_store(folder)
    _place(store / "relay.db-journal", os.urandom(100))
    return Target(store=store)


@saboteur("unpadded-cell", "store.cell-size", what="a second, unpadded size of cells")
def unpadded_cell(folder: Path) -> Target:
    return _spoilt(folder, ("UPDATE cells SET body = randomblob(917) WHERE seq = 4", ()))


@saboteur(
    "zero-padded-cell",
    "store.cell-random",
    what="a cell whose padding is outside its encryption: its length shows",
)
def zero_padded_cell(folder: Path) -> Target:
    body = os.urandom(900) + bytes(CELL - 900)
    return _spoilt(folder, ("UPDATE cells SET body = ? WHERE seq = 4", (body,)))


@saboteur("plaintext-cell", "store.cell-random", what="a cell that is not encrypted")
def plaintext_cell(folder: Path) -> Target:
    body = (
        os.urandom(CELL - 2_000)
        + (b"I have not slept since then and I do not know whom to ask. " * 40)[:2_000]
    )
    return _spoilt(folder, ("UPDATE cells SET body = ? WHERE seq = 4", (body,)))


@saboteur("numbered-deposits", "store.order", what="deposit ids that count up")
def numbered_deposits(folder: Path) -> Target:
    change = "UPDATE cells SET deposit_id = CAST(randomblob(8) || zeroblob(8) AS BLOB) WHERE seq = 3"
    return _spoilt(folder, (change, ()))


@saboteur("forgotten-cells", "store.time-to-live", what="cells beyond their last day")
def forgotten_cells(folder: Path) -> Target:
    return _spoilt(folder, ("UPDATE cells SET expiry_day = ? WHERE seq = 3", (TODAY - 9,)))


@saboteur("seconds-for-days", "store.no-time", what="a last day that is a second")
def seconds_for_days(folder: Path) -> Target:
    return _spoilt(folder, ("UPDATE channels SET expiry_day = ?", (int(time.time()),)))


@saboteur("linked-inbox", "store.no-link", what="a slot of a channel that carries the therapist's inbox")
def linked_inbox(folder: Path) -> Target:
    statement = (
        "UPDATE slots SET token_hash = CAST((SELECT inbox_id FROM inboxes) || randomblob(16) AS BLOB)"
        " WHERE channel_id = (SELECT min(channel_id) FROM slots)"
        " AND token_hash = (SELECT min(token_hash) FROM slots WHERE channel_id ="
        " (SELECT min(channel_id) FROM slots))"
    )
    return _spoilt(folder, (statement, ()))


@saboteur("hashed-link", "store.no-link", what="a channel whose slot is the hash of the inbox")
def hashed_link(folder: Path) -> Target:
    import hashlib

    store = good_store(folder)
    database = sqlite3.connect(store / "relay.db")
    (inbox,) = database.execute("SELECT inbox_id FROM inboxes").fetchone()
    database.execute("PRAGMA secure_delete=ON")
    database.execute(
        "INSERT INTO slots SELECT min(channel_id), ?, 0 FROM channels", (hashlib.sha256(inbox).digest(),)
    )
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return Target(store=store)


@saboteur("fast-delete", "store.no-residue", what="secure_delete at FAST: deleted cells stay in free pages")
def fast_delete(folder: Path) -> Target:
    return _spoilt(folder, ("DELETE FROM cells WHERE seq = 3", ()), before="secure_delete=FAST")


@saboteur("kept-log", "store.no-residue", what="a write-ahead log that is never erased")
def kept_log(folder: Path) -> Target:
    store = good_store(folder)
    database = sqlite3.connect(store / "relay.db")
    database.execute("PRAGMA secure_delete=ON")
    database.execute(
        "INSERT INTO cells"
        " SELECT channel_id, 9, 0, expiry_day, randomblob(16), randomblob(16384) FROM channels"
    )
    database.commit()
    database.execute("DELETE FROM cells WHERE seq = 9")
    database.commit()
    log = (store / "relay.db-wal").read_bytes()
    main = (store / "relay.db").read_bytes()
    database.close()
    _place(store / "relay.db", main)
    _place(store / "relay.db-wal", log)
    return Target(store=store)
