"""A mailbox between two devices: two stored channels with one reader each, one for each direction.

Sans-I/O, one vault transaction for each event, like a line's machine (R7), and driven by the same driver. The
relay numbers and keeps what is deposited (R3 to R6); a message is taken over in the transaction that moves
the position, and acknowledged after it, so that it comes again rather than be lost. It may come twice: what
the two sides say to each other bears that (:mod:`clients.sdk.linking.wire`).

Deliberately not here: a chained log, receipts and counters of a line (R10 to R12). A relay that withholds or
loses what stands in a mailbox delays the linking of a device; it changes nothing that was linked.

| space          | key                | record                                       |
|----------------|--------------------|----------------------------------------------|
| device.box     | mailbox id         | `BoxRow`                                     |
| device.boxmail | mailbox id ‖ u64   | `MailRow`: a sealed cell, until it is STORED |
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from chatserver.wire.errors import ErrorCode
from clients.sdk.line import cells
from clients.sdk.line import events as e
from clients.sdk.line.record import FLAG, OPAQUE, U64, FieldCodec, Record
from clients.sdk.linking.wire import Direction
from crypto.codec import CodecError
from crypto.errors import AuthenticationError, ValidationError
from crypto.sensitive import Secret
from keys.vault import VaultStore, VaultTransaction

BOXES: Final = "device.box"
MAIL: Final = "device.boxmail"
BOX_ID_BYTES: Final = 16
READERS: Final = 1
RETRY_SECONDS: Final = 5.0
"""After a refusal that time may cure."""

Take = Callable[[VaultTransaction, bytes, float], None]
"""Takes one opened message over, inside the transaction, at a time in UTC seconds. It may raise CodecError,
ValidationError or AuthenticationError as long as it has written nothing: then the message is dropped."""


@dataclass(slots=True, kw_only=True)
class BoxRow(Record):
    """Where a device stands in a mailbox.

    Attributes:
        token: Slot token of the incoming channel, 32 random bytes.
        position: Number of the last cell taken over.
        full: Another device holds the only place of the incoming channel.
    """

    in_k: bytes = field(repr=False)
    in_key: bytes = field(repr=False)
    out_k: bytes = field(repr=False)
    out_key: bytes = field(repr=False)
    token: bytes = field(repr=False)
    incarnation: bytes = b""
    position: int = 0
    next_order: int = 1
    full: bool = False

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (
        ("in_k", OPAQUE),
        ("in_key", OPAQUE),
        ("out_k", OPAQUE),
        ("out_key", OPAQUE),
        ("token", OPAQUE),
        ("incarnation", OPAQUE),
        ("position", U64),
        ("next_order", U64),
        ("full", FLAG),
    )

    @property
    def in_ref(self) -> e.ChannelRef:
        """Id of the channel that this device reads."""
        return cells.stored_ref(READERS, self.in_k)

    @property
    def out_ref(self) -> e.ChannelRef:
        """Id of the channel into which it writes."""
        return cells.stored_ref(READERS, self.out_k)


@dataclass(slots=True, kw_only=True)
class MailRow(Record):
    """A sealed cell on its way."""

    deposit_id: bytes
    cell: bytes = field(repr=False)

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (("deposit_id", OPAQUE), ("cell", OPAQUE))


def open_box(
    tx: VaultTransaction,
    box_id: bytes,
    *,
    incoming: Direction,
    outgoing: Direction,
    rng: Callable[[int], bytes],
) -> None:
    """Make a mailbox in the vault."""
    row = BoxRow(in_k=incoming.k, in_key=incoming.key, out_k=outgoing.k, out_key=outgoing.key, token=rng(32))
    tx.put(BOXES, box_id, row.to_bytes())


def close_box(tx: VaultTransaction, box_id: bytes) -> None:
    """Forget a mailbox, its keys and what waited in it."""
    tx.delete(BOXES, box_id)
    tx.delete_all(MAIL, box_id)


def load_box(tx: VaultTransaction, box_id: bytes) -> BoxRow | None:
    """The mailbox, if it was not closed."""
    data = tx.get(BOXES, box_id)
    return None if data is None else BoxRow.from_bytes(data)


def post(tx: VaultTransaction, box_id: bytes, message: bytes, rng: Callable[[int], bytes]) -> None:
    """Seal a message; it goes out with the next event. Nothing happens if the mailbox was closed."""
    row = load_box(tx, box_id)
    if row is None:
        return
    cell = cells.seal(row.out_key, row.out_ref, message, rng)
    mail = MailRow(deposit_id=rng(16), cell=cell)
    tx.put(MAIL, box_id + row.next_order.to_bytes(8, "big"), mail.to_bytes())
    row.next_order += 1
    tx.put(BOXES, box_id, row.to_bytes())


def waiting(tx: VaultTransaction, box_id: bytes) -> int:
    """How many messages the relay has not stored yet."""
    return sum(1 for _ in tx.items(MAIL, box_id))


class Mailbox:
    """One mailbox of one device. See the module.

    Args:
        vault: The device's.
        box_id: 16 bytes; made by `open_box`.
        take: Takes messages over.
        stored: Called when the relay has stored a message.
    """

    def __init__(
        self,
        vault: VaultStore,
        box_id: bytes,
        take: Take,
        *,
        stored: Callable[[], None] = lambda: None,
    ) -> None:
        self._vault = vault
        self._box_id = box_id
        self._take = take
        self._stored = stored
        self._up = False
        self._attached = False
        self._deposited: dict[bytes, bytes] = {}
        """Deposit ids of this connection, with the keys of their rows."""
        self._retry_at: float | None = None

    def handle(self, event: e.Event, now: float) -> list[e.Effect]:
        """Take one event; see `clients.sdk.line.machine.LineMachine.handle`."""
        with self._vault.transaction() as tx:
            row = load_box(tx, self._box_id)
            if row is None:
                return []
            effects = self._apply(tx, row, event, now)
            if load_box(tx, self._box_id) is not None:  # not closed by what was taken
                effects += self._deposit(tx, now)
        return effects

    def next_wakeup(self) -> float | None:
        """When a refused request is tried again."""
        return self._retry_at

    @property
    def idle(self) -> bool:
        """Whether the incoming channel is attached, or cannot be."""
        return self._attached

    def _apply(self, tx: VaultTransaction, row: BoxRow, event: e.Event, now: float) -> list[e.Effect]:
        match event:
            case e.Connected():
                self._up, self._attached, self._deposited, self._retry_at = True, False, {}, None
                return [_attach(row)]
            case e.Disconnected():
                self._up, self._attached, self._deposited, self._retry_at = False, False, {}, None
            case e.Attached() if event.ref == row.in_ref:
                return self._on_attached(tx, row, event)
            case e.AttachRefused() if event.ref == row.in_ref:
                self._on_attach_refused(tx, row, event.code, now)
            case e.CellArrived() if event.ref == row.in_ref:
                return self._on_cell(tx, row, event, now)
            case e.Expired() if event.ref == row.in_ref:
                row.position = max(row.position, event.last)
                tx.put(BOXES, self._box_id, row.to_bytes())
                return [e.AckCell(ref=row.in_ref, seq=row.position)]
            case e.Stored():
                key = self._deposited.pop(event.deposit_id, None)
                if key is not None:
                    tx.delete(MAIL, key)
                    self._stored()
            case e.DepositRefused():
                self._on_deposit_refused(tx, event, now)
            case e.Tick() if self._retry_at is not None and self._retry_at <= now:
                self._retry_at = None
                if self._up and not self._attached and not row.full:
                    return [_attach(row)]
            case _:
                pass
        return []

    def _on_attached(self, tx: VaultTransaction, row: BoxRow, event: e.Attached) -> list[e.Effect]:
        if row.incarnation != event.incarnation:
            row.incarnation, row.position = event.incarnation, 0
        elif event.head < row.position:
            # The relay lost the end of it: read it from the beginning.
            row.position = 0
            tx.put(BOXES, self._box_id, row.to_bytes())
            return [e.DetachChannel(ref=row.in_ref), _attach(row)]
        self._attached, row.full = True, False
        tx.put(BOXES, self._box_id, row.to_bytes())
        return [e.AckCell(ref=row.in_ref, seq=row.position)] if event.acked < row.position else []

    def _on_attach_refused(self, tx: VaultTransaction, row: BoxRow, code: ErrorCode, now: float) -> None:
        if code in {ErrorCode.FULL, ErrorCode.GONE}:
            row.full = True
            tx.put(BOXES, self._box_id, row.to_bytes())
        else:
            self._retry_at = now + RETRY_SECONDS

    def _on_cell(self, tx: VaultTransaction, row: BoxRow, event: e.CellArrived, now: float) -> list[e.Effect]:
        if event.seq > row.position:
            row.position = event.seq
            tx.put(BOXES, self._box_id, row.to_bytes())
            # What does not open is counted and acknowledged like any other (R20).
            with contextlib.suppress(CodecError, ValidationError, AuthenticationError):
                self._take(tx, cells.open_(row.in_key, row.in_ref, event.body), now)
        return [e.AckCell(ref=row.in_ref, seq=row.position)]

    def _on_deposit_refused(self, tx: VaultTransaction, event: e.DepositRefused, now: float) -> None:
        key = self._deposited.pop(event.deposit_id, None)
        if key is None:
            return
        if event.code in {ErrorCode.GONE, ErrorCode.CLOSED}:
            tx.delete(MAIL, key)
        else:
            self._retry_at = now + RETRY_SECONDS

    def _deposit(self, tx: VaultTransaction, now: float) -> list[e.Effect]:
        """Hand over what waits, once on each connection."""
        row = load_box(tx, self._box_id)
        if row is None or not self._up or (self._retry_at is not None and self._retry_at > now):
            return []
        effects: list[e.Effect] = []
        for key, data in list(tx.items(MAIL, self._box_id)):
            mail = MailRow.from_bytes(data)
            if mail.deposit_id in self._deposited:
                continue
            self._deposited[mail.deposit_id] = key
            effects.append(
                e.DepositCell(
                    ref=row.out_ref,
                    channel_class=cells.CLASS,
                    readers=READERS,
                    k=Secret(row.out_k),
                    deposit_id=mail.deposit_id,
                    close=False,
                    body=mail.cell,
                )
            )
        return effects


def _attach(row: BoxRow) -> e.Attach:
    return e.Attach(
        ref=row.in_ref,
        channel_class=cells.CLASS,
        readers=READERS,
        k=Secret(row.in_k),
        token=Secret(row.token),
        incarnation=row.incarnation or bytes(16),
        position=row.position,
    )
