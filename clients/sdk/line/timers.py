"""When a line wants its next Tick: the earliest of everything that time alone will make due.

A time that has passed without anything happening (because there is no connection, say) is not repeated: what
it waits for is an event, and that event runs the machine anyway.
"""

from __future__ import annotations

from clients.sdk.line.events import LinePhase
from clients.sdk.line.step import Step
from clients.sdk.line.timing import (
    CLOSING_CELL_SECONDS,
    IDLE_WAKEUP_SECONDS,
    LOST_STATE_SECONDS,
    READ_FIRST_SECONDS,
    REJOIN_INTERVAL_SECONDS,
    SECOND_WELCOME_SECONDS,
    STAY_DELAY_SECONDS,
)


def next_wakeup(step: Step) -> float | None:
    """UTC seconds, or None for a line that is over."""
    state, conn = step.state, step.conn
    if state.phase in {LinePhase.ENDED, LinePhase.FAULTED}:
        return None
    due = [
        state.receipt_due_at,
        state.request_due_at,
        state.commit_not_before,
        state.next_update_at,
        state.requeue_at,
        state.stay_at,
        conn.blocked_until,
        step.now + IDLE_WAKEUP_SECONDS,
        *(request.due_at for request in step.tables.requests.rows()),
        *(request.noted_at + STAY_DELAY_SECONDS for request in step.tables.requests.rows()),
    ]
    if state.phase is LinePhase.STRANDED:
        due.append(conn.up_since + READ_FIRST_SECONDS)
    if conn.closed_since:
        due.append(conn.closed_since + CLOSING_CELL_SECONDS)
    if state.rejoin_requested_at:
        due.append(state.rejoin_requested_at + REJOIN_INTERVAL_SECONDS)
    if state.second_welcome_at:
        due.append(state.second_welcome_at + SECOND_WELCOME_SECONDS)
    if state.channel.lost_seconds is not None:
        due.append(step.now + LOST_STATE_SECONDS - state.channel.lost_seconds)
    return min(at for at in due if at > step.now)
