"""How often values occur, as an immutable count with a small set of changes on top of it.

The rules that hold among all nodes of a tree (no key twice, credential types that all support: RFC 9420
section 7.3) would otherwise list all members for each commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

FEW_CHANGES: Final = 64
"""Copied without a thought; beyond them, and an eighth of the values, changes are merged into the count."""


class Tally(Generic[T]):
    """A count of values.

    Attributes:
        repeated: Occurrences beyond the first one of their value; 0 where all values are distinct.
    """

    __slots__ = ("_base", "_changes", "repeated")

    def __init__(self, values: Iterable[T] = ()) -> None:
        counted = Counter(values)
        self._base: Mapping[T, int] = counted
        self._changes: dict[T, int] = {}
        self.repeated = counted.total() - len(counted)

    def copy(self) -> Tally[T]:
        """An independent tally that shares the count and owns its changes."""
        if len(self._changes) > FEW_CHANGES + len(self._base) // 8:
            merged = {**self._base, **self._changes}
            self._base = {value: count for value, count in merged.items() if count}
            self._changes = {}
        twin: Tally[T] = Tally.__new__(Tally)
        twin._base = self._base
        twin._changes = self._changes.copy()
        twin.repeated = self.repeated
        return twin

    def count(self, value: T) -> int:
        """How often a value occurs."""
        changed = self._changes.get(value)
        return self._base.get(value, 0) if changed is None else changed

    def add(self, value: T) -> None:
        """Count one occurrence more."""
        count = self.count(value)
        self._changes[value] = count + 1
        self.repeated += count > 0

    def discard(self, value: T) -> None:
        """Count one occurrence less of a value that is there."""
        count = self.count(value)
        self._changes[value] = count - 1
        self.repeated -= count > 1

    def __iter__(self) -> Iterator[T]:
        """Each value that occurs, once."""
        return (value for value in {**self._base, **self._changes} if self.count(value))
