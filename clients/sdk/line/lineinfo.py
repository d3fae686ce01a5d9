"""LINE_INFO and NEW_R, the committer's side: what its first message tells (R16, R18)."""

from __future__ import annotations

from clients.sdk.line.payloads import (
    CounterBaseline,
    LineInfo,
    encode_line_info,
    encode_new_r,
)
from clients.sdk.line.step import Step
from clients.sdk.line.tables import CounterRow, OutboxRow
from crypto.sensitive import Secret


def line_info_body(step: Step, row: OutboxRow) -> bytes:
    """The body of LINE_INFO, made when it is sealed first, before anything else of the epoch.

    The own next counter is the lowest that is still to be sealed in this epoch: the joiner gets those.
    """
    waiting = [other.counter for other in step.tables.outbox.rows() if other.counter]
    own = CounterBaseline(device_id=step.own.device_id, next_counter=min([row.counter, *waiting]))
    others = [
        CounterBaseline(device_id=counters.device_id, next_counter=_next_counter(step, counters))
        for counters in step.tables.counters.rows()
        if step.state.member(counters.device_id) is not None
    ]
    info = LineInfo(baselines=(own, *others), secret=Secret(step.state.secret), settings=step.state.settings)
    return encode_line_info(info).reveal()


def _next_counter(step: Step, counters: CounterRow) -> int:
    """Whoever was added, and not heard since, gets a number above all that it ever sent, gaps included."""
    member = step.state.member(counters.device_id)
    added = member is not None and (member.added_epoch == step.state.epoch or not member.heard_at)
    return (max(counters.contiguous, counters.highest) if added else counters.contiguous) + 1


def new_r_body(step: Step) -> bytes:
    """The body of NEW_R."""
    return encode_new_r(Secret(step.state.secret)).reveal()
