"""A vault in memory, for tests and for the simulator. Nothing here is encrypted or kept.

It keeps the invariants of `keys.vault`, and has three handles that a real vault has not: `snapshot` and
`restore` (an old copy of a vault put back, R9), and `before_commit`, a function called at the end of
every transaction's block, which by raising makes the crash of R19 happen just before the commit.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from crypto.errors import StateError

_Space = dict[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSnapshot:
    """The whole content of a `MemoryVault` at one moment."""

    spaces: Mapping[str, Mapping[bytes, bytes]]


class MemoryVault:
    """`keys.vault.VaultStore` in memory."""

    def __init__(self, snapshot: VaultSnapshot | None = None) -> None:
        self.before_commit: Callable[[], None] | None = None
        self.commits = 0
        """Number of transactions that took effect."""
        self._spaces: dict[str, _Space] = {}
        self._order: dict[str, list[bytes]] = {}
        self._open: _MemoryTransaction | None = None
        self._closed = False
        if snapshot is not None:
            self.restore(snapshot)

    @contextmanager
    def transaction(self) -> Iterator[_MemoryTransaction]:
        """See `keys.vault.VaultStore.transaction`."""
        if self._closed:
            raise StateError("the vault is closed")
        if self._open is not None:
            raise StateError("a vault transaction is open already")
        self._open = transaction = _MemoryTransaction(self)
        try:
            yield transaction
            if self.before_commit is not None:
                self.before_commit()
        except BaseException:
            transaction.roll_back()
            raise
        else:
            self.commits += 1
        finally:
            transaction.live = False
            self._open = None

    def close(self) -> None:
        """See `keys.vault.VaultStore.close`. The content stays, for `snapshot`."""
        if self._open is not None:
            raise StateError("a vault transaction is open")
        self._closed = True

    def snapshot(self) -> VaultSnapshot:
        """A copy of everything, independent of what happens later.

        Raises:
            StateError: a transaction is open.
        """
        if self._open is not None:
            raise StateError("a vault transaction is open")
        return VaultSnapshot(spaces={name: dict(space) for name, space in self._spaces.items()})

    def restore(self, snapshot: VaultSnapshot) -> None:
        """Put an old copy back, as a person does with a backup of a vault's folder, and reopen.

        Raises:
            StateError: a transaction is open.
        """
        if self._open is not None:
            raise StateError("a vault transaction is open")
        self._spaces = {name: dict(space) for name, space in snapshot.spaces.items()}
        self._order = {name: sorted(space) for name, space in self._spaces.items()}
        self._closed = False

    def _write(self, space: str, key: bytes, value: bytes | None) -> bytes | None:
        """Set or (None) remove; returns what stood there."""
        values = self._spaces.setdefault(space, {})
        order = self._order.setdefault(space, [])
        old = values.get(key)
        if value is not None:
            if old is None:
                insort(order, key)
            values[key] = value
        elif old is not None:
            del values[key]
            del order[bisect_left(order, key)]
        return old

    def _keys(self, space: str, prefix: bytes) -> list[bytes]:
        order = self._order.get(space, [])
        first = last = bisect_left(order, prefix)
        while last < len(order) and order[last].startswith(prefix):
            last += 1
        return order[first:last]


class _MemoryTransaction:
    """`keys.vault.VaultTransaction`: writes at once, and remembers how to take everything back."""

    def __init__(self, vault: MemoryVault) -> None:
        self.live = True
        self._vault = vault
        self._undo: list[tuple[str, bytes, bytes | None]] = []

    def get(self, space: str, key: bytes) -> bytes | None:
        self._check()
        return self._vault._spaces.get(space, {}).get(key)

    def put(self, space: str, key: bytes, value: bytes) -> None:
        self._check()
        self._undo.append((space, key, self._vault._write(space, bytes(key), bytes(value))))

    def delete(self, space: str, key: bytes) -> None:
        self._check()
        self._undo.append((space, key, self._vault._write(space, key, None)))

    def items(
        self, space: str, prefix: bytes = b"", *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check()
        keys = self._vault._keys(space, prefix)
        if reverse:
            keys.reverse()
        values = self._vault._spaces.get(space, {})
        return iter([(key, values[key]) for key in keys[:limit]])

    def delete_all(self, space: str, prefix: bytes = b"") -> None:
        self._check()
        for key in self._vault._keys(space, prefix):
            self.delete(space, key)

    def roll_back(self) -> None:
        for space, key, old in reversed(self._undo):
            self._vault._write(space, key, old)

    def _check(self) -> None:
        if not self.live:
            raise StateError("this vault transaction has ended")
