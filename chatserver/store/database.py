"""The files of a SQLite store: directory, permissions, locks, the one connection, and how it is set up (H1).

A store is a directory of mode 0700 that holds
    relay.db, relay.db-wal, relay.db-shm    SQLite's own
    owner.lock      held by the relay for as long as it runs: one relay per store
    writer.lock     held for each transaction and each erasure, by whoever makes it: one writer at a time, so
                    that `amanat-relay therapist-token` may write while the relay runs, but never into an
                    erasure
All files have mode 0600. Nothing here creates a store but `create_files`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chatserver.store import schema
from chatserver.store.errors import (
    DAMAGED,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreExists,
    StoreFull,
    StoreMissing,
    StoreReadOnly,
)

DATABASE_NAME = "relay.db"
PAGE_BYTES = 8_192
"""Of a new store (docs/adr/0057). A store that was made with 4 KiB keeps them: `Database.page_bytes`."""
MAX_PAGES = (1 << 25) - 1
"""256 GiB; 128 GiB in a store of 4 KiB pages.

Above 2^25 pages the first byte of an overflow page could look like that of a b-tree page (`erasure`).
"""

BUSY_SECONDS = 5.0
CACHE_KIB = 32 * 1_024

Connect = Callable[[Path], sqlite3.Connection]

_BY_CODE: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_FULL: (StoreFull, "the disk of the store is full; make room, the relay goes on by itself"),
    sqlite3.SQLITE_READONLY: (
        StoreReadOnly,
        "the store cannot be written; check its owner, mode and file system",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        StoreReadOnly,
        "the store cannot be opened; check its owner, mode and file system",
    ),
    sqlite3.SQLITE_PERM: (StoreReadOnly, "the store may not be written; check its owner and mode"),
    sqlite3.SQLITE_BUSY: (StoreBusy, "another program holds the store locked; end it"),
    sqlite3.SQLITE_LOCKED: (StoreBusy, "another program holds the store locked; end it"),
    sqlite3.SQLITE_CORRUPT: (StoreDamaged, DAMAGED),
    sqlite3.SQLITE_NOTADB: (
        StoreDamaged,
        "relay.db is no database; put a copy back, or make a new store with `amanat-relay init`",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreDamaged,
        "the disk of the store reports an error; check the disk, then start the relay again",
    ),
}

FULL = _BY_CODE[sqlite3.SQLITE_FULL][1]
"""What `StoreFull` says."""

_BY_ERRNO = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.EACCES: sqlite3.SQLITE_PERM,
    errno.EPERM: sqlite3.SQLITE_PERM,
    errno.EIO: sqlite3.SQLITE_IOERR,
}


def translate(error: Exception) -> StoreError:
    """One clear sentence for what SQLite or the system said; never its text, which may quote content."""
    if isinstance(error, StoreError):
        return type(error)(*error.args)
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        # An extended code carries the primary one in its low byte.
        kind, sentence = _BY_CODE.get(code & 0xFF, (StoreError, f"the store failed with SQLite error {code}"))
        return kind(sentence)
    if isinstance(error, OSError):
        known = _BY_CODE.get(_BY_ERRNO.get(error.errno or 0, -1))
        if known is not None:
            return known[0](known[1])
        return StoreError(f"the store failed: {os.strerror(error.errno or 0)}")
    return StoreError(f"the store failed with {type(error).__name__}")


def is_fatal(error: StoreError) -> bool:
    """After damage or a failed fsync nobody knows what is on disk: the store then refuses everything."""
    return isinstance(error, StoreDamaged)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, for use by one thread at a time."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
    )


def configure(db: sqlite3.Connection) -> None:
    """Set what H1 demands, and look whether this SQLite does it.

    Raises:
        StoreError: this SQLite refused one of the settings.
    """
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("PRAGMA mmap_size = 0")
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute(f"PRAGMA max_page_count = {MAX_PAGES}")
    db.execute("PRAGMA secure_delete = ON")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    for pragma, wanted in (
        ("journal_mode", "wal"),
        ("secure_delete", 1),
        ("synchronous", 2),
        ("wal_autocheckpoint", 0),
        ("temp_store", 2),
        ("auto_vacuum", 0),
    ):
        if db.execute(f"PRAGMA {pragma}").fetchone()[0] != wanted:
            raise StoreError(
                f"this SQLite does not do `{pragma}` as the store needs it (H1); use another build"
            )


@dataclass(slots=True, kw_only=True)
class Lock:
    """An advisory lock on a file of its own (flock), released by `release` or by the end of the process."""

    descriptor: int

    @classmethod
    def open(cls, path: Path) -> Lock:
        """Make the file if need be; takes nothing yet."""
        return cls(descriptor=os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def try_acquire(self) -> bool:
        """Take it now, or say that somebody else has it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self) -> None:
        """Take it, waiting up to `BUSY_SECONDS`.

        Raises:
            StoreBusy: somebody held it all that time.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while not self.try_acquire():
            if time.monotonic() > deadline:
                raise StoreBusy("another program has been writing to the store for 5 seconds; end it")
            time.sleep(0.002)

    def release(self) -> None:
        """Let it go; the file stays."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let it go for good."""
        os.close(self.descriptor)


@dataclass(slots=True, kw_only=True)
class Database:
    """An open store: the connection, the locks, and a descriptor of relay.db for `erasure`.

    The descriptor stays open as long as the connection: closing any descriptor of a file drops all POSIX
    locks that the process has on it, SQLite's among them.
    """

    directory: Path
    connection: sqlite3.Connection
    descriptor: int
    writer_lock: Lock
    owner_lock: Lock | None
    page_bytes: int = field(init=False)
    wal_name: str = field(init=False)

    def __post_init__(self) -> None:
        self.wal_name = str(self.wal_path)
        self.page_bytes = self.connection.execute("PRAGMA page_size").fetchone()[0]

    @property
    def wal_path(self) -> Path:
        """The write-ahead log."""
        return self.directory / f"{DATABASE_NAME}-wal"

    def wal_bytes(self) -> int:
        """Size of the write-ahead log."""
        try:
            return os.stat(self.wal_name).st_size  # noqa: PTH116 (asked after every commit)
        except FileNotFoundError:
            return 0

    def disk_free_bytes(self) -> int:
        """What the file system has left for this process.

        Raises:
            OSError: the file system does not answer.
        """
        room = os.statvfs(self.directory)
        return room.f_bavail * room.f_frsize

    def growth_bytes(self) -> int:
        """By how much the next checkpoint will make relay.db longer."""
        pages: int = self.connection.execute("PRAGMA page_count").fetchone()[0]
        return max(0, pages * self.page_bytes - os.fstat(self.descriptor).st_size)

    def unused_bytes(self) -> int:
        """Pages of relay.db that hold nothing and will be used before it grows."""
        pages: int = self.connection.execute("PRAGMA freelist_count").fetchone()[0]
        return pages * self.page_bytes

    def close(self) -> None:
        """Close everything, the connection first."""
        self.connection.close()
        os.close(self.descriptor)
        self.writer_lock.close()
        if self.owner_lock is not None:
            self.owner_lock.close()


def check_directory(directory: Path) -> None:
    """The store exists and nobody else may look into it.

    Raises:
        StoreMissing: there is none.
        StoreError: its mode lets others in.
    """
    if not (directory / DATABASE_NAME).is_file():
        raise StoreMissing(f"there is no store in {directory}; make one with `amanat-relay init`")
    for path in (directory, directory / DATABASE_NAME):
        if path.stat().st_mode & 0o077:
            raise StoreError(
                f"{path} can be read by others; take their rights away with `chmod go-rwx {path}`"
            )


def open_database(directory: Path, *, owner: bool, check: bool, connect: Connect = connect) -> Database:
    """Open an existing store, bring it to this version, and make sure that it is whole.

    Args:
        directory: the store.
        owner: take the owner's lock (the relay); without it only short errands are allowed.
        check: read every page.
        connect: how to get a connection; tests put their own here.

    Raises:
        StoreMissing, StoreBusy, StoreDamaged, StoreTooNew, StoreReadOnly, StoreError.
    """
    check_directory(directory)
    path = directory / DATABASE_NAME
    opened: list[Callable[[], None]] = []
    try:
        owner_lock = None
        if owner:
            owner_lock = Lock.open(directory / "owner.lock")
            opened.append(owner_lock.close)
            if not owner_lock.try_acquire():
                raise StoreBusy(
                    "another relay runs on this store; stop it, or give this one a store of its own"
                )
        writer_lock = Lock.open(directory / "writer.lock")
        opened.append(writer_lock.close)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        opened.append(lambda: os.close(descriptor))
        writer_lock.acquire()
        connection = connect(path)
        opened.append(connection.close)
        version = schema.read_version(connection)
        configure(connection)
        if check and connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise StoreDamaged(DAMAGED)
        schema.migrate(connection, start=version)
        writer_lock.release()
    except BaseException as error:
        for close in reversed(opened):
            close()
        if isinstance(error, (sqlite3.Error, OSError)):
            raise translate(error) from error
        raise
    return Database(
        directory=directory,
        connection=connection,
        descriptor=descriptor,
        writer_lock=writer_lock,
        owner_lock=owner_lock,
    )


def create_files(directory: Path) -> None:
    """Make an empty store: under another name first, so that a crash leaves either none or a whole one.

    Raises:
        StoreExists: there is one already; it was left alone.
        StoreError: the directory cannot be made or written.
    """
    path = directory / DATABASE_NAME
    unfinished = directory / f"{DATABASE_NAME}.new"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            raise StoreExists(f"there is a store in {directory} already; it was left as it is")
        unfinished.unlink(missing_ok=True)
        if any(directory.iterdir()) and directory.stat().st_mode & 0o077:
            raise StoreError(f"{directory} holds other things and others can read it; give the store its own")
        directory.chmod(0o700)
        os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        db = connect(unfinished)
        try:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = NONE")
            db.execute("PRAGMA journal_mode = WAL")
            configure(db)
            schema.create(db)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.close()
        unfinished.rename(path)
        _sync_directory(directory)
    except (sqlite3.Error, OSError) as error:
        raise translate(error) from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
