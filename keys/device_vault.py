"""The vault of a real device: everything at rest encrypted, one process at a time, all or nothing.

`keys.vault.VaultStore` on SQLCipher 4 (AES-256-CBC and HMAC-SHA512 for each page, through the `sqlcipher3`
wheel). The database's key is 32 random bytes in `vault.key`, wrapped under the passphrase
(`keys.passphrase`).

Invariants:

- a commit is on disk when `transaction()` has been left (`synchronous=FULL`), so a crash at any instruction
  leaves either the state before or the state after it;
- deleted content goes: `secure_delete=ON`, and the write-ahead log, which holds old pages, is overwritten
  with zeros once it exceeds 1 MiB, at opening and at closing (the order of steps is that of CHANNELS H1);
- nothing temporary is written to disk (`temp_store=MEMORY`); all pages, also those in the log, are
  ciphertext;
- opening checks every page's authentication code before anything is read, and changes nothing if one fails.

A vault object belongs to one thread at a time. What it cannot do: find out that the whole folder is an older
copy of itself (a line finds that out from the relay, R9), or recover a forgotten passphrase.

Changing the passphrase wraps the same database key anew. Somebody who copied the old `vault.key` and knew the
old passphrase can therefore still open the database: who fears that makes a new vault.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from sqlcipher3 import dbapi2 as sqlcipher

from crypto.codec import CodecError
from crypto.errors import StateError
from crypto.sensitive import Secret
from keys.passphrase import DEVICE_COST, KEY_BYTES, Cost, check_passphrase, open_key, seal_key
from keys.vault import VaultDamaged, VaultError, VaultExists, VaultMissing
from keys.vault_files import (
    DATABASE_FILE,
    KEY_FILE,
    LOG_FILE,
    NEW_SUFFIX,
    VaultLock,
    make_folder,
    overwrite_with_zeros,
    put_in_place,
    remove_unfinished,
    remove_vault,
    write_new,
)
from keys.vault_schema import MIGRATIONS, Connection, Migration, migrate

MAGIC: Final = b"AMANATVK"
_PAGE_BYTES: Final = 4096
"""SQLCipher 4's page. A finished database is never shorter."""
_LOG_LIMIT_BYTES: Final = 1 << 20
_COMMITS_BETWEEN_LOOKS: Final = 16


class Vault:
    """An open vault. Made by `create` or `open`; usable as a context manager, which closes it."""

    def __init__(self, home: Path, lock: VaultLock, connection: Connection) -> None:
        self._home = home
        self._lock = lock
        self._connection: Connection | None = connection
        self._transaction: _Transaction | None = None
        self._commits_since_look = 0

    @classmethod
    def create(
        cls,
        home: Path,
        passphrase: str,
        *,
        cost: Cost = DEVICE_COST,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> Vault:
        """Make a new vault in the folder `home` and open it.

        Raises:
            EmptyPassphrase: the passphrase is empty.
            VaultExists: there is one; it was left as it is.
            VaultDamaged: there is a database without a key block.
            VaultBusy: another process is at work in this folder.
        """
        check_passphrase(passphrase)
        make_folder(home)
        lock = VaultLock(home)
        try:
            if (home / KEY_FILE).exists():
                raise VaultExists
            if (home / DATABASE_FILE).exists():
                raise VaultDamaged("vault.key is missing")
            remove_unfinished(home)
            key = Secret(rng(KEY_BYTES))
            # The key block counts last but one: with it the folder is a vault, and open() ends what a crash
            # between the two renames left undone.
            connection = _connect(home / (DATABASE_FILE + NEW_SUFFIX), key)
            migrate(connection)
            connection.close()
            write_new(home / KEY_FILE, seal_key(key, passphrase, magic=MAGIC, cost=cost, rng=rng))
            put_in_place(home / KEY_FILE)
            put_in_place(home / DATABASE_FILE)
            return cls(home, lock, _connect(home / DATABASE_FILE, key))
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, home: Path, passphrase: str, *, migrations: Sequence[Migration] = MIGRATIONS) -> Vault:
        """Open the vault in the folder `home`, bringing an older format forward.

        Raises:
            VaultMissing: there is none.
            VaultBusy: another process has it open.
            EmptyPassphrase, WrongPassphrase: as they say.
            VaultDamaged: a file of it is missing or not what was written; nothing was changed.
            VaultTooNew: a later version of the program wrote it; nothing was changed.
        """
        if not (home / KEY_FILE).exists():
            if (home / DATABASE_FILE).exists():
                raise VaultDamaged("vault.key is missing")
            raise VaultMissing
        lock = VaultLock(home)
        try:
            key = _read_key(home, passphrase)
            if not (home / DATABASE_FILE).exists():
                if not (home / (DATABASE_FILE + NEW_SUFFIX)).exists():
                    raise VaultDamaged("vault.db is missing")
                put_in_place(home / DATABASE_FILE)
            connection = _open_database(home / DATABASE_FILE, key, migrations)
            vault = cls(home, lock, connection)
            vault._erase_log()
            return vault
        except BaseException:
            lock.release()
            raise

    @staticmethod
    def exists(home: Path) -> bool:
        """Whether there is a vault in this folder (whole or not)."""
        return (home / KEY_FILE).exists() or (home / DATABASE_FILE).exists()

    @staticmethod
    def wipe(home: Path) -> None:
        """Destroy the vault in this folder, without its passphrase. Other files in the folder stay.

        Raises:
            VaultMissing: there is none.
            VaultBusy: a process has it open.
        """
        if not Vault.exists(home):
            raise VaultMissing
        lock = VaultLock(home)
        try:
            remove_vault(home)
        finally:
            lock.release()

    @contextmanager
    def transaction(self) -> Iterator[_Transaction]:
        """See `keys.vault.VaultStore.transaction`.

        Raises:
            StateError: a transaction is open already, or the vault is closed.
            VaultDamaged: the database turned out to be damaged, or could not be written.
        """
        connection = self._connected()
        if self._transaction is not None:
            raise StateError("a vault transaction is open already")
        with _damage_reported():
            connection.execute("BEGIN IMMEDIATE")
        self._transaction = transaction = _Transaction(connection)
        try:
            with _damage_reported():
                yield transaction
                transaction.live = False
                connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlcipher.Error):  # SQLite has rolled back by itself after some errors
                connection.execute("ROLLBACK")
            raise
        finally:
            transaction.live = False
            self._transaction = None
        self._commits_since_look += 1
        if self._commits_since_look >= _COMMITS_BETWEEN_LOOKS:
            self._commits_since_look = 0
            log = self._home / LOG_FILE
            if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
                self._erase_log()

    def change_passphrase(
        self,
        old: str,
        new: str,
        *,
        cost: Cost = DEVICE_COST,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Let `new` open the vault instead of `old`. A crash leaves one of the two in force, never neither.

        Raises:
            EmptyPassphrase: one of them is empty.
            WrongPassphrase: `old` is not the passphrase.
            StateError: the vault is closed.
        """
        self._connected()
        check_passphrase(new)
        key = _read_key(self._home, old)
        write_new(self._home / KEY_FILE, seal_key(key, new, magic=MAGIC, cost=cost, rng=rng))
        put_in_place(self._home / KEY_FILE)

    def check_passphrase(self, passphrase: str) -> None:
        """Ask for the passphrase once more, before something that cannot be undone.

        Raises:
            EmptyPassphrase, WrongPassphrase: as they say.
        """
        _read_key(self._home, passphrase)

    def close(self) -> None:
        """Close the vault, forget its key and let others have it. Twice is no error.

        Raises:
            StateError: a transaction is open.
        """
        if self._connection is None:
            return
        if self._transaction is not None:
            raise StateError("a vault transaction is open")
        connection, self._connection = self._connection, None
        try:
            _erase_log(connection, self._home / LOG_FILE)
        finally:
            connection.close()
            self._lock.release()

    lock = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            raise StateError("the vault is closed")
        return self._connection

    def _erase_log(self) -> None:
        _erase_log(self._connected(), self._home / LOG_FILE)


class _Transaction:
    """`keys.vault.VaultTransaction` on one SQL transaction."""

    def __init__(self, connection: Connection) -> None:
        self.live = True
        self._connection = connection

    def get(self, space: str, key: bytes) -> bytes | None:
        row = self._run("SELECT value FROM entries WHERE space = ? AND key = ?", space, key).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, space: str, key: bytes, value: bytes) -> None:
        self._run("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", space, key, value)

    def delete(self, space: str, key: bytes) -> None:
        self._run("DELETE FROM entries WHERE space = ? AND key = ?", space, key)

    def items(
        self, space: str, prefix: bytes = b"", *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        where, arguments = _range(space, prefix)
        order = "DESC" if reverse else "ASC"
        rows = self._run(
            f"SELECT key, value FROM entries WHERE {where} ORDER BY key {order} LIMIT ?",  # noqa: S608 - constants only
            *arguments,
            -1 if limit is None else limit,
        )
        return iter([(bytes(key), bytes(value)) for key, value in rows.fetchall()])

    def delete_all(self, space: str, prefix: bytes = b"") -> None:
        where, arguments = _range(space, prefix)
        self._run(f"DELETE FROM entries WHERE {where}", *arguments)  # noqa: S608 - constants only

    def _run(self, statement: str, *arguments: str | bytes | int) -> Connection:
        if not self.live:
            raise StateError("this vault transaction has ended")
        return self._connection.execute(statement, arguments)


def _range(space: str, prefix: bytes) -> tuple[str, tuple[str | bytes, ...]]:
    """The keys that start with `prefix`, as a range that the primary key serves."""
    stem = prefix.rstrip(b"\xff")
    if not stem:
        # Nothing sorts after every key that starts with 0xff…: the range has no upper end.
        return "space = ? AND key >= ?", (space, prefix)
    return "space = ? AND key >= ? AND key < ?", (space, prefix, stem[:-1] + bytes([stem[-1] + 1]))


def _read_key(home: Path, passphrase: str) -> Secret:
    try:
        return open_key((home / KEY_FILE).read_bytes(), passphrase, magic=MAGIC)
    except CodecError:
        raise VaultDamaged("vault.key") from None


def _connect(path: Path, key: Secret) -> Connection:
    path.touch(mode=0o600)
    connection = sqlcipher.connect(str(path), isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA key = \"x'{key.reveal().hex()}'\"")
    for pragma in (
        "cipher_memory_security = ON",
        "temp_store = MEMORY",
        "locking_mode = EXCLUSIVE",  # also spares the shared-memory file beside the log
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "wal_autocheckpoint = 0",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def _open_database(path: Path, key: Secret, migrations: Sequence[Migration]) -> Connection:
    """Open and check a database; on failure nothing of it was changed and the connection is closed."""
    if path.stat().st_size < _PAGE_BYTES:
        # SQLite would take what is not even one page for a new database, and open it empty.
        raise VaultDamaged("vault.db")
    connection = None
    try:
        with _damage_reported():
            connection = _connect(path, key)
            if connection.execute("PRAGMA cipher_integrity_check").fetchall():
                raise VaultDamaged("vault.db")
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise VaultDamaged("vault.db")
            migrate(connection, migrations)
        return connection
    except BaseException:
        if connection is not None:
            connection.close()
        raise


@contextmanager
def _damage_reported() -> Iterator[None]:
    """Turn SQLite's errors about the file into `VaultDamaged`; its texts never hold content of ours."""
    try:
        yield
    except sqlcipher.OperationalError as error:
        raise VaultError(
            "The vault could not be read or written (is the disk full, or the folder read-only?); "
            "what was there before is kept."
        ) from error
    except sqlcipher.DatabaseError as error:
        if type(error) is not sqlcipher.DatabaseError:
            raise  # its subclasses speak of our own mistakes, not of the file
        raise VaultDamaged("vault.db") from error


def _erase_log(connection: Connection, log: Path) -> None:
    """Move the log's pages into the database and leave zeros where they were (the steps of H1)."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    if not busy:
        overwrite_with_zeros(log)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
