"""What the vault in memory has beyond the protocol: old copies and crashes on demand."""

import pytest

from crypto.errors import StateError
from keys.memory_vault import MemoryVault


def value(vault: MemoryVault) -> bytes | None:
    with vault.transaction() as transaction:
        return transaction.get("space", b"key")


def put(vault: MemoryVault, content: bytes) -> None:
    with vault.transaction() as transaction:
        transaction.put("space", b"key", content)


def test_old_copy_put_back() -> None:
    vault = MemoryVault()
    put(vault, b"old")
    copy = vault.snapshot()
    put(vault, b"new")
    assert value(MemoryVault(copy)) == b"old"
    vault.restore(copy)
    assert value(vault) == b"old"
    put(vault, b"newer")
    assert value(MemoryVault(copy)) == b"old"


def test_crash_just_before_the_commit_leaves_the_old_state() -> None:
    vault = MemoryVault()
    put(vault, b"old")

    def crash() -> None:
        raise ConnectionAbortedError

    vault.before_commit = crash
    with pytest.raises(ConnectionAbortedError):
        put(vault, b"new")
    vault.before_commit = None
    assert value(vault) == b"old"
    assert vault.commits == 2


def test_no_copy_in_the_middle_of_a_transaction() -> None:
    vault = MemoryVault()
    with vault.transaction(), pytest.raises(StateError):
        vault.snapshot()
