"""R19: an old channel's address and token survive the epoch's keys until the last acknowledgement is noted.

Only then may the relay delete its cells, so the device keeps asking, at every connection, until the relay has
said so (or says that the channel is gone, which is the same).
"""

from __future__ import annotations

from chatserver.wire.errors import ErrorCode
from clients.sdk.line import cells
from clients.sdk.line.events import AckCell, Attach, Attached, ChannelRef, DetachChannel
from clients.sdk.line.step import Step
from clients.sdk.line.tables import StubRow
from crypto.sensitive import Secret


def leave(step: Step) -> None:
    """Make a stub of the current channel, with everything read so far acknowledged."""
    channel = step.state.channel
    if not step.state.addresses or not channel.incarnation:
        return
    stub = StubRow(
        ref=step.ref,
        k=step.address,
        readers=step.state.readers,
        token=channel.token,
        incarnation=channel.incarnation,
        seq=channel.position,
    )
    step.tables.stubs.put(stub.ref, stub)
    if step.ref in step.conn.attached:
        step.emit(AckCell(ref=step.ref, seq=channel.position))
    elif step.conn.up:
        _attach(step, stub)


def connected(step: Step) -> None:
    """Ask for every stub's channel again."""
    for stub in step.tables.stubs.rows():
        _attach(step, stub)


def _attach(step: Step, stub: StubRow) -> None:
    step.emit(
        Attach(
            ref=ChannelRef(stub.ref),
            channel_class=cells.CLASS,
            readers=stub.readers,
            k=Secret(stub.k),
            token=Secret(stub.token),
            incarnation=stub.incarnation,
            position=stub.seq,
        )
    )


def attached(step: Step, stub: StubRow, event: Attached) -> None:
    """Acknowledge, unless there is nothing left to acknowledge."""
    if event.incarnation != stub.incarnation or event.acked >= stub.seq or event.head < stub.seq:
        drop(step, stub)
    else:
        step.conn.attached.add(stub.ref)
        step.emit(AckCell(ref=ChannelRef(stub.ref), seq=stub.seq))


def confirmed(step: Step, stub: StubRow, seq: int) -> None:
    """ACKED: the relay has noted it; nothing of the old channel remains here."""
    if seq >= stub.seq:
        drop(step, stub)


def refused(step: Step, stub: StubRow, code: ErrorCode) -> None:
    """GONE or FULL: there is no slot any more that could keep cells waiting."""
    if code in {ErrorCode.GONE, ErrorCode.FULL}:
        step.tables.stubs.delete(stub.ref)


def drop(step: Step, stub: StubRow) -> None:
    """Forget the channel, and say so if attached."""
    step.tables.stubs.delete(stub.ref)
    step.conn.attached.discard(stub.ref)
    step.emit(DetachChannel(ref=ChannelRef(stub.ref)))
