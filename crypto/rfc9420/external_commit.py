"""Joining by an external commit, and proposals from outside (RFC 9420 sections 12.4.3.2 and 12.1.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from crypto.codec import decode
from crypto.commit import Commit
from crypto.errors import ValidationError
from crypto.extensions import check_unique_types
from crypto.framed_content import Sender, SenderType, WireFormat
from crypto.group_context import GroupContext
from crypto.group_create import OwnLeafParams
from crypto.group_info import GroupInfo, verify_group_info
from crypto.group_join import tree_of
from crypto.group_state import GroupState
from crypto.key_package import secret
from crypto.leaf_node import LeafNode, LeafNodeSource
from crypto.leaf_validation import check_capabilities, check_members_together
from crypto.mls_message import read_mls_message
from crypto.proposals import Add, ExternalInit, PreSharedKey, Proposal, Remove
from crypto.psk_id import PreSharedKeyID
from crypto.ratchet_tree import RatchetTree
from crypto.rfc9420.authentication import validate_tree
from crypto.rfc9420.external_extensions import external_pub
from crypto.rfc9420.external_init import send_init_secret
from crypto.rfc9420.make import begin_committed_epoch
from crypto.rfc9420.messages import Rng, protect_external, sign_content
from crypto.rfc9420.proposals import SentProposal, check_external, check_proposal_of_sender, resolve, sort_out
from crypto.rfc9420.state import Device, FullState, full_state
from crypto.secret_tree import RatchetPolicy, SecretTree
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.suites import suite as suite_of
from crypto.transcript import next_interim_transcript_hash
from crypto.tree_math import LeafIndex
from crypto.tree_validation import check_tree
from crypto.treekem import create_path, encrypt_path


def read_group_info_message(message: bytes) -> GroupInfo:
    """The GroupInfo of an MLSMessage.

    Raises:
        CodecError: Malformed.
        ValidationError: ``group-info.wire-format``.
    """
    body = decode(message, read_mls_message).body
    if not isinstance(body, GroupInfo):
        raise ValidationError("group-info.wire-format")
    return body


def join_by_commit(
    group_info: GroupInfo,
    *,
    leaf: OwnLeafParams,
    device: Device,
    rng: Rng,
    ratchet_tree: bytes | None = None,
    replaces: LeafIndex | None = None,
    psks: Sequence[PreSharedKeyID] = (),
    ratchet_policy: RatchetPolicy | None = None,
) -> tuple[FullState, bytes]:
    """Enter a group of which somebody published a GroupInfo; gives our state and the commit to send.

    Args:
        group_info: Of the present epoch, with ``external_pub``.
        leaf: Ours.
        device: PSKs, and who judges the members' credentials.
        rng: Returns that many random bytes.
        ratchet_tree: If the GroupInfo has none.
        replaces: An old appearance of ourselves ("resync"), to be removed.
        psks: To inject, by fresh nonces.
        ratchet_policy: None for R11's.

    Raises:
        ValidationError: The GroupInfo, its tree, or what we would make of it breaks a rule.
    """
    suite, context, tree = _validated(group_info, device, ratchet_tree)
    public_key = external_pub(group_info.extensions)
    if public_key is None:
        raise ValidationError("group-info.no-external-pub")
    signature_private = secret(leaf.signature_private)
    # 1. The proposals: ours alone, by value.
    kem_output, init_secret = send_init_secret(suite, public_key, rng)
    proposals: list[Proposal] = [ExternalInit(kem_output=kem_output)]
    if replaces is not None:
        proposals.append(Remove(removed=replaces))
        tree.remove_leaf(replaces)
    proposals += [PreSharedKey(psk=psk_id) for psk_id in psks]
    sender = Sender(sender_type=SenderType.NEW_MEMBER_COMMIT)
    check_external(suite, sort_out(resolve(proposals, {}, committer=sender)))
    psk_secret = device.psks.secret_for(suite, psks)
    # 2. Our leaf in the leftmost blank place, and its path.
    own_leaf = tree.make_room()
    new_path = create_path(
        suite,
        tree,
        own_leaf,
        leaf=_blank_leaf(suite, leaf, signature_private),
        signature_private=signature_private,
        group_id=context.group_id,
        rng=rng,
    )
    check_capabilities(suite, new_path.leaf, context.extensions)
    check_members_together(tree)
    provisional = replace(context, epoch=context.epoch + 1, tree_hash=tree.tree_hash())
    path = encrypt_path(suite, tree, new_path, context=provisional.to_bytes(), new_leaves=(), rng=rng)
    # 3. Signed with the new leaf's key, and the epoch that it leads to.
    signed = sign_content(
        suite,
        signature_private,
        context=context,
        sender=sender,
        content=Commit(proposals=tuple(proposals), path=path),
        authenticated_data=b"",
        wire_format=WireFormat.PUBLIC_MESSAGE,
    )
    begun, _ = begin_committed_epoch(
        _outsider(suite, context, tree, own_leaf, signature_private, group_info, ratchet_policy),
        signed,
        provisional=provisional,
        tree=tree,
        private_keys=new_path.private_keys,
        signature_private=signature_private,
        init_secret=init_secret,
        commit_secret=new_path.commit_secret,
        psk_secret=psk_secret,
    )
    auth = replace(signed.auth, confirmation_tag=begun.confirmation_tag)
    message = protect_external(suite, replace(signed, auth=auth), context)
    return full_state(begun, device), message


def _validated(
    group_info: GroupInfo, device: Device, ratchet_tree: bytes | None
) -> tuple[CipherSuite, GroupContext, RatchetTree]:
    """Check a GroupInfo as for a Welcome, as far as an outsider can (section 12.4.3)."""
    context = group_info.group_context
    suite = suite_of(context.cipher_suite)
    check_unique_types(group_info.extensions)
    check_unique_types(context.extensions)
    tree = tree_of(suite, group_info, ratchet_tree)
    signer = tree.leaf(group_info.signer)
    if signer is None:
        raise ValidationError("group-info.signer-blank")
    verify_group_info(suite, signer.signature_key, group_info)
    if tree.tree_hash() != context.tree_hash:
        raise ValidationError("group-info.tree-hash")
    check_tree(suite, tree, group_id=context.group_id, group_extensions=context.extensions)
    validate_tree(device.service, tree)
    return suite, context, tree


def _blank_leaf(suite: CipherSuite, leaf: OwnLeafParams, signature_private: Secret) -> LeafNode:
    """Our leaf before the path gives it a key, a parent hash and a signature."""
    return LeafNode(
        encryption_key=b"",
        signature_key=suite.signature_public_key(signature_private.reveal()),
        credential=leaf.credential,
        capabilities=leaf.capabilities,
        leaf_node_source=LeafNodeSource.COMMIT,
        extensions=leaf.extensions,
    )


def _outsider(
    suite: CipherSuite,
    context: GroupContext,
    tree: RatchetTree,
    own_leaf: LeafIndex,
    signature_private: Secret,
    group_info: GroupInfo,
    ratchet_policy: RatchetPolicy | None,
) -> GroupState:
    """What a committer needs of the old epoch, as far as an outsider has it: no secret of it."""
    policy = ratchet_policy or RatchetPolicy()
    return GroupState(
        suite=suite,
        context=context,
        tree=tree,
        own_leaf=own_leaf,
        private_keys={},
        signature_private=signature_private,
        interim_transcript_hash=next_interim_transcript_hash(
            suite, context.confirmed_transcript_hash, group_info.confirmation_tag
        ),
        sender_data_secret=Secret(b""),
        init_secret=Secret(b""),
        exporter_secret=None,
        epoch_authenticator=b"",
        secret_tree=SecretTree(suite, tree.n_leaves, b"", policy),
        ratchet_policy=policy,
    )


def propose_from_outside(
    context: GroupContext, proposal: Proposal, *, sender_index: int, signature_private: bytes | Secret
) -> bytes:
    """A proposal by the external sender at ``sender_index`` of the group's ``external_senders``.

    Args:
        context: Group id, epoch and cipher suite of it are used.
        proposal: Add, Remove, PreSharedKey, ReInit or GroupContextExtensions.
        sender_index: See above.
        signature_private: Fits the key listed there.

    Raises:
        ValidationError: ``external-sender.proposal-type``.
    """
    return _propose(
        context,
        proposal,
        Sender(sender_type=SenderType.EXTERNAL, index=sender_index),
        secret(signature_private),
    )


def propose_oneself(context: GroupContext, add: Add, *, signature_private: bytes | Secret) -> bytes:
    """An Add of oneself, signed with the key of the KeyPackage in it (sender ``new_member_proposal``)."""
    sender = Sender(sender_type=SenderType.NEW_MEMBER_PROPOSAL)
    return _propose(context, add, sender, secret(signature_private))


def _propose(context: GroupContext, proposal: Proposal, sender: Sender, signature_private: Secret) -> bytes:
    check_proposal_of_sender(SentProposal(proposal=proposal, sender=sender))
    suite = suite_of(context.cipher_suite)
    signed = sign_content(
        suite,
        signature_private,
        context=context,
        sender=sender,
        content=proposal,
        authenticated_data=b"",
        wire_format=WireFormat.PUBLIC_MESSAGE,
    )
    return protect_external(suite, signed, context)
