"""What the writer's thread knows of stored channels, against what stands in the tables."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chatserver.store import channels
from chatserver.store.database import open_database
from chatserver.store.errors import StoreError
from chatserver.store.protocol import (
    CELL_BYTES,
    Acknowledged,
    Attached,
    ChannelId,
    ChannelRef,
    Day,
    Deposited,
    Refusal,
    Refused,
    StoreSettings,
    TokenHash,
)
from chatserver.store.sqlite import SqliteStore, init_store
from chatserver.wire.limits import ChannelClass

TODAY = Day(20_000)
BODY = bytes(CELL_BYTES)
A, B = TokenHash(b"a" * 32), TokenHash(b"b" * 32)


def ref(number: int = 0) -> ChannelRef:
    return ChannelRef(
        channel_id=ChannelId(number.to_bytes(2, "big") * 16), channel_class=ChannelClass.STORED, readers=2
    )


@asynccontextmanager
async def opened(folder: Path, settings: StoreSettings | None = None) -> AsyncIterator[SqliteStore]:
    if not (folder / "store").exists():
        init_store(folder / "store")
    store = await SqliteStore.open(folder / "store", settings)
    try:
        yield store
    finally:
        await store.close()


async def deposit(store: SqliteStore, channel: ChannelRef, **other: Any) -> Deposited | Refused:
    given: dict[str, Any] = {
        "deposit_id": os.urandom(16),
        "close": False,
        "body": BODY,
        "today": TODAY,
    } | other
    return await store.deposit(channel, **given)


def rows(folder: Path, table: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(folder / "store" / "relay.db")
    try:
        return db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
    finally:
        db.close()


@pytest.mark.asyncio
async def test_r04_what_a_failed_transaction_changed_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        await store.attach(ref(), A, today=TODAY)
        write = channels.Channels.write

        def fail(self: channels.Channels, db: sqlite3.Connection) -> None:
            write(self, db)
            raise sqlite3.OperationalError("no")

        monkeypatch.setattr(channels.Channels, "write", fail)
        with pytest.raises(StoreError):
            await deposit(store, ref(), deposit_id=b"1" * 16)
        monkeypatch.undo()
        again = await deposit(store, ref(), deposit_id=b"1" * 16)
        assert isinstance(again, Deposited)
        assert (again.seq, again.duplicate) == (1, False)  # the first one was never there
    assert [row[1] for row in rows(tmp_path, "cells")] == [1]


@pytest.mark.asyncio
async def test_r06_after_a_sweep_the_tables_count_and_not_what_was_known(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        attached = await store.attach(ref(), A, today=TODAY)
        assert isinstance(attached, Attached)
        await store.attach(ref(), B, today=TODAY)
        assert isinstance(await deposit(store, ref(), deposit_id=b"1" * 16), Deposited)
        await store.expire(today=Day(TODAY + 31))
        later = await deposit(store, ref(), deposit_id=b"1" * 16, today=Day(TODAY + 31))
        assert isinstance(later, Deposited)
        assert (later.seq, later.duplicate) == (2, False)  # the cell with this id is gone
        await store.expire(today=Day(TODAY + 200))
        anew = await store.attach(ref(), A, today=Day(TODAY + 200))
        assert isinstance(anew, Attached)
        assert anew.created
        assert anew.incarnation != attached.incarnation


@pytest.mark.asyncio
async def test_more_channels_than_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "KNOWN", 5)
    async with opened(tmp_path) as store:
        for number in range(6):
            for token in (A, B):
                assert isinstance(await store.attach(ref(number), token, today=TODAY), Attached)
        for seq in (1, 2, 3):
            done = await asyncio.gather(*(deposit(store, ref(number)) for number in range(6)))
            assert [one.seq for one in done if isinstance(one, Deposited)] == [seq] * 6
        for number in range(6):
            channel_id = ref(number).channel_id
            await store.ack(channel_id, A, 3, today=TODAY)
            gone = await store.ack(channel_id, B, 2, today=TODAY)
            assert gone == Acknowledged(acked=2, deleted_cells=2, finished=False)
        beyond = await store.ack(ref(0).channel_id, B, 4, today=TODAY)
        assert beyond == Refused(reason=Refusal.ACK_BEYOND_HEAD)
    assert [row[1] for row in rows(tmp_path, "cells")] == [3] * 6
    assert sorted({row[2] for row in rows(tmp_path, "slots")}) == [2, 3]


@pytest.mark.asyncio
async def test_deposits_do_not_make_more_be_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "KNOWN", 40)
    async with opened(tmp_path) as store:
        for number in range(3):
            await store.attach(ref(number), A, today=TODAY)
        for seq in range(1, 21):
            for number in range(3):
                answer = await deposit(store, ref(number))
                assert isinstance(answer, Deposited)
                assert answer.seq == seq
                assert store._channels.remembered <= 40 + channels.CHANNEL_WEIGHT + 20


def test_a_transaction_of_many_channels_does_not_walk_over_all_of_them_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filling a store of a million channels took half an hour."""
    monkeypatch.setattr(channels, "KNOWN", 40)
    walks = 0

    def counted(one: channels._Channel) -> int:
        nonlocal walks
        walks += 1
        return channels.CHANNEL_WEIGHT

    monkeypatch.setattr(channels._Channel, "weight", property(counted))
    init_store(tmp_path / "store")
    database = open_database(tmp_path / "store", owner=True, check=False)
    behind = channels.Channels(StoreSettings(), os.urandom)
    database.connection.execute("BEGIN IMMEDIATE")
    for number in range(500):
        answer = behind.attach(database.connection, ref(number), A, today=TODAY, may_create=True)
        assert isinstance(answer, Attached)
    behind.write(database.connection)
    database.connection.execute("COMMIT")
    assert database.connection.execute("SELECT count(*) FROM channels").fetchone() == (500,)
    database.close()
    assert walks < 4 * 500


@pytest.mark.asyncio
async def test_one_transaction_holds_a_cell_its_acknowledgements_and_the_end_of_its_channel(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as store:
        for token in (A, B):
            await store.attach(ref(), token, today=TODAY)
        channel_id = ref().channel_id
        answers = await asyncio.gather(
            deposit(store, ref()),
            store.ack(channel_id, A, 1, today=TODAY),
            deposit(store, ref(), close=True),
            store.ack(channel_id, B, 2, today=TODAY),
            store.ack(channel_id, A, 2, today=TODAY),
            store.attach(ref(), A, today=TODAY),
        )
        assert answers[4] == Acknowledged(acked=2, deleted_cells=1, finished=True)
        assert answers[5] == Refused(reason=Refusal.GONE)
    assert [rows(tmp_path, table) for table in ("cells", "slots", "channels")] == [[], [], []]
    assert [row[0] for row in rows(tmp_path, "tombstones")] == [channel_id]


@pytest.mark.asyncio
async def test_an_acknowledgement_shares_the_next_transaction_and_is_done_at_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path, StoreSettings(patience_seconds=3_600.0)) as store:
        await store.attach(ref(), A, today=TODAY)
        await deposit(store, ref())
        first = asyncio.ensure_future(store.ack(ref().channel_id, A, 1, today=TODAY))
        await asyncio.sleep(0)
        assert not first.done()
        answer = await deposit(store, ref())
        assert isinstance(answer, Deposited)
        assert (await first) == Acknowledged(acked=1, deleted_cells=0, finished=False)
        last = asyncio.ensure_future(store.ack(ref().channel_id, A, 2, today=TODAY))
        await asyncio.sleep(0)
    assert (await last) == Acknowledged(acked=2, deleted_cells=0, finished=False)
    assert [row[2] for row in rows(tmp_path, "slots")] == [2]


@pytest.mark.asyncio
async def test_an_acknowledgement_waits_no_longer_than_its_patience(tmp_path: Path) -> None:
    async with opened(tmp_path, StoreSettings(patience_seconds=0.01)) as store:
        await store.attach(ref(), A, today=TODAY)
        await deposit(store, ref())
        answer = await store.ack(ref().channel_id, A, 1, today=TODAY)  # nothing else comes
        assert answer == Acknowledged(acked=1, deleted_cells=0, finished=False)
