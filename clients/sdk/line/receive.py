"""One cell of the current channel: counted (R10), recognised (R9), opened, judged, delivered (R20).

Whatever is inside, the cell is counted in H and acknowledged; nothing that a peer or the relay can put into a
cell stops the line or raises out of here.
"""

from __future__ import annotations

from clients.sdk.line import (
    cells,
    closing,
    control,
    delivery,
    ending,
    epochs,
    log,
    outbox,
    removals,
    sealing,
)
from clients.sdk.line import messages as message_list
from clients.sdk.line import taking_info as info
from clients.sdk.line.events import (
    AckCell,
    AlarmKind,
    CellArrived,
    Expired,
    LinePhase,
    MessageReceived,
    OwnCellArrived,
)
from clients.sdk.line.fork import declare_fork
from clients.sdk.line.payloads import (
    INTERNAL_CONTENT,
    MAX_TEXT_BYTES,
    SESSION_CONTROL,
    LogClaim,
    Payload,
    PayloadKind,
    decode_claim,
    decode_payload,
)
from clients.sdk.line.sealing import OwnCell
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from crypto.codec import CodecError
from crypto.errors import AuthenticationError, GenerationUsedError, ValidationError
from crypto.group import ApplicationMessage, CommitReceived, OwnMessage

_READING = frozenset({LinePhase.ACTIVE, LinePhase.ENDING, LinePhase.UNDECIDED})


def cell(step: Step, event: CellArrived) -> None:
    """Frame CELL of the current channel."""
    digest = cells.digest_of(event.body)
    if not _count(step, seq=event.seq, close=event.close, digest=digest):
        return
    ref = step.ref
    own = sealing.recall(step, digest)
    if own is not None:
        _own_cell(step, own, seq=event.seq, close=event.close, digest=digest)
    elif event.close:
        closing.closing_cell(step, event.seq, event.body)
    else:
        _open(step, event.seq, event.body)
    _acknowledge(step, ref)


def own_cell(step: Step, event: OwnCellArrived) -> None:
    """Frame OWN_CELL of the current channel: only the digest, which must be one of ours."""
    if not _count(step, seq=event.seq, close=event.close, digest=event.digest):
        return
    ref = step.ref
    own = sealing.recall(step, event.digest)
    if own is None:
        declare_fork(step, "The relay has shown a message as this device's own that it never sent.")
    else:
        _own_cell(step, own, seq=event.seq, close=event.close, digest=event.digest)
    _acknowledge(step, ref)


def expired(step: Step, event: Expired) -> None:
    """Frame EXPIRED of the current channel (R6, R7, R10)."""
    channel = step.state.channel
    if step.state.phase not in _READING or event.last <= channel.position:
        return
    if event.first > channel.position + 1 and not channel.resync:
        declare_fork(step, "The relay has left out messages without saying that they expired.")
        return
    unread = event.last - max(event.first - 1, channel.position)
    if unread > outbox.expired(step, event.first, event.last):
        step.notify(
            AlarmKind.EXPIRED_UNREAD,
            "This device was away for so long that the relay has deleted messages before it read them. "
            "What the other device still has comes again by itself; what it has not cannot be recovered.",
        )
    log.note_hole(step, event.last)
    _acknowledge(step, step.ref)


def _acknowledge(step: Step, ref: bytes) -> None:
    """R20: acknowledge what was read; a channel that was just left has its stub (R19)."""
    if step.ref == ref and ref in step.conn.attached:
        step.emit(AckCell(ref=step.ref, seq=step.state.channel.position))


def _count(step: Step, *, seq: int, close: bool, digest: bytes) -> bool:
    """Put the cell into the log. False: it was there already, or the log is broken at this place (R10)."""
    if step.state.phase not in _READING:
        return False
    channel = step.state.channel
    if seq <= channel.position:
        log.repeated(step, seq=seq, close=close, digest=digest)
        return False
    if seq > channel.position + 1:
        if not channel.resync:
            declare_fork(step, "The relay has left out messages without saying that they expired.")
            return False
        log.note_hole(step, seq - 1)
    log.count(step, seq=seq, close=close, digest=digest)
    return True


def _own_cell(step: Step, own: OwnCell, *, seq: int, close: bool, digest: bytes) -> None:
    """A cell that this device made. The second time it is a duplicate, and silent (R20)."""
    if own.placed and not close:
        return
    sealing.remember(step, digest, OwnCell(order=own.order, counter=own.counter, placed=True))
    if close:
        closing.own_closing_cell(step, own, digest)
    elif own.order == sealing.COMMIT_ORDER:
        _unflagged_commit(step)
        step.tables.pending_commit.clear()
    else:
        outbox.placed(step, own, digest, seq)


def _open(step: Step, seq: int, body: bytes) -> None:
    """Another leaf's cell, or what pretends to be one."""
    try:
        received = step.mls.unprotect(cells.open_(step.state.cell_key, step.ref, body))
    except GenerationUsedError:
        return  # R20: a duplicate, dropped in silence
    except (CodecError, ValidationError, AuthenticationError):
        _unreadable(step)
        return
    step.group_changed = True
    match received:
        case OwnMessage():
            closing.strand_as_clone(step)  # R9
        case CommitReceived():
            _unflagged_commit(step)
        case ApplicationMessage():
            _application(step, received, seq)


def _unflagged_commit(step: Step) -> None:
    """R13: a commit that does not close its channel takes no effect."""
    step.notify(
        AlarmKind.UNFLAGGED_COMMIT, "A change of keys came without closing its channel; it was ignored."
    )


def _unreadable(step: Step) -> None:
    """R20: reported once, per cell; changes nothing."""
    step.notify(AlarmKind.UNREADABLE, "A message could not be read and was left out.", keep=False)


def _application(step: Step, received: ApplicationMessage, seq: int) -> None:
    member = step.state.member_at(received.sender)
    if member is None:
        _unreadable(step)
        return
    if removals.refused(step, member.device_id):
        return  # told when it came back; nothing that it says is believed
    epochs.heard(step, member)
    try:
        claim, payload = _decode(received)
    except CodecError:
        _unreadable(step)
        return
    log.check_claim(step, claim, seq)
    if payload.counter and payload.known_kind not in INTERNAL_CONTENT:
        removals.vouched(step, member)
    delivery.take_acks(step, member, payload.acks)
    try:
        if payload.counter:
            _content(step, member, payload)
        else:
            _control(step, member, payload, seq)
    except CodecError:
        _unreadable(step)


def _decode(received: ApplicationMessage) -> tuple[LogClaim, Payload]:
    return decode_claim(received.authenticated_data), decode_payload(received.plaintext)


def _content(step: Step, member: Member, payload: Payload) -> None:
    """R11: counted, and delivered exactly once.

    Raises:
        CodecError: The body of a known kind is malformed; it stays counted.
    """
    if delivery.admit(step, member, payload.counter) is not delivery.Admission.DELIVER:
        return
    step.state.used_since_update = True
    match payload.known_kind:
        case PayloadKind.LINE_INFO:
            info.take_line_info(step, member, payload)
        case PayloadKind.NEW_R:
            info.take_new_r(step, member, payload)
        case PayloadKind.END:
            ending.take_end(step, own_person=member.identity_key == step.own.identity_key)
        case PayloadKind.TEXT if not _is_text(payload):
            _unreadable(step)
            return
        case _:
            mine = member.identity_key == step.own.identity_key
            message_list.add_received(step, member.device_id, payload, mine=mine)
            step.emit(
                MessageReceived(sender_device=member.device_id, counter=payload.counter, kind=payload.kind)
            )
            return
    message_list.remove_mark(step, member.device_id, payload.counter)


def _is_text(payload: Payload) -> bool:
    if len(payload.body) > MAX_TEXT_BYTES:
        return False
    try:
        payload.body.reveal_text()
    except UnicodeDecodeError:
        return False
    return True


def _control(step: Step, member: Member, payload: Payload, seq: int) -> None:
    """Payloads without a counter. Those of later versions mean nothing here, and are not kept."""
    kind = payload.known_kind
    match kind:
        case PayloadKind.REQUEST:
            delivery.answer_request(step, payload.body)
        case PayloadKind.UNAVAILABLE:
            delivery.take_unavailable(step, member, payload.body)
        case _ if kind in SESSION_CONTROL:
            control.take(step, member, payload, seq)
        case _:
            pass
