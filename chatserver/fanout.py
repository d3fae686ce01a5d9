"""Who is attached to a channel, and how its cells reach them: in order, every gap announced (R3, R4).

Each attachment has a cursor: the number of the last cell that was said under its handle. A new cell goes
straight to every attachment whose cursor stands just before it; whoever stands further back (attached a
moment ago with an old position, or a slow reader) *catches up*: a task of its connection reads pages of the
channel at the pace of the peer and ends when the cursor has reached the head. Cells below a cursor are never
said again, so the two ways cannot collide.

The newest attachment of a slot wins: the older one is told SUPERSEDED and gets nothing more (R3).
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from chatserver.store.protocol import CellPage, ExpiredRange, Refused, StoredCell, TokenHash
from chatserver.wire.frames import Expired, ServerFrame
from chatserver.wire.server_frames import cell_head, own_cell


class Recipient(Protocol):
    """A connection, as channels see it."""

    @property
    def blocked(self) -> bool:
        """Too much waits for the peer already."""
        ...

    def say(self, frame: ServerFrame) -> None:
        """Send a frame."""
        ...

    def say_encoded(self, message: bytes, body: bytes = b"") -> None:
        """Send a frame that is already encoded, its body apart."""
        ...

    def catch_up(self, attachment: Attachment) -> None:
        """Start reading the channel for an attachment."""
        ...

    def superseded(self, attachment: Attachment) -> None:
        """The attachment's slot was taken over."""
        ...


class Attachment:
    """One slot held by one connection.

    Attributes:
        recipient: the connection.
        handle: the channel's number on it.
        channel: the channel.
        token_hash: the slot.
        cursor: number of the last cell said, or skipped because the device has it.
        reading: a task is catching up.
        active: neither superseded nor detached.
    """

    __slots__ = ("_own", "active", "channel", "cursor", "handle", "reading", "recipient", "token_hash")

    def __init__(
        self, recipient: Recipient, handle: int, channel: Channel, token_hash: TokenHash, cursor: int
    ) -> None:
        self.recipient = recipient
        self.handle = handle
        self.channel = channel
        self.token_hash = token_hash
        self.cursor = cursor
        self.reading = False
        self.active = True
        self._own: dict[int, bytes] | None = None

    def start(self) -> None:
        """Begin to read: at once if there is something behind the cursor, else with the next cell."""
        if self.behind():
            self._catch_up()

    def offer(self, cell: StoredCell, digest: bytes | None) -> None:
        """A new cell exists; `digest` is SHA-256 of its body if this connection deposited it (R4)."""
        if cell.seq <= self.cursor:
            return
        if not self.reading and self.cursor == cell.seq - 1 and not self.recipient.blocked:
            self._say(cell, digest)
            return
        if digest is not None:
            self._own = self._own or {}
            self._own[cell.seq] = digest
        self._catch_up()

    def behind(self) -> bool:
        """Whether there is something to catch up with."""
        return self.active and self.cursor < self.channel.head

    def take(self, page: CellPage) -> None:
        """Say what was read while catching up, unless the slot was lost meanwhile."""
        if not self.active:
            return
        for item in page.items:
            match item:
                case StoredCell():
                    if item.seq > self.cursor:
                        self._say(item, self._own.pop(item.seq, None) if self._own else None)
                case ExpiredRange(first=first, last=last):
                    if last > self.cursor:
                        self.recipient.say(
                            Expired(handle=self.handle, first=max(first, self.cursor + 1), last=last)
                        )
                        self.cursor = last

    def end(self) -> None:
        """Say nothing more."""
        self.active = False
        self.channel.leave(self)

    def _catch_up(self) -> None:
        if not self.reading:
            self.reading = True
            self.recipient.catch_up(self)

    def _say(self, cell: StoredCell, digest: bytes | None) -> None:
        self.cursor = cell.seq
        if digest is None:
            self.recipient.say_encoded(cell_head(self.handle, cell.seq, close=cell.close), cell.body)
        else:
            self.recipient.say_encoded(own_cell(self.handle, cell.seq, close=cell.close, digest=digest))


class Channel:
    """The attachments of one channel; subclasses know where its cells are.

    Attributes:
        channel_id: 32 bytes (R2).
        incarnation: 16 bytes.
        head: number of the newest cell known here.
    """

    __slots__ = ("attachments", "channel_id", "head", "incarnation")

    def __init__(self, channel_id: bytes, incarnation: bytes, head: int) -> None:
        self.channel_id = channel_id
        self.incarnation = incarnation
        self.head = head
        self.attachments: dict[TokenHash, Attachment] = {}

    async def page(self, position: int) -> CellPage | Refused:
        """What follows a position, at most a few hundred KiB."""
        raise NotImplementedError

    def join(self, attachment: Attachment) -> None:
        """Enter an attachment under its slot; the newest wins (R3)."""
        previous = self.attachments.pop(attachment.token_hash, None)
        self.attachments[attachment.token_hash] = attachment
        if previous is not None:
            previous.active = False
            previous.recipient.superseded(previous)

    def leave(self, attachment: Attachment) -> None:
        """Forget an attachment, unless its slot has been taken over meanwhile."""
        if self.attachments.get(attachment.token_hash) is attachment:
            del self.attachments[attachment.token_hash]

    def fan_out(self, cell: StoredCell, depositor: Recipient) -> None:
        """A cell was committed: offer it to all attachments (R4)."""
        self.head = max(self.head, cell.seq)
        for attachment in tuple(self.attachments.values()):
            if attachment.recipient is depositor:
                attachment.offer(cell, hashlib.sha256(cell.body).digest())
            else:
                attachment.offer(cell, None)


def start_position(position: int, *, incarnation: bytes, current: bytes, head: int) -> int:
    """Where a reader goes on (R3, R9): after its position, at 1 in a new incarnation, at most at the head."""
    if incarnation != current:
        return 0
    return min(position, head)
