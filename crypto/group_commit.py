"""Making a commit (RFC 9420 section 12.4.1): always with a path, its proposals inline, as a PrivateMessage.

The new epoch is built beside the old one. The old one changes in a single point: its handshake ratchet moves,
as with any message sent, so that a commit that loses the race never shares a generation with the next one
(R7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from crypto.code_points import ExtensionType
from crypto.commit import Commit
from crypto.credentials import Credential
from crypto.extensions import Extension
from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    WireFormat,
    sign_framed_content,
)
from crypto.grease import grease_extension
from crypto.group_epoch import MemberPart, begin_epoch, epoch_secrets
from crypto.group_info import GroupInfo, sign_group_info
from crypto.group_state import GroupState
from crypto.key_package import KeyPackage
from crypto.key_schedule import derive_joiner_secret, derive_welcome_secret
from crypto.leaf_node import LeafNode
from crypto.leaf_validation import check_members_together
from crypto.mls_message import MLSMessage
from crypto.private_message import protect_private
from crypto.proposal_list import AppliedProposals, apply_proposals
from crypto.proposals import Add, Proposal, Remove
from crypto.psk_secret import no_psk_secret
from crypto.sensitive import Secret
from crypto.transcript import next_confirmed_transcript_hash
from crypto.tree_math import LeafIndex
from crypto.treekem import NewPath, create_path, encrypt_path, keys_that_fit
from crypto.welcome import Joiner, seal_group_info, seal_welcome

Rng = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLeaf:
    """What the committer changes in its own leaf besides the encryption key; None leaves a field as it is."""

    signature_private: Secret | None = field(default=None, repr=False)
    credential: Credential | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCommit:
    """A commit, its Welcome if anybody was added, and the epoch that it leads to."""

    message: bytes
    welcome: bytes | None
    state: GroupState
    applied: AppliedProposals


def make_commit(
    old: GroupState,
    *,
    adds: Sequence[KeyPackage],
    removes: Sequence[LeafIndex],
    rng: Rng,
    authenticated_data: bytes,
    new_leaf: NewLeaf | None = None,
) -> MadeCommit:
    """Build a commit and the epoch that it leads to.

    Args:
        old: The present epoch. Its handshake ratchet moves: save it together with the commit, before sending.
        adds: KeyPackages to add, in this order; check their lifetimes before.
        removes: Leaves to remove; not our own.
        rng: Returns that many random bytes.
        authenticated_data: Sent in the clear inside the cell, signed (R10).
        new_leaf: Changes of our own leaf.

    Raises:
        ValidationError: The proposals are not valid together, or would leave an invalid tree. Nothing
        changed. StateError: Our handshake ratchet is used up.
    """
    suite, change = old.suite, new_leaf or NewLeaf()
    proposals: list[Proposal] = [Remove(removed=index) for index in removes]
    proposals += [Add(key_package=key_package) for key_package in adds]
    # 1. The proposals make a new tree.
    tree = old.tree.copy()
    applied = apply_proposals(
        suite,
        tree,
        proposals,
        committer=old.own_leaf,
        group_extensions=old.context.extensions,
    )
    added = [member.leaf_index for member in applied.added]
    # 2. A fresh path in it, encrypted under the provisional context.
    signature_private = change.signature_private or old.signature_private
    path = create_path(
        suite,
        tree,
        old.own_leaf,
        leaf=changed_leaf(old, change),
        signature_private=signature_private,
        group_id=old.context.group_id,
        rng=rng,
    )
    check_members_together(tree)
    provisional = replace(old.context, epoch=old.context.epoch + 1, tree_hash=tree.tree_hash())
    update_path = encrypt_path(suite, tree, path, context=provisional.to_bytes(), new_leaves=added, rng=rng)
    # 3. Signed by the leaf as it is in the old epoch.
    signed = _sign(old, Commit(proposals=tuple(proposals), path=update_path), authenticated_data)
    # 4. The new epoch, and with it the confirmation tag.
    context = replace(
        provisional,
        confirmed_transcript_hash=next_confirmed_transcript_hash(suite, old.interim_transcript_hash, signed),
    )
    joiner_secret = Secret(
        derive_joiner_secret(
            suite,
            init_secret=old.init_secret.reveal(),
            commit_secret=path.commit_secret.reveal(),
            group_context=context.to_bytes(),
        )
    )
    private_keys = {**keys_that_fit(old.tree, tree, old.private_keys), **path.private_keys}
    begun = begin_epoch(
        suite,
        epoch_secrets(suite, joiner_secret, context),
        context=context,
        tree=tree,
        member=MemberPart(
            own_leaf=old.own_leaf,
            private_keys=private_keys,
            signature_private=signature_private,
            ratchet_policy=old.ratchet_policy,
        ),
    )
    # 5. The Welcome first: what can still fail must fail before the ratchet moves.
    welcome = None
    if applied.added:
        welcome = _welcome(begun.state, begun.confirmation_tag, joiner_secret, applied, path, rng)
    # 6. Encrypted with the keys of the old epoch (PITFALLS: never those of the new one).
    auth = replace(signed.auth, confirmation_tag=begun.confirmation_tag)
    message = protect_private(
        suite,
        replace(signed, auth=auth),
        sender_data_secret=old.sender_data_secret.reveal(),
        secret_tree=old.secret_tree,
        rng=rng,
    )
    return MadeCommit(
        message=MLSMessage(body=message).to_bytes(), welcome=welcome, state=begun.state, applied=applied
    )


def changed_leaf(old: GroupState, change: NewLeaf) -> LeafNode:
    """Our leaf with the changes asked for; key, source, parent hash and signature are made by the path."""
    leaf = old.own_leaf_node()
    if change.signature_private is not None:
        public = old.suite.signature_public_key(change.signature_private.reveal())
        leaf = replace(leaf, signature_key=public)
    return leaf if change.credential is None else replace(leaf, credential=change.credential)


def _sign(old: GroupState, commit: Commit, authenticated_data: bytes) -> AuthenticatedContent:
    """The commit framed and signed in the old epoch, still without its confirmation tag."""
    content = FramedContent(
        group_id=old.context.group_id,
        epoch=old.context.epoch,
        sender=Sender.member(old.own_leaf),
        authenticated_data=authenticated_data,
        content_type=ContentType.COMMIT,
        content=commit,
    )
    signature = sign_framed_content(
        old.suite,
        old.sign_with(),
        wire_format=WireFormat.PRIVATE_MESSAGE,
        content=content,
        group_context=old.context.to_bytes(),
    )
    return AuthenticatedContent(
        wire_format=WireFormat.PRIVATE_MESSAGE,
        content=content,
        auth=FramedContentAuthData(signature=signature),
    )


def _welcome(
    new: GroupState,
    confirmation_tag: bytes,
    joiner_secret: Secret,
    applied: AppliedProposals,
    path: NewPath,
    rng: Rng,
) -> bytes:
    """One Welcome for all who were added, with the tree in it (RFC 9420 sections 12.4.3.1, 12.4.3.3)."""
    suite = new.suite
    tree_extension = Extension(extension_type=ExtensionType.RATCHET_TREE, extension_data=new.tree.to_bytes())
    group_info = sign_group_info(
        suite,
        new.signature_private,
        GroupInfo(
            group_context=new.context,
            extensions=(tree_extension, grease_extension(rng)),
            confirmation_tag=confirmation_tag,
            signer=new.own_leaf,
        ),
    )
    welcome_secret = derive_welcome_secret(
        suite, joiner_secret=joiner_secret.reveal(), psk_secret=no_psk_secret(suite)
    )
    joiners = [
        Joiner(key_package=member.key_package, path_secret=path.secret_shared_with(member.leaf_index))
        for member in applied.added
    ]
    welcome = seal_welcome(
        suite,
        encrypted_group_info=seal_group_info(suite, Secret(welcome_secret), group_info),
        joiner_secret=joiner_secret,
        joiners=joiners,
        rng=rng,
    )
    return MLSMessage(body=welcome).to_bytes()
