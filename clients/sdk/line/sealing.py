"""One payload becomes one MLS message and one cell (R1, R7, R10, R12). The only caller of ``Group.protect``.

The ratchet moves here. The step's transaction saves group, cell and digest together before the cell is handed
out, so that no generation is ever used twice (R7); if encryption fails, the whole step fails and nothing is
sent. A cell is never opened again by its sender: its SHA-256 in ``own_cells`` is how it is recognised (R9).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from clients.sdk.line import cells, log, receipts
from clients.sdk.line.events import DepositCell
from clients.sdk.line.payloads import Payload, encode_claim, encode_payload
from clients.sdk.line.step import Step
from clients.sdk.line.tables import u64_key
from crypto.sensitive import Plaintext, Secret

COMMIT_ORDER: Final = 0
"""Order number of an own commit in ``own_cells``; the outbox never uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedCell:
    """A cell and the id under which it is deposited."""

    deposit_id: bytes
    cell: bytes = field(repr=False)
    digest: bytes


def seal_payload(
    step: Step, *, order: int, kind: int, counter: int, utc_seconds: int, body: bytes
) -> SealedCell:
    """Seal one payload for the current channel, with acks and claim."""
    payload = Payload(
        utc_seconds=utc_seconds, acks=receipts.current(step), kind=kind, counter=counter, body=Plaintext(body)
    )
    claim = encode_claim(log.own_claim(step))
    message = step.mls.protect(encode_payload(payload), authenticated_data=claim, rng=step.rng)
    step.group_changed = True
    step.state.sealed_in_epoch += 1
    step.state.claim_previous = False
    receipts.sent(step)
    return seal_message(step, message, order=order, counter=counter)


def seal_message(step: Step, message: bytes, *, order: int, counter: int = 0) -> SealedCell:
    """Seal an MLS message into a cell of the current channel and remember its digest as an own one."""
    cell = cells.seal(step.state.cell_key, step.ref, message, step.rng)
    digest = cells.digest_of(cell)
    remember(step, digest, OwnCell(order=order, counter=counter, placed=False))
    return SealedCell(deposit_id=step.rng(16), cell=cell, digest=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCell:
    """What is remembered of an own cell of this epoch.

    Attributes:
        order: Of its outbox row, or :data:`COMMIT_ORDER`.
        counter: R11's, 0 for control.
        placed: Seen in the log already; a second time is a duplicate (R20).
    """

    order: int
    counter: int
    placed: bool


def remember(step: Step, digest: bytes, own: OwnCell) -> None:
    """Note an own cell of this epoch, and whether it was seen in the log."""
    step.tables.own_cells.put(u64_key(own.order) + u64_key(own.counter) + bytes([own.placed]), digest)


def recall(step: Step, digest: bytes) -> OwnCell | None:
    """What is known of a cell, if it is an own one of this epoch (R9)."""
    value = step.tables.own_cells.get(digest)
    if value is None:
        return None
    order, counter = int.from_bytes(value[:8], "big"), int.from_bytes(value[8:16], "big")
    return OwnCell(order=order, counter=counter, placed=value[16] == 1)


def deposit(step: Step, *, deposit_id: bytes, cell: bytes, close: bool, order: int) -> None:
    """Hand a cell of the current channel to the relay, once per connection."""
    if deposit_id in step.conn.deposited:
        return
    step.conn.deposited[deposit_id] = order
    step.emit(
        DepositCell(
            ref=step.ref,
            channel_class=cells.CLASS,
            readers=step.state.readers,
            k=Secret(step.address),
            deposit_id=deposit_id,
            close=close,
            body=cell,
        )
    )
