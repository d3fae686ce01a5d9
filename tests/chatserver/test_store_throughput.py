"""How fast the SQLite store is with 100 callers waiting. Prints (see `-s`); asserts nothing about time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from chatserver.store.protocol import Acknowledged, Attached, ChannelRef, Day, Deposited, Store, TokenHash
from chatserver.store.sqlite import SqliteStore, init_store
from support.marked import Marks

TODAY = Day(20_000)
WAITERS = 100
ROUNDS = 5


async def _attached(store: Store, marks: Marks) -> tuple[ChannelRef, TokenHash]:
    channel, token = marks.channel(1), marks.hash32()
    assert isinstance(await store.attach(channel, token, today=TODAY), Attached)
    return channel, token


def test_throughput_at_100_waiters(tmp_path: Path) -> None:
    latencies: list[float] = []

    async def waiter(store: Store, marks: Marks, channel: ChannelRef, token: TokenHash) -> None:
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            stored = await store.deposit(
                channel, deposit_id=marks.bytes16(), close=False, body=marks.cell(), today=TODAY
            )
            latencies.append(time.perf_counter() - begun)
            assert isinstance(stored, Deposited)
            done = await store.ack(channel.channel_id, token, stored.seq, today=TODAY)
            assert isinstance(done, Acknowledged)
            assert done.deleted_cells == 1

    async def main() -> None:
        init_store(tmp_path / "store")
        store = await SqliteStore.open(tmp_path / "store")
        marks = Marks()
        attached = await asyncio.gather(*(_attached(store, marks) for _ in range(WAITERS)))
        begun, processor = time.perf_counter(), time.process_time()
        await asyncio.gather(*(waiter(store, marks, *one) for one in attached))
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
        pairs = WAITERS * ROUNDS
        latencies.sort()
        p50, p99 = (1e3 * latencies[pairs * part // 100] for part in (50, 99))
        print(  # noqa: T201 (a measurement for whoever runs it with -s)
            f"\n{pairs} cells stored and deleted by {WAITERS} waiters: {pairs / seconds:.0f} pairs/s,"
            f" {processor / pairs * 1e6:.0f} µs of processor each, STORED p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        )
        await store.close()

    asyncio.run(main())
