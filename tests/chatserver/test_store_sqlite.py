"""The SQLite store as a thing of files, transactions and a thread: opening, group commit, failure."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from chatserver.store import database, schema
from chatserver.store.database import PAGE_BYTES, connect
from chatserver.store.errors import (
    StoreBusy,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreExists,
    StoreFull,
    StoreMissing,
    StoreOverloaded,
    StoreReadOnly,
    StoreTooNew,
)
from chatserver.store.protocol import (
    Acknowledged,
    Attached,
    CellPage,
    ChannelRef,
    Day,
    Deposited,
    InboxOpened,
    Refused,
    Store,
    StoreSettings,
)
from chatserver.store.sqlite import SqliteStore, add_therapist_token, init_store
from support.marked import Marks

TODAY = Day(20_000)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    init_store(tmp_path / "store")
    return tmp_path / "store"


async def put(store: Store, channel: ChannelRef, marks: Marks) -> Deposited | Refused:
    return await store.deposit(
        channel, deposit_id=marks.bytes16(), close=False, body=marks.cell(), today=TODAY
    )


async def reopen(directory: Path) -> None:
    store = await SqliteStore.open(directory)
    await store.close()


# ---------------------------------------------------------------------------------------- making and opening


def test_a_missing_store_is_an_error_that_names_the_command_and_makes_nothing(tmp_path: Path) -> None:
    for directory in (tmp_path / "none", tmp_path):
        with pytest.raises(StoreMissing, match="amanat-relay init"):
            asyncio.run(reopen(directory))
        with pytest.raises(StoreMissing, match="amanat-relay init"):
            add_therapist_token(directory, Marks().hash32(), expires_day=TODAY)
    assert list(tmp_path.iterdir()) == []


def test_init_leaves_a_store_that_exists_alone(directory: Path) -> None:
    async def one_channel() -> None:
        store = await SqliteStore.open(directory)
        await store.attach(Marks().channel(), Marks().hash32(), today=TODAY)
        await store.close()

    asyncio.run(one_channel())
    before = (directory / "relay.db").read_bytes()
    with pytest.raises(StoreExists):
        init_store(directory)
    assert (directory / "relay.db").read_bytes() == before


def test_an_init_that_was_interrupted_leaves_no_store_and_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "relay.db.new").write_bytes(b"half of a store")
    with pytest.raises(StoreMissing):
        asyncio.run(reopen(tmp_path))
    init_store(tmp_path)
    asyncio.run(reopen(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"relay.db", "owner.lock", "writer.lock"}


def test_nobody_else_can_look_into_the_store(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    mask = os.umask(0)
    try:
        init_store(directory)

        async def main() -> None:
            store = await SqliteStore.open(directory)
            await store.attach(Marks().channel(), Marks().hash32(), today=TODAY)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
            names = ["owner.lock", "relay.db", "relay.db-shm", "relay.db-wal", "writer.lock"]
            assert modes == dict.fromkeys(names, 0o600)
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            await store.close()

        asyncio.run(main())
    finally:
        os.umask(mask)


def test_init_takes_no_directory_of_others_for_itself(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "somebody else's").touch()
    with pytest.raises(StoreError, match="its own"):
        init_store(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert not (tmp_path / "relay.db").exists()


def test_a_path_may_hold_any_characters(tmp_path: Path) -> None:
    directory = tmp_path / "a store? 100% #1 امانت"
    init_store(directory)
    asyncio.run(reopen(directory))
    assert (directory / "relay.db").stat().st_size > 0


@pytest.mark.parametrize("name", ["", "relay.db"])
def test_a_store_that_others_can_read_is_refused(directory: Path, name: str) -> None:
    (directory / name).chmod(0o750)
    with pytest.raises(StoreError, match="chmod"):
        asyncio.run(reopen(directory))


def test_one_relay_per_store(directory: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory)
        with pytest.raises(StoreBusy, match="another relay"):
            await SqliteStore.open(directory)
        await store.close()
        await reopen(directory)

    asyncio.run(main())


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"this was never a database" * 500)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _another_program(path: Path) -> None:
    path.unlink()
    path.touch(mode=0o600)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE bookmarks(url TEXT)")
    db.close()


def _cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - PAGE_BYTES)


def _page_overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2 * 4_096)
        file.write(os.urandom(4_096))


@pytest.mark.parametrize("damage", [_not_a_database, _empty, _another_program, _cut_short, _page_overwritten])
def test_a_damaged_store_is_a_clear_error_and_stays_as_it_is(
    directory: Path, damage: Callable[[Path], None]
) -> None:
    damage(directory / "relay.db")
    before = (directory / "relay.db").read_bytes()
    with pytest.raises(StoreDamaged, match="put "):
        asyncio.run(reopen(directory))
    assert (directory / "relay.db").read_bytes() == before


def test_the_schema_has_nothing_that_counts_or_tells_the_time(directory: Path) -> None:
    """H1: WITHOUT ROWID, no AUTOINCREMENT, no time finer than a day."""
    db = sqlite3.connect(directory / "relay.db")
    tables = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
    assert len(tables) == 9
    for name, sql in tables:
        assert "WITHOUT ROWID" in sql
        assert "AUTOINCREMENT" not in sql
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
        assert not [column for column in columns if re.search("time|second|hour|stamp|date", column)]
    assert (
        db.execute("SELECT name FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL").fetchall()
        == []
    )
    db.close()


# ---------------------------------------------------------------------------------------- schema versions


def test_a_newer_store_is_refused_and_left_alone(directory: Path) -> None:
    db = sqlite3.connect(directory / "relay.db")
    db.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    db.close()
    before = (directory / "relay.db").read_bytes()
    with pytest.raises(StoreTooNew, match="newer relay"):
        asyncio.run(reopen(directory))
    assert (directory / "relay.db").read_bytes() == before


def _add_table(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE later(key BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID")


def _add_column_and_fail(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE later ADD COLUMN day INTEGER")
    raise sqlite3.OperationalError("the power failed")


def test_migration_goes_forward_in_one_transaction_or_not_at_all(directory: Path) -> None:
    db = connect(directory / "relay.db")
    current = schema.SCHEMA_VERSION
    failing = {current: _add_table, current + 1: _add_column_and_fail}
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(db, start=current, target=current + 2, migrations=failing)
    assert schema.read_version(db) == current
    assert db.execute("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'later'").fetchone() == (0,)
    schema.migrate(db, start=current, target=current + 1, migrations={current: _add_table})
    assert schema.read_version(db) == current + 1
    assert db.execute("SELECT COUNT(*) FROM later").fetchone() == (0,)
    db.close()


def test_every_older_version_has_its_migration() -> None:
    assert sorted(schema.MIGRATIONS) == list(range(schema.SCHEMA_VERSION))


# ---------------------------------------------------------------------------------------- therapist tokens


def test_r21_a_token_can_be_made_while_the_relay_runs_and_while_it_does_not(directory: Path) -> None:
    marks = Marks()
    tokens = [marks.hash32(), marks.hash32()]
    add_therapist_token(directory, tokens[0], expires_day=TODAY)

    async def main() -> None:
        store = await SqliteStore.open(directory)
        program = (
            "import sys; from pathlib import Path; from chatserver.store.sqlite import add_therapist_token\n"
            f"add_therapist_token(Path(sys.argv[1]), bytes.fromhex('{tokens[1].hex()}'), expires_day={TODAY})"
        )
        root = Path(__file__).parents[2]
        channel = marks.channel()
        await put(store, channel, marks)
        for _ in range(3):
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, directory, cwd=root)
            for _ in range(20):
                await put(store, channel, marks)
            assert await child.wait() == 0
        for token in tokens:
            opened = await store.open_inbox(
                bytes(marks.hash32()), token_hash=token, admit_all=False, today=TODAY
            )
            assert isinstance(opened, InboxOpened)
        assert (await store.counts()).cells == 61
        assert await store.erase()
        await store.close()
        await reopen(directory)

    asyncio.run(main())


# ----------------------------------------------------------------------- group commit, and what comes first


class Gate(sqlite3.Connection):
    """A connection whose commits wait, or fail, as the test says."""

    open_gate = threading.Event()
    waiting = threading.Event()
    failure: sqlite3.Error | None = None
    commits = 0

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            type(self).commits += 1
            self.waiting.set()
            self.open_gate.wait()
            if self.failure is not None:
                raise self.failure
        return super().execute(sql, *parameters)  # type: ignore[arg-type]  # handed on as it came


@pytest.fixture
def gate() -> type[Gate]:
    class Fresh(Gate):
        open_gate = threading.Event()
        waiting = threading.Event()

    Fresh.open_gate.set()
    return Fresh


def connect_through(gate: type[Gate]) -> Callable[[Path], sqlite3.Connection]:
    return lambda path: sqlite3.connect(
        f"file:{path}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, factory=gate
    )


def test_r04_stored_follows_only_after_the_commit(directory: Path, gate: type[Gate]) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory, connect=connect_through(gate))
        gate.open_gate.clear()
        gate.waiting.clear()
        deposit = asyncio.ensure_future(put(store, Marks().channel(), Marks()))
        await asyncio.to_thread(gate.waiting.wait)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not deposit.done()
        gate.open_gate.set()
        assert isinstance(await deposit, Deposited)
        await store.close()

    asyncio.run(main())


def test_r04_a_commit_that_fails_acknowledges_nothing_to_anybody(directory: Path, gate: type[Gate]) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory, connect=connect_through(gate))
        marks = Marks()
        channel, token = marks.channel(1), marks.hash32()
        await store.attach(channel, token, today=TODAY)
        await put(store, channel, marks)
        gate.failure = sqlite3.OperationalError("quoting what a peer wrote")
        gate.failure.sqlite_errorcode = sqlite3.SQLITE_FULL
        results = await asyncio.gather(
            put(store, channel, marks),
            store.ack(channel.channel_id, token, 1, today=TODAY),
            store.read(channel.channel_id, 0),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [StoreFull] * 3
        assert not any("peer" in str(result) for result in results)
        assert len({id(result) for result in results}) == 3
        gate.failure = None
        attached = await store.attach(channel, token, today=TODAY)
        assert isinstance(attached, Attached)
        assert (attached.head, attached.acked) == (1, 0)
        await store.close()

    asyncio.run(main())


def test_after_an_error_of_the_disk_the_store_refuses_everything(directory: Path, gate: type[Gate]) -> None:
    """After a failed fsync nobody knows what is on disk; a later success would be a guess."""

    async def main() -> None:
        store = await SqliteStore.open(directory, connect=connect_through(gate))
        gate.failure = sqlite3.OperationalError()
        gate.failure.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        with pytest.raises(StoreDamaged, match="check the disk"):
            await put(store, Marks().channel(), Marks())
        gate.failure = None
        with pytest.raises(StoreDamaged, match="check the disk"):
            await put(store, Marks().channel(), Marks())
        await store.close()

    asyncio.run(main())


def test_what_waits_together_is_committed_together(directory: Path, gate: type[Gate]) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory, StoreSettings(max_batch=64), connect=connect_through(gate))
        marks = Marks()
        gate.commits = 0
        await asyncio.gather(*(put(store, marks.channel(), marks) for _ in range(200)))
        assert gate.commits <= 10
        await store.close()

    asyncio.run(main())


def test_a_caller_who_gives_up_waiting_does_not_undo(directory: Path, gate: type[Gate]) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory, connect=connect_through(gate))
        gate.open_gate.clear()
        deposit = asyncio.ensure_future(put(store, Marks().channel(), Marks()))
        await asyncio.to_thread(gate.waiting.wait)
        deposit.cancel()
        gate.open_gate.set()
        assert (await store.counts()).cells == 1
        await store.close()

    asyncio.run(main())


def test_the_queue_is_bounded(directory: Path, gate: type[Gate]) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory, StoreSettings(max_queued=3), connect=connect_through(gate))
        marks = Marks()
        gate.open_gate.clear()
        waiting = [asyncio.ensure_future(put(store, marks.channel(), marks)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(StoreOverloaded):
            await put(store, marks.channel(), marks)
        gate.open_gate.set()
        assert all(isinstance(result, Deposited) for result in await asyncio.gather(*waiting))
        assert isinstance(await put(store, marks.channel(), marks), Deposited)
        await store.close()

    asyncio.run(main())


def test_closing_finishes_what_was_asked(directory: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory)
        marks = Marks()
        asked = [asyncio.ensure_future(put(store, marks.channel(), marks)) for _ in range(20)]
        await asyncio.sleep(0)
        await store.close()
        assert all(isinstance(result, Deposited) for result in await asyncio.gather(*asked))
        assert not (directory / "relay.db-wal").exists()

    asyncio.run(main())


_STRACED = """
import asyncio, os, sys
from pathlib import Path
from support.marked import Marks
from chatserver.store.protocol import Day
from chatserver.store.sqlite import SqliteStore
async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    marks = Marks()
    channel = marks.channel()
    for _ in range(5):
        os.write(2, b"ASK")
        await store.deposit(
            channel, deposit_id=marks.bytes16(), close=False, body=marks.cell(), today=Day(20_000))
        os.write(2, b"STORED")
    await store.close()
asyncio.run(main())
"""


@pytest.mark.system
def test_r04_the_log_is_synced_between_the_question_and_the_answer(directory: Path, tmp_path: Path) -> None:
    """What the kernel sees: the cell written into the log, the log synced, and only then the answer."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'tests'}"}
    command: list[str | Path] = [
        "strace",
        "-f",
        "-y",
        "-qq",
        "-o",
        trace,
        "-e",
        "trace=pwrite64,fdatasync,fsync,write",
    ]
    traced = subprocess.run(
        [*command, sys.executable, "-c", _STRACED, directory],
        env=environment,
        check=False,
        capture_output=True,
    )
    if traced.returncode and "ptrace" in traced.stderr.decode(errors="replace"):
        pytest.skip("this machine allows no ptrace")
    assert traced.returncode == 0, traced.stderr
    events: list[str] = []
    for line in trace.read_text().splitlines():
        if '"ASK"' in line:
            events.append("ask")
        elif '"STORED"' in line:
            events.append("stored")
        elif "relay.db-wal>" in line:
            events.append("sync" if "sync(" in line else "write")
    answers = re.findall(r"ask ([^k]*?)stored", " ".join(events))
    assert len(answers) == 5
    for between in answers:
        assert between.startswith("write ")
        assert between.endswith("write sync ")


# ------------------------------------------------------------------------------------ disks that do not do


async def fill(store: Store, channel: ChannelRef, marks: Marks) -> None:
    for seq in range(1, 200):
        answer = await put(store, channel, marks)
        assert isinstance(answer, Deposited)
        assert answer.seq == seq


def test_a_full_disk_fails_the_request_and_the_store_goes_on_when_there_is_room(directory: Path) -> None:
    async def main() -> None:
        def small(path: Path) -> sqlite3.Connection:
            db = connect(path)
            connections.append(db)
            return db

        connections: list[sqlite3.Connection] = []
        store = await SqliteStore.open(directory, connect=small)
        connections[0].execute("PRAGMA max_page_count = 25")
        marks = Marks()
        channel, token = marks.channel(1), marks.hash32()
        assert isinstance(await store.attach(channel, token, today=TODAY), Attached)
        with pytest.raises(StoreFull, match="make room"):
            await fill(store, channel, marks)
        stored = (await store.counts()).cells
        assert 0 < stored < 10
        again = await store.attach(channel, token, today=TODAY)
        assert isinstance(again, Attached)
        assert again.head == stored
        assert isinstance(await store.ack(channel.channel_id, token, stored, today=TODAY), Acknowledged)
        assert isinstance(await put(store, channel, marks), Deposited)
        await store.close()

    asyncio.run(main())


@pytest.mark.system
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "amanat", mount], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("this machine allows no mount")

    async def main() -> None:
        init_store(mount / "store")
        store = await SqliteStore.open(mount / "store", StoreSettings(reserve_bytes=0))
        marks = Marks()
        channel = marks.channel()
        with pytest.raises(StoreFull):
            await fill(store, channel, marks)
        stored = (await store.counts()).cells
        assert stored > 5
        await store.close()
        store = await SqliteStore.open(mount / "store")
        assert (await store.counts()).cells == stored
        await store.close()

    try:
        asyncio.run(main())
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_store_that_cannot_be_written(directory: Path) -> None:
    def read_only(path: Path) -> sqlite3.Connection:
        db = connect(path)
        connections.append(db)
        return db

    connections: list[sqlite3.Connection] = []

    async def main() -> None:
        store = await SqliteStore.open(directory, connect=read_only)
        connections[0].execute("PRAGMA query_only = ON")
        with pytest.raises(StoreReadOnly, match="cannot be written"):
            await put(store, Marks().channel(), Marks())
        connections[0].execute("PRAGMA query_only = OFF")
        assert isinstance(await put(store, Marks().channel(), Marks()), Deposited)
        await store.close()

    asyncio.run(main())


def test_a_store_that_a_stranger_keeps_locked(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)

    async def main() -> None:
        store = await SqliteStore.open(directory)
        await put(store, Marks().channel(), Marks())
        stranger = sqlite3.connect(directory / "relay.db", isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="another program"):
            await put(store, Marks().channel(), Marks())
        assert not await store.erase()
        stranger.execute("ROLLBACK")
        stranger.close()
        assert isinstance(await put(store, Marks().channel(), Marks()), Deposited)
        assert await store.erase()
        await store.close()

    asyncio.run(main())


def test_errors_carry_no_text_of_sqlite() -> None:
    plain = database.translate(ValueError("what a peer wrote"))
    system = database.translate(OSError(5, "Input/output error", "/a/path"))
    assert str(plain) == "the store failed with ValueError"
    assert isinstance(system, StoreDamaged)
    assert "/a/path" not in str(system)
    assert isinstance(database.translate(PermissionError(13, "no")), StoreReadOnly)
    assert isinstance(database.translate(OSError(28, "no")), StoreFull)
    assert str(database.translate(OSError(24, "no"))) == "the store failed: Too many open files"


class SmallDisk:
    """What `Database` says of a disk, as a test turns it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        self.free = free
        monkeypatch.setattr(database.Database, "disk_free_bytes", lambda _: self.free)


def test_cells_leave_the_reserve_to_acknowledgements(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mib = 1 << 20

    async def main() -> None:
        disk = SmallDisk(monkeypatch, 100 * mib)
        store = await SqliteStore.open(directory, StoreSettings(reserve_bytes=10 * mib))
        marks = Marks()
        channel, token = marks.channel(1), marks.hash32()
        await asyncio.gather(*(put(store, channel, marks) for _ in range(10)))
        disk.free = 9 * mib
        with pytest.raises(StoreFull, match="make room"):
            await put(store, channel, marks)
        # What frees the disk, and what needs next to nothing, goes on.
        assert isinstance(await store.attach(channel, token, today=TODAY), Attached)
        assert isinstance(await store.read(channel.channel_id, 0), CellPage)
        assert isinstance(await store.ack(channel.channel_id, token, 10, today=TODAY), Acknowledged)
        # The pages of the cells that went are free: a cell that fits into them may take half the reserve.
        assert isinstance(await put(store, channel, marks), Deposited)
        disk.free = 4 * mib
        with pytest.raises(StoreFull):
            await put(store, channel, marks)
        assert await store.erase()
        disk.free = 100 * mib
        assert isinstance(await put(store, channel, marks), Deposited)
        await store.close()

    asyncio.run(main())


def test_nobody_waits_for_a_store_that_has_ended_by_itself(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = await SqliteStore.open(directory)
        marks = Marks()
        monkeypatch.setattr(database.Database, "disk_free_bytes", lambda _: 1 // 0)
        answers = await asyncio.gather(
            *(put(store, marks.channel(), marks) for _ in range(3)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {StoreClosed}
        with pytest.raises(StoreClosed):
            await store.counts()
        with pytest.raises(ZeroDivisionError):
            await store.close()

    asyncio.run(main())
