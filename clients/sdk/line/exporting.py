"""R9: what of a line goes into an export: never ratchets, exporter secrets or HPKE private keys.

group_id, epoch, R, settings, identities, members with their counters, own next counter, the texts, and which
devices were removed (:mod:`clients.sdk.line.removals`)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from clients.sdk.line import messages, outbox
from clients.sdk.line.ending import OVER
from clients.sdk.line.events import DeliveryState
from clients.sdk.line.record import FLAG, OPAQUE, U16, U64, FieldCodec, Record, list_field, record_field
from clients.sdk.line.step import Step
from clients.sdk.line.tables import ItemClass, MessageRow, u64_key
from crypto.codec import CodecError
from crypto.sensitive import Secret

_FORMAT = 2
"""Format 1 had no ``removed``."""
_UNDELIVERED = frozenset({DeliveryState.QUEUED, DeliveryState.SEALED, DeliveryState.STORED})


@dataclass(slots=True, kw_only=True)
class ExportedMember(Record):
    """One device of the line, and how far its content had come in."""

    device_id: bytes
    identity_key: bytes
    contiguous: int

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (
        ("device_id", OPAQUE),
        ("identity_key", OPAQUE),
        ("contiguous", U64),
    )


@dataclass(slots=True, kw_only=True)
class ExportedLine(Record):
    """See the module."""

    format: int
    over: bool
    group_id: bytes
    epoch: int
    line_secret: bytes = field(repr=False)
    settings: bytes
    identities: list[bytes]
    members: list[ExportedMember]
    next_counter: int
    texts: list[MessageRow] = field(repr=False)
    removed: list[bytes] = field(default_factory=list)

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (
        ("format", U16),
        ("over", FLAG),
        ("group_id", OPAQUE),
        ("epoch", U64),
        ("line_secret", OPAQUE),
        ("settings", OPAQUE),
        ("identities", list_field(OPAQUE)),
        ("members", list_field(record_field(ExportedMember))),
        ("next_counter", U64),
        ("texts", list_field(record_field(MessageRow))),
        ("removed", list_field(OPAQUE)),
    )

    @property
    def secret(self) -> Secret:
        """R."""
        return Secret(self.line_secret)


def export_line(step: Step) -> bytes:
    """The record of one line."""
    state = step.state
    known = {row.device_id: row for row in step.tables.counters.rows()}
    members = [
        ExportedMember(
            device_id=member.device_id,
            identity_key=member.identity_key,
            contiguous=known[member.device_id].contiguous if member.device_id in known else 0,
        )
        for member in state.members
    ]
    return ExportedLine(
        format=_FORMAT,
        over=state.phase in OVER,
        group_id=state.group_id,
        epoch=state.epoch,
        line_secret=state.secret,
        settings=state.settings,
        identities=state.identities,
        members=members,
        next_counter=state.next_counter,
        texts=list(step.tables.messages.rows()),
        removed=[row.device_id for row in step.tables.removed.rows()],
    ).to_bytes()


def decode_export(data: bytes) -> ExportedLine:
    """Inverse of :func:`export_line`.

    Raises:
        CodecError: Damaged, or of another format.
    """
    if data[:2] == b"\x00\x01":
        data = _FORMAT.to_bytes(2, "big") + data[2:] + b"\x00"  # of format 1, as one that knows no removals
    line = ExportedLine.from_bytes(data)
    if line.format != _FORMAT:
        raise CodecError(0, "unknown format of an exported line")
    return line


def put_messages(step: Step, line: ExportedLine) -> None:
    """Put the texts back. What had a counter and was not delivered is queued again (R11 drops twins).

    What had none may have been sent since by the device that made the export; it is shown as not delivered
    rather than perhaps sent twice.
    """
    for row in line.texts:
        here = row.device_id == step.own.device_id  # what another own device sent is its own business
        if row.mine and here and row.state and DeliveryState(row.state) in _UNDELIVERED:
            again = row.counter and not line.over
            row.state = (DeliveryState.QUEUED if again else DeliveryState.FAILED).value
            if again:
                outbox.add(
                    step,
                    item_class=ItemClass.CONTENT,
                    kind=row.kind,
                    body=row.body,
                    item_id=row.item_id,
                    utc_seconds=row.utc_seconds,
                    counter=row.counter,
                )
        step.tables.messages.put(u64_key(row.place), row)
        messages.index(step, row)
        step.state.next_place = max(step.state.next_place, row.place + 1)
