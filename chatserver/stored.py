"""Channels of class `stored`, as far as memory knows them: who is attached. The cells are in the store."""

from __future__ import annotations

from typing import Final

from chatserver.fanout import Attachment, Channel
from chatserver.store.protocol import CellPage, ChannelId, Refused, Store

PAGE_BYTES: Final = 256 * 1_024
"""Read at once for one reader, in whole cells: 16 of the protocol's."""


class StoredChannel(Channel):
    """A channel to which at least one connection is attached."""

    __slots__ = ("_owner", "_store")

    def __init__(self, channel_id: bytes, incarnation: bytes, store: Store, owner: StoredChannels) -> None:
        super().__init__(channel_id, incarnation, 0)
        self._store = store
        self._owner = owner

    async def page(self, position: int) -> CellPage | Refused:
        """What follows a position, from the store."""
        return await self._store.read(ChannelId(self.channel_id), position, max_cells=self._owner.page_cells)

    def leave(self, attachment: Attachment) -> None:
        """As for every channel; without attachments there is nothing to remember."""
        super().leave(attachment)
        if not self.attachments:
            self._owner.forget(self)


class StoredChannels:
    """The stored channels that somebody is attached to.

    Attributes:
        page_cells: cells read at once.
    """

    def __init__(self, store: Store, cell_bytes: int) -> None:
        self.page_cells = max(1, PAGE_BYTES // cell_bytes)
        self._store = store
        self._channels: dict[bytes, StoredChannel] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def attached(self, channel_id: bytes) -> StoredChannel | None:
        """The channel, if anybody is attached to it."""
        return self._channels.get(channel_id)

    def enter(self, channel_id: bytes, incarnation: bytes, head: int) -> StoredChannel:
        """The channel to attach to, as the store has just described it.

        If the store has begun it anew since others attached (it was untouched for 90 days), those are
        superseded: their numbers mean nothing any more.
        """
        channel = self._channels.get(channel_id)
        if channel is not None and channel.incarnation != incarnation:
            for attachment in tuple(channel.attachments.values()):
                attachment.end()
                attachment.recipient.superseded(attachment)
            channel = None
        if channel is None:
            channel = StoredChannel(channel_id, incarnation, self._store, self)
            self._channels[channel_id] = channel
        channel.head = max(channel.head, head)
        return channel

    def forget(self, channel: StoredChannel) -> None:
        """The last attachment left."""
        if self._channels.get(channel.channel_id) is channel:
            del self._channels[channel.channel_id]
