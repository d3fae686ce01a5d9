"""R11: every content message once, gaps marked and asked for, order by counter.

Nothing here trusts the relay's order: what counts is (device, counter) inside an authenticated message. MLS
generations guard against replay only; a counter may come in several MLS messages, and is delivered once.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from clients.sdk.line import messages, numbering, outbox, receipts
from clients.sdk.line.events import AlarmKind, MessagesMissing
from clients.sdk.line.payloads import (
    MAX_RANGES,
    Ack,
    CounterRange,
    PayloadKind,
    decode_ranges,
    encode_ranges,
)
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from clients.sdk.line.tables import CounterRow, ItemClass
from clients.sdk.line.timing import MAX_BEYOND, REQUEST_DELAY_SECONDS, REQUEST_REPEAT_SECONDS
from crypto.sensitive import Plaintext


class Admission(Enum):
    """What becomes of a counter that just came in."""

    DELIVER = 1
    DUPLICATE = 2
    TOO_FAR = 3
    """More than 256 beyond the contiguous one: asked for again once the gap has closed (R7)."""


def counters_of(step: Step, member: Member) -> CounterRow:
    """The row of a member; a device never seen before begins at counter 1."""
    row = step.tables.counters.get(member.device_id)
    if row is None:
        row = CounterRow(device_id=member.device_id, identity_key=member.identity_key, baseline=True)
    return row


def admit(step: Step, member: Member, counter: int) -> Admission:
    """Count a content message. The caller delivers exactly what is answered with DELIVER."""
    row = counters_of(step, member)
    if counter <= row.contiguous or counter in row.beyond:
        marked = messages.by_counter(step, member.device_id, counter)
        receipts.owe(step)  # sent twice: its receipt did not arrive
        return Admission.DELIVER if marked is not None and marked.missing else Admission.DUPLICATE
    known_to = max(row.highest, row.contiguous)
    if row.baseline and counter > row.contiguous + MAX_BEYOND:
        row.highest = max(row.highest, counter)
        step.tables.counters.put(row.device_id, row)
        _ask_soon(step)
        return Admission.TOO_FAR
    if not row.baseline and len(row.beyond) >= MAX_BEYOND:
        return Admission.TOO_FAR
    row.beyond.append(counter)
    row.highest = max(row.highest, counter)
    if row.baseline:
        _advance(row)
        if counter > known_to + 1:
            _mark_gap(step, member, known_to + 1, counter - 1)
    step.tables.counters.put(row.device_id, row)
    receipts.owe(step)
    return Admission.DELIVER


def set_baseline(step: Step, row: CounterRow, next_counter: int) -> None:
    """R16: a joiner takes the counter as baseline and asks for nothing before it.

    A device that comes back may have marked gaps below it: nobody will be asked for those any more, so the
    person is told that they are lost here. One that comes all the same takes its place (R11).
    """
    before = row.contiguous
    row.contiguous = max(row.contiguous, next_counter - 1)
    _give_up(step, row.device_id, before + 1, min(row.contiguous, before + MAX_BEYOND))
    row.beyond = [counter for counter in row.beyond if counter > row.contiguous]
    row.highest = max([row.highest, row.contiguous, *row.beyond])
    row.baseline = True
    _advance(row)
    step.tables.counters.put(row.device_id, row)
    if any(True for _ in _gaps(row)):
        _ask_soon(step)


def give_up_all(step: Step, device_id: bytes) -> None:
    """A device has left the line: nobody can be asked for what is missing of it (R11)."""
    row = step.tables.counters.get(device_id)
    for gap in [] if row is None else list(_gaps(row)):
        _give_up(step, device_id, gap.first, gap.last)


def _give_up(step: Step, device_id: bytes, first: int, last: int) -> None:
    lost = [counter for counter in range(first, last + 1) if messages.mark_lost(step, device_id, counter)]
    if lost:
        step.notify(
            AlarmKind.MESSAGES_LOST,
            "Some messages of a device did not reach this one, and nobody can be asked for them any more.",
            device_id=device_id,
        )


def _advance(row: CounterRow) -> None:
    beyond = set(row.beyond)
    while row.contiguous + 1 in beyond:
        row.contiguous += 1
        beyond.discard(row.contiguous)
    row.beyond = sorted(beyond)


def _mark_gap(step: Step, member: Member, first: int, last: int) -> None:
    mine = member.identity_key == step.own.identity_key
    for counter in range(first, last + 1):
        messages.add_missing(step, member.device_id, counter, mine=mine)
    step.emit(MessagesMissing(sender_device=member.device_id, first=first, last=last))
    _ask_soon(step)


def _ask_soon(step: Step) -> None:
    if not step.state.request_due_at:
        step.state.request_due_at = step.now + REQUEST_DELAY_SECONDS


def _gaps(row: CounterRow) -> Iterator[CounterRange]:
    """What is missing of one device, in order."""
    if not row.baseline:
        return
    first = row.contiguous + 1
    for have in [*row.beyond, row.highest + 1]:
        if first < have:
            yield CounterRange(device_id=row.device_id, first=first, last=have - 1)
        first = have + 1


# ------------------------------------------------------------------------------------- asking and answering


def pump_requests(step: Step) -> None:
    """Ask for what is missing, once it has had the time to come by itself; repeat later."""
    if not 0 < step.state.request_due_at <= step.now or not outbox.may_send(step):
        return
    wanted = [
        gap
        for row in step.tables.counters.rows()
        if step.state.member(row.device_id) is not None
        for gap in _gaps(row)
    ]
    step.state.request_due_at = step.now + REQUEST_REPEAT_SECONDS if wanted else 0.0
    if wanted:
        body = encode_ranges(tuple(wanted[:MAX_RANGES])).reveal()
        outbox.add(step, item_class=ItemClass.REQUEST, kind=PayloadKind.REQUEST, body=body)


def answer_request(step: Step, body: Plaintext) -> None:
    """Another device misses some of this device's content: seal it anew, or say that it is no more.

    Raises:
        CodecError: Malformed.
    """
    gone: list[CounterRange] = []
    for wanted in decode_ranges(body):
        if wanted.device_id != step.own.device_id:
            continue
        last = min(wanted.last, wanted.first + MAX_BEYOND, step.state.next_counter - 1)
        gone += [
            CounterRange(device_id=wanted.device_id, first=counter, last=counter)
            for counter in range(wanted.first, last + 1)
            if not outbox.resend(step, counter)
        ]
    if gone:
        body_bytes = encode_ranges(tuple(gone[:MAX_RANGES])).reveal()
        outbox.add(step, item_class=ItemClass.REQUEST, kind=PayloadKind.UNAVAILABLE, body=body_bytes)


def take_unavailable(step: Step, member: Member, body: Plaintext) -> None:
    """The sender has some of the missing content no more: mark it so, and count on.

    Raises:
        CodecError: Malformed.
    """
    row = counters_of(step, member)
    gaps = list(_gaps(row))
    lost = False
    for told in decode_ranges(body):
        if told.device_id != member.device_id:
            continue
        for gap in gaps:
            first, last = max(gap.first, told.first), min(gap.last, told.last, gap.first + MAX_BEYOND)
            for counter in range(first, last + 1):
                messages.mark_lost(step, member.device_id, counter)
                row.beyond.append(counter)
                lost = True
    if lost:
        _advance(row)
        step.tables.counters.put(row.device_id, row)
        receipts.owe(step)
        step.notify(
            AlarmKind.MESSAGES_LOST,
            "Some messages could not be recovered: their sender does not have them any more.",
            device_id=member.device_id,
        )


def take_acks(step: Step, member: Member, acks: tuple[Ack, ...]) -> None:
    """R12: how far ``member`` has received this device's content; and R9: if that is more than it wrote."""
    for ack in acks:
        row = counters_of(step, member)
        if ack.device_id == step.own.device_id:
            numbering.heard_of(step, ack.counter + 1)
            if row.their_ack < ack.counter < step.state.next_counter:
                row.their_ack = ack.counter
                step.tables.counters.put(row.device_id, row)
                outbox.receipted(step)
        elif member.identity_key != step.own.identity_key:
            sender = step.state.member(ack.device_id)
            if sender is not None and sender.identity_key == step.own.identity_key:
                messages.receipted_elsewhere(
                    step, ack.device_id, min(ack.counter, counters_of(step, sender).highest)
                )
