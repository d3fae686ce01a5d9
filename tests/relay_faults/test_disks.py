"""Disks that are full, read-only, failing, locked by others or damaged.

In each case: a clear sentence, the right exit code, nothing acknowledged lost, no start with an empty store.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets

from chatserver.store.database import PAGE_BYTES
from chatserver.store.sqlite import init_store
from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from support.mounts import Image, in_memory, remount
from support.relay import Client, text_of
from support.relay_process import ROOT, RelayProcess

KEY = b"k" * 32
READER, WRITER = b"r" * 32, b"w" * 32
END_SECONDS = 120.0
CONFIG = """
[store]
erase_seconds = 0.2
reserve_mib = 2
[limits]
deposits_per_minute = 1000000
"""


def run_to_its_end(store: Path, *, file_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Start the relay on a store where it should not be able to run."""

    def limit() -> None:
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    return subprocess.run(
        [sys.executable, "-m", "chatserver.main", "--store", str(store), "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
        preexec_fn=limit,
    )


def refused_to_start(done: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("amanat-relay: ")
    assert words in last
    assert "Traceback" not in done.stderr
    assert "listening" not in done.stdout


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@asynccontextmanager
async def client_of(process: RelayProcess) -> AsyncIterator[Client]:
    async with websockets.connect(
        process.url.replace("http", "ws") + "/v1/ws",
        subprotocols=[websockets.Subprotocol("amanat.v1")],
        compression=None,
        max_size=1 << 20,
        close_timeout=1,
    ) as socket:
        client = Client(socket)
        await client.greet()
        yield client


def prepared(folder: Path, store: Path, *, more: str = "") -> RelayProcess:
    folder.mkdir(exist_ok=True)
    config = CONFIG.replace("[store]\n", "[store]\n" + more)
    process = RelayProcess(folder, config=config, measured=False)
    process.store = store
    return process


@asynccontextmanager
async def relay_on(
    folder: Path, store: Path, *, file_bytes: int | None = None
) -> AsyncIterator[RelayProcess]:
    process = prepared(folder, store)
    if not process.has_store():
        await process.init()
    await process.start()
    if file_bytes is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    try:
        yield process
    finally:
        await process.stop()


async def fill(client: Client) -> int:
    """Deposit until the relay refuses; returns how many cells it acknowledged."""
    for number in range(1, 2_000):
        answer = await client.deposit(KEY, f"cell {number}")
        if isinstance(answer, f.Refused):
            assert answer.code == ErrorCode.STORE_FAILED
            return number - 1
        assert isinstance(answer, f.Stored)
        assert answer.seq == number
    raise AssertionError("the disk does not fill")


async def deposit_to_the_end(client: Client, number: int) -> int:
    """Deposit until the connection ends; returns the number of the last cell that was acknowledged."""
    deadline = time.monotonic() + END_SECONDS
    try:
        while time.monotonic() < deadline:  # refusals come fast, and the relay ends at its next sweep
            answer = await client.deposit(KEY, f"cell {number}")
            if isinstance(answer, f.Stored):
                assert answer.seq == number
                number += 1
    except websockets.ConnectionClosed:
        return number - 1
    raise AssertionError("the relay does not end")


async def read_all(client: Client, count: int) -> f.Attached:
    """Every acknowledged cell comes, once and in order."""
    attached = await client.attached(KEY, READER)
    assert attached.head >= count
    for number in range(1, count + 1):
        assert text_of(await client.push()) == f"cell {number}"
    return attached


# -- full ---------------------------------------------------------------------------------------------------


@pytest.mark.system
@pytest.mark.asyncio
async def test_a_full_disk_refuses_cells_serves_what_it_has_and_frees_itself(tmp_path: Path) -> None:
    with in_memory(tmp_path / "disk", "4m") as disk:
        async with relay_on(tmp_path / "relay", disk / "store") as process:
            async with client_of(process) as writer:
                stored = await fill(writer)
            assert stored > 20
            await process.restart(signal.SIGKILL)
            async with client_of(process) as writer, client_of(process) as reader:
                await writer.attached(KEY, WRITER)
                attached = await read_all(reader, stored)
                # Without anybody's help: what both have read goes, and its room is used again.
                own = await writer.attached(KEY, WRITER, position=stored)
                assert isinstance(await reader.ack(attached.handle, stored), f.Acked)
                assert isinstance(await writer.ack(own.handle, stored), f.Acked)
                answer = await writer.deposit(KEY, f"cell {stored + 1}")
                assert isinstance(answer, f.Stored)
                assert answer.seq == stored + 1


@pytest.mark.system
@pytest.mark.asyncio
async def test_a_full_disk_takes_cells_again_when_there_is_room(tmp_path: Path) -> None:
    with in_memory(tmp_path / "disk", "4m") as disk:
        async with relay_on(tmp_path / "relay", disk / "store") as process, client_of(process) as writer:
            stored = await fill(writer)
            remount(disk, "size=32m")
            answer = await writer.deposit(KEY, f"cell {stored + 1}")
            assert isinstance(answer, f.Stored)
            async with client_of(process) as reader:
                await read_all(reader, stored + 1)


@pytest.mark.system
@pytest.mark.asyncio
async def test_a_disk_filled_by_others_and_a_crash_lose_nothing(tmp_path: Path) -> None:
    """Not a byte is left, not even the reserve: nothing goes on, and nothing is lost."""
    with in_memory(tmp_path / "disk", "4m") as disk:
        async with relay_on(tmp_path / "relay", disk / "store") as process:
            async with client_of(process) as writer:
                await writer.attached(KEY, WRITER)
                for number in range(1, 21):
                    assert isinstance(await writer.deposit(KEY, f"cell {number}"), f.Stored)
                with contextlib.suppress(OSError), (disk / "filler").open("wb") as file:
                    while True:
                        file.write(bytes(4096))
                        file.flush()
                answer = await writer.deposit(KEY, "too much")
                assert isinstance(answer, f.Refused)
                assert answer.code == ErrorCode.STORE_FAILED
            for _ in range(2):
                await process.stop(signal.SIGKILL)
                await process.start()
            (disk / "filler").unlink()
            async with client_of(process) as reader:
                await read_all(reader, 20)


@pytest.mark.asyncio
async def test_a_limit_of_the_file_size_ends_the_relay_with_a_sentence_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """For SQLite this is an error of the disk, after which nobody knows what is on it: the relay ends."""
    folder = tmp_path / "relay"
    async with relay_on(folder, folder / "store", file_bytes=1 << 20) as process:
        async with client_of(process) as writer:
            stored = await deposit_to_the_end(writer, 1)
        assert stored > 10
        assert await process.ended() == 7
        await process.start()
        async with client_of(process) as reader:
            await read_all(reader, stored)


# -- read-only ----------------------------------------------------------------------------------------------


@pytest.mark.system
@pytest.mark.parametrize("kept_log", [False, True])
def test_a_read_only_disk_is_no_start(tmp_path: Path, *, kept_log: bool) -> None:
    image = Image(tmp_path / "image")
    with image.mounted() as disk:
        init_store(disk / "store")
        if kept_log:
            db = sqlite3.connect(disk / "store" / "relay.db", isolation_level=None)
            db.execute("INSERT INTO tombstones VALUES(x'00', 1)")
            for name in ("relay.db", "relay.db-wal"):
                shutil.copy(disk / "store" / name, disk / f"kept {name}")
            db.close()
            for name in ("relay.db", "relay.db-wal"):
                (disk / f"kept {name}").rename(disk / "store" / name)
    with image.mounted("ro") as disk:
        before = contents(disk / "store")
        refused_to_start(run_to_its_end(disk / "store"), 1, "cannot be written")
        assert contents(disk / "store") == before


@pytest.mark.system
@pytest.mark.asyncio
async def test_a_disk_that_fails_under_the_relay_ends_it_and_what_was_stored_is_there_afterwards(
    tmp_path: Path,
) -> None:
    image = Image(tmp_path / "image")
    stored = 20
    with image.mounted() as disk:
        async with relay_on(tmp_path / "relay", disk / "store") as process:
            async with client_of(process) as writer:
                for number in range(1, stored + 1):
                    assert isinstance(await writer.deposit(KEY, f"cell {number}"), f.Stored)
                image.cut_power()
                assert await deposit_to_the_end(writer, 21) == 20
            assert await process.ended() == 7
    with image.mounted() as disk:
        async with relay_on(tmp_path / "again", disk / "store") as process, client_of(process) as reader:
            await read_all(reader, stored)


# -- locked -------------------------------------------------------------------------------------------------


def test_a_locked_store_is_no_start(tmp_path: Path) -> None:
    store = tmp_path / "store"
    init_store(store)
    stranger = sqlite3.connect(store / "relay.db", isolation_level=None)
    stranger.execute("PRAGMA locking_mode = EXCLUSIVE")
    stranger.execute("BEGIN EXCLUSIVE")
    refused_to_start(run_to_its_end(store), 7, "another program holds the store locked")
    stranger.execute("ROLLBACK")
    stranger.close()


@pytest.mark.asyncio
async def test_a_stranger_who_locks_the_store_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    async with relay_on(folder, folder / "store") as process, client_of(process) as writer:
        assert isinstance(await writer.deposit(KEY, "cell 1"), f.Stored)
        stranger = sqlite3.connect(process.store / "relay.db", isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        answer = await writer.deposit(KEY, "cell 2")
        assert isinstance(answer, f.Refused)
        assert answer.code == ErrorCode.STORE_FAILED
        stranger.execute("ROLLBACK")
        stranger.close()
        assert isinstance(await writer.deposit(KEY, "cell 2"), f.Stored)
        async with client_of(process) as reader:
            await read_all(reader, 2)


# -- damaged, missing ---------------------------------------------------------------------------------------


def _overwrite_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"no database at all")


def _overwrite_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(hashlib.shake_128(b"damage").digest(8192))


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_overwrite_header, _overwrite_middle, _truncate, _empty])
def test_a_damaged_store_is_no_start_and_stays_as_it_is(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    store = tmp_path / "store"
    asyncio.run(_store_with_cells(store))
    damage(store / "relay.db")
    before = (store / "relay.db").read_bytes()
    refused_to_start(run_to_its_end(store), 7, "")
    assert (store / "relay.db").read_bytes() == before


async def _store_with_cells(store: Path) -> None:
    async with relay_on(store.parent / "maker", store) as process, client_of(process) as writer:
        for number in range(8):
            await writer.deposit(KEY, f"cell {number}")


def test_a_store_whose_file_is_gone_is_no_start_and_nothing_is_made(tmp_path: Path) -> None:
    store = tmp_path / "store"
    asyncio.run(_store_with_cells(store))
    (store / "relay.db").unlink()
    refused_to_start(run_to_its_end(store), 3, "amanat-relay init")
    assert not (store / "relay.db").exists()


@pytest.mark.asyncio
async def test_damage_found_while_running_ends_the_relay(tmp_path: Path) -> None:
    store = tmp_path / "store"
    await _store_with_cells(store)
    process = prepared(tmp_path / "relay", store, more="check_at_open = false\n")
    await process.start()  # nothing but the schema has been read
    with (store / "relay.db").open("r+b") as file:
        for page in range(1, file.seek(0, 2) // PAGE_BYTES):
            file.seek(page * PAGE_BYTES)
            file.write(b"\x55" * PAGE_BYTES)
    damaged = contents(store)["relay.db"]
    async with client_of(process) as writer:
        assert await deposit_to_the_end(writer, 9) == 8
    assert await process.ended() == 7
    refused_to_start(await asyncio.to_thread(run_to_its_end, store), 7, "damaged")
    assert contents(store)["relay.db"] == damaged
