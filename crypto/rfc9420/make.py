"""Making any commit of a member (RFC 9420 section 12.4.1): by value and by reference, with or without a path.

The old state changes in one point: its handshake ratchet moves if the commit is a PrivateMessage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from crypto.code_points import ExtensionType
from crypto.commit import Commit, ProposalRef
from crypto.errors import StateError
from crypto.extensions import Extension, Extensions
from crypto.framed_content import AuthenticatedContent, Sender, WireFormat
from crypto.grease import grease_extension
from crypto.group_commit import NewLeaf, changed_leaf
from crypto.group_context import GroupContext
from crypto.group_epoch import BegunEpoch, MemberPart, begin_epoch, epoch_secrets
from crypto.group_info import GroupInfo, sign_group_info
from crypto.group_state import GroupState
from crypto.key_schedule import derive_joiner_secret, derive_welcome_secret
from crypto.leaf_node import LeafNodeSource
from crypto.leaf_validation import check_leaf, check_members_together
from crypto.mls_message import MLSMessage
from crypto.proposal_list import AddedMember
from crypto.proposals import Proposal
from crypto.psk_id import PreSharedKeyID, ResumptionPSKUsage
from crypto.ratchet_tree import RatchetTree
from crypto.rfc9420.external_extensions import external_pub_extension
from crypto.rfc9420.messages import Rng, protect, sign_content
from crypto.rfc9420.proposals import apply_list, check_regular, resolve, sort_out
from crypto.rfc9420.state import FullState, full_state
from crypto.sensitive import Secret
from crypto.transcript import next_confirmed_transcript_hash
from crypto.treekem import NewPath, PrivateKeys, create_path, encrypt_path, keys_that_fit
from crypto.update_path import UpdatePath
from crypto.welcome import Joiner, seal_group_info, seal_welcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOptions:
    """How a commit is to be made.

    Attributes:
        wire_format: PUBLIC_MESSAGE or PRIVATE_MESSAGE.
        with_path: Send a path even where none is required.
        tree_in_welcome: Put the ratchet tree into the Welcome.
        authenticated_data: Signed with the commit.
        new_leaf: Changes of our leaf; they need a path.
        linking: REINIT or BRANCH for the first commit of a group that continues another one.
    """

    wire_format: WireFormat = WireFormat.PUBLIC_MESSAGE
    with_path: bool = True
    tree_in_welcome: bool = True
    authenticated_data: bytes = b""
    new_leaf: NewLeaf = field(default_factory=NewLeaf)
    linking: ResumptionPSKUsage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCommit:
    """A commit, its Welcome if anybody was added, the tree of the new epoch, and our state of it."""

    message: bytes = field(repr=False)
    welcome: bytes | None = field(repr=False)
    ratchet_tree: bytes = field(repr=False)
    state: FullState = field(repr=False)


def make_any_commit(
    old: FullState,
    *,
    by_value: Sequence[Proposal],
    by_reference: Sequence[bytes],
    rng: Rng,
    options: CommitOptions | None = None,
) -> MadeCommit:
    """Build a commit and the epoch that it leads to.

    Args:
        old: The present epoch.
        by_value: Proposals of our own.
        by_reference: References of proposals that ``old`` knows.
        rng: Returns that many random bytes.
        options: None for a PublicMessage with a path.

    Raises:
        ValidationError: The proposals are not valid together, or would leave an invalid tree.
        StateError: The group was ended by a ReInit.
    """
    if old.reinit is not None:
        raise StateError("this group was ended by a ReInit")
    how, core, suite = options or CommitOptions(), old.core, old.suite
    sender = Sender.member(core.own_leaf)
    listed = (*(ProposalRef(reference=reference) for reference in by_reference), *by_value)
    # 1. The proposals make a new tree.
    found = sort_out(resolve(listed, old.proposals, committer=sender))
    check_regular(suite, found, committer=core.own_leaf, linking=how.linking)
    tree = core.tree.copy()
    applied = apply_list(
        suite, tree, found, context=core.context, committer=core.own_leaf, service=old.device.service
    )
    psk_secret = old.device.psks.secret_for(suite, applied.psks)
    added = [member.leaf_index for member in applied.added]
    # 2. A path, if wanted or needed, encrypted under the provisional context.
    path: NewPath | None = None
    signature_private = core.signature_private
    if how.with_path or found.path_required:
        signature_private = how.new_leaf.signature_private or signature_private
        path = create_path(
            suite,
            tree,
            core.own_leaf,
            leaf=changed_leaf(core, how.new_leaf),
            signature_private=signature_private,
            group_id=core.context.group_id,
            rng=rng,
        )
        check_leaf(
            suite,
            path.leaf,
            group_id=core.context.group_id,
            leaf_index=core.own_leaf,
            group_extensions=applied.context.extensions,
            source=LeafNodeSource.COMMIT,
        )
    check_members_together(tree)
    provisional = replace(applied.context, epoch=core.context.epoch + 1, tree_hash=tree.tree_hash())
    update_path: UpdatePath | None = None
    if path is not None:
        update_path = encrypt_path(
            suite, tree, path, context=provisional.to_bytes(), new_leaves=added, rng=rng
        )
    # 3. Signed in the old epoch.
    signed = sign_content(
        suite,
        core.signature_private,
        context=core.context,
        sender=sender,
        content=Commit(proposals=listed, path=update_path),
        authenticated_data=how.authenticated_data,
        wire_format=how.wire_format,
    )
    # 4. The new epoch.
    private_keys: PrivateKeys = {
        **keys_that_fit(core.tree, tree, core.private_keys),
        **(path.private_keys if path is not None else {}),
    }
    begun, joiner_secret = begin_committed_epoch(
        core,
        signed,
        provisional=provisional,
        tree=tree,
        private_keys=private_keys,
        signature_private=signature_private,
        init_secret=core.init_secret,
        commit_secret=path.commit_secret if path is not None else Secret(bytes(suite.nh)),
        psk_secret=psk_secret,
    )
    new = full_state(begun, old.device, reinit=applied.reinit)
    # 5. The Welcome; 6. the commit, protected with the keys of the old epoch.
    welcome = None
    if applied.added:
        welcome = _welcome(new, joiner_secret, psk_secret, applied.added, applied.psks, path, how, rng)
    auth = replace(signed.auth, confirmation_tag=begun.confirmation_tag)
    return MadeCommit(
        message=protect(old, replace(signed, auth=auth), rng),
        welcome=welcome,
        ratchet_tree=tree.to_bytes(),
        state=new,
    )


def begin_committed_epoch(
    core: GroupState,
    signed: AuthenticatedContent,
    *,
    provisional: GroupContext,
    tree: RatchetTree,
    private_keys: PrivateKeys,
    signature_private: Secret,
    init_secret: Secret,
    commit_secret: Secret,
    psk_secret: bytes,
) -> tuple[BegunEpoch, Secret]:
    """The committer's side of the key schedule: the epoch, and its joiner secret."""
    suite = core.suite
    context = replace(
        provisional,
        confirmed_transcript_hash=next_confirmed_transcript_hash(suite, core.interim_transcript_hash, signed),
    )
    joiner_secret = Secret(
        derive_joiner_secret(
            suite,
            init_secret=init_secret.reveal(),
            commit_secret=commit_secret.reveal(),
            group_context=context.to_bytes(),
        )
    )
    begun = begin_epoch(
        suite,
        epoch_secrets(suite, joiner_secret, context, psk_secret),
        context=context,
        tree=tree,
        member=MemberPart(
            own_leaf=core.own_leaf,
            private_keys=private_keys,
            signature_private=signature_private,
            ratchet_policy=core.ratchet_policy,
        ),
    )
    return begun, joiner_secret


def make_group_info(state: FullState, extensions: Extensions) -> GroupInfo:
    """A signed GroupInfo of the present epoch (section 12.4.3)."""
    core = state.core
    return sign_group_info(
        core.suite,
        core.signature_private,
        GroupInfo(
            group_context=core.context,
            extensions=extensions,
            confirmation_tag=state.confirmation_tag,
            signer=core.own_leaf,
        ),
    )


def publish_group_info(state: FullState, rng: Rng, *, with_tree: bool, with_external_pub: bool) -> bytes:
    """MLSMessage(GroupInfo) for external joins (section 12.4.3.2).

    Raises:
        StateError: The group was ended by a ReInit.
    """
    if state.reinit is not None:
        raise StateError("this group was ended by a ReInit")
    extensions: list[Extension] = [grease_extension(rng)]
    if with_tree:
        extensions.append(tree_extension(state.core.tree))
    if with_external_pub:
        extensions.append(external_pub_extension(state.external_public_key()))
    return MLSMessage(body=make_group_info(state, tuple(extensions))).to_bytes()


def tree_extension(tree: RatchetTree) -> Extension:
    """The ``ratchet_tree`` extension (section 12.4.3.3)."""
    return Extension(extension_type=ExtensionType.RATCHET_TREE, extension_data=tree.to_bytes())


def _welcome(
    new: FullState,
    joiner_secret: Secret,
    psk_secret: bytes,
    added: Sequence[AddedMember],
    psks: tuple[PreSharedKeyID, ...],
    path: NewPath | None,
    how: CommitOptions,
    rng: Rng,
) -> bytes:
    suite = new.suite
    extensions: Extensions = (grease_extension(rng),)
    if how.tree_in_welcome:
        extensions = (tree_extension(new.core.tree), *extensions)
    welcome_secret = derive_welcome_secret(suite, joiner_secret=joiner_secret.reveal(), psk_secret=psk_secret)
    joiners = [
        Joiner(
            key_package=member.key_package,
            path_secret=None if path is None else path.secret_shared_with(member.leaf_index),
        )
        for member in added
    ]
    welcome = seal_welcome(
        suite,
        encrypted_group_info=seal_group_info(suite, Secret(welcome_secret), make_group_info(new, extensions)),
        joiner_secret=joiner_secret,
        joiners=joiners,
        rng=rng,
        psks=psks,
    )
    return MLSMessage(body=welcome).to_bytes()
