"""One member's group in one epoch: what the rest of the product calls (RFC 9420; CHANNELS R1, R7 to R13).

Theory of operation::

    create / join ──▶ Group (epoch e) ──commit()────▶ PendingCommit ──┐
                        │   ▲                                         ├─ StagedCommit ──merge()──▶ Group (e +
                        1) │   └── from_bytes()                          │
                        └──unprotect(commit)────────▶ CommitReceived ─┘

Invariants:

* A Group changes only in ``protect``, ``commit`` (its handshake ratchet), ``unprotect`` of an application
  message (the sender's ratchet) and ``delete_exporter``. Save ``to_bytes()`` after each, before anything is
  sent or shown (R7). Whatever raises has changed nothing.
* A commit, one's own too, takes effect only in :meth:`Group.merge`, which gives a new Group; drop the old one
  then.
* Only PrivateMessages are taken. Proposals outside of commits, external commits, PSKs, ReInit: refused by
  rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crypto.codec import Reader, Writer, decode
from crypto.credentials import Credential
from crypto.errors import StateError, ValidationError
from crypto.extensions import Extensions
from crypto.group_codec import (
    STAGED_MAGIC,
    decode_group_state,
    encode_group_state,
    open_stored,
    seal_stored,
)
from crypto.group_commit import NewLeaf, make_commit
from crypto.group_create import OwnLeafParams, create_group
from crypto.group_events import ApplicationMessage, Member, OwnMessage
from crypto.group_join import join_group
from crypto.group_messages import open_message, seal_application
from crypto.group_process import CommitPlan, follow_commit, plan_commit
from crypto.group_state import GroupState
from crypto.key_package import KeyPackage, secret
from crypto.key_schedule import mls_exporter
from crypto.leaf_node import read_leaf_node, write_leaf_node
from crypto.mls_message import read_mls_message
from crypto.proposal_list import AddedMember, AppliedProposals, RemovedMember
from crypto.secret_tree import RatchetPolicy, RatchetType
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex
from crypto.welcome import Welcome

__all__ = [
    "ApplicationMessage",
    "CommitReceived",
    "Group",
    "Member",
    "OwnLeafParams",
    "OwnMessage",
    "PendingCommit",
    "RatchetPolicy",
    "Received",
    "StagedCommit",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedCommit:
    """The epoch after a commit, waiting to be merged (R13).

    Attributes:
        group: The group in that epoch.
        added: Who is new in it.
        removed: Who is gone, with the leaves as they were.
    """

    group: Group = field(repr=False)
    added: tuple[Member, ...]
    removed: tuple[Member, ...]

    def to_bytes(self) -> bytes:
        """The stored form. It holds secrets."""
        writer = Writer().opaque(self.group.to_bytes())
        writer.vector([member.leaf_index for member in self.added], Writer.u32)
        writer.vector(self.removed, _write_member)
        return seal_stored(STAGED_MAGIC, writer.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> StagedCommit:
        """Read the stored form.

        Raises:
            CodecError: Damaged.
            ValidationError: Damaged in a way that decodes.
            StateError: Written by a newer version of this program.
        """
        return open_stored(data, STAGED_MAGIC, cls._read)

    @classmethod
    def _read(cls, reader: Reader) -> StagedCommit:
        group = Group.from_bytes(reader.opaque())
        new = set(reader.vector(Reader.u32))
        added = tuple(member for member in group.members if member.leaf_index in new)
        return cls(group=group, added=added, removed=tuple(reader.vector(_read_member)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCommit:
    """A commit of our own that is not yet accepted (R13): save all three before sending.

    Attributes:
        message: MLSMessage(PrivateMessage), to be sealed under the epoch that it ends.
        welcome: MLSMessage(Welcome) for all who were added, to be sent once the commit is accepted.
        staged: The epoch that it leads to.
    """

    message: bytes = field(repr=False)
    welcome: bytes | None = field(repr=False)
    staged: StagedCommit


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitReceived:
    """A valid commit of another member.

    Attributes:
        sender: Who made it.
        authenticated_data: Signed, not encrypted by MLS.
        adds: Whom it adds, in order.
        removes: Whom it removes, with the leaves as they were.
        staged: The epoch that it leads to; None exactly if it removes us.
    """

    sender: LeafIndex
    authenticated_data: bytes
    adds: tuple[AddedMember, ...]
    removes: tuple[RemovedMember, ...]
    staged: StagedCommit | None


Received = ApplicationMessage | CommitReceived | OwnMessage


class Group:
    """See the module. Make one with :meth:`create`, :meth:`join`, :meth:`merge` or :meth:`from_bytes`."""

    __slots__ = ("_state",)

    def __init__(self, state: GroupState) -> None:
        self._state = state

    def __repr__(self) -> str:
        return f"Group(epoch={self.epoch}, own_leaf={self.own_leaf})"

    # -- beginning

    @classmethod
    def create(
        cls,
        *,
        suite: CipherSuite,
        group_id: bytes,
        leaf: OwnLeafParams,
        rng: Callable[[int], bytes],
        extensions: Extensions = (),
        ratchet_policy: RatchetPolicy | None = None,
    ) -> Group:
        """A new group with one member, at epoch 0 (RFC 9420 section 11).

        Args:
            suite: ``suites.PRODUCT`` in the product.
            group_id: Fresh and random.
            leaf: The creator's.
            rng: Returns that many random bytes.
            extensions: Of the GroupContext; none in the product.
            ratchet_policy: None for R11's: at most 4,096 generations forward, none kept.

        Raises:
            StateError: ``group_id`` is empty.
            ValidationError: The leaf would not be valid in this group.
        """
        return cls(
            create_group(
                suite=suite,
                group_id=group_id,
                leaf=leaf,
                rng=rng,
                extensions=extensions,
                ratchet_policy=ratchet_policy,
            )
        )

    @classmethod
    def join(
        cls,
        *,
        welcome: bytes,
        key_package: KeyPackage,
        init_private: bytes | Secret,
        encryption_private: bytes | Secret,
        signature_private: bytes | Secret,
        ratchet_tree: bytes | None = None,
        ratchet_policy: RatchetPolicy | None = None,
    ) -> Group:
        """Enter a group by a Welcome (RFC 9420 section 12.4.3.1).

        The caller must still check that group id, :attr:`signer` and members are the expected ones and the
        group id is new to it (R16, S4), and delete ``init_private`` unless the KeyPackage is reusable.

        Args:
            welcome: MLSMessage(Welcome).
            key_package: Ours.
            init_private: Of the KeyPackage.
            encryption_private: Of the KeyPackage's leaf.
            signature_private: Of the KeyPackage's leaf.
            ratchet_tree: Encoded, if the Welcome carries none (the product's always does).
            ratchet_policy: None for R11's.

        Raises:
            CodecError: Malformed.
            ValidationError: The rule that is broken.
            AuthenticationError: Something does not open or verify.
            StateError: The private keys are not those of the KeyPackage.
        """
        body = decode(welcome, read_mls_message).body
        if not isinstance(body, Welcome):
            raise ValidationError("welcome.wire-format")
        return cls(
            join_group(
                welcome=body,
                key_package=key_package,
                init_private=secret(init_private),
                encryption_private=secret(encryption_private),
                signature_private=secret(signature_private),
                ratchet_tree=ratchet_tree,
                ratchet_policy=ratchet_policy,
            )
        )

    # -- reading

    @property
    def suite(self) -> CipherSuite:
        """The cipher suite."""
        return self._state.suite

    @property
    def group_id(self) -> bytes:
        """The group's id, the same in all epochs."""
        return self._state.context.group_id

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 0."""
        return self._state.context.epoch

    @property
    def own_leaf(self) -> LeafIndex:
        """Our leaf."""
        return self._state.own_leaf

    @property
    def signer(self) -> LeafIndex | None:
        """Who signed the GroupInfo by which we joined this epoch; None in any other epoch (R16, S4)."""
        return self._state.signer

    @property
    def members(self) -> tuple[Member, ...]:
        """The occupied leaves from left to right."""
        return tuple(
            Member(leaf_index=leaf_index, leaf_node=leaf) for leaf_index, leaf in self._state.tree.members()
        )

    def member(self, leaf_index: LeafIndex) -> Member:
        """One member.

        Raises:
            ValidationError: ``message.sender-not-a-member``.
        """
        return Member(leaf_index=leaf_index, leaf_node=self._state.leaf(leaf_index))

    @property
    def epoch_authenticator(self) -> bytes:
        """``Nh`` bytes that are equal exactly on devices with the same view of the group (section 8.7)."""
        return self._state.epoch_authenticator

    @property
    def tree_hash(self) -> bytes:
        """Of the ratchet tree."""
        return self._state.context.tree_hash

    @property
    def confirmed_transcript_hash(self) -> bytes:
        """Over all commits so far; empty in epoch 0."""
        return self._state.context.confirmed_transcript_hash

    @property
    def extensions(self) -> Extensions:
        """Of the GroupContext."""
        return self._state.context.extensions

    # -- exporter

    def export(self, label: str, context: bytes, length: int) -> bytes:
        """MLS-Exporter (RFC 9420 section 8.5).

        Args:
            label: ASCII.
            context: Any bytes.
            length: In bytes.

        Raises:
            StateError: The exporter secret of this epoch was wiped.
        """
        exporter_secret = self._state.exporter_secret
        if exporter_secret is None:
            raise StateError("the exporter secret of this epoch was wiped")
        return mls_exporter(self.suite, exporter_secret.reveal(), label=label, context=context, length=length)

    def delete_exporter(self) -> None:
        """Wipe the exporter secret (R1). Save the group afterwards."""
        self._state.exporter_secret = None

    # -- messages

    def protect(
        self,
        plaintext: bytes,
        *,
        authenticated_data: bytes,
        rng: Callable[[int], bytes],
        padding: int = 0,
    ) -> bytes:
        """Seal an application message. Save the group before the message leaves (R7).

        Args:
            plaintext: Any bytes.
            authenticated_data: Signed and sent beside the ciphertext.
            rng: Returns that many random bytes.
            padding: Zero bytes added inside the ciphertext.

        Returns:
            MLSMessage(PrivateMessage).

        Raises:
            StateError: Our ratchet of this epoch is used up.
        """
        return seal_application(
            self._state, plaintext, authenticated_data=authenticated_data, rng=rng, padding=padding
        )

    def unprotect(self, message: bytes) -> Received:
        """Open a message of this epoch, or prepare what a commit leads to. Save the group before showing it.

        A message by our own leaf is verified without moving our ratchet: one that we know is a
        GenerationUsedError, any other shows that our state has a clone (R9).

        Raises:
            CodecError: Malformed.
            ValidationError: The rule that is broken.
            GenerationUsedError: A replay; drop it in silence (R20).
            AuthenticationError: Not genuine.
        """
        authenticated, sender_data = open_message(self._state, message)
        content = authenticated.content
        if sender_data.leaf_index == self.own_leaf:
            return OwnMessage(
                generation=sender_data.generation,
                authenticated_data=content.authenticated_data,
                is_commit=not isinstance(content.content, bytes),
            )
        if isinstance(content.content, bytes):
            return ApplicationMessage(
                sender=sender_data.leaf_index,
                generation=sender_data.generation,
                authenticated_data=content.authenticated_data,
                plaintext=content.content,
            )
        return self.follow_commit(plan_commit(self._state, authenticated))

    def next_generation(self) -> int:
        """The generation that our next application message will have."""
        return self._state.secret_tree.next_generation(self.own_leaf, RatchetType.APPLICATION)

    # -- commits

    def commit(
        self,
        *,
        adds: Sequence[KeyPackage],
        removes: Sequence[LeafIndex],
        rng: Callable[[int], bytes],
        authenticated_data: bytes,
        signature_private: bytes | Secret | None = None,
        credential: Credential | None = None,
    ) -> PendingCommit:
        """Make a commit, always with a path; with no adds and removes it refreshes our keys (self-update).

        Our handshake ratchet moves: save ``to_bytes()`` together with the PendingCommit before sending (R7,
        R13).

        Args:
            adds: KeyPackages, whose lifetimes the caller has checked (``key_package.check_lifetime``).
            removes: Leaves of others.
            rng: Returns that many random bytes.
            authenticated_data: Signed and sent beside the ciphertext (R10).
            signature_private: A new signature key for our leaf, or None to keep it.
            credential: A new credential for our leaf, or None to keep it.

        Raises:
            ValidationError: The rule that the commit would break.
            StateError: Our handshake ratchet is used up.
        """
        made = make_commit(
            self._state,
            adds=adds,
            removes=removes,
            rng=rng,
            authenticated_data=authenticated_data,
            new_leaf=NewLeaf(
                signature_private=None if signature_private is None else secret(signature_private),
                credential=credential,
            ),
        )
        return PendingCommit(
            message=made.message, welcome=made.welcome, staged=_staged(made.state, made.applied)
        )

    def plan_commit(self, message: bytes) -> CommitPlan:
        """Judge a commit by public state alone; :mod:`crypto.policy` builds P (R14) on this.

        Raises:
            CodecError: Malformed.
            ValidationError: The rule that is broken, ``commit.content-type`` if it is no commit at all.
            GenerationUsedError: It is one of our own.
            AuthenticationError: Not genuine.
        """
        authenticated, _ = open_message(self._state, message, commit_only=True)
        return plan_commit(self._state, authenticated)

    def follow_commit(self, plan: CommitPlan) -> CommitReceived:
        """Use our secrets to enter the epoch of a planned commit; it takes effect in :meth:`merge`.

        Raises:
            ValidationError: ``path.*``: its secrets do not fit its public keys.
            AuthenticationError: It does not open for us, or its confirmation tag does not fit.
            StateError: It is by our own leaf.
        """
        staged = None
        if not plan.removes_us:
            staged = _staged(follow_commit(self._state, plan), plan.applied)
        return CommitReceived(
            sender=plan.committer,
            authenticated_data=plan.authenticated.content.authenticated_data,
            adds=plan.applied.added,
            removes=plan.applied.removed,
            staged=staged,
        )

    def merge(self, staged: StagedCommit) -> Group:
        """Enter the next epoch; drop this object afterwards, and with it the old epoch's secrets.

        Raises:
            StateError: ``staged`` does not follow this epoch of this group (it may have been merged before).
        """
        after = staged.group
        if after.group_id != self.group_id or after.own_leaf != self.own_leaf:
            raise StateError("this commit belongs to another group")
        if after.epoch != self.epoch + 1:
            raise StateError("this commit does not follow the present epoch")
        return after

    # -- storage

    def to_bytes(self) -> bytes:
        """The stored form (see :mod:`crypto.group_codec`). It holds secrets: only the vault may keep it."""
        return encode_group_state(self._state)

    @classmethod
    def from_bytes(cls, data: bytes) -> Group:
        """Read the stored form.

        Raises:
            CodecError: Damaged.
            ValidationError: Damaged in a way that decodes.
            StateError: Written by a newer version of this program.
        """
        return cls(decode_group_state(data))


def _staged(state: GroupState, applied: AppliedProposals) -> StagedCommit:
    group = Group(state)
    return StagedCommit(
        group=group,
        added=tuple(group.member(member.leaf_index) for member in applied.added),
        removed=tuple(
            Member(leaf_index=member.leaf_index, leaf_node=member.leaf_node) for member in applied.removed
        ),
    )


def _write_member(writer: Writer, member: Member) -> None:
    writer.u32(member.leaf_index)
    write_leaf_node(writer, member.leaf_node)


def _read_member(reader: Reader) -> Member:
    return Member(leaf_index=LeafIndex(reader.u32()), leaf_node=read_leaf_node(reader))
