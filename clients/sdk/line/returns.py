"""R18: requests and Welcomes over return channels, from both sides.

The stranded side makes a fresh KeyPackage, sends a signed request to every other leaf's return channel, at
most once a day, and joins by the first Welcome that passes R16's checks. The answering side notes the request
and lets :mod:`.commits` do the rest. A fork is never answered by itself: the people decide
(:mod:`.resolving`).
"""

from __future__ import annotations

from typing import Final

from clients.sdk.line import (
    cells,
    company,
    delivery,
    epochs,
    mail,
    numbering,
    rejoin_wire,
    removals,
    resolving,
    secrets_of_line,
    taking_info,
    whereabouts,
)
from clients.sdk.line.events import (
    AlarmKind,
    CellArrived,
    LinePhase,
    RejoinReason,
)
from clients.sdk.line.fork import FORKS, declare_fork
from clients.sdk.line.rejoin_wire import RejoinRequest, RejoinWelcome, Whereabouts
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from clients.sdk.line.tables import (
    AnsweredRow,
    PendingCommitRow,
    RejoinKeyRow,
    RequestRow,
    ReturnRow,
    u64_key,
)
from clients.sdk.line.timing import (
    DAY_SECONDS,
    KEY_PACKAGE_DAYS,
    MAX_REJOIN_KEY_PACKAGES,
    MINUTE_SECONDS,
    REJOIN_DELAY_SECONDS,
    REJOIN_INTERVAL_SECONDS,
    SECOND_WELCOME_SECONDS,
    STAY_DELAY_SECONDS,
    UNHEARD_SECONDS,
)
from crypto.channel import return_address, return_key
from crypto.codec import CodecError, decode
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.group import Group
from crypto.key_package import KeyPackage, generate_key_package, read_key_package
from crypto.leaf_node import Lifetime
from crypto.mls_message import read_mls_message
from crypto.policy import product_capabilities
from crypto.tree_math import LeafIndex
from crypto.welcome import Welcome
from keys.certificates import DeviceCertificate

NEVER: Final = float(2**40)
"""Due time of a request that only a person can release."""
IN_VAIN: Final = (
    "For a week nobody has let this device into the line again. If the others are not just away, "
    "remove this device on your first device and add it again; a first device needs a new line."
)
KEEP_UNUSED_SECONDS: Final = 2 * DAY_SECONDS
"""How long private keys of unanswered KeyPackages outlive a rejoin, to tell a late answer from a fork."""


# --------------------------------------------------------------------------------------------- mail


def post(step: Step, secret: bytes, device_id: bytes, message: bytes) -> None:
    """Seal a message for another device's return channel and hand it over until it is STORED (R19)."""
    k = return_address(secret, device_id)
    ref = cells.stored_ref(secrets_of_line.READERS, k)
    cell = cells.seal(return_key(secret), ref, message, step.rng)
    mail.post(step, deposit_id=step.rng(16), k=k, readers=secrets_of_line.READERS, cell=cell)


# ------------------------------------------------------------------------------------ the stranded side


def pump(step: Step) -> None:
    """A stranded device asks every member, once a day, with a fresh KeyPackage each time."""
    _explain_second_welcome(step)
    resolving.consider(step)
    _never_told(step)
    state = step.state
    if state.phase is not LinePhase.STRANDED or state.stranded_reason is None:
        return
    if not state.secret:
        step.notify(
            AlarmKind.STRANDED, "This device was given no way back into the line; a new line is needed."
        )
        return
    # A time to come was written by a clock that was ahead: it says nothing, and nobody waits for it.
    asked_at = state.rejoin_requested_at
    if asked_at and asked_at <= step.now < asked_at + REJOIN_INTERVAL_SECONDS:
        return
    others = [member for member in state.members if member.device_id != step.own.device_id]
    if not step.conn.up or not others:
        return
    state.rejoin_requested_at = step.now
    if not state.stay_at or state.stay_at > step.now + 2 * STAY_DELAY_SECONDS:
        state.stay_at = step.now + STAY_DELAY_SECONDS
        state.stay_at += step.random_seconds(STAY_DELAY_SECONDS) if state.stranded_reason in FORKS else 0
    key_package = _fresh_key_package(step)
    for member in others:
        message = _request(step, state.stranded_reason, key_package, member)
        # Under the old R too: whoever has not heard of the newest one reads only there. A removed device that
        # reads along learns that this device is stranded, and nothing else.
        for secret in [state.secret, *(old.secret for old in state.old_secrets)]:
            post(step, secret, member.device_id, message)
    step.notify(AlarmKind.STRANDED, "This device has asked to be let into the line again.")
    _say_that_it_was_in_vain(step)


def _say_that_it_was_in_vain(step: Step) -> None:
    """After a week the person is told what to do: the others may have no leaf of this device any more."""
    made = [keys.made_at for keys in step.tables.rejoin_keys.rows() if keys.init_private]
    standing = step.tables.alarms.get(u64_key(AlarmKind.STRANDED.value))
    asked_for = step.now - min(made, default=step.now)  # of eight requests that are kept, to the millisecond
    if asked_for >= UNHEARD_SECONDS - MINUTE_SECONDS and (standing is None or standing.sentence != IN_VAIN):
        step.clear_alarm(AlarmKind.STRANDED)
        step.notify(AlarmKind.STRANDED, IN_VAIN)


def _never_told(step: Step) -> None:
    """A joiner that nobody told R for a week: the others give it up (R17), and it can ask nobody (R16)."""
    own = step.state.member(step.own.device_id)
    waits = step.state.phase is LinePhase.ACTIVE and not step.state.secret and own is not None
    if waits and own is not None and step.now >= own.added_at + UNHEARD_SECONDS:
        step.notify(
            AlarmKind.STRANDED,
            "This device was added to the line, and has heard nothing of it since; "
            "remove it on your first device, and add it again.",
        )


def _request(step: Step, reason: RejoinReason, key_package: bytes, member: Member) -> bytes:
    counted = step.tables.counters.get(member.device_id)
    request = RejoinRequest(
        group_id=step.state.group_id,
        epoch=step.state.epoch,
        reason=reason,
        stay=resolving.may_stay(step),
        next_counter=1 if counted is None else max(counted.contiguous, counted.highest) + 1,
        device_id=step.own.device_id,
        key_package=key_package,
    )
    return rejoin_wire.encode_request(request, step.own.signature_private)


def _fresh_key_package(step: Step) -> bytes:
    day = int(step.now // DAY_SECONDS * DAY_SECONDS)
    bundle = generate_key_package(
        suite=step.suite,
        signature_private=step.own.signature_private,
        credential=Credential.basic(step.own.certificate),
        capabilities=product_capabilities(step.suite),
        # To the second: it says when the request was made (see commits), to members alone.
        lifetime=Lifetime(not_before=day, not_after=int(step.now + KEY_PACKAGE_DAYS * DAY_SECONDS)),
        rng=step.rng,
    )
    encoded = bundle.key_package.to_bytes()
    for ahead in list(step.tables.rejoin_keys.rows()):
        if ahead.made_at > step.now:  # by a clock that was; it must not pass for the newest until that day
            ahead.made_at = step.now
            step.tables.rejoin_keys.put(cells.digest_of(ahead.key_package), ahead)
    rows = sorted(step.tables.rejoin_keys.rows(), key=lambda row: row.made_at)
    for old in rows[: max(0, len(rows) - MAX_REJOIN_KEY_PACKAGES + 1)]:
        step.tables.rejoin_keys.delete(cells.digest_of(old.key_package))
    row = RejoinKeyRow(
        key_package=encoded,
        init_private=bundle.init_private.reveal(),
        encryption_private=bundle.encryption_private.reveal(),
        made_at=step.now,
    )
    step.tables.rejoin_keys.put(cells.digest_of(encoded), row)
    return encoded


# ------------------------------------------------------------------------------------- what comes in


def cell(step: Step, row: ReturnRow, event: CellArrived) -> None:
    """A cell in an own return channel: acknowledged whatever it is; what does not open is reported once."""
    if not secrets_of_line.advance(step, row, event.seq):
        return
    try:
        opened = cells.open_(return_key(row.secret), row.ref, event.body)
        match rejoin_wire.decode_return_message(opened):
            case RejoinRequest() as request:
                _take_request(step, row, request)
            case RejoinWelcome() as answer:
                _take_welcome(step, answer.welcome)
            case Whereabouts() as note:
                whereabouts.take(step, note)
    except (CodecError, ValidationError, AuthenticationError):
        step.notify(AlarmKind.UNREADABLE, "A request in the return channel could not be read.", keep=False)


def _take_request(step: Step, row: ReturnRow, request: RejoinRequest) -> None:
    """Note a request by a current member, signed with its leaf's key (R18).

    Raises:
        AuthenticationError: Not signed by that leaf.
        ValidationError: ``R18.not-a-member``: no such leaf in the current tree, or another group;
            ``R18.removed``: it was removed, and only an old store has brought it back.
    """
    state = step.state
    member = state.member(request.device_id)
    if (
        member is None
        or step.group is None
        or request.group_id != state.group_id
        or request.device_id == step.own.device_id
    ):
        raise ValidationError("R18.not-a-member")
    if removals.refused(step, request.device_id):
        raise ValidationError("R18.removed")
    request.verify(step.group.member(LeafIndex(member.leaf_index)).leaf_node.signature_key)
    answered = step.tables.answered.get(request.device_id)
    digest = cells.digest_of(request.key_package)
    if answered is not None and digest in answered.key_package_hashes:
        return
    due_at = step.now
    if member.identity_key != step.own.identity_key:
        due_at += step.random_seconds(REJOIN_DELAY_SECONDS)
    if answered is not None and answered.answered_at <= step.now:
        due_at = max(due_at, answered.answered_at + REJOIN_INTERVAL_SECONDS)
    taking_info.take_from_request(step, request)
    numbering.heard_of(step, request.next_counter)
    forked = request.reason in FORKS and not resolving.decided(step, member)
    if forked or state.phase is LinePhase.UNDECIDED:
        due_at = NEVER
    noted = RequestRow(
        device_id=request.device_id,
        epoch=request.epoch,
        reason=request.reason,
        key_package=request.key_package,
        due_at=due_at,
        noted_at=step.now,
        stay=request.stay,
        secret=row.secret,
    )
    step.tables.requests.put(request.device_id, noted)
    if state.phase is LinePhase.STRANDED:
        resolving.consider(step)
    elif forked:
        declare_fork(step, "Another device of this line has seen a different record of it.")


def _take_welcome(step: Step, welcome: bytes) -> None:
    """An answer: join by it if stranded; else it may be another branch (R18)."""
    keys = _addressed(step, welcome)
    if keys is None:
        raise ValidationError("R18.welcome-not-for-us")
    digest = cells.digest_of(welcome)
    if keys.welcome_digest == digest:
        return  # the same answer again
    if step.state.phase is LinePhase.STRANDED and not keys.welcome_digest:
        _join(step, keys, welcome)
    elif keys.welcome_digest or not keys.init_private:
        _two_branches(step)
    else:
        _hold_second_welcome(step, keys, welcome)


def _addressed(step: Step, welcome: bytes) -> RejoinKeyRow | None:
    """Which of the KeyPackages sent out a Welcome is for."""
    body = decode(welcome, read_mls_message).body
    if not isinstance(body, Welcome):
        raise ValidationError("R18.not-a-welcome")
    refs = {secrets.new_member for secrets in body.secrets}
    for keys in step.tables.rejoin_keys.rows():
        if _key_package(keys).ref(step.suite) in refs:
            return keys
    return None


def _key_package(keys: RejoinKeyRow) -> KeyPackage:
    return decode(keys.key_package, read_key_package)


def _open(step: Step, keys: RejoinKeyRow, welcome: bytes) -> Group:
    """Join in memory and check what R16 demands.

    Raises:
        ValidationError: ``R16``; or whatever joining raises.
    """
    try:
        group = Group.join(
            welcome=welcome,
            key_package=_key_package(keys),
            init_private=keys.init_private,
            encryption_private=keys.encryption_private,
            signature_private=step.own.signature_private,
        )
    except StateError:
        raise ValidationError("R16.join") from None
    check_joined(group, group_id=step.state.group_id, identities=step.state.identities)
    return group


def check_joined(group: Group, *, group_id: bytes | None, identities: list[bytes]) -> None:
    """R16: group id, the signer's identity and every leaf's identity are the expected ones.

    Raises:
        ValidationError: ``R16`` and what is wrong.
    """
    if group_id is not None and group.group_id != group_id:
        raise ValidationError("R16.group-id")
    if group.signer is None or group.signer == group.own_leaf:
        raise ValidationError("R16.signer")
    seen = set()
    for member in group.members:
        leaf = member.leaf_node
        try:
            certificate = DeviceCertificate.decode(leaf.credential.identity)
            certificate.verify()
        except (CodecError, AuthenticationError):
            raise ValidationError("R16.certificate") from None
        if certificate.device_key != leaf.signature_key or certificate.identity_key not in identities:
            raise ValidationError("R16.identity")
        seen.add(certificate.device_id)
    if len(seen) != len(group.members):
        raise ValidationError("R16.device-twice")


def _join(step: Step, keys: RejoinKeyRow, welcome: bytes) -> None:
    """R16, R18: come back. Counters are taken as baseline from LINE_INFO, no history is asked for."""
    group = _open(step, keys, welcome)
    state = step.state
    state.previous = None
    there = {
        DeviceCertificate.decode(member.leaf_node.credential.identity).device_id for member in group.members
    }
    for row in list(step.tables.counters.rows()):
        if row.device_id not in there:  # it left while this device was away: nobody can be asked (R11)
            delivery.give_up_all(step, row.device_id)
        row.baseline = False
        step.tables.counters.put(row.device_id, row)
    before, state.members = state.members, []
    state.resolved_same = False
    if state.resolved_at:
        state.resolved_at = step.now  # the others come to this branch too
    state.rejoin_requested_at = state.second_welcome_at = state.stay_at = 0.0
    step.tables.second_welcome.clear()
    whereabouts.forget(step)
    step.tables.requests.clear()  # of before: this device's tree is another one now
    epochs.enter_epoch(step, group, added=set())
    for member in state.members:
        row_of = step.tables.counters.get(member.device_id)
        if row_of is not None and row_of.baseline:  # a device that came while this one was away
            row_of.baseline = False
            step.tables.counters.put(member.device_id, row_of)
    signer = state.member_at(group.signer) if group.signer is not None else None
    state.secret_from = [] if signer is None else [signer.device_id]
    state.older_due = 0
    state.awaits_info = True
    state.update_first = True
    _used(step, keys, welcome)
    for alarm in (
        AlarmKind.STRANDED,
        AlarmKind.CLONE,
        AlarmKind.FORK,
        AlarmKind.TWO_BRANCHES,
        AlarmKind.CHANNEL_FULL,
        AlarmKind.CHANNEL_GONE,
        AlarmKind.DEVICE_FAULT,
    ):
        step.clear_alarm(alarm)
    step.set_phase(LinePhase.ACTIVE)
    step.notify(AlarmKind.REJOINED, "This device is back in the line.", device_id=step.own.device_id)
    company.tell_what_changed(step, before)


def _used(step: Step, keys: RejoinKeyRow, welcome: bytes) -> None:
    """Each KeyPackage once: its private keys go, its name stays to recognise a second Welcome."""
    keys.init_private = keys.encryption_private = b""
    keys.welcome_digest = cells.digest_of(welcome)
    step.tables.rejoin_keys.put(cells.digest_of(keys.key_package), keys)


def housekeeping(step: Step) -> None:
    """Private keys of KeyPackages that nobody answered do not stay."""
    if step.state.phase is LinePhase.STRANDED:
        return
    for keys in list(step.tables.rejoin_keys.rows()):
        if keys.init_private and keys.made_at + KEEP_UNUSED_SECONDS <= step.now:
            keys.init_private = keys.encryption_private = b""
            step.tables.rejoin_keys.put(cells.digest_of(keys.key_package), keys)


# ----------------------------------------------------------------------------------- a second Welcome


def _hold_second_welcome(step: Step, keys: RejoinKeyRow, welcome: bytes) -> None:
    """Another request was answered too. If the log explains it (this leaf was replaced again), fine."""
    group = _open(step, keys, welcome)
    if group.epoch <= step.state.epoch:
        _two_branches(step)
        return
    step.tables.second_welcome.put(welcome)
    step.state.second_welcome_at = step.now


def _explain_second_welcome(step: Step) -> None:
    held = step.state.second_welcome_at
    if held and step.now >= held + SECOND_WELCOME_SECONDS and step.ref in step.conn.attached:
        step.tables.second_welcome.clear()
        step.state.second_welcome_at = 0.0
        _two_branches(step)


def _two_branches(step: Step) -> None:
    declare_fork(
        step,
        "Two different continuations of this line were offered to this device.",
        kind=AlarmKind.TWO_BRANCHES,
    )


def replaced_again(step: Step) -> bool:
    """The log removed this leaf and added it by a KeyPackage of ours: go where that Welcome leads."""
    welcome = step.tables.second_welcome.get()
    if welcome is None:
        return False
    keys = _addressed(step, welcome)
    if keys is None or not keys.init_private:
        return False
    _join(step, keys, welcome)
    return True


def is_own_key_package(step: Step, key_package: bytes) -> bool:
    """Whether this device made the KeyPackage for a rejoin."""
    return step.tables.rejoin_keys.get(cells.digest_of(key_package)) is not None


# ------------------------------------------------------------------------------------ the answering side


def answer(step: Step, pending: PendingCommitRow) -> None:
    """R18: the Welcome goes into the return channel under the R by which the request came."""
    device_id = pending.added[0]
    post(step, pending.reply_secret, device_id, rejoin_wire.encode_welcome(pending.welcome))
    before = step.tables.answered.get(device_id)
    hashes = [] if before is None else before.key_package_hashes
    row = AnsweredRow(answered_at=step.now, key_package_hashes=[*hashes, pending.subject][-16:])
    step.tables.answered.put(device_id, row)
