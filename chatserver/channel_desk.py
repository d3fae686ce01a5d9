"""Requests about channels on one connection: ATTACH, DEPOSIT, ACK, DETACH (R3 to R6).

The relay judges nothing about a cell but its size. Class `live` is answered in the same turn from memory and
never meets the store; class `stored` is asked of the store, whose answers come back in the order of asking,
so that the continuations below fan cells out in the order of their numbers.

Order of the checks: draining, rate, number of channels, creation limit; then what the channel itself says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.fanout import Attachment, Channel, start_position
from chatserver.live import LiveChannel
from chatserver.rates import Kind
from chatserver.refusals import CODES
from chatserver.store.protocol import ChannelId, ChannelRef, Refused, StoredCell, TokenHash, hash_token
from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.ids import channel_id
from chatserver.wire.limits import ChannelClass
from chatserver.wire.server_frames import stored

if TYPE_CHECKING:
    from chatserver.peer import Peer


class ChannelDesk:
    """The channels attached to one connection."""

    __slots__ = ("_attachments", "_next_handle", "_peer", "_waiting")

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._attachments: dict[int, Attachment] = {}
        self._next_handle = 1
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._attachments)

    def leave(self) -> None:
        """The connection is over."""
        for attachment in self._attachments.values():
            attachment.end()
        self._attachments.clear()

    def forget(self, attachment: Attachment) -> None:
        """The attachment was superseded."""
        self._attachments.pop(attachment.handle, None)

    # -- ATTACH (R3) ----------------------------------------------------------------------------------------

    def attach(self, frame: f.Attach) -> None:
        """Take a slot and read on from the position."""
        peer = self._peer
        if peer.relay.draining:
            peer.refuse(frame.request, ErrorCode.DRAINING)
        elif not peer.meter.try_take(Kind.REQUEST):
            peer.refuse(frame.request, ErrorCode.RATE)
        elif len(self._attachments) + self._waiting >= peer.relay.config.limits.channels_per_connection:
            peer.refuse(frame.request, ErrorCode.TOO_MANY_CHANNELS)
        elif frame.cls is ChannelClass.LIVE:
            self._attach_live(frame)
        else:
            self._waiting += 1
            peer.ask_store(frame.request, self._attach_stored(frame))

    def _attach_live(self, frame: f.Attach) -> None:
        channel = self._live_channel(frame)
        if channel is None:
            return
        token_hash = hash_token(frame.token)
        if not channel.take_slot(token_hash):
            self._peer.refuse(frame.request, ErrorCode.FULL)
            return
        self._enter(frame, channel, token_hash, acked=0, closed_seq=0, head=channel.head)

    async def _attach_stored(self, frame: f.Attach) -> None:
        peer = self._peer
        channel_ref = _stored_ref(frame)
        token_hash = hash_token(frame.token)
        may_create = peer.meter.try_take(Kind.CREATION)
        created = False
        try:
            answer = await peer.relay.store.attach(
                channel_ref, token_hash, today=peer.relay.today(), may_create=may_create
            )
            created = not isinstance(answer, Refused) and answer.created
        finally:
            self._waiting -= 1
            if may_create and not created:
                peer.meter.give_back(Kind.CREATION)
        if isinstance(answer, Refused):
            peer.refuse(frame.request, CODES[answer.reason])
            return
        if peer not in peer.relay.peers:
            return
        channel = peer.relay.stored.enter(channel_ref.channel_id, answer.incarnation, answer.head)
        self._enter(
            frame, channel, token_hash, acked=answer.acked, closed_seq=answer.closed_seq, head=answer.head
        )

    def _enter(
        self,
        frame: f.Attach,
        channel: Channel,
        token_hash: TokenHash,
        *,
        acked: int,
        closed_seq: int,
        head: int,
    ) -> None:
        position = start_position(
            frame.position, incarnation=frame.incarnation, current=channel.incarnation, head=head
        )
        handle = self._next_handle
        self._next_handle += 1
        attachment = Attachment(self._peer, handle, channel, token_hash, position)
        channel.join(attachment)
        self._attachments[handle] = attachment
        self._peer.say(
            f.Attached(
                request=frame.request,
                handle=handle,
                incarnation=channel.incarnation,
                head=head,
                acked=acked,
                closed_seq=closed_seq,
            )
        )
        attachment.start()

    # -- DEPOSIT (R4, R5) -----------------------------------------------------------------------------------

    def deposit(self, frame: f.Deposit) -> None:
        """Append a cell."""
        peer = self._peer
        if peer.relay.draining:
            peer.refuse(frame.request, ErrorCode.DRAINING)
        elif not peer.meter.try_take(Kind.DEPOSIT):
            peer.refuse(frame.request, ErrorCode.RATE)
        elif frame.cls is ChannelClass.STORED:
            peer.ask_store(frame.request, self._deposit_stored(frame))
        elif frame.close:
            peer.refuse(frame.request, ErrorCode.UNSUPPORTED)
        else:
            self._deposit_live(frame)

    def _deposit_live(self, frame: f.Deposit) -> None:
        channel = self._live_channel(frame)
        if channel is None:
            return
        cell, seq = channel.append(frame.deposit_id, frame.body)
        if cell is not None:
            self._peer.relay.tally.live_cells += 1
            channel.fan_out(cell, self._peer)
        self._peer.say_encoded(stored(frame.request, seq))

    async def _deposit_stored(self, frame: f.Deposit) -> None:
        peer = self._peer
        channel_ref = _stored_ref(frame)
        may_create = peer.meter.try_take(Kind.CREATION)
        created = False
        try:
            answer = await peer.relay.store.deposit(
                channel_ref,
                deposit_id=frame.deposit_id,
                close=frame.close,
                body=frame.body,
                today=peer.relay.today(),
                may_create=may_create,
            )
            created = not isinstance(answer, Refused) and answer.created
        finally:
            if may_create and not created:
                peer.meter.give_back(Kind.CREATION)
        if isinstance(answer, Refused):
            peer.refuse(frame.request, CODES[answer.reason])
            return
        # The cell is on disk (R4): it may be shown to everybody, and only now.
        peer.relay.tally.stored_cells += not answer.duplicate
        channel = peer.relay.stored.attached(channel_ref.channel_id)
        if channel is not None and not answer.duplicate and channel.incarnation == answer.incarnation:
            channel.fan_out(StoredCell(seq=answer.seq, close=frame.close, body=frame.body), peer)
        peer.say_encoded(stored(frame.request, answer.seq))

    # -- ACK, DETACH (R3) -----------------------------------------------------------------------------------

    def ack(self, frame: f.Ack) -> None:
        """Acknowledge for the slot that the handle names; nobody can for another, having no handle of it."""
        peer = self._peer
        attachment = self._attachments.get(frame.handle)
        if peer.relay.draining:
            peer.refuse(frame.request, ErrorCode.DRAINING)
        elif not peer.meter.try_take(Kind.REQUEST):
            peer.refuse(frame.request, ErrorCode.RATE)
        elif attachment is None:
            peer.refuse(frame.request, ErrorCode.NOT_ATTACHED)
        elif isinstance(attachment.channel, LiveChannel):
            peer.refuse(frame.request, ErrorCode.UNSUPPORTED)
        else:
            peer.ask_store(frame.request, self._ack(frame, attachment))

    async def _ack(self, frame: f.Ack, attachment: Attachment) -> None:
        peer = self._peer
        answer = await peer.relay.store.ack(
            ChannelId(attachment.channel.channel_id),
            attachment.token_hash,
            frame.seq,
            today=peer.relay.today(),
        )
        if isinstance(answer, Refused):
            peer.refuse(frame.request, CODES[answer.reason])
        else:
            peer.say(f.Acked(request=frame.request))

    def detach(self, frame: f.Detach) -> None:
        """Stop receiving; the slot stays taken."""
        attachment = self._attachments.pop(frame.handle, None)
        if attachment is None:  # what was attached was counted then
            counted = self._peer.meter.try_take(Kind.REQUEST)
            self._peer.refuse(frame.request, ErrorCode.NOT_ATTACHED if counted else ErrorCode.RATE)
            return
        attachment.end()
        self._peer.say(f.Done(request=frame.request))

    # -- both -----------------------------------------------------------------------------------------------

    def _live_channel(self, frame: f.Attach | f.Deposit) -> LiveChannel | None:
        """The live channel of a request, created if it may be; None if the request was refused (R4)."""
        peer = self._peer
        live = peer.relay.live
        name = channel_id(frame.cls, frame.readers, frame.k)
        channel = live.get(name)
        if channel is not None:
            return channel
        if not peer.meter.try_take(Kind.CREATION):
            peer.refuse(frame.request, ErrorCode.CREATION_LIMIT)
            return None
        channel = live.create(name, frame.readers)
        if channel is None:
            peer.meter.give_back(Kind.CREATION)
            peer.refuse(frame.request, ErrorCode.BUSY)
        return channel


def _stored_ref(frame: f.Attach | f.Deposit) -> ChannelRef:
    return ChannelRef(
        channel_id=ChannelId(channel_id(frame.cls, frame.readers, frame.k)),
        channel_class=frame.cls,
        readers=frame.readers,
    )
