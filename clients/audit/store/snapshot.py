"""A copy of a relay's store, taken without disturbing the relay, on which all checks of the store work."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clients.audit.store.pages import PageFile
from clients.audit.target import Target

DATABASE: Final = "relay.db"
LOG: Final = "relay.db-wal"
DAY_SECONDS: Final = 86_400
LOOK_SECONDS: Final = 0.25
TRIES: Final = 20


class NoStore(Exception):
    """There is no store to look at; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The store at one moment.

    Attributes:
        raw: the database file as it lay there.
        log: the write-ahead log as it lay there.
        final: the database once the log has been worked in.
        files: names in the store's folder, with their sizes in bytes.
        quiet: the copy was taken while nothing was written.
        today: UTC day of the audit.
        holder: keeps the temporary folder.
    """

    raw: bytes = field(repr=False)
    log: bytes = field(repr=False)
    final: PageFile = field(repr=False)
    files: dict[str, int]
    quiet: bool
    today: int
    holder: tempfile.TemporaryDirectory[str] = field(repr=False)

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Rows of a statement that reads."""
        with sqlite3.connect(f"file:{self.holder.name}/{DATABASE}?immutable=1", uri=True) as database:
            found: list[tuple[object, ...]] = database.execute(statement).fetchall()
        database.close()
        return found

    def connection(self) -> sqlite3.Connection:
        """A connection to the copy; the caller closes it."""
        return sqlite3.connect(f"file:{self.holder.name}/{DATABASE}?immutable=1", uri=True)

    def blobs(self, table: str, column: str) -> Iterator[bytes]:
        """Values of one column, one after the other."""
        database = self.connection()
        try:
            for (value,) in database.execute(f"SELECT CAST({column} AS BLOB) FROM {table}"):  # noqa: S608 - names of ours
                if isinstance(value, bytes):
                    yield value
        finally:
            database.close()


_taken: dict[tuple[Path, tuple[tuple[str, int, int], ...]], Snapshot] = {}


def _state(store: Path) -> tuple[tuple[str, int, int], ...]:
    found = []
    for path in sorted(store.iterdir()):
        if path.is_file() and not path.name.endswith("-shm"):
            status = path.stat()
            found.append((path.name, status.st_size, status.st_mtime_ns))
    return tuple(found)


def take(target: Target) -> Snapshot:
    """Copy the store; the same copy again while nothing has changed.

    Waits while a running relay still has something to erase, at most `target.wait_seconds`.

    Raises:
        NoStore: there is none, or it cannot be read.
    """
    store = target.store
    if store is None or not (store / DATABASE).is_file():
        raise NoStore("There is no store here; name one with --store or --config, or start a relay by ./run.")
    try:
        quiet = _wait_for_rest(target, store)
        state = _state(store)
        known = _taken.get((store, state))
        if known is None:
            known = _taken[store, state] = _copy(store, quiet=quiet)
    except PermissionError:
        raise NoStore("The store's files may not be read by this user.") from None
    except sqlite3.DatabaseError:
        raise NoStore("The store's file is no database that SQLite can read.") from None
    return known


def forget() -> None:
    """Delete all copies."""
    for snapshot in _taken.values():
        snapshot.holder.cleanup()
    _taken.clear()


def _wait_for_rest(target: Target, store: Path) -> bool:
    if target.pid is None:
        return True
    until = time.monotonic() + target.wait_seconds
    log = store / LOG
    while log.exists() and log.stat().st_size:
        if time.monotonic() > until:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _copy(store: Path, *, quiet: bool) -> Snapshot:
    holder = tempfile.TemporaryDirectory(prefix="amanat-audit-")
    folder = Path(holder.name)
    raw = log = b""
    for _ in range(TRIES):
        before = _state(store)
        raw = (store / DATABASE).read_bytes()
        log = (store / LOG).read_bytes() if (store / LOG).exists() else b""
        if _state(store) == before:
            break
        quiet = False
    (folder / DATABASE).write_bytes(raw)
    if log:
        (folder / LOG).write_bytes(log)
        database = sqlite3.connect(folder / DATABASE)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("PRAGMA journal_mode=DELETE")
        database.close()
    else:  # a file that says `WAL` opens read-only only if it says so no more
        data = bytearray(raw)
        data[18:20] = b"\1\1"
        (folder / DATABASE).write_bytes(bytes(data))
    files = {path.name: path.stat().st_size for path in sorted(store.rglob("*")) if path.is_file()}
    return Snapshot(
        raw=raw,
        log=log,
        final=PageFile((folder / DATABASE).read_bytes()),
        files=files,
        quiet=quiet,
        today=int(time.time() // DAY_SECONDS),
        holder=holder,
    )
