"""Processing a commit of another member (RFC 9420 section 12.4.2), in two halves.

:func:`plan_commit` judges what everybody can judge alike, from the epoch's public state and the commit's
bytes: the predicate P of R14 stands on it. :func:`follow_commit` then uses our own secrets; where it fails
after the plan held, we alone cannot follow (R15). Neither changes the old state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from crypto.commit import Commit
from crypto.errors import StateError, ValidationError
from crypto.framed_content import AuthenticatedContent
from crypto.group_context import GroupContext
from crypto.group_epoch import MemberPart, begin_epoch, epoch_secrets
from crypto.group_state import GroupState
from crypto.key_schedule import derive_joiner_secret
from crypto.leaf_node import LeafNode, LeafNodeSource
from crypto.leaf_validation import check_leaf, check_members_together
from crypto.proposal_list import AppliedProposals, apply_proposals
from crypto.ratchet_tree import RatchetTree
from crypto.sensitive import Secret
from crypto.transcript import next_confirmed_transcript_hash, verify_confirmation_tag
from crypto.tree_math import LeafIndex, NodeIndex
from crypto.treekem import keys_that_fit, merge_path, open_path
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
        _merge(state, tree, committer, leaf_before, commit.path, applied)
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


def _merge(
    state: GroupState,
    tree: RatchetTree,
    committer: LeafIndex,
    leaf_before: LeafNode,
    path: UpdatePath,
    applied: AppliedProposals,
) -> None:
    if path.leaf_node.encryption_key == leaf_before.encryption_key:
        raise ValidationError("path.leaf-key-unchanged")
    check_leaf(
        state.suite,
        path.leaf_node,
        group_id=state.context.group_id,
        leaf_index=committer,
        group_extensions=state.context.extensions,
        source=LeafNodeSource.COMMIT,
    )
    new_leaves = [member.leaf_index for member in applied.added]
    merge_path(state.suite, tree, committer, path, new_leaves=new_leaves)


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
    suite = state.suite
    private_keys: dict[NodeIndex, Secret] = keys_that_fit(state.tree, plan.unmerged, state.private_keys)
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
            new_leaves=[member.leaf_index for member in plan.applied.added],
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
            init_secret=state.init_secret.reveal(),
            commit_secret=commit_secret.reveal(),
            group_context=context.to_bytes(),
        )
    )
    secrets = epoch_secrets(suite, joiner_secret, context)
    verify_confirmation_tag(
        suite, secrets.confirmation_key, confirmed, plan.authenticated.auth.confirmation_tag
    )
    member = MemberPart(
        own_leaf=state.own_leaf,
        private_keys=private_keys,
        signature_private=state.signature_private,
        ratchet_policy=state.ratchet_policy,
    )
    return begin_epoch(suite, secrets, context=context, tree=plan.tree, member=member).state
