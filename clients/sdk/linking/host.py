"""What linking needs of the device that it runs on; `clients.sdk.engine.Engine` is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from clients.sdk.line.events import Event
from clients.sdk.line.view import LineView
from clients.sdk.records import DeviceKeys, DeviceRecord, LineRecord
from keys.vault import VaultStore


class LinkHost(Protocol):
    """See the module."""

    vault: VaultStore
    rng: Callable[[int], bytes]

    @property
    def device(self) -> DeviceRecord:
        """Who this device is."""
        ...

    @property
    def line_records(self) -> Mapping[bytes, LineRecord]:
        """All lines, by id."""
        ...

    def keys_of(self, line_id: bytes) -> DeviceKeys:
        """This device's keys in a line."""
        ...

    def view(self, line_id: bytes) -> LineView:
        """Where a line stands."""
        ...

    def handle(self, line_id: bytes, event: Event) -> None:
        """Hand a wish to a line's machine."""
        ...

    def line_opened(self, record: LineRecord) -> None:
        """A line came to be in the vault."""
        ...

    def change_line(self, record: LineRecord) -> None:
        """Write a changed record of a line."""
        ...

    def renewed(self, line_id: bytes, keys: DeviceKeys) -> None:
        """This device's certificate in a line was renewed: keep it, and bring it into the line."""
        ...

    def became(self, record: DeviceRecord) -> None:
        """The device's record in the vault changed."""
        ...
