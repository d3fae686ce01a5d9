"""The proposals of one commit: are they valid together, what do they make of the tree (RFC 9420 12.2, 12.3)?

Add and Remove by value are applied; every other kind is refused by rule.

An Update is always refused: by value it could only be the committer's own, which section 12.2 forbids (a
member updates itself by the path of a commit), and references are not accepted because standalone proposals
are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crypto.commit import ProposalOrRef, ProposalRef
from crypto.errors import ValidationError
from crypto.extensions import Extensions
from crypto.key_package import KeyPackage, check_key_package
from crypto.leaf_node import LeafNode, LeafNodeSource
from crypto.leaf_validation import check_leaf
from crypto.limits import MAX_PROPOSALS
from crypto.proposals import Add, Remove, Update
from crypto.ratchet_tree import RatchetTree
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedMember:
    """Somebody whom a commit adds."""

    leaf_index: LeafIndex
    key_package: KeyPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedMember:
    """Somebody whom a commit removes, with the leaf as it was."""

    leaf_index: LeafIndex
    leaf_node: LeafNode


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedProposals:
    """What a list of proposals did to a tree.

    Attributes:
        path_required: The commit must carry a path (RFC 9420 section 12.4).
    """

    added: tuple[AddedMember, ...]
    removed: tuple[RemovedMember, ...]
    path_required: bool


def apply_proposals(
    suite: CipherSuite,
    tree: RatchetTree,
    proposals: Sequence[ProposalOrRef],
    *,
    committer: LeafIndex,
    group_extensions: Extensions,
) -> AppliedProposals:
    """Validate a list of proposals and apply it to ``tree``: removes first, then adds in their order.

    Args:
        suite: The group's cipher suite.
        tree: Changed in place; useless after a failure.
        proposals: As the commit carries them.
        committer: Who made the commit.
        group_extensions: Of the GroupContext.

    Raises:
        ValidationError: ``commit.too-many-proposals``; ``proposal.*``, ``key-package.*``, ``leaf.*``,
            ``remove.*`` name the rule broken.
        CodecError: The group's ``required_capabilities`` are malformed.
    """
    check_count(proposals)
    removes, adds = _sort_out(proposals)
    if committer in removes:
        raise ValidationError("proposal.remove-committer")
    if len(set(removes)) != len(removes):
        raise ValidationError("proposal.remove-repeated")
    removed = apply_removes(tree, removes)
    added = apply_adds(suite, tree, adds, group_extensions=group_extensions)
    return AppliedProposals(added=added, removed=removed, path_required=bool(removes) or not proposals)


def check_count(proposals: Sequence[ProposalOrRef]) -> None:
    """Refuse a list that is too long, before anything is done for an entry of it.

    Raises:
        ValidationError: ``commit.too-many-proposals``.
    """
    if len(proposals) > MAX_PROPOSALS:
        raise ValidationError("commit.too-many-proposals")


def apply_removes(tree: RatchetTree, removes: Sequence[LeafIndex]) -> tuple[RemovedMember, ...]:
    """Blank the leaves and their paths (RFC 9420 section 12.1.3).

    Raises:
        ValidationError: ``remove.blank-leaf``.
    """
    removed: list[RemovedMember] = []
    for leaf_index in removes:
        leaf = tree.leaf(leaf_index)
        if leaf is None:
            raise ValidationError("remove.blank-leaf")
        removed.append(RemovedMember(leaf_index=leaf_index, leaf_node=leaf))
        tree.remove_leaf(leaf_index)
    return tuple(removed)


def apply_adds(
    suite: CipherSuite, tree: RatchetTree, adds: Sequence[Add], *, group_extensions: Extensions
) -> tuple[AddedMember, ...]:
    """Validate KeyPackages and place their leaves (RFC 9420 sections 10.1 and 12.1.1).

    Raises:
        ValidationError: ``proposal.*``, ``key-package.*`` or ``leaf.*`` names the rule broken.
        CodecError: The group's ``required_capabilities`` are malformed.
    """
    if not adds:
        return ()  # an update looks at no other member
    if len({add.key_package.leaf_node.signature_key for add in adds}) != len(adds):
        raise ValidationError("proposal.add-repeated")
    added: list[AddedMember] = []
    for add in adds:
        key_package = add.key_package
        # Who is left after the removes counts: replacing a member by itself is allowed (section 12.2).
        if tree.census.signature_keys.count(key_package.leaf_node.signature_key):
            raise ValidationError("proposal.add-present-member")
        check_key_package(suite, key_package)
        check_leaf(
            suite,
            key_package.leaf_node,
            group_id=None,
            leaf_index=None,
            group_extensions=group_extensions,
            source=LeafNodeSource.KEY_PACKAGE,
        )
        added.append(AddedMember(leaf_index=tree.add_leaf(key_package.leaf_node), key_package=key_package))
    return tuple(added)


def _sort_out(proposals: Sequence[ProposalOrRef]) -> tuple[list[LeafIndex], list[Add]]:
    removes: list[LeafIndex] = []
    adds: list[Add] = []
    for proposal in proposals:
        match proposal:
            case Add():
                adds.append(proposal)
            case Remove(removed=removed):
                removes.append(removed)
            case Update():
                raise ValidationError("proposal.update-by-committer")
            case ProposalRef():
                raise ValidationError("proposal.reference-refused")
            case _:
                # PreSharedKey, ReInit, ExternalInit, GroupContextExtensions: crypto.rfc9420, not the product.
                raise ValidationError("proposal.type-refused")
    return removes, adds
