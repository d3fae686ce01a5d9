"""The closing cell: P, the next turn, the merge (R13 to R16, R19).

Every reader judges the same bytes by the same epoch state and comes to the same result (R14). What happens
then is one of: merge into the next epoch; move to the next turn; after the last turn, the end of the line;
or, where only this device cannot follow, R18.
"""

from __future__ import annotations

from clients.sdk.line import (
    cells,
    commits,
    company,
    delivery,
    ending,
    epochs,
    log,
    outbox,
    receipts,
    removals,
    resolving,
    returns,
    secrets_of_line,
    stubs,
)
from clients.sdk.line.events import AlarmKind, LinePhase, RejoinReason, WelcomeReady
from clients.sdk.line.payloads import PayloadKind, decode_claim
from clients.sdk.line.phases import strand
from clients.sdk.line.sealing import COMMIT_ORDER, OwnCell
from clients.sdk.line.step import Step
from clients.sdk.line.tables import CommitIntent, ItemClass, PendingCommitRow, WelcomeRow
from clients.sdk.line.timing import LAST_TURN
from crypto.codec import CodecError
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.group import CommitReceived, Group, OwnMessage, StagedCommit
from crypto.policy import ProcessingError, evaluate_predicate
from crypto.tree_math import LeafIndex
from keys.certificates import DeviceCertificate


def own_closing_cell(step: Step, own: OwnCell, digest: bytes) -> None:
    """A cell of this device closed the channel: merge, if it is the pending commit; else P fails (P1)."""
    pending = step.tables.pending_commit.get(b"")
    if own.order == COMMIT_ORDER and (pending is None or pending.digest != digest):
        strand(
            step,
            RejoinReason.FAULT,
            AlarmKind.DEVICE_FAULT,
            "A change of keys that this device gave up has taken effect; it asks the others to let it in.",
        )
        return
    if pending is None or pending.digest != digest:
        _refuse(step, step.own.device_id)
        return
    group = step.mls.merge(StagedCommit.from_bytes(pending.staged))
    replaced = set(pending.added) & set(pending.removed)
    untold = bool(set(pending.removed) & set(step.state.secret_from))
    _follow(step, group, added=set(pending.added), removed=set(pending.removed), replaced=replaced)
    commits.schedule_update(step)
    _after_own_commit(step, pending, untold=untold)


def closing_cell(step: Step, seq: int, body: bytes) -> None:
    """Another leaf's cell closed the channel: evaluate P (R14)."""
    try:
        message = cells.open_(step.state.cell_key, step.ref, body)
    except (AuthenticationError, ValidationError, CodecError):
        _refuse(step, b"")
        return
    step.group_changed = True  # judging an application message moves its sender's ratchet
    try:
        received = evaluate_predicate(step.mls, message, DeviceCertificate.decode)
    except ValidationError:
        _refuse(step, _committer(step, message))
    except ProcessingError:
        _fault(step, message)
    else:
        _accept(step, received, seq)


def _accept(step: Step, received: CommitReceived, seq: int) -> None:
    committer = step.state.member_at(received.sender)
    if committer is None:
        raise StateError("the group and its members disagree")
    epochs.heard(step, committer)
    try:
        log.check_claim(step, decode_claim(received.authenticated_data), seq)
    except CodecError:
        step.notify(AlarmKind.UNREADABLE, "A message of another device could not be read.", keep=False)
    removed = {_device_at(step, leaf.leaf_index) for leaf in received.removes}
    if received.staged is None:
        commits.lost_race(step)
        _own_leaf_removed(step, received)
        return
    group = step.mls.merge(received.staged)
    added = {_device_of(leaf.leaf_node.credential.identity) for leaf in received.staged.added}
    commits.lost_race(step)
    _follow(step, group, added=added, removed=removed, replaced=added & removed)
    if added or removed:
        step.state.secret_from = [*step.state.secret_from, committer.device_id]


def _follow(
    step: Step, group: Group, *, added: set[bytes], removed: set[bytes], replaced: set[bytes]
) -> None:
    """Into the next epoch, with what the change of members means for requests, receipts and people."""
    if any(company.is_other_person(step, device_id) for device_id in replaced):
        # It reads nothing of the channels before: whatever it has not receipted must be sealed anew (R12).
        outbox.lose_all(step)
    for device_id in added:
        if not resolving.speaks_of_this_fork(step, device_id):
            step.tables.requests.delete(device_id)
    for device_id in added | removed:
        step.tables.intents.delete(device_id)
    for device_id in removed - replaced:
        delivery.give_up_all(step, device_id)
    others_removed = {device_id for device_id in removed if company.is_other_person(step, device_id)}
    removals.remember(step, added=added, removed=removed)
    secrets_of_line.owed_no_more(step, removed)
    epochs.next_epoch(step, group, added=added)
    for device_id in replaced:
        step.notify(
            AlarmKind.REJOINED,
            "A device had lost its place in this line and was let in again.",
            device_id=device_id,
        )
    for device_id in added - replaced:
        company.tell_added(step, device_id)
    for device_id in removed - replaced:
        company.tell_removed(step, device_id, theirs=device_id in others_removed)


def _after_own_commit(step: Step, pending: PendingCommitRow, *, untold: bool) -> None:
    """R16: the Welcome goes out, and the committer's first message tells counters, R and settings.

    Where another one owes the R of an earlier commit, who is added now would be told the one before it, and
    does not believe that one's word later: all take this one's instead, which is the newer one.
    ``untold``: who was removed had added somebody, and was not heard since: LINE_INFO comes from here.
    """
    if pending.removed or (pending.added and step.state.secret_from):
        secrets_of_line.renew(step)  # only where LINE_INFO or NEW_R follows: an R that nobody is told is lost
    if pending.intent is CommitIntent.REJOIN:
        returns.answer(step, pending)
    elif pending.welcome:
        welcome_id = step.rng(16)
        row = WelcomeRow(
            welcome_id=welcome_id, device_id=pending.added[0], welcome=pending.welcome, founding=False
        )
        step.tables.welcomes.put(welcome_id, row)
        step.emit(WelcomeReady(welcome_id=welcome_id, device_id=pending.added[0], welcome=pending.welcome))
    if pending.added or untold:
        outbox.add(
            step,
            item_class=ItemClass.CONTENT,
            kind=PayloadKind.LINE_INFO,
            front=True,
            every_device=True,
        )
    elif pending.removed:
        outbox.add(
            step,
            item_class=ItemClass.CONTENT,
            kind=PayloadKind.NEW_R,
            front=True,
            every_device=True,
        )


# ------------------------------------------------------------------------------------------------ failure


def _refuse(step: Step, device_id: bytes) -> None:
    """P failed: the next turn for all; after the last one the line ends (R14)."""
    commits.lost_race(step)
    if device_id and device_id not in step.state.refused_by:
        step.state.refused_by = [*step.state.refused_by, device_id]
    if step.state.turn < LAST_TURN:
        step.notify(
            AlarmKind.COMMIT_REFUSED,
            "A change of keys broke the rules of this line and was refused.",
            device_id=device_id,
        )
        epochs.next_turn(step)
        log.watch_for_others(step)
        receipts.owe(step)  # the others must hear that this device is in the next turn, too
        return
    who = ", ".join(found.hex()[:8] for found in step.state.refused_by) or "unknown"
    step.notify(
        AlarmKind.LINE_FAULT,
        "This line has ended: changes of keys were refused four times "
        f"(device {who}). Texts stay; open a new line to go on.",
        device_id=device_id,
    )
    ending.destroy(step, LinePhase.FAULTED)


def _fault(step: Step, message: bytes) -> None:
    """P holds and this device cannot follow: it is alone (R15), or somebody else holds its keys (R9)."""
    try:
        clone = isinstance(step.mls.unprotect(message), OwnMessage)
    except (CodecError, ValidationError, AuthenticationError, StateError):
        clone = False
    if clone:
        strand_as_clone(step)
        return
    strand(
        step,
        RejoinReason.FAULT,
        AlarmKind.DEVICE_FAULT,
        "This device could not follow a change of keys; it asks the others to let it in again.",
    )


def strand_as_clone(step: Step) -> None:
    """R9: this vault is an old copy or has a twin; it never sends from this state again."""
    strand(
        step,
        RejoinReason.CLONE,
        AlarmKind.CLONE,
        "This device's data is an old copy, or is in use twice; it asks to be let in again.",
    )


def _own_leaf_removed(step: Step, received: CommitReceived) -> None:
    """This leaf is gone: replaced at this device's own request, by a twin's, or removed by the own person."""
    stubs.leave(step)
    again = [
        leaf.key_package.to_bytes()
        for leaf in received.adds
        if _device_of(leaf.key_package.leaf_node.credential.identity) == step.own.device_id
    ]
    if not again:
        ending.removed(step)
    elif not returns.is_own_key_package(step, again[0]):
        strand_as_clone(step)
    elif not returns.replaced_again(step):
        strand(
            step,
            RejoinReason.FAULT,
            AlarmKind.STRANDED,
            "This device is let into the line again; it waits for the answer.",
        )
        step.state.rejoin_requested_at = step.now


def _committer(step: Step, message: bytes) -> bytes:
    """Whom to name for a refused commit, if it can be known."""
    try:
        return _device_at(step, step.mls.plan_commit(message).committer)
    except (CodecError, ValidationError, AuthenticationError):
        return b""


def _device_at(step: Step, leaf_index: LeafIndex) -> bytes:
    member = step.state.member_at(leaf_index)
    return b"" if member is None else member.device_id


def _device_of(identity: bytes) -> bytes:
    return DeviceCertificate.decode(identity).device_id
