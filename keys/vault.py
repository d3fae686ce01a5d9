"""What a device's store must be able to do, and what can go wrong with it.

A vault is a set of named *spaces*, each a map from byte strings to byte strings, kept in key order.
All reading and writing happens inside a transaction that takes effect whole or not at all (CHANNELS R7:
"one transaction per step, before anything is sent or shown"). The line machine, the sessions and the
directory log see nothing but these two protocols, so that a simulator can drive them on `MemoryVault`
and a device on the encrypted `keys.device_vault.Vault`.

Invariants every implementation keeps (tests/keys/test_vault_store.py runs against all of them):

- after a transaction that raised, or a crash in its middle, the vault holds what it held before;
- when `transaction()` has been left without an exception, the state is on disk (where there is a disk);
- `items` yields in ascending byte order of the key, and what it yields does not change while it is read;
- one transaction at a time: a second one inside the first raises `StateError`.

Not done here: no typed records, no encoding of values. Each user owns its spaces and writes bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class VaultTransaction(Protocol):
    """One open transaction. Usable only inside the `with` block that opened it (else `StateError`)."""

    def get(self, space: str, key: bytes) -> bytes | None:
        """The value under `key`, or None. An empty value is a value."""
        ...

    def put(self, space: str, key: bytes, value: bytes) -> None:
        """Store `value` under `key`, replacing what stood there."""
        ...

    def delete(self, space: str, key: bytes) -> None:
        """Remove `key`; removing what is not there is no error."""
        ...

    def items(
        self, space: str, prefix: bytes = b"", *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """The pairs whose key starts with `prefix`, in key order, at most `limit` of them.

        The answer is a snapshot of the moment of the call: writing while reading it is allowed.
        """
        ...

    def delete_all(self, space: str, prefix: bytes = b"") -> None:
        """Remove every key that starts with `prefix` (the whole space if it is empty)."""
        ...


class VaultStore(Protocol):
    """A vault that is open."""

    def transaction(self) -> AbstractContextManager[VaultTransaction]:
        """Open the one transaction: committed on leaving the block, rolled back if the block raises.

        Raises:
            StateError: a transaction is open already, or the vault is closed.
        """
        ...

    def close(self) -> None:
        """Let go of the vault and its keys. Closing twice is no error."""
        ...


class VaultError(Exception):
    """Something is wrong with the vault. Every message is one sentence fit to be shown to a person."""


class WrongPassphrase(VaultError):
    """The vault is whole, and this passphrase does not open it."""

    def __init__(self) -> None:
        super().__init__("This passphrase does not open the vault.")


class EmptyPassphrase(VaultError):
    """An empty passphrase protects nothing and is refused."""

    def __init__(self) -> None:
        super().__init__("The passphrase must not be empty.")


class VaultDamaged(VaultError):
    """A file of the vault is not what was written. Nothing was changed by finding this out."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The vault is damaged ({what}); nothing was changed. Put back an undamaged copy of its "
            "folder, or import an export."
        )


class VaultBusy(VaultError):
    """Another process has this vault open."""

    def __init__(self) -> None:
        super().__init__("Another program has this vault open; close it first.")


class VaultTooNew(VaultError):
    """The vault was written by a later version of the program."""

    def __init__(self, *, found: int, known: int) -> None:
        super().__init__(
            f"This vault was written by a newer version of Amanat (format {found}, this program knows "
            f"{known}); update the program. Nothing was changed."
        )
        self.found = found
        self.known = known


class VaultMissing(VaultError):
    """There is no vault in this folder."""

    def __init__(self) -> None:
        super().__init__("There is no vault in this folder; make one with `amanat --home DIR init`.")


class VaultExists(VaultError):
    """There is a vault in this folder already."""

    def __init__(self) -> None:
        super().__init__("There is a vault in this folder already; it was left as it is.")
