"""Processing a commit of another member (RFC 9420 section 12.4.2), in two halves.

:func:`plan_commit` judges what everybody can judge alike, from the epoch's public state and the commit's
bytes: the predicate P of R14 stands on it. :func:`follow_commit` then uses our own secrets; where it fails
after the plan held, we alone cannot follow (R15). Neither changes the old state.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from crypto.commit import Commit
from crypto.errors import StateError, ValidationError
from crypto.framed_content import AuthenticatedContent
from crypto.group_context import GroupContext
from crypto.group_epoch import BegunEpoch, MemberPart, begin_epoch, epoch_secrets
from crypto.group_state import GroupState
from crypto.key_schedule import derive_joiner_secret
from crypto.leaf_node import LeafNode, LeafNodeSource
from crypto.leaf_validation import check_leaf, check_members_together
from crypto.proposal_list import AppliedProposals, apply_proposals
from crypto.ratchet_tree import RatchetTree
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.transcript import next_confirmed_transcript_hash, verify_confirmation_tag
from crypto.tree_math import LeafIndex
from crypto.treekem import PrivateKeys, keys_that_fit, merge_path, open_path
from crypto.update_path import UpdatePath


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitPlan:
    """A commit whose public part is valid, and what it will make of the group.

    Attributes:
        authenticated: The commit as it was signed.
        committer: Who made it.
        leaf_before: The committer's leaf in the old epoch.
        applied: Adds and removes.
        path: None only for a commit of Adds alone, which the product refuses (R14, P5).
        unmerged: The new tree before the path was merged into it.
        tree: The new tree.
        provisional: The new GroupContext with the old confirmed transcript hash.
        removes_us: We are among the removed and cannot follow.
    """

    authenticated: AuthenticatedContent
    committer: LeafIndex
    leaf_before: LeafNode
    applied: AppliedProposals
    path: UpdatePath | None
    unmerged: RatchetTree
    tree: RatchetTree
    provisional: GroupContext
    removes_us: bool


def plan_commit(state: GroupState, authenticated: AuthenticatedContent) -> CommitPlan:
    """Validate a commit, whose signature was verified, as far as no secret is needed.

    Raises:
        ValidationError: The rule that is broken.
        CodecError: The group's ``required_capabilities`` are malformed.
    """
    content = authenticated.content
    if not isinstance(content.content, Commit):
        raise StateError("this message is no commit")
    commit, committer = content.content, content.sender.leaf_index
    if content.group_id != state.context.group_id or content.epoch != state.context.epoch:
        raise ValidationError("commit.epoch")
    leaf_before = state.leaf(committer)
    # 1. The proposals make a new tree.
    tree = state.tree.copy()
    applied = apply_proposals(
        state.suite,
        tree,
        commit.proposals,
        committer=committer,
        group_extensions=state.context.extensions,
    )
    unmerged = tree.copy()
    # 2. The path is there if it must be, is valid, and goes into the tree.
    if commit.path is None:
        if applied.path_required:
            raise ValidationError("commit.path-missing")
    else:
        merge_commit_path(
            state.suite,
            tree,
            commit.path,
            committer=committer,
            leaf_before=leaf_before,
            context=state.context,
            new_leaves=[member.leaf_index for member in applied.added],
        )
    # 3. The tree as a whole is valid.
    check_members_together(tree)
    return CommitPlan(
        authenticated=authenticated,
        committer=committer,
        leaf_before=leaf_before,
        applied=applied,
        path=commit.path,
        unmerged=unmerged,
        tree=tree,
        provisional=replace(state.context, epoch=state.context.epoch + 1, tree_hash=tree.tree_hash()),
        removes_us=any(member.leaf_index == state.own_leaf for member in applied.removed),
    )


def merge_commit_path(
    suite: CipherSuite,
    tree: RatchetTree,
    path: UpdatePath,
    *,
    committer: LeafIndex,
    leaf_before: LeafNode | None,
    context: GroupContext,
    new_leaves: Collection[LeafIndex],
) -> None:
    """Validate a commit's path and put it into ``tree`` (RFC 9420 section 12.4.2).

    Args:
        suite: The group's cipher suite.
        tree: With the proposals applied; changed in place.
        path: Of the commit.
        committer: The leaf that it is for.
        leaf_before: The leaf that it replaces; None for one who was not a member.
        context: Names the group; its extensions are those of the new epoch.
        new_leaves: Leaves added in the same commit.

    Raises:
        ValidationError: ``path.*`` or ``leaf.*`` names the rule broken.
        CodecError: The group's ``required_capabilities`` are malformed.
    """
    if leaf_before is not None and path.leaf_node.encryption_key == leaf_before.encryption_key:
        raise ValidationError("path.leaf-key-unchanged")
    check_leaf(
        suite,
        path.leaf_node,
        group_id=context.group_id,
        leaf_index=committer,
        group_extensions=context.extensions,
        source=LeafNodeSource.COMMIT,
    )
    merge_path(suite, tree, committer, path, new_leaves=new_leaves)


def follow_commit(state: GroupState, plan: CommitPlan) -> GroupState:
    """Enter the epoch of a planned commit.

    Raises:
        StateError: The commit removes us, or is our own (that one is merged, not processed).
        ValidationError: ``path.*``: the secrets do not fit the public keys.
        AuthenticationError: The path secret does not open, or the confirmation tag does not fit.
    """
    if plan.removes_us:
        raise StateError("this commit removes us from the group")
    if plan.committer == state.own_leaf:
        raise StateError("our own commit is merged, not processed")
    begun = enter_epoch(
        state,
        EpochChange(
            authenticated=plan.authenticated,
            committer=plan.committer,
            path=plan.path,
            new_leaves=tuple(member.leaf_index for member in plan.applied.added),
            unmerged=plan.unmerged,
            tree=plan.tree,
            provisional=plan.provisional,
        ),
        private_keys=keys_that_fit(state.tree, plan.unmerged, state.private_keys),
        init_secret=state.init_secret,
    )
    return begun.state


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochChange:
    """The public part of a change of epoch, validated: see :class:`CommitPlan` for the fields."""

    authenticated: AuthenticatedContent
    committer: LeafIndex
    path: UpdatePath | None
    new_leaves: tuple[LeafIndex, ...]
    unmerged: RatchetTree
    tree: RatchetTree
    provisional: GroupContext


def enter_epoch(
    state: GroupState,
    plan: EpochChange,
    *,
    private_keys: PrivateKeys,
    init_secret: Secret,
    psk_secret: bytes | None = None,
) -> BegunEpoch:
    """Use a member's secrets to enter the epoch of another one's commit (RFC 9420 section 12.4.2).

    Args:
        state: The old epoch; unchanged.
        plan: The public part.
        private_keys: Ours, those that fit ``plan.unmerged``.
        init_secret: Of the old epoch, or of an external commit.
        psk_secret: None without PSKs.

    Raises:
        ValidationError: ``path.*``: the secrets do not fit the public keys.
        AuthenticationError: The path secret does not open, or the confirmation tag does not fit.
    """
    suite = state.suite
    commit_secret = Secret(bytes(suite.nh))
    if plan.path is not None:
        opened = open_path(
            suite,
            plan.tree,
            plan.committer,
            plan.path,
            own_leaf=state.own_leaf,
            private_keys=private_keys,
            context=plan.provisional.to_bytes(),
            new_leaves=plan.new_leaves,
        )
        commit_secret = opened.commit_secret
        private_keys = {
            **keys_that_fit(plan.unmerged, plan.tree, private_keys),
            **opened.private_keys,
        }
    confirmed = next_confirmed_transcript_hash(suite, state.interim_transcript_hash, plan.authenticated)
    context = replace(plan.provisional, confirmed_transcript_hash=confirmed)
    joiner_secret = Secret(
        derive_joiner_secret(
            suite,
            init_secret=init_secret.reveal(),
            commit_secret=commit_secret.reveal(),
            group_context=context.to_bytes(),
        )
    )
    secrets = epoch_secrets(suite, joiner_secret, context, psk_secret)
    verify_confirmation_tag(
        suite, secrets.confirmation_key, confirmed, plan.authenticated.auth.confirmation_tag
    )
    member = MemberPart(
        own_leaf=state.own_leaf,
        private_keys=private_keys,
        signature_private=state.signature_private,
        ratchet_policy=state.ratchet_policy,
    )
    return begin_epoch(suite, secrets, context=context, tree=plan.tree, member=member)
