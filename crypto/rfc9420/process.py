"""Processing any commit: a member's, or an external one (RFC 9420 sections 12.4.2 and 12.4.3.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crypto.commit import Commit
from crypto.errors import StateError, ValidationError
from crypto.framed_content import AuthenticatedContent, SenderType
from crypto.group_process import EpochChange, enter_epoch, merge_commit_path
from crypto.leaf_node import LeafNode
from crypto.leaf_validation import check_members_together
from crypto.ratchet_tree import RatchetTree
from crypto.rfc9420.authentication import validate_leaf, validate_replacement
from crypto.rfc9420.external_init import receive_init_secret
from crypto.rfc9420.proposals import (
    AppliedList,
    apply_list,
    check_external,
    check_regular,
    resolve,
    sort_out,
)
from crypto.rfc9420.state import FullState, full_state
from crypto.tree_math import LeafIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class FullPlan:
    """A commit whose public part is valid, and what it makes of the group."""

    change: EpochChange
    applied: AppliedList

    def removes(self, leaf_index: LeafIndex) -> bool:
        """Whether this leaf is among the removed."""
        return any(member.leaf_index == leaf_index for member in self.applied.removed)


def plan_any_commit(state: FullState, authenticated: AuthenticatedContent) -> FullPlan:
    """Validate a commit, whose signature was verified, as far as no secret is needed.

    Raises:
        ValidationError: The rule that is broken.
        CodecError: An extension of the group is malformed.
    """
    core, content = state.core, authenticated.content
    if not isinstance(content.content, Commit):
        raise StateError("this message is no commit")
    commit, sender = content.content, content.sender
    external = sender.sender_type is SenderType.NEW_MEMBER_COMMIT
    found = sort_out(resolve(commit.proposals, state.proposals, committer=sender))
    # 1. The proposals, by themselves and applied to the tree.
    if external:
        check_external(core.suite, found)
    else:
        check_regular(core.suite, found, committer=sender.leaf_index)
    tree = core.tree.copy()
    applied = apply_list(
        core.suite,
        tree,
        found,
        context=core.context,
        committer=None if external or commit.path is None else sender.leaf_index,
        service=state.device.service,
    )
    # 2. Where the committer stands, and whom it replaces.
    committer, replaced = _committer(state, authenticated, tree, applied)
    unmerged = tree.copy()
    # 3. The path is there if it must be, is valid, and goes into the tree.
    if commit.path is None:
        if found.path_demanded:
            raise ValidationError("commit.path-missing")
    else:
        merge_commit_path(
            core.suite,
            tree,
            commit.path,
            committer=committer,
            leaf_before=replaced,
            context=applied.context,
            new_leaves=[member.leaf_index for member in applied.added],
        )
        if replaced is None:
            validate_leaf(state.device.service, commit.path.leaf_node)
        else:
            validate_replacement(state.device.service, replaced, commit.path.leaf_node)
    # 4. The tree as a whole is valid.
    check_members_together(tree)
    return FullPlan(
        change=EpochChange(
            authenticated=authenticated,
            committer=committer,
            path=commit.path,
            new_leaves=tuple(member.leaf_index for member in applied.added),
            unmerged=unmerged,
            tree=tree,
            provisional=replace(applied.context, epoch=core.context.epoch + 1, tree_hash=tree.tree_hash()),
        ),
        applied=applied,
    )


def _committer(
    state: FullState, authenticated: AuthenticatedContent, tree: RatchetTree, applied: AppliedList
) -> tuple[LeafIndex, LeafNode | None]:
    """The committer's leaf index in the new tree, and the leaf whose place its new one takes."""
    sender = authenticated.content.sender
    if sender.sender_type is not SenderType.NEW_MEMBER_COMMIT:
        return sender.leaf_index, state.core.leaf(sender.leaf_index)
    # A joiner that removes its old self is held to what an Update of that leaf would be (section 12.2).
    replaced = applied.removed[0].leaf_node if applied.removed else None
    return tree.make_room(), replaced


def follow_any_commit(state: FullState, plan: FullPlan) -> FullState:
    """Enter the epoch of a planned commit.

    Raises:
        StateError: The commit removes us, or is our own.
        ValidationError: ``path.*``: the secrets do not fit the public keys; ``psk.unknown``.
        AuthenticationError: The path secret does not open, or the confirmation tag does not fit.
    """
    if plan.removes(state.core.own_leaf):
        raise StateError("this commit removes us from the group")
    if plan.change.committer == state.core.own_leaf:
        raise StateError("our own commit is merged, not processed")
    psk_secret = state.device.psks.secret_for(state.suite, plan.applied.psks)
    init_secret = state.core.init_secret
    if plan.applied.kem_output is not None:
        init_secret = receive_init_secret(state.suite, state.external_secret, plan.applied.kem_output)
    core, private_keys = state.keys_after(plan.change.unmerged)
    begun = enter_epoch(
        core, plan.change, private_keys=private_keys, init_secret=init_secret, psk_secret=psk_secret
    )
    return full_state(begun, state.device, reinit=plan.applied.reinit)
