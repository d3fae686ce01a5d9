"""S1 on the line: OFFER, JOIN and WELCOME are sealed at once or not at all, and never kept in the clear."""

from __future__ import annotations

from clients.sdk.line import outbox, removals, sealing
from clients.sdk.line.events import ControlNotSent, ControlReceived, LineOrder, LinePhase, SendControl
from clients.sdk.line.payloads import SESSION_CONTROL, Payload, PayloadKind
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from clients.sdk.line.tables import ItemClass
from crypto.errors import StateError
from crypto.sensitive import Secret


def send(step: Step, event: SendControl) -> None:
    """Seal and deposit now; the outbox row has no body, so that a lost cell cannot be sealed again.

    Raises:
        StateError: Not a payload of S1.
    """
    if event.kind not in SESSION_CONTROL:
        raise StateError("only OFFER, JOIN and WELCOME are sent in this way")
    ready = step.state.phase is LinePhase.ACTIVE and outbox.may_send(step)
    if not ready or step.state.awaits_info or removals.hold(step):
        step.emit(ControlNotSent(item_id=event.item_id))
        return
    outbox.pump(step)  # what was queued before goes before
    row = outbox.add(step, item_class=ItemClass.SESSION, kind=event.kind, item_id=event.item_id)
    outbox.seal_row(step, row, event.body.reveal())
    sealing.deposit(step, deposit_id=row.deposit_id, cell=row.cell, close=False, order=row.order)


def take(step: Step, member: Member, payload: Payload, seq: int) -> None:
    """Hand a received one on; it exists in this effect only."""
    step.emit(
        ControlReceived(
            order=LineOrder(epoch=step.state.epoch, turn=step.state.turn, seq=seq),
            sender_identity=member.identity_key,
            sender_device=member.device_id,
            kind=PayloadKind(payload.kind),
            utc_seconds=payload.utc_seconds,
            body=Secret(payload.body.reveal()),
        )
    )
