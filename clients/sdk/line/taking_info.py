"""LINE_INFO and NEW_R, the receiving side: counters, R and settings (R16, R18)."""

from __future__ import annotations

from typing import Final

from clients.sdk.line import delivery, numbering, secrets_of_line
from clients.sdk.line.events import AlarmKind, LinePhase, RejoinReason
from clients.sdk.line.payloads import Payload, decode_line_info, decode_new_r
from clients.sdk.line.rejoin_wire import RejoinRequest
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from crypto.sensitive import Secret

_COUNT_IS_RIGHT: Final = frozenset(
    {RejoinReason.FULL, RejoinReason.GONE, RejoinReason.RELAY_LOST_STATE, RejoinReason.FAULT}
)
"""Reasons why a device was let in again that leave no doubt about its own vault."""


def take_line_info(step: Step, member: Member, payload: Payload) -> None:
    """R16: a joiner takes the counters; everybody takes R and settings, from whom a commit entitled to it.

    Raises:
        CodecError: Malformed.
    """
    info = decode_line_info(payload.body)
    if member.device_id not in step.state.secret_from:
        return
    step.state.settings = info.settings
    # Let in again by the other person's device: what that one has of third devices is not what this person
    # has. They send anew what this person has not receipted (R12), so the own count goes on.
    by_others = step.state.awaits_info and member.identity_key != step.own.identity_key
    for baseline in info.baselines:
        if baseline.device_id == step.own.device_id:
            numbering.count_from(step, baseline.next_counter)
            continue
        row = step.tables.counters.get(baseline.device_id)
        if row is not None and not row.baseline:
            keep = by_others and baseline.device_id != member.device_id
            delivery.set_baseline(step, row, row.contiguous + 1 if keep else baseline.next_counter)
    _told(step)
    _take(step, member, info.secret)


def take_from_request(step: Step, request: RejoinRequest) -> None:
    """R16, R18: the one that owes LINE_INFO has lost its place, and its signed request tells the counter.

    Without this the two would wait for each other for ever: the one may not answer before it was told, the
    other cannot tell before it is answered. Counted for the other devices is what this one has itself; it
    asks for the rest (R11). R stays the old one, by which the request came.

    A request of before this device came back may be an old one, shown again: it is believed only where this
    device's own count cannot be behind, because its vault was not an old one.
    """
    state = step.state
    if not state.awaits_info or request.device_id not in state.secret_from:
        return
    own = state.member(step.own.device_id)
    since = own is not None and request.epoch >= own.added_epoch
    if not since and state.stranded_reason not in _COUNT_IS_RIGHT:
        return
    numbering.count_from(step, request.next_counter)
    for row in list(step.tables.counters.rows()):
        if not row.baseline and state.member(row.device_id) is not None:
            delivery.set_baseline(step, row, row.contiguous + 1)
    _told(step)


def _told(step: Step) -> None:
    step.state.awaits_info = False
    if step.state.phase is LinePhase.STRANDED:
        step.state.rejoin_requested_at = 0.0  # what it asked with says that it may not stay: ask anew
    if step.state.phase in {LinePhase.ACTIVE, LinePhase.ENDING}:
        step.state.stranded_reason = None


def take_new_r(step: Step, member: Member, payload: Payload) -> None:
    """R18: after a Remove the committer sends a new R.

    Raises:
        CodecError: Malformed.
    """
    secret = decode_new_r(payload.body)
    if member.device_id in step.state.secret_from:
        _take(step, member, secret)


def _take(step: Step, member: Member, secret: Secret) -> None:
    # One word for one commit: whoever added and then removed owes two, and they may come in either order.
    state = step.state
    place = state.secret_from.index(member.device_id)
    state.secret_from = [*state.secret_from[:place], *state.secret_from[place + 1 :]]
    # The R of the later commit is the newer one, whichever comes first: two devices that each remove one
    # would else end with one each, and hear each other no more when the old ones are forgotten. An R that
    # was replaced here is that of somebody who had not heard of it.
    replaced = any(old.secret == secret.reveal() for old in state.old_secrets)
    if place < state.older_due:
        state.older_due -= 1
        secrets_of_line.hear(step, secret.reveal())
        return
    if replaced:
        return
    state.older_due = place
    if not step.state.secret:
        step.clear_alarm(AlarmKind.STRANDED)  # told late, but told
    secrets_of_line.change(step, secret.reveal())
