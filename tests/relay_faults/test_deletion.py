"""H1 on a disk of the test's own: nothing of what was deleted is left in any file, nor anywhere on the image.

The relay is a real process under the traffic of `support.crash_world`. After a power cut exactly what had
reached the disk is there, whatever the kernel still held in memory (`support.mounts`).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chatserver.store import erasure
from chatserver.store.errors import StoreError
from chatserver.store.protocol import ChannelRef, Day, Deposited, StoreSettings, TokenHash
from chatserver.store.sqlite import SqliteStore, init_store
from support.crash_world import World
from support.marked import Marks, remainders
from support.mounts import Image
from support.relay_process import RelayProcess
from support.store_scan import files_of, occurrences, runs_left

CONFIG = """
[store]
erase_seconds = 0.2
reserve_mib = 1
[limits]
deposits_per_minute = 1000000
requests_per_minute = 1000000
creations_per_minute = 100000
"""
WAIT_SECONDS = 60.0
TODAY = Day(20_000)


async def until_stored(world: World, count: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while world.stored < count:  # noqa: ASYNC110 - the relay is another process
            await asyncio.sleep(0.01)


async def until_quiet(world: World) -> None:
    world.talking = False
    async with asyncio.timeout(WAIT_SECONDS):
        while not world.quiet:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    world.judge()


@asynccontextmanager
async def prepared(tmp_path: Path, store: Path) -> AsyncIterator[RelayProcess]:
    """A relay to be started there; it does not outlive the block."""
    process = RelayProcess(tmp_path, config=CONFIG, measured=False)
    process.store = store
    try:
        yield process
    finally:
        await process.stop(signal.SIGKILL)


def nothing_left(world: World, contents: list[bytes]) -> None:
    """No run of 16 bytes of a finished cell or token, no id of a finished channel outside its tombstone."""
    tokens, finished, others = world.secrets()
    assert len(world.gone()) > 30
    assert len(finished) > 2
    assert remainders(contents, world.gone()) == set()
    assert runs_left(contents, tokens) == []
    assert {occurrences(contents, channel_id) for channel_id in finished} == {1}
    assert all(occurrences(contents, channel_id) for channel_id in others), "the search finds nothing"


@pytest.mark.system
@pytest.mark.asyncio
async def test_h1_neither_the_files_nor_the_raw_disk_keep_what_was_deleted(tmp_path: Path) -> None:
    image = Image(tmp_path / "image")
    with image.mounted() as disk:
        async with prepared(tmp_path, disk / "store") as process:
            world = World(process.url, 5, [2, 3])
            await process.init()
            await process.start()
            async with asyncio.TaskGroup() as group:
                traffic = group.create_task(world.run())
                await until_stored(world, 60)
                for _ in range(2):  # in the middle of deletion and erasure, which never pause here
                    await process.restart(signal.SIGKILL)
                    await until_stored(world, world.stored + 60)
                await until_quiet(world)
                # While it runs: the last deletion and its erasure are at most `erase_seconds` apart.
                log = process.store / "relay.db-wal"
                async with asyncio.timeout(60):
                    while os.stat(log).st_size:  # noqa: ASYNC110, PTH116 - another process's file
                        await asyncio.sleep(0.05)
                nothing_left(world, files_of(process.store))
                traffic.cancel()
            await process.stop()
            nothing_left(world, files_of(process.store))
    nothing_left(world, [image.raw()])


@pytest.mark.system
@pytest.mark.asyncio
async def test_h1_after_power_cuts_nothing_acknowledged_is_lost_and_nothing_finished_is_kept(
    tmp_path: Path,
) -> None:
    """What was answered STORED or ACKED had been synced (R4); what was finished does not come back."""
    image = Image(tmp_path / "image")
    moments = random.Random(8)
    async with prepared(tmp_path, image.point / "store") as process:
        world = World(process.url, 8, [2, 3])
        async with asyncio.TaskGroup() as group:
            traffic = group.create_task(world.run())
            for cut in range(3):
                with image.mounted():
                    if cut == 0:
                        await process.init()
                    await process.start()
                    await until_stored(world, world.stored + 25)
                    await asyncio.sleep(moments.uniform(0.0, 0.3))
                    os.kill(process.pid, signal.SIGSTOP)
                    snapshot = await asyncio.to_thread(image.snapshot)
                    await process.stop(signal.SIGKILL)
                image.go_back_to(snapshot)
            with image.mounted():
                await process.start()
                await until_quiet(world)
                traffic.cancel()
                await process.stop()
                nothing_left(world, files_of(process.store))


class CutAt:
    """The system calls of an erasure; the power is cut in the middle of the n-th write."""

    def __init__(self, image: Image, number: int) -> None:
        self.left = number
        self.image = image

    def pread(self, descriptor: int, length: int, offset: int, /) -> bytes:
        return os.pread(descriptor, length, offset)

    def pwrite(self, descriptor: int, data: bytes, offset: int, /) -> int:
        self.left -= 1
        if self.left == 0:
            os.pwrite(descriptor, data[: len(data) // 2], offset)
            os.fdatasync(descriptor)
            self.image.cut_power()
        return os.pwrite(descriptor, data, offset)

    def fdatasync(self, descriptor: int, /) -> None:
        os.fdatasync(descriptor)


async def one_life(store: SqliteStore, marks: Marks) -> tuple[list[bytes], list[bytes]]:
    """Channels that are used, most of which are finished: what must be gone, what must be there."""
    gone: list[bytes] = []
    kept: list[bytes] = []
    for number in range(5):
        channel, tokens = marks.channel(), [marks.hash32(), marks.hash32()]
        await asyncio.gather(*(store.attach(channel, token, today=TODAY) for token in tokens))
        cells = [await put(store, channel, marks, close=last) for last in (False, True)]
        if number % 4 == 0:
            kept += cells
            continue
        for token in tokens:
            await store.ack(channel.channel_id, TokenHash(token), 2, today=TODAY)
        gone += [*cells, *tokens]
    return gone, kept


async def put(store: SqliteStore, channel: ChannelRef, marks: Marks, *, close: bool) -> bytes:
    body = marks.cell()
    answer = await store.deposit(channel, deposit_id=marks.bytes16(), close=close, body=body, today=TODAY)
    assert isinstance(answer, Deposited)
    return body


@pytest.mark.system
def test_h1_a_power_cut_at_any_write_of_an_erasure_leaves_nothing_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image(tmp_path / "image")
    settings = StoreSettings(erase_seconds=60.0, reserve_bytes=0)
    marks = Marks()
    gone: list[bytes] = []
    kept: list[bytes] = []

    async def life(number: int) -> bool:
        """False once an erasure has fewer writes than that."""
        store = await SqliteStore.open(image.point / "store", settings)
        calls = CutAt(image, number)
        monkeypatch.setattr(erasure.erase, "__kwdefaults__", {"calls": calls})
        went, stays = await one_life(store, marks)
        gone.extend(went)
        kept.extend(stays)
        try:
            await store.erase()
            await store.close()
        except StoreError:
            pass
        monkeypatch.setattr(erasure.erase, "__kwdefaults__", {"calls": erasure.SYSTEM_CALLS})
        return calls.left <= 0

    async def next_start() -> None:
        store = await SqliteStore.open(image.point / "store", settings)
        assert (await store.counts()).cells == len(kept)
        await store.close()

    with image.mounted():
        init_store(image.point / "store")
    number, cut = 0, True
    while cut:
        number += 1
        with image.mounted():
            cut = asyncio.run(life(number))
        with image.mounted():
            asyncio.run(next_start())
            assert remainders(files_of(image.point / "store"), gone) == set()
        raw = image.raw()
        assert remainders([raw], gone) == set()
        assert remainders([raw], kept) == {value[:8] for value in kept}
    assert number > 3
