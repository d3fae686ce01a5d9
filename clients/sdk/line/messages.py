"""The list of messages: rows by place, an index by counter and by item (R11, R23).

A gap takes its place in the list when it is noticed, as a row marked missing; the late message fills that
row. A joiner marks no gaps before it was told where to count from (R16), so what is shown is put in order
once more (:func:`in_order`); no row is ever renumbered.
"""

from __future__ import annotations

from typing import Final

from clients.sdk.line.events import DeliveryState, ItemId, LineChanged, MessageStateChanged
from clients.sdk.line.payloads import INTERNAL_CONTENT, KNOWN_CONTENT, PAYLOAD_VERSION, Payload
from clients.sdk.line.step import Step
from clients.sdk.line.tables import MessageRow, Tables, u64_key
from clients.sdk.line.view import LineMessage
from crypto.sensitive import Plaintext

KEPT_VERSION: Final = 0
"""Version of rows that never were a payload: texts of a live session (:mod:`clients.sdk.line.kept`)."""

_LOOK_BACK: Final = 8
"""How many counters in a row may show nothing before an older receipt is taken to end there."""


def _counter_key(device_id: bytes, counter: int) -> bytes:
    return b"c" + device_id + u64_key(counter)


def _item_key(item_id: bytes) -> bytes:
    return b"i" + item_id


def _indexed(tables: Tables, key: bytes) -> MessageRow | None:
    place = tables.message_index.get(key)
    return None if place is None else tables.messages.get(place)


def by_counter(step: Step, device_id: bytes, counter: int) -> MessageRow | None:
    """The row of a counter, a mark "missing" included."""
    return _indexed(step.tables, _counter_key(device_id, counter))


def by_item(step: Step, item_id: bytes) -> MessageRow | None:
    """The row of an own item."""
    return _indexed(step.tables, _item_key(item_id))


def append(step: Step, row: MessageRow) -> None:
    """A row whose place is the next one enters the list."""
    step.state.next_place += 1
    step.tables.messages.put(u64_key(row.place), row)
    index(step, row)


def remove(step: Step, row: MessageRow) -> None:
    """A row leaves the list; no other row moves."""
    step.tables.messages.delete(u64_key(row.place))
    if row.counter:
        step.tables.message_index.delete(_counter_key(row.device_id, row.counter))
    if row.item_id:
        step.tables.message_index.delete(_item_key(row.item_id))


def index(step: Step, row: MessageRow) -> None:
    """Make a row findable by counter and by item."""
    if row.counter:
        step.tables.message_index.put(u64_key(row.place), _counter_key(row.device_id, row.counter))
    if row.item_id:
        step.tables.message_index.put(u64_key(row.place), _item_key(row.item_id))


def add_own(step: Step, *, item_id: bytes, kind: int, utc_seconds: int, body: bytes) -> None:
    """An own item enters the list as queued."""
    row = MessageRow(
        place=step.state.next_place,
        mine=True,
        device_id=step.own.device_id,
        counter=0,
        item_id=item_id,
        kind=kind,
        version=PAYLOAD_VERSION,
        utc_seconds=utc_seconds,
        body=body,
        state=DeliveryState.QUEUED.value,
    )
    append(step, row)
    step.state.last_activity = step.now


def set_counter(step: Step, item_id: bytes, counter: int) -> None:
    """An own item got its counter at its first sealing (R11)."""
    row = by_item(step, item_id)
    if row is None:
        return
    row.counter = counter
    step.tables.messages.put(u64_key(row.place), row)
    step.tables.message_index.put(u64_key(row.place), _counter_key(step.own.device_id, counter))


def forget_counter(step: Step, item_id: bytes) -> None:
    """An own item will get another counter: the others have counted another text under this one (R9)."""
    row = by_item(step, item_id) if item_id else None
    if row is not None and row.counter:
        step.tables.message_index.delete(_counter_key(row.device_id, row.counter))
        row.counter = 0
        step.tables.messages.put(u64_key(row.place), row)


def set_state(step: Step, item_id: bytes, state: DeliveryState) -> None:
    """An own item got further, or back (R12)."""
    row = by_item(step, item_id) if item_id else None
    if row is None or row.state == state.value:
        return
    row.state = state.value
    step.tables.messages.put(u64_key(row.place), row)
    step.emit(MessageStateChanged(item_id=ItemId(item_id), state=state))


def receipted_elsewhere(step: Step, device_id: bytes, counter: int) -> None:
    """The other person has receipted what another device of the own person sent, up to ``counter`` (R12)."""
    unknown = 0
    while counter and unknown < _LOOK_BACK:
        row = by_counter(step, device_id, counter)
        if row is None or row.missing:
            unknown += 1  # nothing that is shown, or not here yet
        elif row.state == DeliveryState.DELIVERED.value:
            return
        else:
            row.state = DeliveryState.DELIVERED.value
            step.tables.messages.put(u64_key(row.place), row)
            step.emit(LineChanged(phase=step.state.phase))
        counter -= 1


def add_missing(step: Step, device_id: bytes, counter: int, *, mine: bool) -> None:
    """Mark a gap (R11)."""
    row = MessageRow(
        place=step.state.next_place,
        mine=mine,
        device_id=device_id,
        counter=counter,
        item_id=b"",
        kind=0,
        version=PAYLOAD_VERSION,
        utc_seconds=0,
        body=b"",
        state=0,
        missing=True,
    )
    append(step, row)


def mark_lost(step: Step, device_id: bytes, counter: int) -> bool:
    """A missing message will not come any more; whether it was missing, and was not known to be lost."""
    row = by_counter(step, device_id, counter)
    if row is None or not row.missing or row.lost:
        return False
    row.lost = True
    step.tables.messages.put(u64_key(row.place), row)
    return True


def remove_mark(step: Step, device_id: bytes, counter: int) -> None:
    """What was missing turned out to be nothing that is shown (LINE_INFO and the like)."""
    row = by_counter(step, device_id, counter)
    if row is not None and row.missing:
        remove(step, row)


def add_received(step: Step, device_id: bytes, payload: Payload, *, mine: bool) -> None:
    """Put a received message into the list, or into the place of its mark."""
    if payload.known_kind in INTERNAL_CONTENT:
        remove_mark(step, device_id, payload.counter)
        return
    marked = by_counter(step, device_id, payload.counter)
    row = MessageRow(
        place=step.state.next_place if marked is None else marked.place,
        mine=mine,
        device_id=device_id,
        counter=payload.counter,
        item_id=b"",
        kind=payload.kind,
        version=payload.version,
        utc_seconds=payload.utc_seconds,
        body=payload.body.reveal(),
        # What another device of the own person wrote is own, and stands at the relay, or was not here.
        state=DeliveryState.STORED.value if mine else 0,
    )
    if marked is None:
        append(step, row)
    else:
        step.tables.messages.put(u64_key(row.place), row)
    step.state.last_activity = step.now
    if not mine:
        step.state.unread += 1


def in_order(rows: list[MessageRow]) -> list[MessageRow]:
    """R11: rows as they are shown: those of one sender by counter, in the places that they have together."""
    by_sender: dict[bytes, list[MessageRow]] = {}
    for row in rows:
        if row.counter:
            by_sender.setdefault(row.device_id, []).append(row)
    sorted_rows = {who: iter(sorted(own, key=lambda row: row.counter)) for who, own in by_sender.items()}
    return [next(sorted_rows[row.device_id]) if row.counter else row for row in rows]


def show(row: MessageRow) -> LineMessage:
    """A row as applications see it."""
    kept = row.version == KEPT_VERSION
    known = kept or (row.version == PAYLOAD_VERSION and row.kind in KNOWN_CONTENT)
    return LineMessage(
        mine=row.mine,
        sender_device=row.device_id,
        counter=row.counter,
        item_id=ItemId(row.item_id),
        kind=row.kind,
        version=row.version,
        utc_seconds=row.utc_seconds,
        body=Plaintext(row.body),
        state=DeliveryState(row.state) if row.state else None,
        missing=row.missing,
        lost=row.lost,
        needs_newer_version=not known and not row.missing,
        kept=kept,
    )
