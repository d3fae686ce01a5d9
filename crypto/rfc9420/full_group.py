"""One member's group with all of RFC 9420: what conformance tests and vectors drive.

It stands beside :class:`crypto.group.Group`, on the same steps; the product may not import it (an import
contract, and docs/adr/0014). Differences in use: proposals travel on their own and are remembered for the
epoch, ``receive`` takes PublicMessages too, and a commit gives the next :class:`FullGroup` at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from crypto.codec import decode
from crypto.commit import Commit
from crypto.credentials import Credential
from crypto.errors import StateError, ValidationError
from crypto.extensions import Extensions
from crypto.framed_content import FramedContent, Sender, WireFormat
from crypto.group_context import GroupContext
from crypto.group_create import OwnLeafParams, create_epoch
from crypto.group_events import Member
from crypto.group_join import enter_by_welcome
from crypto.group_messages import seal_application
from crypto.key_package import KeyPackage, KeyPackageBundle, secret
from crypto.key_schedule import mls_exporter
from crypto.leaf_node import LeafNodeSource, sign_leaf_node
from crypto.mls_message import read_mls_message
from crypto.proposals import Add, PreSharedKey, Proposal, ReInit, Update
from crypto.psk_id import PreSharedKeyID, ResumptionPSKUsage
from crypto.rfc9420.authentication import AnyCredential, AuthenticationService, validate_tree
from crypto.rfc9420.external_commit import join_by_commit, read_group_info_message
from crypto.rfc9420.make import CommitOptions, make_any_commit, publish_group_info
from crypto.rfc9420.messages import open_any, protect, sign_content
from crypto.rfc9420.process import follow_any_commit, plan_any_commit
from crypto.rfc9420.proposals import SentProposal, check_proposal_of_sender
from crypto.rfc9420.psks import PskStore
from crypto.rfc9420.state import Device, FullState, OwnUpdate, full_state
from crypto.rfc9420.state_codec import decode_full_state, encode_full_state
from crypto.rfc9420.successors import Predecessor, check_successor, linking_psk
from crypto.secret_tree import RatchetPolicy
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.suites import suite as suite_of
from crypto.tree_math import LeafIndex
from crypto.welcome import Welcome

Rng = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalReceived:
    """A genuine proposal, now known for a commit to name.

    Attributes:
        reference: See RFC 9420 section 5.2.
        proposal: Itself; valid only once a commit that names it is.
        sender: Who made it.
    """

    reference: bytes
    proposal: Proposal
    sender: Sender


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFollowed:
    """A valid commit; ``group`` is the next epoch, None if the commit removes us."""

    sender: Sender
    group: FullGroup | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationReceived:
    """An application message."""

    sender: LeafIndex
    authenticated_data: bytes
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitMade:
    """A commit of our own, and what it leads to.

    Attributes:
        message: MLSMessage.
        welcome: MLSMessage(Welcome), None if nobody was added.
        ratchet_tree: Encoded tree of the new epoch, for joiners whose Welcome carries none.
        group: The next epoch, for use once the commit is accepted.
    """

    message: bytes = field(repr=False)
    welcome: bytes | None = field(repr=False)
    ratchet_tree: bytes = field(repr=False)
    group: FullGroup = field(repr=False)


Received = ProposalReceived | CommitFollowed | ApplicationReceived


def own_device(psks: PskStore | None = None, service: AuthenticationService | None = None) -> Device:
    """A device with its PSKs, and by default no opinion on credentials."""
    return Device(psks=psks or PskStore(), service=service or AnyCredential())


class FullGroup:
    """See the module."""

    __slots__ = ("_state",)

    def __init__(self, state: FullState) -> None:
        self._state = state

    def __repr__(self) -> str:
        return f"FullGroup(epoch={self.epoch}, own_leaf={self.own_leaf})"

    # -- beginning

    @classmethod
    def create(
        cls,
        *,
        suite: CipherSuite,
        group_id: bytes,
        leaf: OwnLeafParams,
        rng: Rng,
        device: Device | None = None,
        extensions: Extensions = (),
        ratchet_policy: RatchetPolicy | None = None,
    ) -> FullGroup:
        """A new group of one; arguments as of :meth:`crypto.group.Group.create`. Raises as that."""
        begun = create_epoch(
            suite=suite,
            group_id=group_id,
            leaf=leaf,
            rng=rng,
            extensions=extensions,
            ratchet_policy=ratchet_policy,
        )
        return cls(full_state(begun, device or own_device()))

    @classmethod
    def join(
        cls,
        *,
        welcome: bytes,
        bundle: KeyPackageBundle,
        signature_private: bytes | Secret,
        device: Device | None = None,
        ratchet_tree: bytes | None = None,
        ratchet_policy: RatchetPolicy | None = None,
        predecessor: FullGroup | None = None,
    ) -> FullGroup:
        """Enter a group by a Welcome, which may name PSKs (RFC 9420 section 12.4.3.1).

        Args:
            welcome: MLSMessage(Welcome).
            bundle: Our KeyPackage with its private keys.
            signature_private: Of its leaf.
            device: Has the PSKs.
            ratchet_tree: Encoded, if the Welcome carries none.
            ratchet_policy: None for R11's.
            predecessor: The old group in its last epoch, if the Welcome links to one. Without it only the
                epoch of the new group is judged: a caller who was in the old group gives it.

        Raises:
            CodecError: Malformed.
            ValidationError: The rule that is broken; ``psk.unknown``.
            AuthenticationError: Something does not open or verify.
            StateError: The private keys are not those of the KeyPackage.
        """
        body = decode(welcome, read_mls_message).body
        if not isinstance(body, Welcome):
            raise ValidationError("welcome.wire-format")
        home = device or own_device()

        def psk_secret_for(suite: CipherSuite, psks: tuple[PreSharedKeyID, ...]) -> bytes:
            linking_psk(suite, psks)
            return home.psks.secret_for(suite, psks)

        joined = enter_by_welcome(
            welcome=body,
            key_package=bundle.key_package,
            init_private=bundle.init_private,
            encryption_private=bundle.encryption_private,
            signature_private=secret(signature_private),
            ratchet_tree=ratchet_tree,
            ratchet_policy=ratchet_policy,
            psk_secret_for=psk_secret_for,
        )
        core = joined.begun.state
        validate_tree(home.service, core.tree)
        link = linking_psk(core.suite, joined.psks)
        if link is not None:
            old = None if predecessor is None else Predecessor.of(predecessor._state)
            check_successor(link, core.context, core.tree, predecessor=old, service=home.service)
        return cls(full_state(joined.begun, home))

    @classmethod
    def join_externally(
        cls,
        group_info: bytes,
        *,
        leaf: OwnLeafParams,
        rng: Rng,
        device: Device | None = None,
        ratchet_tree: bytes | None = None,
        replaces: LeafIndex | None = None,
        psks: Sequence[PreSharedKeyID] = (),
    ) -> tuple[FullGroup, bytes]:
        """Enter by an external commit; see :func:`crypto.rfc9420.external_commit.join_by_commit`.

        Returns:
            The group, for use once the commit is accepted, and the commit.
        """
        state, message = join_by_commit(
            read_group_info_message(group_info),
            leaf=leaf,
            device=device or own_device(),
            rng=rng,
            ratchet_tree=ratchet_tree,
            replaces=replaces,
            psks=psks,
        )
        return cls(state), message

    # -- reading

    @property
    def suite(self) -> CipherSuite:
        """The cipher suite."""
        return self._state.suite

    @property
    def context(self) -> GroupContext:
        """The GroupContext."""
        return self._state.core.context

    @property
    def group_id(self) -> bytes:
        """The group's id."""
        return self.context.group_id

    @property
    def epoch(self) -> int:
        """Number of the epoch."""
        return self.context.epoch

    @property
    def own_leaf(self) -> LeafIndex:
        """Our leaf."""
        return self._state.core.own_leaf

    @property
    def members(self) -> tuple[Member, ...]:
        """The occupied leaves from left to right."""
        return tuple(
            Member(leaf_index=leaf_index, leaf_node=leaf)
            for leaf_index, leaf in self._state.core.tree.members()
        )

    @property
    def epoch_authenticator(self) -> bytes:
        """See RFC 9420 section 8.7."""
        return self._state.core.epoch_authenticator

    @property
    def reinit(self) -> ReInit | None:
        """Set once a commit ended the group: how the next one must look."""
        return self._state.reinit

    def export(self, label: str, context: bytes, length: int) -> bytes:
        """MLS-Exporter (RFC 9420 section 8.5)."""
        exporter_secret = self._state.core.exporter_secret
        if exporter_secret is None:
            raise StateError("the exporter secret of this epoch was wiped")
        return mls_exporter(self.suite, exporter_secret.reveal(), label=label, context=context, length=length)

    def resumption_psk(self, rng: Rng) -> PreSharedKeyID:
        """Name this epoch's resumption PSK for usage ``application``, with a fresh nonce."""
        nonce = rng(self.suite.nh)
        return Predecessor.of(self._state).psk_id(ResumptionPSKUsage.APPLICATION, nonce)

    def ratchet_tree(self) -> bytes:
        """The encoded tree."""
        return self._state.core.tree.to_bytes()

    def group_info(self, rng: Rng, *, with_tree: bool = True, with_external_pub: bool = True) -> bytes:
        """MLSMessage(GroupInfo) of this epoch, for external joins."""
        return publish_group_info(self._state, rng, with_tree=with_tree, with_external_pub=with_external_pub)

    # -- messages

    def protect(self, plaintext: bytes, *, rng: Rng, authenticated_data: bytes = b"") -> bytes:
        """Seal an application message.

        Raises:
            StateError: The group was ended by a ReInit, or proposals wait for a commit (section 12.4).
        """
        self._require_alive()
        if self._state.proposals:
            raise StateError("proposals wait: they must be committed before application data is sent")
        return seal_application(
            self._state.core, plaintext, authenticated_data=authenticated_data, rng=rng, padding=0
        )

    def propose(
        self, proposal: Proposal, *, rng: Rng, wire_format: WireFormat = WireFormat.PUBLIC_MESSAGE
    ) -> bytes:
        """Sign and send a proposal of our own; it is remembered for our own commits too.

        Raises:
            StateError: The group was ended by a ReInit.
        """
        self._require_alive()
        core = self._state.core
        sender = Sender.member(core.own_leaf)
        signed = sign_content(
            core.suite,
            core.signature_private,
            context=core.context,
            sender=sender,
            content=proposal,
            authenticated_data=b"",
            wire_format=wire_format,
        )
        message = protect(self._state, signed, rng)
        self._state.remember(signed, SentProposal(proposal=proposal, sender=sender))
        return message

    def propose_update(
        self,
        *,
        rng: Rng,
        wire_format: WireFormat = WireFormat.PUBLIC_MESSAGE,
        signature_private: bytes | Secret | None = None,
        credential: Credential | None = None,
    ) -> bytes:
        """Propose fresh keys for our own leaf; another member's commit must bring them in."""
        core = self._state.core
        new_signature = None if signature_private is None else secret(signature_private)
        private, public = core.suite.generate_key_pair(rng)
        signing = new_signature or core.signature_private
        leaf = core.own_leaf_node()
        updated = sign_leaf_node(
            core.suite,
            signing,
            replace(
                leaf,
                encryption_key=public,
                signature_key=core.suite.signature_public_key(signing.reveal()),
                credential=credential or leaf.credential,
                leaf_node_source=LeafNodeSource.UPDATE,
                lifetime=None,
                parent_hash=b"",
            ),
            group_id=core.context.group_id,
            leaf_index=core.own_leaf,
        )
        message = self.propose(Update(leaf_node=updated), rng=rng, wire_format=wire_format)
        self._state.own_updates[public] = OwnUpdate(
            encryption_private=Secret(private), signature_private=new_signature
        )
        return message

    def receive(self, message: bytes) -> Received:
        """Open any message of this epoch. What raises has not changed the epoch.

        Raises:
            CodecError: Malformed.
            ValidationError: The rule that is broken.
            GenerationUsedError: A replay.
            AuthenticationError: Not genuine.
            StateError: It is a commit of our own.
        """
        authenticated = open_any(self._state, message)
        content: FramedContent = authenticated.content
        if isinstance(content.content, bytes):
            return ApplicationReceived(
                sender=content.sender.leaf_index,
                authenticated_data=content.authenticated_data,
                plaintext=content.content,
            )
        if not isinstance(content.content, Commit):
            sent = SentProposal(proposal=content.content, sender=content.sender)
            check_proposal_of_sender(sent)
            reference = self._state.remember(authenticated, sent)
            return ProposalReceived(reference=reference, proposal=sent.proposal, sender=sent.sender)
        plan = plan_any_commit(self._state, authenticated)
        if plan.removes(self.own_leaf):
            return CommitFollowed(sender=content.sender, group=None)
        return CommitFollowed(sender=content.sender, group=FullGroup(follow_any_commit(self._state, plan)))

    def commit(
        self,
        proposals: Sequence[Proposal] = (),
        *,
        rng: Rng,
        references: Sequence[bytes] | None = None,
        options: CommitOptions | None = None,
    ) -> CommitMade:
        """Commit proposals of our own by value, and known ones by reference.

        Args:
            proposals: By value.
            rng: Returns that many random bytes.
            references: Which known proposals; None for all of them but Updates of our own.
            options: None for a PublicMessage with a path.

        Raises:
            ValidationError: The list is not valid.
            StateError: The group was ended by a ReInit.
        """
        known = self._others_proposals() if references is None else references
        made = make_any_commit(self._state, by_value=proposals, by_reference=known, rng=rng, options=options)
        return CommitMade(
            message=made.message,
            welcome=made.welcome,
            ratchet_tree=made.ratchet_tree,
            group=FullGroup(made.state),
        )

    # -- groups that continue this one

    def reinitialize(
        self,
        *,
        leaf: OwnLeafParams,
        key_packages: Sequence[KeyPackage],
        rng: Rng,
        options: CommitOptions | None = None,
    ) -> CommitMade:
        """Make the group that the ReInit asked for (RFC 9420 section 11.2); its Welcome goes to the members.

        Args:
            leaf: Ours in the new group.
            key_packages: Of all other members, for the new suite.
            rng: Returns that many random bytes.
            options: Of the first commit.

        Raises:
            StateError: No ReInit was committed.
            ValidationError: The new group would not be valid; ``successor.members-missing``.
        """
        reinit = self._state.reinit
        if reinit is None:
            raise StateError("no ReInit was committed")
        return self._continue(
            ResumptionPSKUsage.REINIT,
            suite_of(reinit.cipher_suite),
            reinit.group_id,
            reinit.extensions,
            leaf,
            key_packages,
            rng,
            options,
        )

    def branch(
        self,
        *,
        group_id: bytes,
        leaf: OwnLeafParams,
        key_packages: Sequence[KeyPackage],
        rng: Rng,
        extensions: Extensions = (),
        options: CommitOptions | None = None,
    ) -> CommitMade:
        """Make a group of some members of this one (RFC 9420 section 11.3); arguments as above.

        Raises:
            ValidationError: The new group would not be valid; ``successor.members-foreign``.
        """
        self._require_alive()
        return self._continue(
            ResumptionPSKUsage.BRANCH, self.suite, group_id, extensions, leaf, key_packages, rng, options
        )

    def _continue(
        self,
        usage: ResumptionPSKUsage,
        suite: CipherSuite,
        group_id: bytes,
        extensions: Extensions,
        leaf: OwnLeafParams,
        key_packages: Sequence[KeyPackage],
        rng: Rng,
        options: CommitOptions | None,
    ) -> CommitMade:
        old = Predecessor.of(self._state)
        psk_id = old.psk_id(usage, rng(suite.nh))
        fresh = FullGroup.create(
            suite=suite,
            group_id=group_id,
            leaf=leaf,
            rng=rng,
            device=self._state.device,
            extensions=extensions,
            ratchet_policy=self._state.core.ratchet_policy,
        )
        proposals: list[Proposal] = [Add(key_package=key_package) for key_package in key_packages]
        proposals.append(PreSharedKey(psk=psk_id))
        made = fresh.commit(proposals, rng=rng, options=replace(options or CommitOptions(), linking=usage))
        core = made.group._state.core
        check_successor(psk_id, core.context, core.tree, predecessor=old, service=self._state.device.service)
        return made

    # -- storage

    def to_bytes(self) -> bytes:
        """The stored form (see :mod:`crypto.rfc9420.state_codec`); it holds secrets."""
        return encode_full_state(self._state)

    @classmethod
    def from_bytes(cls, data: bytes, device: Device | None = None) -> FullGroup:
        """Read the stored form.

        Args:
            data: Of :meth:`to_bytes`.
            device: Has the PSKs, those of the group's past epochs among them.

        Raises:
            CodecError: Damaged.
            ValidationError: Damaged in a way that decodes.
            StateError: Written by a newer version of this program.
        """
        return cls(decode_full_state(data, device or own_device()))

    def _others_proposals(self) -> tuple[bytes, ...]:
        """All known proposals that we may commit: a committer updates itself by its path (section 12.2)."""
        own = Sender.member(self.own_leaf)
        return tuple(
            reference
            for reference, sent in self._state.proposals.items()
            if not (isinstance(sent.proposal, Update) and sent.sender == own)
        )

    def _require_alive(self) -> None:
        if self._state.reinit is not None:
            raise StateError("this group was ended by a ReInit")
