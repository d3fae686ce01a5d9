"""The same histories through SQLite and through the store in memory, which says the rules in plain Python."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chatserver.store.database import MAX_PAGES
from chatserver.store.memory import MemoryStore
from chatserver.store.protocol import (
    CELL_BYTES,
    ChannelId,
    ChannelRef,
    Day,
    InboxId,
    Store,
    StoreSettings,
    hash_token,
)
from chatserver.store.sqlite import SqliteStore, init_store

SETTINGS = StoreSettings(max_cells_per_channel=3, inbox_max_waiting=2, check_at_open=False)
Step = Callable[[Store, Day], Awaitable[object]]


def counting_rng() -> Callable[[int], bytes]:
    numbers = itertools.count(1)
    return lambda length: next(numbers).to_bytes(length, "big")


def channel_of(name: int) -> ChannelRef:
    channel_id = ChannelId(hash_token(bytes([name])))
    return ChannelRef(channel_id=channel_id, channel_class=1, readers=1 + name % 3)


few = st.integers(0, 3)
names = st.integers(0, 2)


def _attach(channel: int, token: int, *, may_create: bool) -> Step:
    return lambda store, today: store.attach(
        channel_of(channel), hash_token(bytes([token])), today=today, may_create=may_create
    )


def _deposit(channel: int, deposit: int, *, close: bool, may_create: bool) -> Step:
    return lambda store, today: store.deposit(
        channel_of(channel),
        deposit_id=bytes([deposit]) * 16,
        close=close,
        body=bytes([deposit]) * CELL_BYTES,
        today=today,
        may_create=may_create,
    )


def _ack(channel: int, token: int, seq: int) -> Step:
    return lambda store, today: store.ack(
        channel_of(channel).channel_id, hash_token(bytes([token])), seq, today=today
    )


def _read(channel: int, position: int, max_cells: int) -> Step:
    return lambda store, _: store.read(channel_of(channel).channel_id, position, max_cells=max_cells)


def _open_inbox(name: int, token: int, *, admit_all: bool) -> Step:
    return lambda store, today: store.open_inbox(
        bytes([name]) * 32, token_hash=hash_token(bytes([token])), admit_all=admit_all, today=today
    )


def _inbox(number: int) -> InboxId:
    """Ids come from the counting generator, which channels share; some of these are inboxes."""
    return InboxId(number.to_bytes(16, "big"))


def _drop(inbox: int, drop: int, admit: int | None) -> Step:
    return lambda store, today: store.drop(
        _inbox(inbox),
        drop_id=bytes([drop]) * 16,
        body=bytes([drop]) * CELL_BYTES,
        admit_hash=None if admit is None else hash_token(bytes([admit])),
        today=today,
    )


def _admit(inbox: int, admit: int, days: int) -> Step:
    return lambda store, today: store.admit(
        _inbox(inbox), hash_token(bytes([admit])), expires_day=Day(today + days), today=today
    )


def _publish(name: int, serial: int, days: int) -> Step:
    return lambda store, today: store.publish_bundle(
        bytes([name]) * 32, bundle=bytes([serial]), serial=serial, not_after_day=Day(today + days)
    )


seqs = st.one_of(st.integers(0, 6), st.sampled_from([2**63, 2**64 - 1]))
inboxes = st.integers(1, 6)
days = st.sampled_from([0, 1, 29, 30, 31, 60])
steps = st.one_of(
    st.builds(_attach, names, few, may_create=st.booleans()),
    st.builds(_attach, names, few, may_create=st.just(True)),
    st.builds(_deposit, names, st.integers(0, 9), close=st.booleans(), may_create=st.booleans()),
    st.builds(_deposit, names, st.integers(0, 9), close=st.just(False), may_create=st.just(True)),
    st.builds(_ack, names, few, seqs),
    st.builds(_ack, names, few, seqs),
    st.builds(_read, names, seqs, st.integers(1, 3)),
    st.builds(_open_inbox, names, few, admit_all=st.booleans()),
    st.builds(_drop, inboxes, few, st.none() | few),
    st.builds(_admit, inboxes, few, days),
    st.builds(lambda inbox, drop: lambda s, _: s.ack_drop(_inbox(inbox), bytes([drop]) * 16), inboxes, few),
    st.builds(lambda inbox: lambda s, _: s.list_drops(_inbox(inbox), limit=2), inboxes),
    st.builds(_publish, names, few, days),
    st.builds(lambda bits: lambda s, _: s.bundles(bits=bits, prefix=(1 << bits) - 1), st.integers(0, 2)),
    st.builds(
        lambda token, d: (
            lambda s, today: s.add_therapist_token(hash_token(bytes([token])), expires_day=Day(today + d))
        ),
        few,
        days,
    ),
    st.just(lambda store, today: store.expire(today=today)),
)
histories = st.lists(st.tuples(st.sampled_from([0, 0, 0, 0, 1, 29, 31, 61, 91]), steps), max_size=40)


@settings(max_examples=60, deadline=None)
@given(histories)
def test_r06_both_stores_answer_every_history_alike(history: list[tuple[int, Step]]) -> None:
    async def main(directory: Path) -> None:
        init_store(directory)
        sqlite = await SqliteStore.open(directory, SETTINGS, rng=counting_rng())
        memory = MemoryStore(SETTINGS, rng=counting_rng())
        today = Day(20_000)
        for passed, step in history:
            today = Day(today + passed)
            assert await step(sqlite, today) == await step(memory, today)
            assert await sqlite.counts() == await memory.counts()
        await sqlite.close()
        await memory.close()

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name) / "store"))


def test_a_store_can_never_grow_so_big_that_erasure_could_mistake_a_page() -> None:
    """An overflow page begins with a page number; below 2^25 its first byte is no b-tree page's."""
    assert MAX_PAGES.to_bytes(4, "big")[0] < 2
