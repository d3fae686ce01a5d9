"""R18: after a fork the people compare safety numbers, and say what came of it.

``different`` ends the line. ``same`` lets R18 proceed once: a device that already holds another's request
keeps its own branch and answers; one that holds none asks.

If everybody is stranded and nobody is sound, one of those that were merely left behind does it (an absence of
all beyond the relay's limits, or a relay that says GONE to everybody).

After *two branches* that does not do: the device that was offered both asks members of both, each of them
would stay and answer, and it would be offered both again. So everybody who hears of two branches asks too,
and of all that ask one stays where it is (:func:`consider`) and lets the others in.
"""

from __future__ import annotations

from typing import Final

from clients.sdk.line import commits, ending, epochs, log, receipts, whereabouts
from clients.sdk.line.events import AlarmKind, DetachChannel, LinePhase, RejoinReason
from clients.sdk.line.fork import FORKS
from clients.sdk.line.payloads import encode_claim
from clients.sdk.line.phases import strand
from clients.sdk.line.rejoin_wire import Stay
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from clients.sdk.line.tables import RequestRow
from clients.sdk.line.timing import (
    AHEAD_GRACE_SECONDS,
    BRANCHES_SECONDS,
    READ_FIRST_SECONDS,
    REJOIN_DELAY_SECONDS,
    STAY_DELAY_SECONDS,
)
from crypto.errors import StateError

_LEFT_BEHIND: Final = frozenset({RejoinReason.GONE, RejoinReason.FULL, RejoinReason.FAULT})


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


def speaks_of_this_fork(step: Step, device_id: bytes) -> bool:
    """Whether a request is the reason, or one of the reasons, why this device's person is asked about a fork.

    It is kept until the person has answered, also if another device has let the asking one in meanwhile, by
    a commit that was read here: that one has come to this branch then, and the answer *same* means to go on.
    Else this device would ask in its turn, and make the person of each other one decide again, for ever.
    """
    request = step.tables.requests.get(device_id)
    forked = step.state.stranded_reason is RejoinReason.FORK
    undecided = step.state.phase is LinePhase.UNDECIDED and forked
    return undecided and request is not None and request.reason is RejoinReason.FORK


def decided(step: Step, member: Member) -> bool:
    """Whether a request after a fork belongs to two branches that this device's person has resolved already.

    Each of the others asks once, when its own person has said so, and that may be hours later. A device that
    has been let in since, and asks again, has seen another fork.
    """
    resolved_at = step.state.resolved_at
    recent = resolved_at > 0 and step.now < resolved_at + BRANCHES_SECONDS
    return recent and step.state.phase is LinePhase.ACTIVE and member.added_at <= resolved_at


def may_stay(step: Step) -> Stay:
    """Whether a stranded device may stay on its own branch, if others are stranded too (R18).

    It is sound after a fork that its person resolved, or where the relay lost its state (R9). Where the
    channel has ended without it, is full, or could not be followed, others may have gone on, and it stays
    only if nobody has. Never from an old vault (R9), nor while it waits to be told how far it had counted.
    """
    state = step.state
    if step.group is None or not state.secret or state.awaits_info:
        return Stay.NEVER
    if state.stranded_reason is RejoinReason.RELAY_LOST_STATE:
        # Another one that is in a later epoch lets this device in.
        return Stay.NEVER if whereabouts.left_behind(step) else Stay.SOUND
    if state.stranded_reason in FORKS:
        return Stay.SOUND if state.resolved_same else Stay.NEVER
    return Stay.ALONE if state.stranded_reason in _LEFT_BEHIND else Stay.NEVER


def _everybody_asks(step: Step, asked: list[RequestRow]) -> bool:
    """Whether no other leaf of the present tree can have gone on: each has asked, signed by its key.

    After three days of asking those count no more that R17 gives up, whoever's they are: one that was added
    and never got R cannot ask, and would keep all others waiting for ever (docs/adr/0052).
    """
    waited = 0 < step.state.stay_at <= step.now - AHEAD_GRACE_SECONDS
    others = {
        member.device_id
        for member in step.state.members
        if member.device_id != step.own.device_id and not (waited and commits.given_up(step, member))
    }
    return others <= {row.device_id for row in asked}


def consider(step: Step) -> bool:
    """Stranded devices ask each other: exactly one stays where it is, and answers (R18).

    Of the sound ones the one in the latest epoch stays, then the one with the lowest device id; all see the
    same requests and come to the same result. If none is sound and everybody asks, one of those that were
    only left behind stays. After two branches, after a loss of the relay's state, and then, each waits an
    hour or two before it stays, so that all can have asked, and whoever has its place can have answered: a
    request that is held here may be one that another has answered since (tests/model/returns.pml).

    Returns:
        Whether this device stays; it is active again then.
    """
    state = step.state
    stay = may_stay(step)
    if state.phase is not LinePhase.STRANDED or stay is Stay.NEVER:
        return False
    asked = [row for row in step.tables.requests.rows() if step.now < row.noted_at + BRANCHES_SECONDS]
    alone = stay is Stay.ALONE
    if not asked or (alone and not _everybody_asks(step, asked)):
        return False
    unforked = alone or state.stranded_reason is RejoinReason.RELAY_LOST_STATE
    waits = unforked or _of_two_branches(state.stranded_reason, asked)
    if waits and not (step.conn.up and 0 < state.stay_at <= step.now):
        return False
    if waits and 0 <= step.now - step.conn.up_since < READ_FIRST_SECONDS:
        return False  # what came while it was offline is read first
    noted = [row.noted_at for row in asked if row.noted_at <= step.now]  # not by a clock that was ahead
    if unforked and noted and step.now < max(noted) + STAY_DELAY_SECONDS:
        return False  # whoever asked so lately may know of this device what the request does not say yet
    mine = (-stay.value, -state.epoch, step.own.device_id)
    able = [row for row in asked if row.stay is not Stay.NEVER]
    if any(mine > (-row.stay.value, -row.epoch, row.device_id) for row in able):
        return False
    if alone:
        _into_new_epoch(step)
    _go_on(step)
    return True


def _into_new_epoch(step: Step) -> None:
    """The channel of this epoch is gone, full, or at odds; nobody reads there, so nobody need see its end.

    The commit is never sent. All other leaves have asked, and are let in by Remove and Add in the new epoch.
    """
    made = step.mls.commit(
        adds=(), removes=(), rng=step.rng, authenticated_data=encode_claim(log.own_claim(step))
    )
    epochs.next_epoch(step, step.mls.merge(made.staged), added=set())
    commits.schedule_update(step)
    step.state.previous = None
    for alarm in (AlarmKind.CHANNEL_FULL, AlarmKind.CHANNEL_GONE, AlarmKind.DEVICE_FAULT):
        step.clear_alarm(alarm)


def _go_on(step: Step) -> None:
    """Stay on the own branch and answer what was asked. A forked record is not compared again, but made anew.

    What was shown otherwise, or left out, may have been the channel's end.
    """
    if step.state.stranded_reason in FORKS:
        log.resolved(step)
        receipts.owe(step)
        step.state.previous = None
        if step.ref in step.conn.attached:
            step.conn.attached.discard(step.ref)
            step.emit(DetachChannel(ref=step.ref))
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
