"""R10 and R18 across channels: devices that follow two continuations of one line find out (docs/adr/0046).

R10 compares records inside a channel. Two stores that each accept a commit of one epoch make two branches
that have no channel in common any more, and a store put back over a closing cell leaves those who had read it
in an epoch to which nobody can follow. What all of them still share is R. So whoever has been a day in an
epoch and has heard nothing of another leaf there tells it, in its return channel, where it is: epoch, and a
hash that only that epoch of that branch has. Again every 7 days while it hears nothing.

What a reader makes of it:

- the same epoch, or one that it has been in, with another hash: two branches, and the people decide (R18);
- a later epoch: the closing cell that leads there must come. If after 24 hours of own connected time, all
  read to the head, it has not, this device was left behind: R18. Until then it changes no keys itself;
- anything else: nothing. In particular it counts for no clock of R9 or R17: no cell of a channel was read.

Every statement is signed by the leaf's key, is true for ever, and names the epoch in which that leaf came in:
one of before its last replacement is dropped. A relay can withhold it, as it can withhold everything.
"""

from __future__ import annotations

import hashlib
from typing import Final

from clients.sdk.line import cells, log, mail, removals, secrets_of_line
from clients.sdk.line.events import AlarmKind, LinePhase, RejoinReason
from clients.sdk.line.fork import declare_fork
from clients.sdk.line.phases import strand
from clients.sdk.line.rejoin_wire import Whereabouts, encode_whereabouts
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from clients.sdk.line.tables import AheadRow, EpochRow, u64_key
from clients.sdk.line.timing import (
    AHEAD_GRACE_SECONDS,
    LEFT_BEHIND_SECONDS,
    WHEREABOUTS_EPOCHS,
    WHEREABOUTS_FIRST_SECONDS,
    WHEREABOUTS_REPEAT_SECONDS,
)
from crypto.channel import return_address, return_key
from crypto.tree_math import LeafIndex

_SENDING: Final = frozenset({LinePhase.ACTIVE, LinePhase.ENDING})


def tag_of(epoch_authenticator: bytes) -> bytes:
    """32 bytes that only this epoch of this branch has, and that say nothing about its keys."""
    return hashlib.sha256(b"amanat branch v1" + epoch_authenticator).digest()


def pump(step: Step) -> None:
    """Note where this device is; judge what others have said; tell those who were not heard."""
    if step.group is None or step.state.phase not in _SENDING:
        return
    here = _note_epoch(step)
    _judge(step)
    if step.state.phase in _SENDING and _reads(step):
        _tell(step, here)


def _note_epoch(step: Step) -> EpochRow:
    """The row of the present epoch; those of long ago go."""
    key = u64_key(step.state.epoch)
    tag = tag_of(step.mls.epoch_authenticator)
    row = step.tables.epochs.get(key)
    if row is None or row.tag != tag:
        row = EpochRow(epoch=step.state.epoch, tag=tag, entered_at=step.now)
        step.tables.epochs.put(key, row)
        for old in list(step.tables.epochs.rows()):
            if old.epoch + WHEREABOUTS_EPOCHS <= row.epoch or old.epoch > row.epoch:
                step.tables.epochs.delete(u64_key(old.epoch))
    return row


def forget(step: Step) -> None:
    """This device goes on in another branch (R18), or the line is over."""
    step.tables.epochs.clear()
    step.tables.ahead.clear()


def _reads(step: Step) -> bool:
    return step.conn.up and log.read_to_head(step) and not step.conn.closed_since


# ------------------------------------------------------------------------------------------------ telling


def _tell(step: Step, here: EpochRow) -> None:
    due_at = here.told_at + WHEREABOUTS_REPEAT_SECONDS if here.told_at else here.entered_at
    if step.now < max(due_at, here.entered_at + WHEREABOUTS_FIRST_SECONDS) or not step.state.secret:
        return
    here.told_at = step.now
    step.tables.epochs.put(u64_key(here.epoch), here)
    own = step.state.member(step.own.device_id)
    for member in step.state.members:
        unheard = member.heard_at <= here.entered_at
        if member is own or not unheard or removals.refused(step, member.device_id):
            continue
        note = Whereabouts(
            group_id=step.state.group_id,
            epoch=here.epoch,
            joined_epoch=own.added_epoch if own is not None else 0,
            tag=here.tag,
            device_id=step.own.device_id,
        )
        message = encode_whereabouts(note, step.own.signature_private)
        for secret in (step.state.secret, *(old.secret for old in step.state.old_secrets)):
            _post(step, secret, member.device_id, message)


def _post(step: Step, secret: bytes, device_id: bytes, message: bytes) -> None:
    """Into a return channel, unless something waits to go there: a Welcome matters more (R18)."""
    k = return_address(secret, device_id)
    ref = cells.stored_ref(secrets_of_line.READERS, k)
    if any(waiting.ref == ref for waiting in step.tables.mail.rows()):
        return
    cell = cells.seal(return_key(secret), ref, message, step.rng)
    mail.post(step, deposit_id=step.rng(16), k=k, readers=secrets_of_line.READERS, cell=cell)


# ------------------------------------------------------------------------------------------------ hearing


def take(step: Step, note: Whereabouts) -> None:
    """Another leaf says where it is. What comes of it is judged by :func:`pump`.

    Raises:
        AuthenticationError: Not signed by that leaf.
    """
    member = step.state.member(note.device_id)
    if (
        member is None
        or step.group is None
        or note.group_id != step.state.group_id
        or note.device_id == step.own.device_id
        or removals.refused(step, note.device_id)
    ):
        return  # in an epoch that this device does not know, or not any more: nothing to compare with
    note.verify(step.group.member(LeafIndex(member.leaf_index)).leaf_node.signature_key)
    if _stale(step, member, note.joined_epoch):
        return
    before = step.tables.ahead.get(note.device_id)
    row = AheadRow(device_id=note.device_id, epoch=note.epoch, joined_epoch=note.joined_epoch, tag=note.tag)
    if before is not None:
        row.connected_seconds, row.acted_at = before.connected_seconds, before.acted_at
    step.tables.ahead.put(note.device_id, row)


def _stale(step: Step, member: Member, joined_epoch: int) -> bool:
    """Said by a leaf that was replaced since, as this device has seen itself."""
    own = step.state.member(step.own.device_id)
    seen = own is not None and member.added_epoch > own.added_epoch
    return seen and member.added_epoch > joined_epoch


def _judge(step: Step) -> None:
    for row in list(step.tables.ahead.rows()):
        member = step.state.member(row.device_id)
        if member is None or _stale(step, member, row.joined_epoch):
            step.tables.ahead.delete(row.device_id)
        elif row.epoch <= step.state.epoch:
            step.tables.ahead.delete(row.device_id)
            known = step.tables.epochs.get(u64_key(row.epoch))
            if known is not None and known.tag != row.tag:
                declare_fork(
                    step,
                    "Another device of this line follows a different continuation of it.",
                    kind=AlarmKind.TWO_BRANCHES,
                )
        elif not row.acted_at and row.connected_seconds >= LEFT_BEHIND_SECONDS:
            _left_behind(step)
            return


def _left_behind(step: Step) -> None:
    for row in list(step.tables.ahead.rows()):
        row.acted_at = step.now
        step.tables.ahead.put(row.device_id, row)
    strand(
        step,
        RejoinReason.RELAY_LOST_STATE,
        AlarmKind.RELAY_LOST_STATE,
        "Another device of this line has gone on, and the relay does not show how; "
        "this device asks to be let in again.",
    )


def wait(step: Step, elapsed_seconds: float) -> None:
    """Connected time in which what leads to a later epoch could have been read."""
    if step.state.phase not in _SENDING or not _reads(step):
        return
    for row in list(step.tables.ahead.rows()):
        if row.epoch > step.state.epoch and not row.acted_at:
            row.connected_seconds += elapsed_seconds
            step.tables.ahead.put(row.device_id, row)


def behind(step: Step) -> bool:
    """Whether this device waits for what leads to a later epoch: it changes no keys until that is decided."""
    return any(row.epoch > step.state.epoch and not row.acted_at for row in step.tables.ahead.rows())


def left_behind(step: Step) -> bool:
    """Whether another leaf was lately heard of in a later epoch: that one answers, not this device."""
    return any(
        row.epoch > step.state.epoch and step.now < row.acted_at + AHEAD_GRACE_SECONDS
        for row in step.tables.ahead.rows()
    )
