"""R18: after a fork the people compare safety numbers, and say what came of it.

``different`` ends the line. ``same`` lets R18 proceed once: a device that already holds another's request
keeps its own branch and answers; one that holds none asks. If both ask at the same time,
:func:`keep_own_branch` decides which of them moves.
"""

from __future__ import annotations

from clients.sdk.line import ending, epochs
from clients.sdk.line.events import AlarmKind, LinePhase, RejoinReason
from clients.sdk.line.phases import strand
from clients.sdk.line.rejoin_wire import RejoinRequest
from clients.sdk.line.step import Step
from clients.sdk.line.timing import REJOIN_DELAY_SECONDS
from crypto.errors import StateError


def resolve(step: Step, *, same: bool) -> None:
    """Record the outcome.

    Raises:
        StateError: There is nothing to resolve.
    """
    if step.state.phase is not LinePhase.UNDECIDED:
        raise StateError("there is nothing to resolve on this line")
    if not same:
        step.clear_alarm(AlarmKind.FORK)  # the sentence that asked for this answer
        step.clear_alarm(AlarmKind.TWO_BRANCHES)
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


def keep_own_branch(step: Step, request: RejoinRequest) -> bool:
    """Two stranded devices ask each other: exactly one stays where it is, and answers (R18).

    Only a device whose own state is sound may stay: after a fork that its person resolved, or where the relay
    lost its state (R9). Of two such devices the one in the later epoch stays, then the one with the lower
    device id; both see the same two requests and come to the same result.

    Returns:
        Whether this device stays; it is active again then.
    """
    state = step.state
    sound = {RejoinReason.RELAY_LOST_STATE} | ({RejoinReason.FORK} if state.resolved_same else set())
    if state.phase is not LinePhase.STRANDED or step.group is None or state.stranded_reason not in sound:
        return False
    if request.reason in {RejoinReason.FORK, RejoinReason.RELAY_LOST_STATE}:
        mine = (-state.epoch, step.own.device_id)
        if mine > (-request.epoch, request.device_id):
            return False
    _go_on(step)
    return True


def _go_on(step: Step) -> None:
    """Stay on the own branch and answer what was asked. A forked record is not compared again."""
    if step.state.stranded_reason is RejoinReason.FORK:
        channel = step.state.channel
        channel.resync = True
        channel.log_hash = b""
        step.tables.history.clear()
        step.state.previous = None
    step.state.stranded_reason = None
    step.state.resolved_same = False
    for request in list(step.tables.requests.rows()):
        request.due_at = min(request.due_at, step.now + step.random_seconds(REJOIN_DELAY_SECONDS))
        step.tables.requests.put(request.device_id, request)
    step.clear_alarm(AlarmKind.FORK)
    step.clear_alarm(AlarmKind.TWO_BRANCHES)
    step.clear_alarm(AlarmKind.STRANDED)
    step.set_phase(LinePhase.ACTIVE)
    if step.ref not in step.conn.attached:
        epochs.attach(step)
