"""R18: after a fork the people compare safety numbers, and say what came of it.

``different`` ends the line. ``same`` lets R18 proceed once: a device that already holds another's request
keeps its own branch and answers; one that holds none asks. If both ask at the same time, the one with the
lower device id keeps its branch, so that exactly one side moves.
"""

from __future__ import annotations

from clients.sdk.line import ending, epochs
from clients.sdk.line.events import AlarmKind, LinePhase, RejoinReason
from clients.sdk.line.phases import strand
from clients.sdk.line.step import Step
from crypto.errors import StateError


def resolve(step: Step, *, same: bool) -> None:
    """Record the outcome.

    Raises:
        StateError: There is nothing to resolve.
    """
    if step.state.phase is not LinePhase.UNDECIDED:
        raise StateError("there is nothing to resolve on this line")
    if not same:
        step.notify(AlarmKind.FORK, "The safety numbers differ: the line was ended.")
        ending.destroy(step, LinePhase.ENDED)
        return
    step.state.resolved_same = True
    if any(True for _ in step.tables.requests.rows()):
        _go_on(step)
        return
    strand(
        step,
        RejoinReason.FORK,
        AlarmKind.STRANDED,
        "The safety numbers are the same; this device asks to be let into the line again.",
    )


def keep_own_branch(step: Step, other_device: bytes) -> bool:
    """A request after a fork met this device's own: whether this one stays. Also true where it just asks."""
    state = step.state
    if state.phase is not LinePhase.STRANDED or not state.resolved_same:
        return False
    if step.own.device_id < other_device and step.group is not None:
        _go_on(step)
    return True


def _go_on(step: Step) -> None:
    """Stay on the own branch and answer what was asked. The record up to here is not compared again."""
    channel = step.state.channel
    channel.resync = True
    channel.log_hash = b""
    step.tables.history.clear()
    step.state.previous = None
    step.state.stranded_reason = None
    step.state.resolved_same = False
    for request in list(step.tables.requests.rows()):
        request.due_at = step.now
        step.tables.requests.put(request.device_id, request)
    step.clear_alarm(AlarmKind.FORK)
    step.clear_alarm(AlarmKind.TWO_BRANCHES)
    step.clear_alarm(AlarmKind.STRANDED)
    step.set_phase(LinePhase.ACTIVE)
    if step.ref not in step.conn.attached:
        epochs.attach(step)
