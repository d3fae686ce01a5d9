"""R9, R11: the own counter, when others have counted more of this device than it knows to have written.

Then its vault is an old copy, and nothing else need have shown it. Should it go on counting as it does, the
others would take whatever it writes for copies of what they have.
"""

from __future__ import annotations

from clients.sdk.line import messages, outbox
from clients.sdk.line.events import AlarmKind
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.line.step import Step
from clients.sdk.line.tables import u64_key
from clients.sdk.line.timing import MAX_BEYOND


def heard_of(step: Step, next_counter: int) -> None:
    """Another device's request to be let in (R18) or its receipt (R12) says how far it has counted.

    One word moves the count by no more than others accept at once (R7): a dishonest member does no harm that
    is not reported.
    """
    if next_counter <= step.state.next_counter + MAX_BEYOND:
        count_from(step, next_counter)


def count_from(step: Step, next_counter: int) -> None:
    """Go on from this number, if it is above the own one; what was in flight below it gets another."""
    if next_counter <= step.state.next_counter:
        return
    step.state.next_counter = next_counter
    if number_anew(step, next_counter) or not step.state.awaits_info:
        step.notify(
            AlarmKind.CLONE,
            "This device's data is an old copy. What was written and read since then is not here.",
        )


def number_anew(step: Step, below: int) -> int:
    """R9: the others have counted, up to ``below``, what this old copy of a vault never wrote.

    What it has not seen receipted under one of those numbers is another text to them: it would be dropped
    as a copy, and shown here as delivered. It gets a number of its own when it is sealed anew; who had it
    already gets it twice.

    Returns: how many items.
    """
    count = 0
    for table in (step.tables.stored, step.tables.outbox):
        for row in [row for row in table.rows() if 0 < row.counter < below]:
            outbox.lose(step, row)
            row.counter = 0
            if row.kind in {PayloadKind.LINE_INFO, PayloadKind.NEW_R}:
                row.body = b""  # it tells the numbers
            step.tables.outbox.put(u64_key(row.order), row)
            messages.forget_counter(step, row.item_id)
            count += 1
    return count
