"""A new group of one (RFC 9420 section 11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from crypto.credentials import Credential
from crypto.errors import StateError
from crypto.extensions import Extensions
from crypto.group_context import GroupContext
from crypto.group_epoch import BegunEpoch, MemberPart, begin_epoch
from crypto.group_state import GroupState
from crypto.key_package import secret
from crypto.key_schedule import epoch_secrets_from
from crypto.leaf_node import Capabilities, LeafNode, LeafNodeSource, Lifetime, sign_leaf_node
from crypto.leaf_validation import check_capabilities
from crypto.ratchet_tree import RatchetTree
from crypto.secret_tree import RatchetPolicy
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex, leaf_to_node

MAX_UINT64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLeafParams:
    """What the creator puts into its own leaf.

    Attributes:
        signature_private: Device signature key.
        credential: In the product a device certificate.
        capabilities: In the product ``policy.product_capabilities()``.
        lifetime: Of no consequence once the first commit replaced the leaf; None stands for "always".
        extensions: Of the leaf.
    """

    signature_private: bytes | Secret = field(repr=False)
    credential: Credential
    capabilities: Capabilities
    lifetime: Lifetime | None = None
    extensions: Extensions = ()


def create_group(
    *,
    suite: CipherSuite,
    group_id: bytes,
    leaf: OwnLeafParams,
    rng: Callable[[int], bytes],
    extensions: Extensions = (),
    ratchet_policy: RatchetPolicy | None = None,
) -> GroupState:
    """As :func:`create_epoch`, without the secrets that the product has no use for."""
    return create_epoch(
        suite=suite,
        group_id=group_id,
        leaf=leaf,
        rng=rng,
        extensions=extensions,
        ratchet_policy=ratchet_policy,
    ).state


def create_epoch(
    *,
    suite: CipherSuite,
    group_id: bytes,
    leaf: OwnLeafParams,
    rng: Callable[[int], bytes],
    extensions: Extensions = (),
    ratchet_policy: RatchetPolicy | None = None,
) -> BegunEpoch:
    """Make epoch 0 of a new group.

    Args:
        suite: For the whole life of the group.
        group_id: Random; the product uses 16 bytes or more.
        leaf: The creator's.
        rng: Returns that many random bytes.
        extensions: Of the GroupContext; none in the product.
        ratchet_policy: None for R11's.

    Raises:
        StateError: ``group_id`` is empty.
        ValidationError: The creator's own leaf would not be valid in this group.
    """
    if not group_id:
        raise StateError("a group needs an id")
    signature_private = secret(leaf.signature_private)
    encryption_private, encryption_key = suite.generate_key_pair(rng)
    node = LeafNode(
        encryption_key=encryption_key,
        signature_key=suite.signature_public_key(signature_private.reveal()),
        credential=leaf.credential,
        capabilities=leaf.capabilities,
        leaf_node_source=LeafNodeSource.KEY_PACKAGE,
        lifetime=leaf.lifetime or Lifetime(not_before=0, not_after=MAX_UINT64),
        extensions=leaf.extensions,
    )
    check_capabilities(suite, node, extensions)
    own_leaf = LeafIndex(0)
    tree = RatchetTree(suite, [sign_leaf_node(suite, signature_private, node)])
    context = GroupContext(
        cipher_suite=suite.code,
        group_id=group_id,
        epoch=0,
        tree_hash=tree.tree_hash(),
        confirmed_transcript_hash=b"",
        extensions=extensions,
    )
    return begin_epoch(
        suite,
        epoch_secrets_from(suite, rng(suite.nh)),
        context=context,
        tree=tree,
        member=MemberPart(
            own_leaf=own_leaf,
            private_keys={leaf_to_node(own_leaf): Secret(encryption_private)},
            signature_private=signature_private,
            ratchet_policy=ratchet_policy or RatchetPolicy(),
        ),
    )
