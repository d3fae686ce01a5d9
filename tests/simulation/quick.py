"""What a simulation need not do twice: reading a vault's record from bytes that it has read before.

A line reads its rows anew in every step, and most of them have not changed. While a run lasts,
`Record.from_bytes` remembers what came of which bytes and hands out a fresh copy (rows are changed in place,
so none is handed out twice). Every distinct record is still decoded once by the product's own code, and every
one is encoded by it. Only records of plain values and lists of plain values are remembered; the rest is read
as ever. The memory ends with the run: in the product there is none, because what is erased must be gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clients.sdk.line.record import Record

LARGEST = 20_000
"""Records that are remembered at once; then it begins anew."""


def _plain(value: object) -> bool:
    return not isinstance(value, Record | list | dict | set | bytearray)


class Memory:
    """Records by type and bytes, as (names and plain values, names and lists)."""

    def __init__(self) -> None:
        self._known: dict[tuple[type[Record], bytes], tuple[dict[str, Any], tuple[str, ...]] | None] = {}

    def read(self, cls: type[Any], data: bytes, original: Any) -> Any:
        """The record, its own object every time."""
        key = (cls, data)
        if key not in self._known:
            record = original(cls, data)
            if len(self._known) >= LARGEST:
                self._known.clear()
            self._known[key] = self._taken_apart(record)
            return record
        known = self._known[key]
        if known is None:
            return original(cls, data)
        values, lists = known
        if lists:
            return cls(**values | {name: list(values[name]) for name in lists})
        return cls(**values)

    def _taken_apart(self, record: Record) -> tuple[dict[str, Any], tuple[str, ...]] | None:
        values = {name: getattr(record, name) for name, _ in record.LAYOUT}
        lists = tuple(name for name, value in values.items() if isinstance(value, list))
        for name, value in values.items():
            if not (_plain(value) or (name in lists and all(_plain(item) for item in value))):
                return None
            if name in lists:
                values[name] = list(value)
        return values, lists


@contextmanager
def remembering() -> Iterator[None]:
    """For as long as a run lasts."""
    memory = Memory()
    whole: Any = Record.__dict__["from_bytes"]

    def from_bytes(cls: type[Record], data: bytes) -> Any:
        return memory.read(cls, data, whole.__func__)

    setattr(Record, "from_bytes", classmethod(from_bytes))  # noqa: B010 (mypy forbids assigning to a method)
    try:
        yield
    finally:
        setattr(Record, "from_bytes", whole)  # noqa: B010 (as above)
