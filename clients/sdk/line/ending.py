"""R22: the end of a line, by its people or (R14) by a fault. Keys go at once, texts as the person chooses.

A line that has ended keeps its row (phase, nothing secret), its texts if wanted, and stubs of channels whose
last acknowledgement the relay has not confirmed: without them the relay would keep cells waiting (R19).
"""

from __future__ import annotations

from clients.sdk.line import mail, outbox, receipts, sealing, stubs
from clients.sdk.line.events import AlarmKind, ChannelRef, DetachChannel, LinePhase
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.line.step import Step
from clients.sdk.line.tables import ItemClass
from crypto.errors import StateError

OVER = frozenset({LinePhase.ENDED, LinePhase.FAULTED})


def end(step: Step, *, block: bool, keep_texts: bool) -> None:
    """The person ends the line. ``block`` waits for nobody.

    Raises:
        StateError: It is over already.
    """
    state = step.state
    if state.phase in OVER:
        raise StateError("this line has ended already")
    state.end_keep_texts = keep_texts
    state.end_block = block
    if block:
        _post_end(step)
        destroy(step, LinePhase.ENDED)
    elif state.phase in {LinePhase.ACTIVE, LinePhase.ENDING}:
        if state.phase is LinePhase.ACTIVE:
            outbox.add(step, item_class=ItemClass.CONTENT, kind=PayloadKind.END)
            step.set_phase(LinePhase.ENDING)
    else:
        destroy(step, LinePhase.ENDED)  # stranded or undecided: no END could be sent
    if not keep_texts:
        _forget_texts(step)  # now, not when the other side comes back; the outbox keeps what is undelivered


def _post_end(step: Step) -> None:
    """For a block: if END can be sealed now, its cell outlives the keys until the relay has it."""
    if not outbox.may_send(step) or step.state.awaits_info:
        return
    counter, step.state.next_counter = step.state.next_counter, step.state.next_counter + 1
    sealed = sealing.seal_payload(
        step, order=0, kind=PayloadKind.END, counter=counter, utc_seconds=int(step.now), body=b""
    )
    mail.post(
        step,
        deposit_id=sealed.deposit_id,
        k=step.address,
        readers=step.state.readers,
        cell=sealed.cell,
    )


def removed(step: Step) -> None:
    """The own person has removed this device from the line: its keys go, and it says nothing any more.

    Unlike :func:`end` nobody is told: the line goes on without this device.
    """
    if step.state.phase in OVER:
        return
    step.notify(
        AlarmKind.DEVICE_REMOVED,
        "This device was removed from the line by its own person. What was received stays readable here; "
        "nothing more is sent or received.",
    )
    destroy(step, LinePhase.ENDED)


def take_end(step: Step, *, own_person: bool) -> None:
    """Another device ended the line: receipt it now, then destroy (see :func:`pump`)."""
    if step.state.phase not in {LinePhase.ACTIVE, LinePhase.ENDING, LinePhase.UNDECIDED}:
        return
    step.state.ended_by_peer = True
    who = (
        "You have ended this line on another device."
        if own_person
        else "The other person has ended this line."
    )
    step.notify(AlarmKind.ENDED_BY_PEER, who)
    if step.state.phase is LinePhase.UNDECIDED:
        destroy(step, LinePhase.ENDED)
        return
    receipts.owe(step)
    receipts.flush(step)
    step.set_phase(LinePhase.ENDING)


def pump(step: Step) -> None:
    """Destroy the keys once END is receipted, or once the peer's END is."""
    if step.state.phase is not LinePhase.ENDING:
        return
    if step.state.ended_by_peer:
        owed = step.state.receipt_due_at or any(
            row.item_class is ItemClass.RECEIPT for row in step.tables.outbox.rows()
        )
        if not owed:
            destroy(step, LinePhase.ENDED)
        return
    tables = (step.tables.outbox, step.tables.stored)
    if not any(row.kind == PayloadKind.END for table in tables for row in table.rows()):
        destroy(step, LinePhase.ENDED)


def destroy(step: Step, phase: LinePhase) -> None:
    """Destroy the line's keys, R, and whatever could bring it back."""
    stubs.leave(step)
    outbox.fail_all(step)
    tables, state = step.tables, step.state
    for row in tables.returns.rows():
        step.conn.attached.discard(row.ref)
        step.emit(DetachChannel(ref=ChannelRef(row.ref)))
    if not state.end_block:
        tables.mail.clear()
    for table in (
        tables.returns,
        tables.requests,
        tables.answered,
        tables.rejoin_keys,
        tables.pending_commit,
        tables.intents,
        tables.counters,
        tables.welcomes,
        tables.removed,
        tables.epochs,
        tables.ahead,
    ):
        table.clear()
    for blobs in (tables.history, tables.own_cells, tables.second_welcome):
        blobs.clear()
    step.replace_group(None)
    state.addresses, state.cell_key = [], b""
    state.secret, state.old_secrets, state.secret_from, state.older_due = b"", [], [], 0
    state.channel.token = state.channel.log_hash = state.channel.known_hash = b""
    state.receipt_due_at = state.request_due_at = state.next_update_at = 0.0
    state.update_first = state.update_due = state.awaits_info = False
    state.stranded_reason = None
    if not state.end_keep_texts:
        _forget_texts(step)
    step.set_phase(phase)


def delete_texts(step: Step) -> None:
    """The person wants the texts gone.

    Raises:
        StateError: The line is not over, or about to be.
    """
    if step.state.phase not in {*OVER, LinePhase.ENDING}:
        raise StateError("texts are deleted when a line has ended")
    step.state.end_keep_texts = False
    _forget_texts(step)


def _forget_texts(step: Step) -> None:
    step.tables.messages.clear()
    step.tables.message_index.clear()
    step.state.unread = 0
