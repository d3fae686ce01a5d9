"""`amanat-relay restored`: a store from a backup serves again; devices come back by R9, without an alarm."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chatserver.main import main
from chatserver.store.protocol import (
    ChannelId,
    ChannelRef,
    Day,
    Refused,
    StoreSettings,
    TokenHash,
    hash_token,
)
from chatserver.store.restored import restored
from chatserver.store.sqlite import SqliteStore, add_therapist_token, init_store
from clients.sdk.model import LinePhase, MessageState, Role
from support.pair import Pair, line_pair, make_device, states_of, texts_of, until_texts

TODAY = Day(20_000)
REF = ChannelRef(channel_id=ChannelId(b"c" * 32), channel_class=1, readers=2)
MINE, YOURS = TokenHash(b"m" * 32), TokenHash(b"y" * 32)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(directory, StoreSettings())
    try:
        yield store
    finally:
        await store.close()


async def fill(store: SqliteStore) -> bytes:
    """Two slots, three cells of which one was read by both, the last one closing; returns the incarnation."""
    await store.attach(REF, MINE, today=TODAY)
    attached = await store.attach(REF, YOURS, today=TODAY)
    assert not isinstance(attached, Refused)
    for number in range(3):
        await store.deposit(
            REF,
            deposit_id=bytes([number]) * 16,
            close=number == 2,
            body=bytes([65 + number]) * 16_384,
            today=TODAY,
        )
    await store.ack(REF.channel_id, MINE, 3, today=TODAY)
    await store.ack(REF.channel_id, YOURS, 1, today=TODAY)
    return attached.incarnation


@pytest.mark.asyncio
async def test_r09_every_channel_of_a_restored_store_begins_anew(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    init_store(directory)
    async with opened(directory) as store:
        before = await fill(store)
        inbox = await store.open_inbox(b"i" * 32, token_hash=None, admit_all=True, today=TODAY)
        assert not isinstance(inbox, Refused)
        await store.admit(inbox.inbox_id, TokenHash(b"a" * 32), expires_day=Day(TODAY + 9), today=TODAY)
        await store.drop(inbox.inbox_id, drop_id=b"d" * 16, body=b"D" * 16_384, admit_hash=None, today=TODAY)
    add_therapist_token(directory, hash_token(b"once"), expires_day=Day(TODAY + 9))
    done = restored(directory)
    assert (done.channels, done.cells, done.tokens) == (1, 2, 1)
    for path in directory.iterdir():  # H1: what was removed is gone from the files at once
        content = path.read_bytes()
        assert b"BBBBBBBBBBBBBBBB" not in content
        assert b"CCCCCCCCCCCCCCCC" not in content
    async with opened(directory) as store:
        attached = await store.attach(REF, MINE, today=TODAY, may_create=False)
        assert not isinstance(attached, Refused)
        assert attached.incarnation != before
        assert (attached.head, attached.acked, attached.closed_seq) == (0, 0, 0)
        assert not attached.new_slot
        counts = await store.counts()
        assert (counts.cells, counts.slots, counts.tokens) == (0, 2, 0)
        assert (counts.inboxes, counts.drops, counts.admissions) == (1, 1, 1)
        deposited = await store.deposit(
            REF, deposit_id=b"n" * 16, close=False, body=bytes(16_384), today=TODAY, may_create=False
        )
        assert not isinstance(deposited, Refused)
        assert deposited.seq == 1


@pytest.mark.asyncio
async def test_nothing_is_begun_anew_while_a_relay_runs_or_where_no_store_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "store"
    init_store(directory)
    async with opened(directory) as store:
        before = await fill(store)
        assert await asyncio.to_thread(main, ["--store", str(directory), "restored"]) == 7
        assert "another relay runs" in capfd.readouterr().err
        attached = await store.attach(REF, MINE, today=TODAY)
        assert not isinstance(attached, Refused)
        assert attached.incarnation == before
    assert main(["--store", str(tmp_path / "none"), "restored"]) == 3
    assert main(["--store", str(directory), "restored", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"channels": 1, "cells": 2, "tokens": 0}
    assert main(["restored", "--store", str(directory)]) == 0
    assert "1 channels begin anew, 0 old cells" in capfd.readouterr().out


@pytest.mark.asyncio
async def test_a_failure_in_between_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    init_store(directory)
    async with opened(directory) as store:
        before = await fill(store)

    def broken(length: int) -> bytes:
        raise sqlite3.OperationalError("planted")

    with pytest.raises(Exception, match="store failed"):
        restored(directory, rng=broken)
    async with opened(directory) as store:
        attached = await store.attach(REF, MINE, today=TODAY)
        assert not isinstance(attached, Refused)
        assert (attached.incarnation, attached.head) == (before, 3)


# -- devices -------------------------------------------------------------------------------------------------


async def say(pair: Pair, text: str) -> None:
    """One text each way, receipted."""
    sent = len(texts_of(pair.client, "me"))
    pair.client.send_text("sara", text)
    pair.therapist.send_text("client", text)
    await until_texts(pair.therapist, sent + 1)
    await until_texts(pair.client, sent + 1)
    await pair.settle()


async def put_back(pair: Pair, folder: Path) -> None:
    """A line, a backup, more of the line, and the backup put back in its place."""
    await say(pair, "before the backup")
    await pair.relay.stop()
    shutil.copytree(pair.relay.store, folder / "backup")
    await pair.relay.start()
    await say(pair, "after the backup")
    await say(pair, "and once more")
    await pair.relay.stop()
    shutil.rmtree(pair.relay.store)
    (folder / "backup").rename(pair.relay.store)
    assert await asyncio.to_thread(main, ["--store", str(pair.relay.store), "restored"]) == 0
    pair.client.send_text("sara", "written meanwhile")
    await pair.relay.start()


@pytest.mark.asyncio
async def test_r09_devices_recover_from_a_restored_store(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        await put_back(pair, tmp_path)
        said = ["before the backup", "after the backup", "and once more", "written meanwhile"]
        assert await until_texts(pair.therapist, 4) == said
        pair.therapist.send_text("client", "still here")
        assert (await until_texts(pair.client, 4))[-1] == "still here"
        await pair.settle()
        assert states_of(pair.client) == [MessageState.DELIVERED] * 4
        assert {device.line().phase for device in pair.both} == {LinePhase.OPEN}
        # the therapist's registration came with the backup, and takes new clients
        invitation = await pair.therapist.invite()
        second = make_device(tmp_path / "second", Role.CLIENT, pair.relay.url)
        async with second.online():
            await second.connect(invitation.link, hurry=True)
            await second.settle(20.0)
        second.close()
