"""How a line begins: founded by the client, joined by a Welcome, or put back from an export (R9, R16, R18).

Each function works inside a transaction that the caller opened, so that the device layer's own records (the
line's name, the seen group ids) are made in the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clients.sdk.line import commits, epochs, exporting, outbox, returns, secrets_of_line
from clients.sdk.line.events import LinePhase, RejoinReason
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.line.state import ChannelPosition, LineState, Member, encode_row
from clients.sdk.line.step import Connection, OwnDevice, Rng, Step
from clients.sdk.line.tables import CounterRow, ItemClass, RemovedRow, Tables, WelcomeRow
from crypto.codec import CodecError
from crypto.credentials import Credential
from crypto.errors import StateError, ValidationError
from crypto.group import Group, OwnLeafParams
from crypto.key_package import KeyPackage, KeyPackageBundle
from crypto.policy import MAX_LEAVES, product_capabilities
from crypto.suites import CipherSuite
from keys.certificates import DeviceCertificate
from keys.vault import VaultTransaction

GROUP_ID_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """What first contact needs of a line that was just founded.

    Attributes:
        welcome: Encoded MLSMessage(Welcome) for all devices of the other person. Kept in the vault until
            :class:`~clients.sdk.line.events.WelcomeDelivered` names ``welcome_id``.
    """

    group_id: bytes
    epoch_authenticator: bytes
    welcome_id: bytes
    welcome: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What a Welcome led to."""

    group_id: bytes
    epoch_authenticator: bytes
    signer_identity: bytes
    identities: tuple[bytes, ...]


def found_line(
    tx: VaultTransaction,
    line_id: bytes,
    own: OwnDevice,
    rng: Rng,
    *,
    now: float,
    key_packages: Sequence[KeyPackage],
    suite: CipherSuite,
) -> Founding:
    """The client's side of first contact: a group of two persons, whose first commit is already accepted.

    Nobody but this device is in epoch 0, so its commit needs no channel. The caller has checked the
    KeyPackages' lifetime, certificates and device list (DESIGN section 6).

    Raises:
        ValidationError: ``R14.P2``/``R14.P5``, or a KeyPackage breaks RFC 9420.
        CodecError: A credential is no certificate.
        AuthenticationError: A certificate is not genuine.
    """
    others = [commits.check_leaf(key_package, suite) for key_package in key_packages]
    identities = {certificate.identity_key for certificate in others}
    if len(identities) != 1 or own.identity_key in identities or len(others) >= MAX_LEAVES:
        raise ValidationError("R14.P5")
    group_id = rng(GROUP_ID_BYTES)
    alone = Group.create(
        suite=suite,
        group_id=group_id,
        leaf=OwnLeafParams(
            signature_private=own.signature_private,
            credential=Credential.basic(own.certificate),
            capabilities=product_capabilities(suite),
        ),
        rng=rng,
    )
    made = alone.commit(adds=key_packages, removes=(), rng=rng, authenticated_data=b"")
    if made.welcome is None:
        raise StateError("a commit that adds has a Welcome")
    group = alone.merge(made.staged)
    authenticator = group.epoch_authenticator
    step = _new_step(tx, line_id, own, rng, now=now, suite=suite, group_id=group_id, epoch=group.epoch)
    step.state.identities = [own.identity_key, *identities]
    epochs.enter_epoch(step, group, added=set())
    step.state.claim_previous = False
    commits.schedule_update(step)
    secrets_of_line.renew(step)
    outbox.add(step, item_class=ItemClass.CONTENT, kind=PayloadKind.LINE_INFO, front=True, every_device=True)
    welcome_id = rng(16)
    row = WelcomeRow(
        welcome_id=welcome_id, device_id=others[0].device_id, welcome=made.welcome, founding=True
    )
    step.tables.welcomes.put(welcome_id, row)
    _save(step)
    return Founding(
        group_id=group_id, epoch_authenticator=authenticator, welcome_id=welcome_id, welcome=made.welcome
    )


def join_line(
    tx: VaultTransaction,
    line_id: bytes,
    own: OwnDevice,
    rng: Rng,
    *,
    now: float,
    welcome: bytes,
    bundle: KeyPackageBundle,
    known_group: Callable[[bytes], bool],
    signer_identity: bytes | None = None,
    group_id: bytes | None = None,
    peer_identity: bytes | None = None,
    suite: CipherSuite,
) -> Joined:
    """Enter a line by a Welcome: a therapist's device at first contact, or a new device of either person.

    Args:
        tx: Open; nothing is written if this raises.
        line_id: 16 bytes, fresh.
        own: This device, certified for the leaf in the KeyPackage.
        rng: Random bytes.
        now: UTC seconds.
        welcome: Encoded MLSMessage(Welcome).
        bundle: The KeyPackage that it is for, with its private keys.
        known_group: Whether this device has seen a group id before (R16; replayed first contacts).
        signer_identity: The identity that must have signed it, where it is known.
        group_id: That it must have, where it is known.
        peer_identity: The other person's identity key, where it is known.
        suite: The product's.

    Raises:
        ValidationError: ``R16`` and what is wrong; or a rule of RFC 9420.
        CodecError, AuthenticationError: As for joining.
    """
    group = Group.join(
        welcome=welcome,
        key_package=bundle.key_package,
        init_private=bundle.init_private,
        encryption_private=bundle.encryption_private,
        signature_private=own.signature_private,
    )
    if group.suite.code != suite.code:
        raise ValidationError("R16.suite")
    if known_group(group.group_id):
        raise ValidationError("R16.group-known")
    identities = _identities(group)
    if own.identity_key not in identities or len(identities) != 2 or len(group.members) > MAX_LEAVES:
        raise ValidationError("R16.identity")
    if peer_identity is not None and peer_identity not in identities:
        raise ValidationError("R16.identity")
    returns.check_joined(group, group_id=group_id, identities=identities)
    step = _new_step(tx, line_id, own, rng, now=now, suite=suite, group_id=group.group_id, epoch=group.epoch)
    step.state.identities = identities
    authenticator, signer_leaf = group.epoch_authenticator, group.signer
    epochs.enter_epoch(step, group, added=set())
    signer = step.state.member_at(signer_leaf) if signer_leaf is not None else None
    if signer is None or (signer_identity is not None and signer.identity_key != signer_identity):
        raise ValidationError("R16.signer")
    step.state.claim_previous = False
    epochs.without_baselines(step)
    step.state.secret_from = [signer.device_id]
    step.state.update_first = True
    _save(step)
    return Joined(
        group_id=group.group_id,
        epoch_authenticator=authenticator,
        signer_identity=signer.identity_key,
        identities=tuple(identities),
    )


def import_line(
    tx: VaultTransaction,
    line_id: bytes,
    own: OwnDevice,
    rng: Rng,
    *,
    now: float,
    record: bytes,
    suite: CipherSuite,
) -> None:
    """R9: put a line back from an export. It comes back as a new leaf, by R18.

    Raises:
        CodecError: Damaged.
    """
    exported = exporting.decode_export(record)
    step = _new_step(
        tx, line_id, own, rng, now=now, suite=suite, group_id=exported.group_id, epoch=exported.epoch
    )
    state = step.state
    state.identities = list(exported.identities)
    state.settings = exported.settings
    state.next_counter = exported.next_counter
    state.members = [
        Member(
            device_id=member.device_id,
            identity_key=member.identity_key,
            leaf_index=0,
            added_epoch=exported.epoch,
            added_at=now,
            heard_at=0.0,
        )
        for member in exported.members
    ]
    for member in exported.members:
        if member.device_id != own.device_id:
            row = CounterRow(
                device_id=member.device_id,
                identity_key=member.identity_key,
                contiguous=member.contiguous,
                highest=member.contiguous,
            )
            step.tables.counters.put(member.device_id, row)
    for device_id in exported.removed:
        step.tables.removed.put(device_id, RemovedRow(device_id=device_id, removed_at=now))
    exporting.put_messages(step, exported)
    if exported.over:
        state.phase = LinePhase.ENDED
    else:
        secrets_of_line.change(step, exported.secret.reveal())
        state.phase = LinePhase.STRANDED
        state.stranded_reason = RejoinReason.IMPORTED
    _save(step)


def _identities(group: Group) -> list[bytes]:
    found: list[bytes] = []
    for member in group.members:
        try:
            identity = DeviceCertificate.decode(member.leaf_node.credential.identity).identity_key
        except CodecError:
            raise ValidationError("R16.certificate") from None
        if identity not in found:
            found.append(identity)
    return found


def _new_step(
    tx: VaultTransaction,
    line_id: bytes,
    own: OwnDevice,
    rng: Rng,
    *,
    now: float,
    suite: CipherSuite,
    group_id: bytes,
    epoch: int,
) -> Step:
    tables = Tables(tx, line_id)
    if tables.row.get() is not None:
        raise StateError("there is a line under this id")
    state = LineState(
        phase=LinePhase.ACTIVE,
        suite=suite.code,
        group_id=group_id,
        epoch=epoch,
        channel=ChannelPosition(token=b""),
    )
    return Step(
        tables=tables,
        state=state,
        conn=Connection(),
        group=None,
        own=own,
        suite=suite,
        rng=rng,
        now=now,
    )


def _save(step: Step) -> None:
    if step.group is not None:
        step.tables.group.put(step.group.to_bytes())
    step.tables.row.put(encode_row(step.state))
