"""The proposals of one commit, all seven types (RFC 9420 sections 12.1 to 12.3).

1. :func:`resolve` finds what references stand for.
2. :func:`sort_out` sorts by type.
3. :func:`check_regular` or :func:`check_external` judges the list by itself.
4. :func:`apply_list` applies it, in the order of section 12.3, judging what depends on the tree.

What the product needs too stands in :mod:`crypto.proposal_list`, and is used here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from crypto.code_points import ProposalType, ProtocolVersion
from crypto.commit import ProposalOrRef, ProposalRef
from crypto.errors import ValidationError
from crypto.extensions import check_unique_types
from crypto.framed_content import Sender, SenderType
from crypto.group_context import GroupContext
from crypto.leaf_node import LeafNodeSource
from crypto.leaf_validation import check_capabilities, check_leaf
from crypto.proposal_list import AddedMember, RemovedMember, apply_adds, apply_removes, check_count
from crypto.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
    proposal_type,
)
from crypto.psk_id import PreSharedKeyID, PSKType, ResumptionPSKUsage
from crypto.ratchet_tree import RatchetTree
from crypto.rfc9420.authentication import (
    AuthenticationService,
    validate_external_senders,
    validate_leaf,
    validate_replacement,
)
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex

EXTERNAL_SENDER_TYPES: Final = frozenset(
    {
        ProposalType.ADD,
        ProposalType.REMOVE,
        ProposalType.PSK,
        ProposalType.REINIT,
        ProposalType.GROUP_CONTEXT_EXTENSIONS,
    }
)
"""What an ``external`` sender may propose (section 12.1.8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentProposal:
    """A proposal and who made it; inside a commit that is the committer."""

    proposal: Proposal
    sender: Sender


def check_proposal_of_sender(sent: SentProposal) -> None:
    """Check that a sender may propose this at all (sections 6.1 and 12.1.8).

    Raises:
        ValidationError: ``external-sender.proposal-type`` or ``new-member-proposal.type``.
    """
    kind = proposal_type(sent.proposal)
    match sent.sender.sender_type:
        case SenderType.EXTERNAL:
            if kind not in EXTERNAL_SENDER_TYPES:
                raise ValidationError("external-sender.proposal-type")
        case SenderType.NEW_MEMBER_PROPOSAL:
            if kind is not ProposalType.ADD:
                raise ValidationError("new-member-proposal.type")
        case SenderType.MEMBER | SenderType.NEW_MEMBER_COMMIT:
            pass
        case _:
            assert_never(sent.sender.sender_type)


def resolve(
    proposals: Sequence[ProposalOrRef], known: Mapping[bytes, SentProposal], *, committer: Sender
) -> tuple[SentProposal, ...]:
    """Put the proposal in place of each reference, in order.

    Raises:
        ValidationError: ``proposal.reference-unknown``; ``external-commit.reference``;
            ``commit.too-many-proposals``.
    """
    check_count(proposals)
    resolved: list[SentProposal] = []
    for item in proposals:
        if not isinstance(item, ProposalRef):
            resolved.append(SentProposal(proposal=item, sender=committer))
            continue
        if committer.sender_type is SenderType.NEW_MEMBER_COMMIT:
            raise ValidationError("external-commit.reference")
        if item.reference not in known:
            raise ValidationError("proposal.reference-unknown")
        resolved.append(known[item.reference])
    return tuple(resolved)


@dataclass(slots=True, kw_only=True)
class SortedProposals:
    """The proposals of one commit by type, each type in the order of the list."""

    adds: list[Add] = field(default_factory=list)
    updates: list[tuple[LeafIndex, Update]] = field(default_factory=list)
    removes: list[LeafIndex] = field(default_factory=list)
    psks: list[PreSharedKeyID] = field(default_factory=list)
    reinits: list[ReInit] = field(default_factory=list)
    external_inits: list[ExternalInit] = field(default_factory=list)
    context_extensions: list[GroupContextExtensions] = field(default_factory=list)
    count: int = 0

    @property
    def path_required(self) -> bool:
        """Whether who makes the commit must give it a path (section 12.4)."""
        return self.path_demanded or bool(self.context_extensions)

    @property
    def path_demanded(self) -> bool:
        """Whether who receives the commit refuses it without a path (section 12.4.2).

        The two sections differ in GroupContextExtensions, which the list for receivers leaves out; ts-mls
        1.6.4 sends such commits without a path.
        """
        return not self.count or bool(self.updates or self.removes or self.external_inits)


def sort_out(proposals: Sequence[SentProposal]) -> SortedProposals:
    """Sort by type.

    Raises:
        ValidationError: ``message.sender-not-a-member``: an Update by somebody who has no leaf.
    """
    result = SortedProposals(count=len(proposals))
    for sent in proposals:
        match sent.proposal:
            case Add() as add:
                result.adds.append(add)
            case Update() as update:
                result.updates.append((sent.sender.leaf_index, update))
            case Remove(removed=removed):
                result.removes.append(removed)
            case PreSharedKey(psk=psk):
                result.psks.append(psk)
            case ReInit() as reinit:
                result.reinits.append(reinit)
            case ExternalInit() as external_init:
                result.external_inits.append(external_init)
            case GroupContextExtensions() as extensions:
                result.context_extensions.append(extensions)
            case _:
                assert_never(sent.proposal)
    return result


def check_regular(
    suite: CipherSuite,
    found: SortedProposals,
    *,
    committer: LeafIndex,
    linking: ResumptionPSKUsage | None = None,
) -> None:
    """Judge the list of a member's commit by itself (section 12.2).

    Args:
        suite: The group's cipher suite.
        found: Of :func:`sort_out`.
        committer: Who made the commit.
        linking: REINIT or BRANCH for the first commit of a group that continues another one.

    Raises:
        ValidationError: ``proposal.*``, ``psk.*`` or ``reinit.*`` names the rule broken.
    """
    if found.external_inits:
        raise ValidationError("proposal.external-init-by-member")
    if any(leaf_index == committer for leaf_index, _ in found.updates):
        raise ValidationError("proposal.update-by-committer")
    if committer in found.removes:
        raise ValidationError("proposal.remove-committer")
    touched = [leaf_index for leaf_index, _ in found.updates] + found.removes
    if len(set(touched)) != len(touched):
        raise ValidationError("proposal.leaf-touched-twice")
    if len(found.context_extensions) > 1:
        raise ValidationError("proposal.context-extensions-repeated")
    if found.reinits and found.count > 1:
        raise ValidationError("proposal.reinit-not-alone")
    if any(reinit.version < ProtocolVersion.MLS10 for reinit in found.reinits):
        raise ValidationError("reinit.version")
    _check_psks(suite, found.psks, linking)


def check_external(suite: CipherSuite, found: SortedProposals) -> None:
    """Judge the list of an external commit by itself (section 12.2).

    Raises:
        ValidationError: ``external-commit.*`` or ``psk.*`` names the rule broken.
    """
    if len(found.external_inits) != 1:
        raise ValidationError("external-commit.external-init")
    if len(found.removes) > 1:
        raise ValidationError("external-commit.removes")
    if found.adds or found.updates or found.reinits or found.context_extensions:
        raise ValidationError("external-commit.proposal-type")
    _check_psks(suite, found.psks, None)


def _check_psks(
    suite: CipherSuite, psks: Sequence[PreSharedKeyID], linking: ResumptionPSKUsage | None
) -> None:
    for psk_id in psks:
        check_psk(suite, psk_id, linking)
    if len(set(psks)) != len(psks):
        raise ValidationError("psk.repeated")


def check_psk(suite: CipherSuite, psk_id: PreSharedKeyID, linking: ResumptionPSKUsage | None) -> None:
    """Judge one PreSharedKeyID (section 12.1.4).

    Raises:
        ValidationError: ``psk.usage`` or ``psk.nonce-size``.
    """
    if (
        psk_id.psktype is PSKType.RESUMPTION
        and psk_id.usage is not ResumptionPSKUsage.APPLICATION
        and psk_id.usage is not linking
    ):
        raise ValidationError("psk.usage")
    if len(psk_id.psk_nonce) != suite.nh:
        raise ValidationError("psk.nonce-size")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedList:
    """What a list did.

    Attributes:
        context: The old GroupContext with the new extensions.
        updated: Members whose leaf an Update replaced.
        removed: Who is gone.
        added: Who is new, in order.
        psks: To take into the key schedule, in order.
        reinit: The group ends with this commit, to go on in another one.
        kem_output: Of an external commit.
    """

    context: GroupContext
    updated: tuple[LeafIndex, ...]
    removed: tuple[RemovedMember, ...]
    added: tuple[AddedMember, ...]
    psks: tuple[PreSharedKeyID, ...]
    reinit: ReInit | None
    kem_output: bytes | None


def apply_list(
    suite: CipherSuite,
    tree: RatchetTree,
    found: SortedProposals,
    *,
    context: GroupContext,
    committer: LeafIndex | None,
    service: AuthenticationService,
) -> AppliedList:
    """Apply a list, in the order of section 12.3.

    Args:
        suite: The group's cipher suite.
        tree: Changed in place; useless after a failure.
        found: Checked by itself before.
        context: Of the old epoch.
        committer: The member whose leaf is not judged here, since the path brings a new one; else None.
        service: Judges credentials.

    Raises:
        ValidationError: ``update.*``, ``remove.*``, ``proposal.*``, ``key-package.*``, ``leaf.*``,
            ``extensions.*`` or ``credential.*`` names the rule broken.
        CodecError: ``required_capabilities`` or ``external_senders`` are malformed.
    """
    # 1. The new extensions count for everything that follows.
    new_context = context
    for proposal in found.context_extensions:
        check_unique_types(proposal.extensions)
        validate_external_senders(service, proposal.extensions, known=context.extensions)
        new_context = replace(context, extensions=proposal.extensions)
    # 2. to 4. Updates, removes, adds.
    for leaf_index, update in found.updates:
        _apply_update(suite, tree, leaf_index, update, context=new_context, service=service)
    removed = apply_removes(tree, found.removes)
    for add in found.adds:
        validate_leaf(service, add.key_package.leaf_node)
    added = apply_adds(suite, tree, found.adds, group_extensions=new_context.extensions)
    # Section 12.1.7: all members, those added too, support what the new extensions demand.
    if found.context_extensions:
        for leaf_index, leaf in tree.members():
            if leaf_index != committer:
                check_capabilities(suite, leaf, new_context.extensions)
    return AppliedList(
        context=new_context,
        updated=tuple(leaf_index for leaf_index, _ in found.updates),
        removed=removed,
        added=added,
        psks=tuple(found.psks),
        reinit=found.reinits[0] if found.reinits else None,
        kem_output=found.external_inits[0].kem_output if found.external_inits else None,
    )


def _apply_update(
    suite: CipherSuite,
    tree: RatchetTree,
    leaf_index: LeafIndex,
    update: Update,
    *,
    context: GroupContext,
    service: AuthenticationService,
) -> None:
    """Replace a member's leaf (sections 7.3 and 12.1.2)."""
    before = tree.leaf(leaf_index)
    if before is None:
        raise ValidationError("update.blank-leaf")
    if before.encryption_key == update.leaf_node.encryption_key:
        raise ValidationError("update.key-unchanged")
    check_leaf(
        suite,
        update.leaf_node,
        group_id=context.group_id,
        leaf_index=leaf_index,
        group_extensions=context.extensions,
        source=LeafNodeSource.UPDATE,
    )
    validate_replacement(service, before, update.leaf_node)
    tree.update_leaf(leaf_index, update.leaf_node)
