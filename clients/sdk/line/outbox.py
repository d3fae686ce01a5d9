"""R7 and R12: queued → sealed → stored → delivered, and every way back to queued.

Two tables. ``outbox`` (by order number) holds what has to be sealed or is sealed and not yet STORED;
``stored`` (by counter) holds content that the relay promised to keep, until a device of each other person has
receipted it. Control rows (receipts, requests, S1) vanish when they are seen in the log.

A sealed cell is kept, and sent again byte for byte, until its loss is announced; :func:`lose` is the only way
to seal content a second time, and it forgets the cell. The counter stays through all of it (R11).
"""

from __future__ import annotations

from clients.sdk.line import lineinfo, log, messages, receipts, removals, sealing
from clients.sdk.line.events import (
    AlarmKind,
    ControlLost,
    ControlPlaced,
    DeliveryState,
    ItemId,
    LineOrder,
    LinePhase,
)
from clients.sdk.line.payloads import INTERNAL_CONTENT, PayloadKind
from clients.sdk.line.sealing import OwnCell
from clients.sdk.line.step import Step
from clients.sdk.line.tables import ItemClass, OutboxRow, u64_key
from clients.sdk.line.timing import EARLY_REQUEUE_SECONDS, MAX_IN_FLIGHT, MESSAGE_TTL_SECONDS

_REQUEUE_AFTER = MESSAGE_TTL_SECONDS - EARLY_REQUEUE_SECONDS


def may_send(step: Step) -> bool:
    """R9's gate and everything else that holds payloads back for now."""
    return (
        step.state.phase in {LinePhase.ACTIVE, LinePhase.ENDING}
        and step.conn.up
        and log.read_to_head(step)
        and not step.conn.closed_since
        and step.conn.blocked_until <= step.now
        and not step.state.update_first
        and step.tables.pending_commit.get(b"") is None
    )


def add(
    step: Step,
    *,
    item_class: ItemClass,
    kind: int,
    body: bytes = b"",
    item_id: bytes = b"",
    utc_seconds: int | None = None,
    counter: int = 0,
    front: bool = False,
    every_device: bool = False,
) -> OutboxRow:
    """Queue one thing; ``front`` puts it before everything else (R16)."""
    if front:
        order, step.state.front_order = step.state.front_order, step.state.front_order - 1
    else:
        order, step.state.next_order = step.state.next_order, step.state.next_order + 1
    row = OutboxRow(
        order=order,
        item_class=item_class,
        item_id=item_id,
        kind=kind,
        counter=counter,
        utc_seconds=int(step.now) if utc_seconds is None else utc_seconds,
        body=body,
        every_device=every_device,
    )
    step.tables.outbox.put(u64_key(order), row)
    if every_device:
        step.state.infos_outstanding += 1
        step.state.info_since = step.now
    return row


def add_content(step: Step, *, item_id: bytes, kind: PayloadKind, body: bytes) -> None:
    """Queue what a person sent; the same item twice is one item."""
    if messages.by_item(step, item_id) is not None:
        return
    add(step, item_class=ItemClass.CONTENT, kind=kind, body=body, item_id=item_id)
    if kind not in INTERNAL_CONTENT:
        messages.add_own(step, item_id=item_id, kind=kind, utc_seconds=int(step.now), body=body)


# ------------------------------------------------------------------------------------------------ forward


def pump(step: Step) -> None:
    """Deposit what is sealed, seal what is queued, in order, as far as the window allows."""
    if not may_send(step):
        return
    in_flight = 0
    hold = removals.hold(step)
    limit = None if step.state.awaits_info or hold else MAX_IN_FLIGHT
    for row in step.tables.outbox.rows(limit=limit):
        if in_flight >= MAX_IN_FLIGHT:
            return
        if row.state is DeliveryState.QUEUED:
            if step.state.awaits_info and row.item_class is ItemClass.CONTENT:
                continue  # R16: its counter is not known yet
            if hold and row.item_class is ItemClass.CONTENT and not row.every_device:
                continue  # a removed device would read it
            _seal(step, row)
        in_flight += 1
        sealing.deposit(step, deposit_id=row.deposit_id, cell=row.cell, close=False, order=row.order)


def _seal(step: Step, row: OutboxRow) -> None:
    if row.item_class is ItemClass.CONTENT and not row.counter:
        row.counter = step.state.next_counter
        step.state.next_counter += 1
        messages.set_counter(step, row.item_id, row.counter)
    if row.item_class is ItemClass.CONTENT and not row.body:
        row.body = _body_now(step, row)
    seal_row(step, row, row.body)
    messages.set_state(step, row.item_id, DeliveryState.SEALED)


def _body_now(step: Step, row: OutboxRow) -> bytes:
    """Bodies that are made at the first sealing, because they tell the state of that moment (R16)."""
    if row.kind == PayloadKind.LINE_INFO:
        return lineinfo.line_info_body(step, row)
    return lineinfo.new_r_body(step) if row.kind == PayloadKind.NEW_R else b""


def seal_row(step: Step, row: OutboxRow, body: bytes) -> None:
    """Seal a row now. For S1 the body comes from memory and is not kept."""
    sealed = sealing.seal_payload(
        step,
        order=row.order,
        kind=row.kind,
        counter=row.counter,
        utc_seconds=row.utc_seconds,
        body=body,
    )
    row.state = DeliveryState.SEALED
    row.deposit_id, row.cell, row.digest = sealed.deposit_id, sealed.cell, sealed.digest
    row.epoch, row.turn = step.state.epoch, step.state.turn
    if row.item_class is ItemClass.CONTENT:
        step.state.used_since_update = True
    step.tables.outbox.put(u64_key(row.order), row)


def stored(step: Step, deposit_id: bytes, seq: int) -> None:
    """STORED: the relay has it on disk. Control rows wait, as deposited, until they are seen in the log."""
    order = step.conn.deposited.get(deposit_id)
    row = None if order is None else step.tables.outbox.get(u64_key(order))
    if row is not None and row.deposit_id == deposit_id and row.item_class is ItemClass.CONTENT:
        del step.conn.deposited[deposit_id]
        _to_stored(step, row, seq)


def placed(step: Step, own: OwnCell, digest: bytes, seq: int) -> None:
    """An own cell was seen in the log at ``seq``. What was sealed anew meanwhile has another digest."""
    row = step.tables.outbox.get(u64_key(own.order))
    if row is None:
        row = step.tables.stored.get(u64_key(own.counter))
        if row is not None and row.digest == digest:
            row.placed, row.seq = True, seq
            step.tables.stored.put(u64_key(row.counter), row)
        return
    if row.digest != digest:
        return
    step.conn.deposited.pop(row.deposit_id, None)
    row.placed = True
    if row.item_class is ItemClass.CONTENT:
        _to_stored(step, row, seq)
        return
    step.tables.outbox.delete(u64_key(own.order))
    if row.item_class is ItemClass.SESSION:
        place = LineOrder(epoch=step.state.epoch, turn=step.state.turn, seq=seq)
        step.emit(ControlPlaced(item_id=ItemId(row.item_id), order=place))


def _to_stored(step: Step, row: OutboxRow, seq: int) -> None:
    row.state, row.seq, row.stored_at, row.cell = DeliveryState.STORED, seq, step.now, b""
    step.tables.outbox.delete(u64_key(row.order))
    step.tables.stored.put(u64_key(row.counter), row)
    requeue_at = step.now + _REQUEUE_AFTER
    step.state.requeue_at = min(step.state.requeue_at or requeue_at, requeue_at)
    messages.set_state(step, row.item_id, DeliveryState.STORED)
    receipted(step)


def receipted(step: Step) -> None:
    """Somebody's receipt came: what a device of each other person has is delivered and goes (R12)."""
    by_person: dict[bytes, int] = {key: 0 for key in step.state.identities if key != step.own.identity_key}
    by_device: list[int] = []
    for counters in step.tables.counters.rows():
        if counters.identity_key in by_person:
            by_person[counters.identity_key] = max(by_person[counters.identity_key], counters.their_ack)
        if step.state.member(counters.device_id) is not None:
            by_device.append(counters.their_ack)
    every_person = min(by_person.values(), default=0)
    every_device = min(by_device, default=0)
    for row in step.tables.stored.rows():
        if row.counter <= (every_device if row.every_device else every_person):
            step.tables.stored.delete(u64_key(row.counter))
            step.state.infos_outstanding -= row.every_device
            messages.set_state(step, row.item_id, DeliveryState.DELIVERED)
        elif not row.every_device:
            return


# -------------------------------------------------------------------------------------------- and back


def lose(step: Step, row: OutboxRow) -> None:
    """The cell of a row is lost, or will never be read: back to queued with the same counter (R7, R12)."""
    step.conn.deposited.pop(row.deposit_id, None)
    step.state.claim_previous = True
    match row.item_class:
        case ItemClass.CONTENT:
            step.tables.stored.delete(u64_key(row.counter))
            row.state, row.seq, row.stored_at, row.placed = DeliveryState.QUEUED, 0, 0.0, False
            row.cell, row.deposit_id, row.digest = b"", b"", b""
            step.tables.outbox.put(u64_key(row.order), row)
            messages.set_state(step, row.item_id, DeliveryState.QUEUED)
        case ItemClass.RECEIPT:
            step.tables.outbox.delete(u64_key(row.order))
        case ItemClass.REQUEST:
            step.tables.outbox.delete(u64_key(row.order))
            step.state.request_due_at = step.now
        case ItemClass.SESSION:
            step.tables.outbox.delete(u64_key(row.order))
            step.emit(ControlLost(item_id=ItemId(row.item_id)))
    receipts.owe(step)


def lose_sealed(step: Step) -> None:
    """Everything sealed and not in the log: the channel ended before it (R12: CLOSED, or the epoch ended)."""
    for row in list(step.tables.outbox.rows()):
        if row.state is not DeliveryState.QUEUED:
            lose(step, row)
    for row in list(step.tables.stored.rows()):
        if not row.placed and (row.epoch, row.turn) == (step.state.epoch, step.state.turn):
            lose(step, row)  # STORED was said, and the log does not hold it


def lose_all(step: Step) -> None:
    """The relay lost its state, or this device its place: whatever is not receipted is sealed anew (R9)."""
    lose_sealed(step)
    for row in list(step.tables.stored.rows()):
        lose(step, row)


def expired(step: Step, first: int, last: int) -> int:
    """EXPIRED covers these cells of the current channel: unreceipted content among them goes out again.

    Returns: how many of them were content of this device.
    """
    here = (step.state.epoch, step.state.turn)
    own = [
        row for row in step.tables.stored.rows() if (row.epoch, row.turn) == here and first <= row.seq <= last
    ]
    for row in own:
        lose(step, row)
    return len(own)


def requeue_early(step: Step) -> None:
    """R12: 2 days before the relay deletes it, unreceipted content is queued again; or the person is told."""
    if not 0 < step.state.requeue_at <= step.now:
        return
    step.state.requeue_at = 0.0
    for row in list(step.tables.stored.rows()):
        due_at = row.stored_at + _REQUEUE_AFTER
        if due_at <= step.now:
            lose(step, row)
            if not may_send(step):
                step.notify(
                    AlarmKind.EXPIRY_NEAR,
                    "A message was not read for 28 days and will be deleted at the relay in 2 days; "
                    "connect to send it again.",
                )
        else:
            step.state.requeue_at = min(step.state.requeue_at or due_at, due_at)


def resend(step: Step, counter: int) -> bool:
    """R11: another device asks for a counter. False: this device has it no more."""
    row = step.tables.stored.get(u64_key(counter))
    if row is not None:
        lose(step, row)
        return True
    if any(waiting.counter == counter for waiting in step.tables.outbox.rows()):
        return True
    shown = messages.by_counter(step, step.own.device_id, counter)
    if shown is None:
        return False
    add(
        step,
        item_class=ItemClass.CONTENT,
        kind=shown.kind,
        body=shown.body,
        utc_seconds=shown.utc_seconds,
        counter=counter,
    )
    return True


def fail_all(step: Step) -> None:
    """The line is over: undelivered content is shown as not delivered (R14, R22)."""
    for table in (step.tables.outbox, step.tables.stored):
        for row in list(table.rows()):
            messages.set_state(step, row.item_id, DeliveryState.FAILED)
        table.clear()
    step.state.requeue_at = 0.0
    step.state.infos_outstanding = 0


def waiting(step: Step) -> tuple[int, int]:
    """(not yet STORED, not yet delivered) items that a person sent."""
    queued = sum(
        1 for row in step.tables.outbox.rows() if row.item_id and row.item_class is ItemClass.CONTENT
    )
    kept = sum(1 for row in step.tables.stored.rows() if row.item_id)
    return queued, queued + kept
