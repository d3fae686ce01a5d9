"""The folder that a device lives in: its vault made, made of an export (R9), and written into one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clients.sdk.errors import BadRelayUrl, ExportTrouble, translate
from clients.sdk.exports import Export, put_import
from clients.sdk.records import DeviceRecord, save_device
from crypto.codec import CodecError
from keys.device_vault import Vault
from keys.export_file import ExportDamaged, ExportTooNew, open_export, seal_export
from keys.invitations import InvitationError, normalise_relay_url
from keys.passphrase import Cost
from keys.vault import VaultStore


def checked_relay_url(url: str) -> str:
    """A relay's address in its one form.

    Raises:
        BadRelayUrl: it is none.
    """
    try:
        return normalise_relay_url(url)
    except InvitationError:
        raise BadRelayUrl from None


@contextmanager
def closed_on_error(vault: VaultStore) -> Iterator[None]:
    """Let go of a vault where what follows fails."""
    try:
        yield
    except BaseException:
        vault.close()
        raise


def make_home(home: Path, record: DeviceRecord, passphrase: str, *, cost: Cost) -> Vault:
    """A new vault that holds a device.

    Raises:
        PassphraseRefused: empty.
        VaultTrouble: there is one already.
    """
    with translate():
        vault = Vault.create(home, passphrase, cost=cost)
        with closed_on_error(vault), vault.transaction() as tx:
            save_device(tx, record)
        return vault


def read_export(path: Path, passphrase: str) -> Export:
    """What an export file holds.

    Raises:
        ExportTrouble: it cannot be read, is damaged, or of a newer program.
        PassphraseRefused: the passphrase is wrong.
    """
    try:
        data = path.read_bytes()
    except OSError:
        raise ExportTrouble(f"The file {path.name} cannot be read.") from None
    try:
        with translate():
            return Export.decode(open_export(data, passphrase))
    except (ExportDamaged, ExportTooNew) as error:
        raise ExportTrouble(str(error)) from None
    except CodecError:
        raise ExportTrouble(str(ExportDamaged())) from None


def make_home_of_export(
    home: Path, export: Export, passphrase: str, *, relay_url: str, now: float, cost: Cost
) -> Vault:
    """A new vault that holds the device of an export; nothing is left where that fails.

    Raises:
        ExportTrouble: the export makes no sense.
        PassphraseRefused, VaultTrouble: as `make_home`.
    """
    with translate():
        vault = Vault.create(home, passphrase, cost=cost)
        try:
            with vault.transaction() as tx:
                put_import(tx, export, relay_url=relay_url, rng=os.urandom, now=now)
        except BaseException as error:
            vault.close()
            Vault.wipe(home)
            if isinstance(error, CodecError):
                raise ExportTrouble(str(ExportDamaged())) from None
            raise
        return vault


def write_export(path: Path, export: Export, passphrase: str, *, cost: Cost) -> None:
    """Write an export into a new file that its owner alone may read; a file that is there is left as it is.

    Raises:
        ExportTrouble: the file exists or cannot be written.
        PassphraseRefused: empty.
    """
    with translate():
        sealed = seal_export(export.encode(), passphrase, rng=os.urandom, cost=cost)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ExportTrouble(f"There is a file {path.name} already; it was left as it is.") from None
    except OSError:
        raise ExportTrouble(f"The file {path.name} cannot be written.") from None
