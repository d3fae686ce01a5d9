"""Own commits, from the intention to the deposit: R13, R16, R17, and the answering half of R18.

    intention ──begin──▶ pending {cell, staged state, Welcome} ──own closing cell read──▶ merged (closing.py)
        ▲                        │
        └── decided anew ◀───────┘  CLOSED: another commit won; wait 0 to 2 s

While a commit is pending nothing else is sealed. The epoch stays e until the closing cell is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from clients.sdk.line import cells, log, removals, sealing, whereabouts
from clients.sdk.line.events import AlarmKind, DeliveryState, LinePhase
from clients.sdk.line.payloads import encode_claim
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from clients.sdk.line.tables import CommitIntent, IntentRow, PendingCommitRow, RequestRow
from clients.sdk.line.timing import (
    COMMIT_RETRY_SECONDS,
    DAY_SECONDS,
    KEY_PACKAGE_DAYS,
    MAX_SEALED_PER_EPOCH,
    SELF_UPDATE_MIN_SECONDS,
    SELF_UPDATE_SPREAD_SECONDS,
    SILENT_SECONDS,
    UNHEARD_SECONDS,
)
from crypto.codec import CodecError, decode
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.key_package import KeyPackage, check_lifetime, read_key_package
from crypto.policy import MAX_LEAVES, product_capabilities
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex
from keys.certificates import DeviceCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Intention:
    """What a commit would do now."""

    intent: CommitIntent
    subject: bytes = b""
    adds: tuple[KeyPackage, ...] = ()
    removes: tuple[Member, ...] = ()
    added_devices: tuple[bytes, ...] = ()
    reply_secret: bytes = field(default=b"", repr=False)


def pump(step: Step) -> None:
    """Deposit a pending commit, or begin one that is due."""
    if not _may_commit(step):
        return
    pending = step.tables.pending_commit.get(b"")
    if pending is None:
        intention = _due(step) if step.state.commit_not_before <= step.now else None
        if intention is None or _in_flight(step):
            return
        pending = _begin(step, intention)
    sealing.deposit(
        step, deposit_id=pending.deposit_id, cell=pending.cell, close=True, order=sealing.COMMIT_ORDER
    )


def _may_commit(step: Step) -> bool:
    """R9's gate; and a joiner changes no keys before LINE_INFO gave it R, its way back (R16, R18).

    Were it to move the epoch on without R, and the relay then lost its closing cell, the line would be dead:
    the others could not follow, and had no return channel to reach it by.

    """
    return (
        step.state.phase in {LinePhase.ACTIVE, LinePhase.ENDING}
        and bool(step.state.secret)
        and not step.state.awaits_info
        and step.conn.up
        and log.read_to_head(step)
        and not step.conn.closed_since
        and step.conn.blocked_until <= step.now
    )


def _in_flight(step: Step) -> bool:
    """Cells that are deposited and unanswered come first.

    A full channel answers none of them, and yet takes one closing cell (R5): else nobody could ever leave it.
    """
    return not step.conn.full and any(row.state is DeliveryState.SEALED for row in step.tables.outbox.rows())


def lost_race(step: Step) -> None:
    """Another closing cell won: drop the staged state; decide anew after a random 0 to 2 s (R13)."""
    if step.tables.pending_commit.get(b"") is not None:
        step.tables.pending_commit.clear()
        step.state.commit_not_before = step.now + step.random_seconds(COMMIT_RETRY_SECONDS)


def _begin(step: Step, intention: Intention) -> PendingCommitRow:
    """Make the commit, seal it under the epoch that it ends, and keep all of it (R13)."""
    made = step.mls.commit(
        adds=intention.adds,
        removes=[LeafIndex(member.leaf_index) for member in intention.removes],
        rng=step.rng,
        authenticated_data=encode_claim(log.own_claim(step)),
        credential=_renewed_credential(step),
    )
    step.group_changed = True
    sealed = sealing.seal_message(step, made.message, order=sealing.COMMIT_ORDER)
    pending = PendingCommitRow(
        intent=intention.intent,
        epoch=step.state.epoch,
        turn=step.state.turn,
        deposit_id=sealed.deposit_id,
        digest=sealed.digest,
        cell=sealed.cell,
        staged=made.staged.to_bytes(),
        welcome=made.welcome or b"",
        added=list(intention.added_devices),
        removed=[member.device_id for member in intention.removes],
        subject=intention.subject,
        reply_secret=intention.reply_secret,
    )
    step.tables.pending_commit.put(b"", pending)
    return pending


def _renewed_credential(step: Step) -> Credential | None:
    """This device's certificate, where its leaf still carries an older one (P5 of R14 allows the change)."""
    leaf = step.mls.member(step.mls.own_leaf).leaf_node
    renewed = Credential.basic(step.own.certificate)
    return None if leaf.credential == renewed else renewed


# ------------------------------------------------------------------------------------------- intentions


def _due(step: Step) -> Intention | None:
    """The most urgent intention that still holds, judged from the present state (R13).

    In a channel whose state the relay has lost, before another leaf was heard there (R9), only a stranded one
    is let in again: the others may be in an epoch that was closed here, and whoever changes keys now branches
    off alone, into a channel where nobody is and nothing seems lost.
    """
    if whereabouts.behind(step):
        return None  # another leaf has gone on, by a closing cell that is still to be read
    if step.state.channel.lost_seconds is not None:
        return _rejoin_due(step)
    if step.state.update_first:
        return Intention(intent=CommitIntent.SELF_UPDATE)
    if _info_outstanding(step):
        # A lost device is removed at once, whoever has not receipted R yet.
        return _removal_due(step) or _rejoin_due(step) or _silent_due(step)
    return (
        _removal_due(step)
        or _rejoin_due(step)
        or _addition_due(step)
        or _update_due(step)
        or _silent_due(step)
    )


def _info_outstanding(step: Step) -> bool:
    """A LINE_INFO or NEW_R of the last week that not every device has receipted.

    Moving on before would leave a device without R behind; if the relay then lost the closing cell, nobody
    could reach that device any more (R16, R18). After a week R17 counts such a leaf as dead anyway.
    """
    state = step.state
    return bool(state.infos_outstanding) and step.now < state.info_since + UNHEARD_SECONDS


def _update_due(step: Step) -> Intention | None:
    """R17: on request, when in use and the last was long ago, or when the ratchet has gone far."""
    state = step.state
    by_time = state.used_since_update and 0 < state.next_update_at <= step.now
    if state.update_due or by_time or state.sealed_in_epoch >= MAX_SEALED_PER_EPOCH:
        return Intention(intent=CommitIntent.SELF_UPDATE)
    return None


def schedule_update(step: Step) -> None:
    """An own commit with its path was merged: the next self-update is 7 to 14 days away (R17)."""
    state = step.state
    state.update_first = state.update_due = state.used_since_update = False
    state.updated_at = step.now
    spread = step.random_seconds(SELF_UPDATE_SPREAD_SECONDS)
    state.next_update_at = step.now + SELF_UPDATE_MIN_SECONDS + spread


def _removal_due(step: Step) -> Intention | None:
    """A removal that was undone, or a wish to remove a device of the own person."""
    for member in removals.returned(step):
        if _removable(step, member):
            return Intention(intent=CommitIntent.REMOVE, subject=member.device_id, removes=(member,))
    return _wished(step, CommitIntent.REMOVE, _remove)


def _addition_due(step: Step) -> Intention | None:
    """A wish to add a device of the own person."""
    return _wished(step, CommitIntent.ADD, _add)


def _wished(
    step: Step, intent: CommitIntent, judge: Callable[[Step, IntentRow], Intention | None]
) -> Intention | None:
    """The first wish of a kind that still makes sense; one that makes none any more is dropped."""
    for row in list(step.tables.intents.rows()):
        if row.intent is not intent:
            continue
        intention = judge(step, row)
        if intention is not None:
            return intention
        step.tables.intents.delete(row.device_id)
    return None


def _add(step: Step, row: IntentRow) -> Intention | None:
    try:
        key_package = check_own_person(step, row.key_package)
        check_lifetime(key_package, now=step.now)
    except (CodecError, ValidationError, AuthenticationError, StateError):
        return None
    if step.state.member(row.device_id) is not None or len(step.state.members) >= MAX_LEAVES:
        return None
    return Intention(
        intent=CommitIntent.ADD, subject=row.device_id, adds=(key_package,), added_devices=(row.device_id,)
    )


def _remove(step: Step, row: IntentRow) -> Intention | None:
    member = step.state.member(row.device_id)
    if member is None or not _removable(step, member):
        return None
    return Intention(intent=CommitIntent.REMOVE, subject=row.device_id, removes=(member,))


def _silent_due(step: Step) -> Intention | None:
    """R17: leaves of the own person that were never heard for 7 days, or not for 60."""
    for member in step.state.members:
        if _removable(step, member) and given_up(step, member):
            return Intention(intent=CommitIntent.REMOVE, subject=member.device_id, removes=(member,))
    return None


def given_up(step: Step, member: Member) -> bool:
    """R17: whether a leaf was never heard for 7 days, or not for 60."""
    if not member.heard_at:
        return step.now - member.added_at >= UNHEARD_SECONDS
    return step.now - member.heard_at >= SILENT_SECONDS


def _removable(step: Step, member: Member) -> bool:
    """Own person's, not this device, and not the primary one (R14 P3, P4; RFC 9420 section 12.2)."""
    if member.identity_key != step.own.identity_key or member.device_id == step.own.device_id:
        return False
    leaf = step.mls.member(LeafIndex(member.leaf_index)).leaf_node
    return not DeviceCertificate.decode(leaf.credential.identity).primary


def changing(step: Step) -> frozenset[bytes]:
    """Devices that a wish or a pending commit of this device is about."""
    pending = step.tables.pending_commit.get(b"")
    devices = {row.device_id for row in step.tables.intents.rows()}
    if pending is not None:
        devices.update(pending.added, pending.removed)
    return frozenset(devices)


def check_own_person(step: Step, key_package: bytes) -> KeyPackage:
    """A KeyPackage that this person's commit may add (R14 P2).

    Raises:
        CodecError: Malformed.
        AuthenticationError: The certificate is not genuine.
        ValidationError: ``R14.P2``: another identity, another key, or other capabilities.
    """
    decoded = decode(key_package, read_key_package)
    if check_leaf(decoded, step.suite).identity_key != step.own.identity_key:
        raise ValidationError("R14.P2")
    return decoded


def check_leaf(key_package: KeyPackage, suite: CipherSuite) -> DeviceCertificate:
    """The certificate of a KeyPackage's leaf, if it is genuine and the leaf is as P2 wants it.

    Raises:
        CodecError: No certificate.
        AuthenticationError: Not genuine.
        ValidationError: ``R14.P2``.
    """
    leaf = key_package.leaf_node
    certificate = DeviceCertificate.decode(leaf.credential.identity)
    certificate.verify()
    if certificate.device_key != leaf.signature_key or leaf.capabilities != product_capabilities(suite):
        raise ValidationError("R14.P2")
    return certificate


# ------------------------------------------------------------------------------ R18, the answering side


def _rejoin_due(step: Step) -> Intention | None:
    """A request whose time has come and that still holds; others are dropped."""
    for request in list(step.tables.requests.rows()):
        if request.due_at > step.now:
            continue
        intention = replacement(step, request)
        if intention is not None:
            return intention
        step.tables.requests.delete(request.device_id)
    return None


def replacement(step: Step, request: RequestRow) -> Intention | None:
    """Remove and add the same device again, if the tree still has that leaf (R18)."""
    member = step.state.member(request.device_id)
    if member is None or removals.refused(step, request.device_id):
        return None
    try:
        key_package = decode(request.key_package, read_key_package)
        certificate = check_leaf(key_package, step.suite)
        check_lifetime(key_package, now=step.now)
    except (CodecError, ValidationError, AuthenticationError):
        return None
    if _answered(request, key_package, member):
        return None
    leaf = step.mls.member(LeafIndex(member.leaf_index)).leaf_node
    if leaf.encryption_key == key_package.leaf_node.encryption_key:
        return None  # this very KeyPackage was used already
    before = DeviceCertificate.decode(leaf.credential.identity)
    if (before.identity_key, before.device_key, before.device_id, before.role) != (
        certificate.identity_key,
        certificate.device_key,
        certificate.device_id,
        certificate.role,
    ):
        return None
    return Intention(
        intent=CommitIntent.REJOIN,
        subject=cells.digest_of(request.key_package),
        adds=(key_package,),
        removes=(member,),
        added_devices=(member.device_id,),
        reply_secret=request.secret,
    )


def _answered(request: RequestRow, key_package: KeyPackage, member: Member) -> bool:
    """Whether the leaf that a request is about is gone, because this member or another has answered it.

    So it is when the device was added again in a later epoch, has spoken since, and made the KeyPackage
    before that. One made later asks anew: its vault may be a copy from before its last return (R9).
    """
    if request.epoch >= member.added_epoch or not member.heard_at:
        return False
    lifetime = key_package.leaf_node.lifetime
    return lifetime is None or lifetime.not_after - KEY_PACKAGE_DAYS * DAY_SECONDS <= member.added_at


def refused_for_good(step: Step) -> None:
    """The relay will not take a commit of ours, for a reason that is not the channel's (a fault of ours)."""
    step.tables.pending_commit.clear()
    step.notify(AlarmKind.RELAY_REFUSES, "The relay refused a change of keys.", keep=True)
