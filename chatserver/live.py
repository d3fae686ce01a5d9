"""Channels of class `live` (R6): in memory, a ring of 64 cells, gone 10 minutes after the last has left.

Nothing here reaches a disk. After a restart every incarnation is new and counts from 1. There are no
acknowledgements, no closing cells, no tombstones. A cell that fell out of the ring is announced as EXPIRED.
"""

from __future__ import annotations

from collections.abc import Callable

from chatserver.clock import Clock
from chatserver.fanout import Attachment, Channel
from chatserver.store.protocol import CellPage, ExpiredRange, StoredCell
from chatserver.wire.limits import INCARNATION_BYTES, LIVE_LINGER_SECONDS, LIVE_RING_CELLS


class LiveChannel(Channel):
    """One channel: its ring, and the tokens that hold its slots."""

    __slots__ = ("_clock", "_ring", "left_at", "readers", "slots")

    def __init__(self, channel_id: bytes, incarnation: bytes, readers: int, clock: Clock) -> None:
        super().__init__(channel_id, incarnation, 0)
        self.readers = readers
        self.slots: set[bytes] = set()
        self.left_at = clock.monotonic()
        self._clock = clock
        self._ring: dict[bytes, StoredCell] = {}  # by deposit id, the oldest first

    def take_slot(self, token_hash: bytes) -> bool:
        """Find or take a slot; False if all belong to others (R3)."""
        if token_hash in self.slots:
            return True
        if len(self.slots) >= self.readers:
            return False
        self.slots.add(token_hash)
        return True

    def append(self, deposit_id: bytes, body: bytes) -> tuple[StoredCell | None, int]:
        """Number a cell; (None, its number) if this deposit id is still in the ring (R4)."""
        known = self._ring.get(deposit_id)
        if known is not None:
            return None, known.seq
        cell = StoredCell(seq=self.head + 1, close=False, body=body)
        if len(self._ring) == LIVE_RING_CELLS:
            del self._ring[next(iter(self._ring))]
        self._ring[deposit_id] = cell
        if not self.attachments:
            self.left_at = self._clock.monotonic()
        return cell, cell.seq

    async def page(self, position: int) -> CellPage:
        """What the ring still has after a position, what it lost as a range."""
        items: list[StoredCell | ExpiredRange] = []
        first = next(iter(self._ring.values())).seq if self._ring else self.head + 1
        if position + 1 < first:
            items.append(ExpiredRange(first=position + 1, last=first - 1))
        items.extend(cell for cell in self._ring.values() if cell.seq > position)
        return CellPage(items=tuple(items), position=self.head, head=self.head, incarnation=self.incarnation)

    def leave(self, attachment: Attachment) -> None:
        """As for every channel; the time of the last leaving counts (R6)."""
        super().leave(attachment)
        self.left_at = self._clock.monotonic()


class LiveChannels:
    """All live channels of the relay.

    Args:
        clock: for the 10 minutes.
        rng: draws incarnations.
        limit: channels that may exist at once.
    """

    def __init__(self, clock: Clock, rng: Callable[[int], bytes], limit: int) -> None:
        self._clock = clock
        self._rng = rng
        self._limit = limit
        self._channels: dict[bytes, LiveChannel] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def get(self, channel_id: bytes) -> LiveChannel | None:
        """A channel that exists."""
        return self._channels.get(channel_id)

    def create(self, channel_id: bytes, readers: int) -> LiveChannel | None:
        """Begin an unknown channel (R4); None if there are as many as there may be."""
        if len(self._channels) >= self._limit and self.sweep() == 0:
            return None
        channel = LiveChannel(channel_id, self._rng(INCARNATION_BYTES), readers, self._clock)
        self._channels[channel_id] = channel
        return channel

    def sweep(self) -> int:
        """Drop the channels whose last connection left 10 minutes ago (R6); returns how many."""
        oldest = self._clock.monotonic() - LIVE_LINGER_SECONDS
        gone = [
            channel_id
            for channel_id, channel in self._channels.items()
            if not channel.attachments and channel.left_at <= oldest
        ]
        for channel_id in gone:
            del self._channels[channel_id]
        return len(gone)
