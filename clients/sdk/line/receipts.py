"""R12: what this device has of others, told in every payload, or by a receipt alone after 0 to 10 minutes."""

from __future__ import annotations

from clients.sdk.line.payloads import Ack
from clients.sdk.line.step import Step
from clients.sdk.line.timing import RECEIPT_DELAY_SECONDS


def current(step: Step) -> tuple[Ack, ...]:
    """The acks of a payload that is sealed now: one per other leaf whose counters are known."""
    return tuple(
        Ack(device_id=row.device_id, counter=row.contiguous)
        for row in step.tables.counters.rows()
        if row.baseline and row.contiguous and step.state.member(row.device_id) is not None
    )


def sent(step: Step) -> None:
    """A payload with :func:`current` was sealed: nothing is owed."""
    for row in step.tables.counters.rows():
        if row.acked_sent != row.contiguous:
            row.acked_sent = row.contiguous
            step.tables.counters.put(row.device_id, row)
    step.state.receipt_due_at = 0.0


def owe(step: Step) -> None:
    """Something new was counted, or a receipt may have been lost: one is due within 10 minutes."""
    if not step.state.receipt_due_at:
        step.state.receipt_due_at = step.now + step.random_seconds(RECEIPT_DELAY_SECONDS)


def flush(step: Step) -> None:
    """Send what is owed now instead of later (a command that is about to end)."""
    if step.state.receipt_due_at:
        step.state.receipt_due_at = step.now


def due(step: Step) -> bool:
    """Whether a receipt-only cell must go out now."""
    return 0 < step.state.receipt_due_at <= step.now
