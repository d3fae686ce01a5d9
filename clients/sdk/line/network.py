"""Events of the connection: answers to attach, deposit and acknowledgement, sorted by channel.

A ref is the current channel's, an own return channel's (R18), a stub's (R19), or that of a channel in which
this device only deposits. Anything about a ref that is none of these is late, and means nothing any more.
"""

from __future__ import annotations

from chatserver.wire.errors import ErrorCode
from clients.sdk.line import (
    closing,
    epochs,
    log,
    mail,
    outbox,
    receipts,
    receive,
    returns,
    secrets_of_line,
    stubs,
)
from clients.sdk.line.events import (
    AckCell,
    AckConfirmed,
    AckRefused,
    AlarmKind,
    Attached,
    AttachRefused,
    CellArrived,
    DepositRefused,
    DetachChannel,
    Expired,
    LinePhase,
    OwnCellArrived,
    Reconnect,
    RejoinReason,
    Stored,
    Superseded,
    WelcomeReady,
)
from clients.sdk.line.phases import strand
from clients.sdk.line.sealing import COMMIT_ORDER
from clients.sdk.line.step import Step
from clients.sdk.line.timing import (
    BACKOFF_SECONDS,
    CLOSING_CELL_SECONDS,
    CONNECTION_SECONDS,
    LOST_STATE_SECONDS,
)

_READING = frozenset({LinePhase.ACTIVE, LinePhase.ENDING, LinePhase.UNDECIDED})


def connected(step: Step) -> None:
    """A connection stands: ask for everything that is owed (R19)."""
    step.conn.up = True
    step.conn.up_since = step.now
    step.conn.attached = set()
    step.conn.deposited = {}
    step.conn.closed_since = step.conn.blocked_until = 0.0
    if step.state.phase in _READING:
        epochs.attach(step)
    secrets_of_line.connected(step)
    stubs.connected(step)
    for row in step.tables.mail.rows():
        mail.deliver(step, row)
    for waiting in step.tables.welcomes.rows():
        if not waiting.founding:
            step.emit(
                WelcomeReady(
                    welcome_id=waiting.welcome_id, device_id=waiting.device_id, welcome=waiting.welcome
                )
            )


def disconnected(step: Step) -> None:
    """The connection is gone."""
    step.conn.up = False
    step.conn.attached = set()
    step.conn.deposited = {}
    step.conn.closed_since = step.conn.blocked_until = 0.0


def attached(step: Step, event: Attached) -> None:
    """ATTACHED."""
    own_return = step.tables.returns.get(event.ref)
    stub = step.tables.stubs.get(event.ref)
    if event.ref == step.ref and step.state.phase in _READING:
        _attached_current(step, event)
    elif own_return is not None:
        secrets_of_line.attached(step, own_return, event)
    elif stub is not None:
        stubs.attached(step, stub, event)


def _attached_current(step: Step, event: Attached) -> None:
    """R9: what the relay says about the current channel, compared with what this device knows."""
    channel = step.state.channel
    if not channel.incarnation:
        log.begin(step, event.incarnation)
    elif channel.incarnation != event.incarnation:
        known = event.incarnation in channel.old_incarnations
        log.lost_state(step, event.incarnation)
        if (
            known
        ):  # an old copy of the relay's store: what was acknowledged then was acknowledged by this vault
            channel.highest = event.acked
        outbox.lose_all(step)
        receipts.owe(step)  # whoever else reads here must hear that this device does (R9)
    elif event.head < channel.position:
        log.rolled_back(step)
        outbox.lose_all(step)
        receipts.owe(step)
        epochs.attach_again(step)
        return
    elif 0 < event.closed_seq <= channel.position and not channel.resync:
        # R13: counted past its end without following: something else was shown there.
        log.read_again(step)
        epochs.attach_again(step)
        return
    if event.acked > channel.highest:
        closing.strand_as_clone(step)
        return
    step.conn.attached.add(event.ref)
    step.conn.gate_head = event.head
    if event.acked < channel.position:
        step.emit(AckCell(ref=event.ref, seq=channel.position))
    if event.closed_seq > channel.position:
        step.conn.closed_since = step.now


def attach_refused(step: Step, event: AttachRefused) -> None:
    """REFUSED to an attach: R8 for the current channel."""
    stub = step.tables.stubs.get(event.ref)
    if event.ref == step.ref and step.state.phase in _READING:
        match event.code:
            case ErrorCode.FULL:
                strand(
                    step,
                    RejoinReason.FULL,
                    AlarmKind.CHANNEL_FULL,
                    "Strangers hold this device's place in the channel; it asks to be let in again.",
                )
            case ErrorCode.GONE:
                strand(
                    step,
                    RejoinReason.GONE,
                    AlarmKind.CHANNEL_GONE,
                    "The channel ended without this device; it asks the others to let it in again.",
                )
            case _:
                _back_off(step, event.code)
    elif stub is not None:
        stubs.refused(step, stub, event.code)


def stored(step: Step, event: Stored) -> None:
    """STORED."""
    if step.tables.mail.get(event.deposit_id) is not None:
        step.tables.mail.delete(event.deposit_id)
    elif step.conn.deposited.get(event.deposit_id) == COMMIT_ORDER:
        return  # merged when its closing cell is read, not before (R13); it stays "deposited" until then
    else:
        step.conn.full = False
        outbox.stored(step, event.deposit_id, event.seq)


def deposit_refused(step: Step, event: DepositRefused) -> None:
    """REFUSED to a deposit."""
    posted = step.tables.mail.get(event.deposit_id)
    if posted is not None:
        if event.code in {ErrorCode.GONE, ErrorCode.CLOSED}:
            step.tables.mail.delete(event.deposit_id)
        return  # else again at the next connection
    order = step.conn.deposited.pop(event.deposit_id, None)
    if event.ref != step.ref or order is None:
        return
    match event.code:
        case ErrorCode.CLOSED:
            # R12, R13: what is not in the log goes back to queued when the closing cell is read.
            step.conn.closed_since = step.conn.closed_since or step.now
        case ErrorCode.GONE:
            attach_refused(step, AttachRefused(ref=event.ref, code=event.code))
        case _:
            step.conn.full = event.code is ErrorCode.QUOTA
            _back_off(step, event.code)


def _back_off(step: Step, code: ErrorCode) -> None:
    """Time may cure it (limits, a full channel, a store in trouble). Said once, tried again."""
    step.conn.blocked_until = step.now + BACKOFF_SECONDS + step.random_seconds(BACKOFF_SECONDS)
    step.notify(AlarmKind.RELAY_REFUSES, f"The relay refuses for now: {code.sentence}.")


def unblocked(step: Step) -> None:
    """After a refusal: attach again if that was what was refused."""
    if 0 < step.conn.blocked_until <= step.now:
        step.conn.blocked_until = 0.0
        step.clear_alarm(AlarmKind.RELAY_REFUSES)
        if step.conn.up and step.state.phase in _READING and step.ref not in step.conn.attached:
            epochs.attach(step)


def cell(step: Step, event: CellArrived) -> None:
    """CELL."""
    own_return = step.tables.returns.get(event.ref)
    if event.ref == step.ref:
        receive.cell(step, event)
    elif own_return is not None:
        returns.cell(step, own_return, event)


def own_cell(step: Step, event: OwnCellArrived) -> None:
    """OWN_CELL."""
    if event.ref == step.ref:
        receive.own_cell(step, event)


def expired(step: Step, event: Expired) -> None:
    """EXPIRED."""
    own_return = step.tables.returns.get(event.ref)
    if event.ref == step.ref:
        receive.expired(step, event)
    elif own_return is not None:
        secrets_of_line.advance(step, own_return, event.last)


def ack_confirmed(step: Step, event: AckConfirmed) -> None:
    """ACKED: only stubs wait for it (R19)."""
    stub = step.tables.stubs.get(event.ref)
    if stub is not None:
        stubs.confirmed(step, stub, event.seq)


def ack_refused(step: Step, event: AckRefused) -> None:
    """REFUSED to an acknowledgement: the channel is attached anew, later, and what it then says decides."""
    stub = step.tables.stubs.get(event.ref)
    if stub is not None:
        stubs.refused(step, stub, event.code)
    elif event.ref == step.ref and event.ref in step.conn.attached:
        step.conn.attached.discard(event.ref)
        step.conn.blocked_until = step.now + BACKOFF_SECONDS + step.random_seconds(BACKOFF_SECONDS)
        step.emit(DetachChannel(ref=event.ref))


def superseded(step: Step, event: Superseded) -> None:
    """Another connection holds this slot now. Nothing is sent until the next connection (R3)."""
    step.conn.attached.discard(event.ref)


def touch_channels(step: Step) -> None:
    """R6: a channel in which nobody writes goes after 90 days, unless somebody attaches to it."""
    if step.conn.up and step.now >= step.conn.up_since + CONNECTION_SECONDS:
        step.conn.up_since = step.now
        step.emit(Reconnect())


def watch_closing(step: Step) -> None:
    """R13: CLOSED, and no closing cell within 60 s: reconnect, then alarm."""
    since = step.conn.closed_since
    if not since or step.now < since + CLOSING_CELL_SECONDS:
        return
    if step.conn.closed_reconnects == 0:
        step.conn.closed_reconnects = 1
        step.emit(Reconnect())
        return
    step.notify(
        AlarmKind.NO_CLOSING_CELL,
        "The relay says that the channel is closed and does not show how; nothing can be sent.",
    )


def count_connected_time(step: Step) -> None:
    """R9: 24 hours of connected time in a channel that lost its state, and nobody was heard."""
    channel = step.state.channel
    elapsed = max(0.0, step.now - step.conn.seen_at)
    if channel.lost_seconds is None or step.state.phase not in _READING:
        return
    if step.ref in step.conn.attached and step.conn.seen_at:
        channel.lost_seconds += elapsed
    if channel.lost_seconds >= LOST_STATE_SECONDS:
        channel.lost_seconds = None
        strand(
            step,
            RejoinReason.RELAY_LOST_STATE,
            AlarmKind.RELAY_LOST_STATE,
            "After the relay lost its state nobody was heard for a day; this device asks to be let in again.",
        )
