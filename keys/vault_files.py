"""The files of a vault, and the file-system habits that keep them whole.

    vault.key       the key block (keys.passphrase); its presence is what makes a folder a vault
    vault.db        the SQLCipher database, and beside it vault.db-wal while the vault is open
    vault.lock      held with flock(2) by the one process that has the vault open; never any content
    *.new           a file being made; renamed over the real one once it is on disk

Folder 0700, files 0600. A file is replaced by rename after fsync, never written in place; the old key block
is overwritten with zeros through its open descriptor, because an old passphrase must not open a vault whose
passphrase was changed. (On SSDs and copy-on-write file systems overwriting is a wish, not a fact.)
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from keys.vault import VaultBusy

KEY_FILE: Final = "vault.key"
DATABASE_FILE: Final = "vault.db"
LOG_FILE: Final = "vault.db-wal"
LOCK_FILE: Final = "vault.lock"
NEW_SUFFIX: Final = ".new"
_ZEROS: Final = bytes(1 << 16)
_HEAD_BYTES: Final = 4_096
_EVERY_FILE: Final = (
    KEY_FILE,
    KEY_FILE + NEW_SUFFIX,
    DATABASE_FILE,
    LOG_FILE,
    "vault.db-shm",
    "vault.db-journal",
    DATABASE_FILE + NEW_SUFFIX,
    "vault.db.new-wal",
    "vault.db.new-journal",
)


class VaultLock:
    """The exclusive right to a vault's folder, for one process, until `release` or the process's end."""

    def __init__(self, home: Path) -> None:
        """Take the lock.

        Raises:
            VaultBusy: another process, or another vault object of this one, holds it.
        """
        self._descriptor: int | None = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise VaultBusy from None

    def release(self) -> None:
        """Let go. Twice is no error."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def make_folder(home: Path) -> None:
    """Make the folder if need be, readable by its owner only."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)


def write_new(path: Path, content: bytes) -> None:
    """Write `path`.new and bring it to disk; `put_in_place` makes it count."""
    descriptor = os.open(path.with_name(path.name + NEW_SUFFIX), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(path: Path) -> None:
    """Rename `path`.new to `path`, bring the rename to disk, and overwrite what it replaced."""
    old = os.open(path, os.O_WRONLY) if path.exists() else None
    try:
        path.with_name(path.name + NEW_SUFFIX).rename(path)
        sync_folder(path.parent)
        if old is not None:
            _zero(old)
    finally:
        if old is not None:
            os.close(old)


def sync_folder(folder: Path) -> None:
    """Bring renames and deletions in `folder` to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def overwrite_with_zeros(path: Path) -> None:
    """Overwrite a file's content in place and bring that to disk; its length stays. Missing is fine."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        _zero(descriptor)
    finally:
        os.close(descriptor)


def remove_vault(home: Path) -> None:
    """Destroy every file of a vault, the key block first: without it the rest cannot be read by anybody.

    The lock file stays until the end and goes last; the caller holds the lock.
    """
    for name in _EVERY_FILE:
        overwrite_with_zeros(home / name)
        (home / name).unlink(missing_ok=True)
        if name == KEY_FILE:
            sync_folder(home)
    (home / LOCK_FILE).unlink(missing_ok=True)
    sync_folder(home)


def remove_unfinished(home: Path) -> None:
    """Remove what a crash in the middle of making a vault left behind."""
    for path in home.glob("vault.*.new*"):
        path.unlink()


def _zero(descriptor: int) -> None:
    """Overwrite a file, its head first and on disk before the rest.

    A write-ahead log that lost its end but not its head would be played back after a power cut, and roll the
    database back (docs/adr/0012); without its head it is no log.
    """
    left = os.fstat(descriptor).st_size
    os.lseek(descriptor, 0, os.SEEK_SET)
    left -= os.write(descriptor, _ZEROS[: min(left, _HEAD_BYTES)])
    os.fdatasync(descriptor)
    while left > 0:
        left -= os.write(descriptor, _ZEROS[:left])
    os.fdatasync(descriptor)
