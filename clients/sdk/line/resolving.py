"""R18: after a fork the people compare safety numbers, and say what came of it.

``different`` ends the line. ``same`` lets R18 proceed once: a device that already holds another's request
keeps its own branch and answers; one that holds none asks.

After *two branches* that does not do: the device that was offered both asks members of both, each of them
would stay and answer, and it would be offered both again. So everybody who hears of two branches asks too,
and of all that ask one stays where it is (:func:`consider`) and lets the others in.
"""

from __future__ import annotations

from clients.sdk.line import ending, epochs
from clients.sdk.line.events import AlarmKind, LinePhase, RejoinReason
from clients.sdk.line.fork import FORKS
from clients.sdk.line.phases import strand
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from clients.sdk.line.tables import RequestRow
from clients.sdk.line.timing import BRANCHES_SECONDS, REJOIN_DELAY_SECONDS
from crypto.errors import StateError


def resolve(step: Step, *, same: bool) -> None:
    """Record the outcome.

    Raises:
        StateError: There is nothing to resolve.
    """
    state = step.state
    if state.phase is not LinePhase.UNDECIDED:
        raise StateError("there is nothing to resolve on this line")
    if not same:
        step.clear_alarm(AlarmKind.FORK)  # the sentence that asked for this answer
        step.clear_alarm(AlarmKind.TWO_BRANCHES)
        step.notify(AlarmKind.FORK, "The safety numbers differ: the line was ended.")
        ending.destroy(step, LinePhase.ENDED)
        return
    state.resolved_same = True
    asked = list(step.tables.requests.rows())
    two_branches = _of_two_branches(state.stranded_reason, asked)
    if asked and not two_branches and not state.awaits_info:
        _go_on(step)
        return
    if two_branches:
        state.resolved_at = step.now
    strand(
        step,
        RejoinReason.TWO_BRANCHES if two_branches else RejoinReason.FORK,
        AlarmKind.STRANDED,
        "The safety numbers are the same; this device asks to be let into the line again.",
    )


def _of_two_branches(own: RejoinReason | None, asked: list[RequestRow]) -> bool:
    return RejoinReason.TWO_BRANCHES in {own, *(request.reason for request in asked)}


def decided(step: Step, member: Member) -> bool:
    """Whether a request after a fork belongs to two branches that this device's person has resolved already.

    Each of the others asks once, when its own person has said so, and that may be hours later. A device that
    has been let in since, and asks again, has seen another fork.
    """
    resolved_at = step.state.resolved_at
    recent = resolved_at > 0 and step.now < resolved_at + BRANCHES_SECONDS
    return recent and step.state.phase is LinePhase.ACTIVE and member.added_at <= resolved_at


def sound(step: Step) -> bool:
    """Whether a stranded device may stay where it is, if all others are stranded too (R18).

    Only after a fork that its person resolved, or where the relay lost its state (R9); and not while it waits
    to be told how far it had counted: it could let nobody in.
    """
    state = step.state
    resolved = FORKS if state.resolved_same else frozenset()
    return (
        step.group is not None
        and bool(state.secret)
        and not state.awaits_info
        and state.stranded_reason in {RejoinReason.RELAY_LOST_STATE, *resolved}
    )


def consider(step: Step) -> bool:
    """Stranded devices ask each other: exactly one stays where it is, and answers (R18).

    Of the sound ones the one in the latest epoch stays, then the one with the lowest device id; all see the
    same requests and come to the same result. After two branches each waits an hour or two before it stays,
    so that all can have asked, and whoever stays already can have answered.

    Returns:
        Whether this device stays; it is active again then.
    """
    state = step.state
    if state.phase is not LinePhase.STRANDED or not sound(step):
        return False
    asked = [row for row in step.tables.requests.rows() if step.now < row.noted_at + BRANCHES_SECONDS]
    if not asked:
        return False
    if _of_two_branches(state.stranded_reason, asked) and not 0 < state.stay_at <= step.now:
        return False
    mine = (-state.epoch, step.own.device_id)
    if any(row.sound and mine > (-row.epoch, row.device_id) for row in asked):
        return False
    _go_on(step)
    return True


def _go_on(step: Step) -> None:
    """Stay on the own branch and answer what was asked. A forked record is not compared again."""
    if step.state.stranded_reason in FORKS:
        channel = step.state.channel
        channel.resync = True
        channel.log_hash = b""
        step.tables.history.clear()
        step.state.previous = None
    step.state.stranded_reason = None
    step.state.resolved_same = False
    step.state.stay_at = 0.0
    for request in list(step.tables.requests.rows()):
        request.due_at = min(request.due_at, step.now + step.random_seconds(REJOIN_DELAY_SECONDS))
        step.tables.requests.put(request.device_id, request)
    step.clear_alarm(AlarmKind.FORK)
    step.clear_alarm(AlarmKind.TWO_BRANCHES)
    step.clear_alarm(AlarmKind.STRANDED)
    step.set_phase(LinePhase.ACTIVE)
    if step.ref not in step.conn.attached:
        epochs.attach(step)
