"""Joining by a Welcome (RFC 9420 section 12.4.3.1), in its numbered steps.

Not checked here, because only the application knows: that the group id is new to this device, and that signer
and members are the expected ones (R16, S4). A joiner trusts the branch that the Welcome shows (PITFALLS).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from crypto.code_points import ExtensionType
from crypto.codec import CodecError, decode
from crypto.errors import StateError, ValidationError
from crypto.extensions import check_unique_types, find_extension
from crypto.group_epoch import BegunEpoch, MemberPart, begin_epoch
from crypto.group_info import GroupInfo, verify_group_info
from crypto.group_state import GroupState
from crypto.key_package import KeyPackage
from crypto.key_schedule import derive_epoch_secrets, derive_welcome_secret
from crypto.leaf_validation import check_capabilities
from crypto.limits import MAX_MESSAGE_BYTES
from crypto.psk_id import PreSharedKeyID
from crypto.psk_secret import no_psk_secret
from crypto.ratchet_tree import RatchetTree, from_ratchet_tree
from crypto.secret_tree import RatchetPolicy
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.suites import suite as suite_of
from crypto.transcript import verify_confirmation_tag
from crypto.tree_math import LeafIndex, NodeIndex, common_ancestor, leaf_to_node
from crypto.tree_nodes import read_ratchet_tree
from crypto.tree_validation import check_tree
from crypto.treekem import derive_path
from crypto.welcome import Welcome, open_group_info, open_group_secrets

PskSecretFor = Callable[[CipherSuite, tuple[PreSharedKeyID, ...]], bytes]
"""Gives the ``psk_secret`` for the PSKs that a Welcome names, or raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedEpoch:
    """An epoch entered by a Welcome, with what the Welcome said of it.

    Attributes:
        begun: The state, and the epoch's secrets, to be dropped.
        group_info: As signed by a member.
        psks: As named in the Welcome.
    """

    begun: BegunEpoch = field(repr=False)
    group_info: GroupInfo
    psks: tuple[PreSharedKeyID, ...]


def refuse_psks(suite: CipherSuite, psks: tuple[PreSharedKeyID, ...]) -> bytes:
    """What the product does with PSKs.

    Raises:
        ValidationError: ``welcome.psk-refused``: there is one.
    """
    if psks:
        raise ValidationError("welcome.psk-refused")
    return no_psk_secret(suite)


def join_group(
    *,
    welcome: Welcome,
    key_package: KeyPackage,
    init_private: Secret,
    encryption_private: Secret,
    signature_private: Secret,
    ratchet_tree: bytes | None = None,
    ratchet_policy: RatchetPolicy | None = None,
) -> GroupState:
    """As :func:`enter_by_welcome`, as the product joins: without PSKs."""
    joined = enter_by_welcome(
        welcome=welcome,
        key_package=key_package,
        init_private=init_private,
        encryption_private=encryption_private,
        signature_private=signature_private,
        ratchet_tree=ratchet_tree,
        ratchet_policy=ratchet_policy,
    )
    return joined.begun.state


def enter_by_welcome(
    *,
    welcome: Welcome,
    key_package: KeyPackage,
    init_private: Secret,
    encryption_private: Secret,
    signature_private: Secret,
    ratchet_tree: bytes | None = None,
    ratchet_policy: RatchetPolicy | None = None,
    psk_secret_for: PskSecretFor = refuse_psks,
) -> JoinedEpoch:
    """Enter the epoch that a Welcome describes.

    Args:
        welcome: As decoded.
        key_package: Ours, which the Welcome must name.
        init_private: Of the KeyPackage; delete it afterwards unless the KeyPackage is reusable.
        encryption_private: Of the KeyPackage's leaf.
        signature_private: Of the KeyPackage's leaf.
        ratchet_tree: An encoded ``ratchet_tree``, if the Welcome carries none.
        ratchet_policy: None for R11's.
        psk_secret_for: Looks the PSKs up that the Welcome names.

    Raises:
        ValidationError: ``welcome.*``, ``group-info.*``, ``tree.*``, ``leaf.*`` or ``path.*`` names the rule.
        AuthenticationError: Something does not open, or the confirmation tag does not fit.
        CodecError: Something opens and is malformed.
        StateError: The private keys are not those of the KeyPackage.
    """
    suite = suite_of(key_package.cipher_suite)
    _check_own_keys(suite, key_package, encryption_private, signature_private)
    # 1. Our secrets.
    secrets = open_group_secrets(suite, welcome, key_package=key_package, init_private=init_private)
    joiner_secret, psk_secret = secrets.joiner_secret.reveal(), psk_secret_for(suite, secrets.psks)
    # 2. The GroupInfo.
    welcome_secret = Secret(derive_welcome_secret(suite, joiner_secret=joiner_secret, psk_secret=psk_secret))
    group_info = open_group_info(suite, welcome_secret, welcome.encrypted_group_info)
    context = group_info.group_context
    if context.cipher_suite != suite.code:
        raise ValidationError("group-info.cipher-suite")
    check_unique_types(group_info.extensions)
    check_unique_types(context.extensions)
    # 3. The tree, whose hash the GroupInfo signs; the signer is one of its leaves.
    tree = tree_of(suite, group_info, ratchet_tree)
    signer = tree.leaf(group_info.signer)
    if signer is None:
        raise ValidationError("group-info.signer-blank")
    verify_group_info(suite, signer.signature_key, group_info)
    if tree.tree_hash() != context.tree_hash:
        raise ValidationError("group-info.tree-hash")
    check_tree(suite, tree, group_id=context.group_id, group_extensions=context.extensions)
    # 4. Our place in it.
    own_leaf = tree.find_leaf(key_package.leaf_node)
    if own_leaf is None:
        raise ValidationError("welcome.own-leaf-missing")
    check_capabilities(suite, key_package.leaf_node, context.extensions)
    private_keys: dict[NodeIndex, Secret] = {leaf_to_node(own_leaf): encryption_private}
    if secrets.path_secret is not None:
        private_keys.update(_path_keys(suite, tree, own_leaf, group_info.signer, secrets.path_secret))
    # 5. The epoch, which must confirm itself.
    epoch = derive_epoch_secrets(
        suite, joiner_secret=joiner_secret, psk_secret=psk_secret, group_context=context.to_bytes()
    )
    verify_confirmation_tag(
        suite, epoch.confirmation_key, context.confirmed_transcript_hash, group_info.confirmation_tag
    )
    begun = begin_epoch(
        suite,
        epoch,
        context=context,
        tree=tree,
        member=MemberPart(
            own_leaf=own_leaf,
            private_keys=private_keys,
            signature_private=signature_private,
            ratchet_policy=ratchet_policy or RatchetPolicy(),
            signer=group_info.signer,
        ),
    )
    return JoinedEpoch(begun=begun, group_info=group_info, psks=secrets.psks)


def _check_own_keys(
    suite: CipherSuite, key_package: KeyPackage, encryption_private: Secret, signature_private: Secret
) -> None:
    leaf = key_package.leaf_node
    if (
        suite.hpke_public_key(encryption_private.reveal()) != leaf.encryption_key
        or suite.signature_public_key(signature_private.reveal()) != leaf.signature_key
    ):
        raise StateError("these private keys do not belong to this KeyPackage")


def tree_of(suite: CipherSuite, group_info: GroupInfo, ratchet_tree: bytes | None) -> RatchetTree:
    """The tree in a GroupInfo, or else the one given beside it; not yet validated.

    Raises:
        ValidationError: ``welcome.no-ratchet-tree`` or ``tree.*``.
        CodecError: It is malformed, or too long.
    """
    encoded = find_extension(group_info.extensions, ExtensionType.RATCHET_TREE)
    if encoded is None:
        encoded = ratchet_tree
    if encoded is None:
        raise ValidationError("welcome.no-ratchet-tree")
    if len(encoded) > MAX_MESSAGE_BYTES:
        raise CodecError(0, "ratchet tree is longer than allowed")
    return from_ratchet_tree(suite, decode(encoded, read_ratchet_tree))


def _path_keys(
    suite: CipherSuite, tree: RatchetTree, own_leaf: LeafIndex, signer: LeafIndex, path_secret: Secret
) -> dict[NodeIndex, Secret]:
    """Keys of the common ancestor with the committer and of those above it."""
    if signer == own_leaf:
        raise ValidationError("welcome.signed-by-own-leaf")
    ancestor = common_ancestor(leaf_to_node(own_leaf), leaf_to_node(signer))
    opened = derive_path(suite, tree, signer, lowest=ancestor, path_secret=path_secret)
    return dict(opened.private_keys)
