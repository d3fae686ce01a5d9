"""H1: what was deleted is not in the store's files any more.

Values are marked (`support.marked`), so that each is found wherever it lies.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from chatserver.store import database, erasure
from chatserver.store.database import PAGE_BYTES, open_database
from chatserver.store.errors import StoreBusy, StoreDamaged
from chatserver.store.protocol import (
    Acknowledged,
    Attached,
    ChannelRef,
    Day,
    Deposited,
    Store,
    StoreSettings,
    TokenHash,
)
from chatserver.store.sqlite import SqliteStore, init_store
from chatserver.store.writer import BUSY_LOG_BYTES, CALM_LOG_BYTES
from support.marked import Marks, marks_in, remainders

TODAY = Day(20_000)


def contents(directory: Path) -> list[bytes]:
    """Every file of a store. Read by `cat`: a descriptor closed in this process would drop SQLite's locks."""
    return [
        subprocess.run(["cat", path], check=True, capture_output=True).stdout
        for path in sorted(directory.iterdir())
    ]


@dataclass
class Traffic:
    """Random traffic on a store, and the books of what it has left there and what must be gone."""

    marks: Marks = field(default_factory=Marks)
    random: random.Random = field(default_factory=lambda: random.Random(1))
    channels: dict[ChannelRef, list[TokenHash]] = field(default_factory=dict)
    waiting: dict[ChannelRef, list[bytes]] = field(default_factory=dict)
    gone: list[bytes] = field(default_factory=list)
    tombstones: list[bytes] = field(default_factory=list)

    async def open_channel(self, store: Store) -> None:
        channel, tokens = self.marks.channel(), [self.marks.hash32(), self.marks.hash32()]
        for token in tokens:
            assert isinstance(await store.attach(channel, token, today=TODAY), Attached)
        self.channels[channel] = tokens
        self.waiting[channel] = []

    async def put(self, store: Store, channel: ChannelRef, *, close: bool = False) -> int:
        deposit_id, body = self.marks.bytes16(), self.marks.cell()
        stored = await store.deposit(channel, deposit_id=deposit_id, close=close, body=body, today=TODAY)
        assert isinstance(stored, Deposited)
        self.waiting[channel] += [deposit_id, body]
        return stored.seq

    async def ack(self, store: Store, channel: ChannelRef, seq: int) -> None:
        for token in self.channels[channel]:
            assert isinstance(await store.ack(channel.channel_id, token, seq, today=TODAY), Acknowledged)
        self.gone += self.waiting[channel]
        self.waiting[channel] = []

    async def finish(self, store: Store, channel: ChannelRef) -> None:
        await self.ack(store, channel, await self.put(store, channel, close=True))
        self.gone += self.channels.pop(channel)
        self.tombstones.append(channel.channel_id)
        del self.waiting[channel]

    async def step(self, store: Store) -> None:
        choice = self.random.random()
        if choice < 0.3 or not self.channels:
            await self.open_channel(store)
            return
        channel = self.random.choice(list(self.channels))
        if choice < 0.75:
            seq = await self.put(store, channel)
            if self.random.random() < 0.6:
                await self.ack(store, channel, seq)
        else:
            await self.finish(store, channel)

    def assert_gone(self, files: list[bytes]) -> None:
        assert remainders(files, self.gone) == set()
        left = marks_in(*files)
        assert {left[tombstone[:8]] for tombstone in self.tombstones} <= {4}, "an id outside its tombstone"
        kept = [body for bodies in self.waiting.values() for body in bodies]
        assert all(left[value[:8]] for value in kept), "the search itself finds nothing"


async def run_traffic(directory: Path, steps: int, *, erase_every: int) -> Traffic:
    init_store(directory)
    store = await SqliteStore.open(directory, StoreSettings(reserve_bytes=0))  # the raw disk is a small one
    traffic = Traffic()
    for number in range(steps):
        await asyncio.gather(*(traffic.open_channel(store) for _ in range(2)))
        await traffic.step(store)
        if number % erase_every == 0:
            assert await store.erase()
    assert await store.erase()
    traffic.assert_gone(contents(directory))
    await store.close()
    return traffic


def test_h1_nothing_of_what_was_deleted_is_in_the_files(tmp_path: Path) -> None:
    traffic = asyncio.run(run_traffic(tmp_path / "store", 400, erase_every=37))
    assert len(traffic.gone) > 300
    assert len(traffic.tombstones) > 50
    traffic.assert_gone(contents(tmp_path / "store"))


@dataclass
class Disk:
    """Records the system calls of an erasure, in their order, and does them."""

    calls: list[tuple[str, int, int]] = field(default_factory=list)
    """(what, offset, length)"""
    names: dict[int, str] = field(default_factory=dict)

    def _name(self, descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    def pread(self, descriptor: int, length: int, offset: int, /) -> bytes:
        return os.pread(descriptor, length, offset)

    def pwrite(self, descriptor: int, data: bytes, offset: int, /) -> int:
        assert not any(data), "erasure writes zeros only"
        self.calls.append((f"write {self._name(descriptor)}", offset, len(data)))
        return os.pwrite(descriptor, data, offset)

    def fdatasync(self, descriptor: int, /) -> None:
        self.calls.append((f"sync {self._name(descriptor)}", 0, 0))
        os.fdatasync(descriptor)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    init_store(tmp_path / "store")
    return tmp_path / "store"


def test_h1_the_log_is_overwritten_header_first_and_each_step_is_synced(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()

    async def main() -> None:
        store = await SqliteStore.open(directory)
        monkeypatch.setattr(erasure.erase, "__kwdefaults__", {"calls": disk})
        monkeypatch.setattr("chatserver.store.writer.CALM_LOG_BYTES", 64 << 20)
        traffic = Traffic()
        for _ in range(150):
            await traffic.open_channel(store)
        wal_bytes = (directory / "relay.db-wal").stat().st_size
        assert await store.erase()
        assert (directory / "relay.db-wal").stat().st_size == 0
        calls = [call for call in disk.calls if "wal" in call[0]]
        assert calls[:2] == [("write relay.db-wal", 0, 32), ("sync relay.db-wal", 0, 0)]
        assert calls[-1] == ("sync relay.db-wal", 0, 0)
        covered = 32
        for what, offset, length in calls[2:-1]:
            assert (what, offset) == ("write relay.db-wal", covered)
            covered += length
        assert covered == wal_bytes
        holes = [what for what, _, _ in disk.calls if what.endswith("relay.db")]
        assert holes[-1] == "sync relay.db"
        first_log_write = disk.calls.index(calls[0])
        assert all("wal" in what for what, _, _ in disk.calls[first_log_write:])
        await store.close()

    asyncio.run(main())


def _copy(directory: Path, to: Path) -> Path:
    shutil.copytree(directory, to)
    return to


def test_h1_a_crash_at_any_step_of_an_erasure_leaves_a_whole_store(directory: Path, tmp_path: Path) -> None:
    """Every prefix of the erasure's writes, as a power cut may leave it, opens whole, complete and clean."""
    states: list[Path] = []
    traffic = Traffic()

    @dataclass
    class Photographer(Disk):
        def pwrite(self, descriptor: int, data: bytes, offset: int, /) -> int:
            half = len(data) // 2
            os.pwrite(descriptor, data[:half], offset)
            states.append(_copy(directory, tmp_path / f"state {len(states)}"))
            written = super().pwrite(descriptor, data, offset)
            states.append(_copy(directory, tmp_path / f"state {len(states)}"))
            return written

    async def main() -> None:
        store = await SqliteStore.open(directory)
        for _ in range(60):
            await traffic.open_channel(store)
        for channel in list(traffic.channels)[:20]:
            await traffic.put(store, channel)
            await traffic.finish(store, channel)
        assert await store.erase()
        for _ in range(20):
            await traffic.open_channel(store)
        for channel in list(traffic.channels)[:10]:
            await traffic.finish(store, channel)
        _copy(directory, tmp_path / "with log")
        await store.close()

    async def complete(state: Path) -> None:
        store = await SqliteStore.open(state)
        counts = await store.counts()
        await store.close()
        assert (counts.channels, counts.slots, counts.tombstones) == (50, 100, 30)
        traffic.assert_gone(contents(state))

    asyncio.run(main())
    shutil.rmtree(directory)
    _copy(tmp_path / "with log", directory)
    assert (directory / "relay.db-wal").stat().st_size > 50_000
    database = open_database(directory, owner=True, check=False)
    assert erasure.erase(database, calls=Photographer())
    database.close()
    assert len(states) >= 4
    for state in states:
        asyncio.run(complete(state))


def _stale_copies(directory: Path) -> int:
    """Channels with a copy of their id that no row holds, after much traffic and an erasure."""

    async def main() -> int:
        store = await SqliteStore.open(directory)
        traffic = Traffic()
        for _ in range(8):
            await asyncio.gather(*(traffic.open_channel(store) for _ in range(250)))
            chosen = traffic.random.sample(list(traffic.channels), 150)
            await asyncio.gather(*(traffic.finish(store, channel) for channel in chosen))
        assert await store.erase()
        await store.close()
        left = marks_in(*contents(directory))
        # A channel's id stands once in channels and twice in slots, a tombstone's once, a token's hash once.
        return sum(left[channel.channel_id[:8]] > 12 for channel in traffic.channels) + sum(
            left[value[:8]] > 4
            for value in (
                *traffic.tombstones,
                *(token for pair in traffic.channels.values() for token in pair),
            )
        )

    init_store(directory)
    return asyncio.run(main())


@pytest.mark.parametrize("page_bytes", [4_096, PAGE_BYTES])
def test_h1_rows_moved_between_pages_leave_no_copy_in_the_holes(
    page_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that was made with smaller pages keeps them."""
    monkeypatch.setattr(database, "PAGE_BYTES", page_bytes)
    assert _stale_copies(tmp_path / "store") == 0
    with sqlite3.connect(tmp_path / "store" / "relay.db") as db:
        assert db.execute("PRAGMA page_size").fetchone() == (page_bytes,)


def test_h1_secure_delete_alone_leaves_copies_in_the_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: why `clear_holes` exists."""
    monkeypatch.setattr(erasure, "clear_holes", lambda *_: 0)
    if _stale_copies(tmp_path / "store") == 0:
        pytest.skip(f"SQLite {sqlite3.sqlite_version} has learned to leave none")


def test_h1_what_lies_in_the_hole_of_a_page_goes_when_the_page_is_written(directory: Path) -> None:
    marks = Marks()
    planted = marks.hash32()
    db = sqlite3.connect(directory / "relay.db")
    (number,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'channels'").fetchone()
    db.close()
    with (directory / "relay.db").open("r+b") as file:
        file.seek((number - 1) * PAGE_BYTES + 1_000)
        file.write(planted)

    async def main() -> None:
        store = await SqliteStore.open(directory)
        for _ in range(3):  # SQLite's cache brings the old hole back each time, and each time it goes
            await store.attach(marks.channel(), marks.hash32(), today=TODAY)
            assert await store.erase()
            assert remainders(contents(directory), [planted]) == set()
        await store.close()

    asyncio.run(main())


def test_h1_a_page_that_contradicts_itself_is_damage_and_is_not_written() -> None:
    page = bytearray(PAGE_BYTES)
    assert erasure.find_hole(bytes(page), first_page=False) is None
    page[0] = 0x0A
    page[3:5] = (7).to_bytes(2, "big")
    page[5:7] = (3_000).to_bytes(2, "big")
    assert erasure.find_hole(bytes(page), first_page=False) == erasure.Hole(start=22, end=3_000)
    page[5:7] = (21).to_bytes(2, "big")
    with pytest.raises(StoreDamaged):
        erasure.find_hole(bytes(page), first_page=False)
    page[5:7] = (0).to_bytes(2, "big")  # SQLite's way to write 65,536: impossible at this page size
    with pytest.raises(StoreDamaged):
        erasure.find_hole(bytes(page), first_page=False)


def test_h1_erasure_follows_a_deletion_within_the_seconds_set(directory: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory, StoreSettings(erase_seconds=0.05))
        traffic = Traffic()
        await traffic.open_channel(store)
        channel = next(iter(traffic.channels))
        await traffic.ack(store, channel, await traffic.put(store, channel))
        async with asyncio.timeout(30):
            while (directory / "relay.db-wal").stat().st_size:  # noqa: ASYNC110 (a file has no event)
                await asyncio.sleep(0.01)
        traffic.assert_gone(contents(directory))
        await store.close()

    asyncio.run(main())


def test_h1_the_clock_of_erasure_starts_with_the_first_deletion(directory: Path) -> None:
    """Traffic that never pauses does not put the erasure off."""
    now = 100.0

    async def main() -> None:
        nonlocal now
        store = await SqliteStore.open(directory, StoreSettings(erase_seconds=5.0), monotonic=lambda: now)
        traffic = Traffic()
        await traffic.open_channel(store)
        channel = next(iter(traffic.channels))
        for _ in range(4):
            now += 1.2
            await traffic.ack(store, channel, await traffic.put(store, channel))
        assert (directory / "relay.db-wal").stat().st_size > 0
        now += 0.3
        await store.counts()
        await store.counts()  # the writer has come back from erasing
        assert (directory / "relay.db-wal").stat().st_size == 0
        traffic.assert_gone(contents(directory))
        await store.close()

    asyncio.run(main())


@pytest.fixture
def reader(directory: Path) -> Iterator[Callable[[], sqlite3.Connection]]:
    """A stranger who reads the store's file, as a backup program might."""
    opened: list[sqlite3.Connection] = []

    def start() -> sqlite3.Connection:
        db = sqlite3.connect(directory / "relay.db", isolation_level=None)
        db.execute("BEGIN")
        db.execute("SELECT COUNT(*) FROM cells").fetchone()
        opened.append(db)
        return db

    yield start
    for db in opened:
        db.close()


def test_h1_deposits_wait_while_a_log_too_long_cannot_be_erased(
    directory: Path, reader: Callable[[], sqlite3.Connection]
) -> None:
    async def main() -> None:
        settings = StoreSettings(wal_limit_bytes=400_000, erase_seconds=60.0)
        store = await SqliteStore.open(directory, settings)
        traffic = Traffic()
        await traffic.open_channel(store)
        channel = next(iter(traffic.channels))
        stranger = reader()
        for _ in range(30):
            deposit = asyncio.ensure_future(traffic.put(store, channel))
            done, _ = await asyncio.wait([deposit], timeout=0.5)
            if not done:
                break
        else:
            pytest.fail("the deposits did not wait")
        # Acknowledgements and reads go on meanwhile.
        token = traffic.channels[channel][0]
        assert isinstance(await store.ack(channel.channel_id, token, 1, today=TODAY), Acknowledged)
        stranger.execute("COMMIT")
        async with asyncio.timeout(30):
            await deposit
        traffic.waiting[channel] = []
        await store.close()

    asyncio.run(main())


def test_h1_a_store_that_closes_while_erasure_is_overdue_refuses_what_waited(
    directory: Path, reader: Callable[[], sqlite3.Connection]
) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory, StoreSettings(wal_limit_bytes=100_000, erase_seconds=60.0))
        marks = Marks()
        channel = marks.channel()
        reader()
        deposits = [
            asyncio.ensure_future(
                store.deposit(
                    channel, deposit_id=marks.bytes16(), close=False, body=marks.cell(), today=TODAY
                )
            )
            for _ in range(600)
        ]
        await asyncio.wait(deposits[:1])
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await store.close()
            results = await asyncio.gather(*deposits, return_exceptions=True)
        assert {type(result) for result in results} == {Deposited, StoreBusy}

    asyncio.run(main())


def test_h1_in_calm_times_the_log_stays_short_and_in_busy_ones_it_is_erased_seldom(directory: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory, StoreSettings(erase_seconds=1_000.0))
        traffic = Traffic()
        await traffic.open_channel(store)
        channel = next(iter(traffic.channels))
        log = directory / "relay.db-wal"
        lengths = []
        for _ in range(60):
            await traffic.put(store, channel)
            lengths.append(log.stat().st_size)
        assert max(lengths) < CALM_LOG_BYTES + 200_000
        assert any(later < earlier for earlier, later in pairwise(lengths)), "it was never erased"
        longest = 0
        for _ in range(4):
            await asyncio.gather(*(traffic.put(store, channel) for _ in range(120)))
            longest = max(longest, log.stat().st_size)
        assert 2 * CALM_LOG_BYTES < longest < BUSY_LOG_BYTES + 8_000_000
        await store.close()

    asyncio.run(main())


def test_h1_a_log_beyond_its_limit_is_erased_at_once(directory: Path) -> None:
    async def main() -> None:
        settings = StoreSettings(wal_limit_bytes=200_000, erase_seconds=1_000.0)
        store = await SqliteStore.open(directory, settings)
        traffic = Traffic()
        await traffic.open_channel(store)
        channel = next(iter(traffic.channels))
        for _ in range(40):
            await traffic.put(store, channel)
            assert (directory / "relay.db-wal").stat().st_size < 400_000
        await store.close()

    asyncio.run(main())


def test_h1_a_stranger_who_writes_in_between_is_not_overwritten(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(directory, owner=True, check=False)
    database.connection.execute("INSERT INTO tombstones VALUES(x'01', 1)")
    stranger = sqlite3.connect(directory / "relay.db", isolation_level=None)

    class Between(sqlite3.Connection):
        """The connection of the store, but a stranger commits right after the checkpoint."""

        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
            if sql == "BEGIN IMMEDIATE":
                stranger.execute("INSERT INTO tombstones VALUES(x'02', 1)")
            return database_connection.execute(sql, *args)  # type: ignore[arg-type]  # handed on as it came

    database_connection = database.connection
    database.connection = Between(":memory:")
    assert not erasure.erase(database)
    database.connection.close()
    database.connection = database_connection
    assert erasure.erase(database)
    assert database_connection.execute("SELECT COUNT(*) FROM tombstones").fetchone() == (2,)
    stranger.close()
    database.close()


# ----------------------------------------------------------------------------------- SIGKILL in mid traffic

_CHILD = """
import asyncio, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from test_store_erasure import child_traffic
asyncio.run(child_traffic(Path(sys.argv[1])))
"""


async def child_traffic(directory: Path) -> None:
    """Runs until killed; says what is surely stored, and what was surely acknowledged, line by line."""

    def say(*words: str) -> None:
        os.write(1, (" ".join(words) + "\n").encode())

    store = await SqliteStore.open(directory, StoreSettings(erase_seconds=0.03))
    traffic = Traffic()

    async def one_channel() -> None:
        while True:
            channel, tokens = traffic.marks.channel(), [traffic.marks.hash32(), traffic.marks.hash32()]
            for token in tokens:
                await store.attach(channel, token, today=TODAY)
            bodies = [traffic.marks.cell() for _ in range(3)]
            for number, body in enumerate(bodies):
                deposit_id = traffic.marks.bytes16()
                await store.deposit(channel, deposit_id=deposit_id, close=number == 2, body=body, today=TODAY)
                say("stored", body[:8].hex(), channel.channel_id.hex(), str(number + 1))
            kept, body = traffic.marks.channel(), traffic.marks.cell()
            await store.deposit(kept, deposit_id=traffic.marks.bytes16(), close=False, body=body, today=TODAY)
            say("stored", body[:8].hex(), kept.channel_id.hex(), "1")
            for token in tokens:
                say("acking", *(body[:8].hex() for body in bodies))
                await store.ack(channel.channel_id, token, 3, today=TODAY)
            say("gone", *(value[:8].hex() for value in (*bodies, *tokens)))

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(one_channel())


@pytest.mark.parametrize("lines", [60, 333, 1_500])
def test_h1_after_sigkill_nothing_deleted_is_left_and_nothing_stored_is_lost(
    directory: Path, lines: int
) -> None:
    program = _CHILD.format(paths=[str(Path(__file__).parent), *sys.path])
    child = subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    said += child.stdout.read().splitlines()
    child.wait()
    child.stdout.close()
    stored: dict[bytes, tuple[str, str]] = {}
    acking: set[bytes] = set()
    gone: set[bytes] = set()
    for line in said:
        word, *values = line.decode().split()
        if word == "stored":
            stored[bytes.fromhex(values[0])] = (values[1], values[2])
        else:
            (acking if word == "acking" else gone).update(map(bytes.fromhex, values))
    assert len(stored) > 5

    async def restart() -> None:
        store = await SqliteStore.open(directory)
        await store.close()

    asyncio.run(restart())
    files = contents(directory)
    assert remainders(files, gone) == set()
    left = marks_in(*files)
    surely = set(stored) - acking
    assert surely
    assert all(left[mark] > 1_900 for mark in surely), "a cell that was answered STORED is lost"
    db = sqlite3.connect(directory / "relay.db")
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for mark in surely:
        channel_id, seq = stored[mark]
        row = db.execute(
            "SELECT body FROM cells WHERE channel_id = ? AND seq = ?", (bytes.fromhex(channel_id), int(seq))
        ).fetchone()
        assert row[0] == mark * 2_048
    db.close()


def test_h1_what_a_crash_left_is_erased_before_the_store_opens(directory: Path, tmp_path: Path) -> None:
    traffic = Traffic()

    async def main() -> None:
        store = await SqliteStore.open(directory)
        await traffic.open_channel(store)
        await traffic.finish(store, next(iter(traffic.channels)))
        _copy(directory, tmp_path / "crashed")
        await store.close()

    async def restart() -> None:
        crashed = tmp_path / "crashed"
        assert remainders(contents(crashed), traffic.gone)
        store = await SqliteStore.open(crashed)
        traffic.assert_gone(contents(crashed))
        await store.close()

    asyncio.run(main())
    asyncio.run(restart())


# ------------------------------------------------------------------------------------- the raw file system


def _mount(tmp_path: Path) -> tuple[Path, Path]:
    image, mount = tmp_path / "disk.img", tmp_path / "mount"
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("a loop mount needs root and mkfs.ext4")
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(96 << 20)
    # data=ordered without a journal of data: the file system's own journal holds metadata only.
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine allows no loop mount")
    return image, mount


@pytest.mark.system
def test_h1_the_raw_disk_holds_nothing_deleted(tmp_path: Path) -> None:
    image, mount = _mount(tmp_path)
    try:
        traffic = asyncio.run(run_traffic(mount / "store", 250, erase_every=31))
    finally:
        subprocess.run(["umount", mount], check=True)
    raw = image.read_bytes()
    assert remainders([raw], traffic.gone) == set()
    assert marks_in(raw)[traffic.tombstones[0][:8]] > 0
