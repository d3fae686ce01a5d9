"""LINE_INFO and NEW_R, the receiving side: counters, R and settings (R16, R18)."""

from __future__ import annotations

from clients.sdk.line import delivery, secrets_of_line
from clients.sdk.line.payloads import Payload, decode_line_info, decode_new_r
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from crypto.sensitive import Secret


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
            step.state.next_counter = max(step.state.next_counter, baseline.next_counter)
            continue
        row = step.tables.counters.get(baseline.device_id)
        if row is not None and not row.baseline:
            keep = by_others and baseline.device_id != member.device_id
            delivery.set_baseline(step, row, row.contiguous + 1 if keep else baseline.next_counter)
    step.state.awaits_info = False
    _take(step, member, info.secret)


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
    waited_for = list(step.state.secret_from)
    waited_for.remove(member.device_id)
    step.state.secret_from = waited_for
    secrets_of_line.change(step, secret.reveal())
