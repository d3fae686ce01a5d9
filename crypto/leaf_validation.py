"""Validity of leaf nodes, alone and together (RFC 9420 sections 7.2, 7.3, 11.1, 13.4).

Deliberately not here: the credential's meaning (``keys/`` and :mod:`crypto.policy`), and lifetimes, which
:func:`crypto.key_package.check_lifetime` judges only where a KeyPackage is consumed. A rule that looked at a
clock would fork the group (R14).
"""

from __future__ import annotations

from crypto.code_points import DEFAULT_EXTENSION_TYPES, ProposalType, ProtocolVersion
from crypto.errors import AuthenticationError, ValidationError
from crypto.extensions import Extensions, check_unique_types, required_capabilities
from crypto.leaf_node import Capabilities, LeafNode, LeafNodeSource, verify_leaf_signature
from crypto.ratchet_tree import RatchetTree
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex


def check_leaf(
    suite: CipherSuite,
    leaf: LeafNode,
    *,
    group_id: bytes | None,
    leaf_index: LeafIndex | None,
    group_extensions: Extensions,
    source: LeafNodeSource | None,
) -> None:
    """Check one leaf by itself (RFC 9420 section 7.3).

    Args:
        suite: The group's cipher suite.
        leaf: From an Add, an UpdatePath, or the tree of a group that we join.
        group_id: None for the leaf of a KeyPackage.
        leaf_index: None for the leaf of a KeyPackage.
        group_extensions: Of the GroupContext.
        source: The only source allowed here; None where any will do (a joiner's tree).

    Raises:
        ValidationError: ``leaf.*`` names the rule broken.
        CodecError: The group's ``required_capabilities`` are malformed.
    """
    # 1. The leaf came in the way it says.
    if source is not None and leaf.leaf_node_source is not source:
        raise ValidationError("leaf.source")
    # 2. Its owner signed it, for this place.
    try:
        verify_leaf_signature(suite, leaf, group_id=group_id, leaf_index=leaf_index)
    except AuthenticationError:
        raise ValidationError("leaf.signature") from None
    # 3. Its key is one of the suite, by size; encryption to it finds out the rest.
    if len(leaf.encryption_key) != suite.hpke.n_public:
        raise ValidationError("leaf.encryption-key-size")
    # 4. It fits the group and itself.
    check_capabilities(suite, leaf, group_extensions)


def check_capabilities(suite: CipherSuite, leaf: LeafNode, group_extensions: Extensions) -> None:
    """Compare a leaf's capabilities with the group's parameters and with its own content.

    Raises:
        ValidationError: ``leaf.*`` names the rule broken.
        CodecError: The group's ``required_capabilities`` are malformed.
    """
    capabilities = leaf.capabilities
    # Section 11.1: "all members of the group need to support the cipher suite and protocol version in use".
    if ProtocolVersion.MLS10 not in capabilities.versions:
        raise ValidationError("leaf.version")
    if suite.code not in capabilities.cipher_suites:
        raise ValidationError("leaf.cipher-suite")
    # Section 7.2: the credential type must be listed; so must extension types beyond the default ones.
    if leaf.credential.credential_type not in capabilities.credentials:
        raise ValidationError("leaf.credential-not-listed")
    check_unique_types(leaf.extensions)
    if not _supports(capabilities, {extension.extension_type for extension in leaf.extensions}):
        raise ValidationError("leaf.extension-not-listed")
    # Section 13.4: each extension of the GroupContext must be supported.
    if not _supports(capabilities, {extension.extension_type for extension in group_extensions}):
        raise ValidationError("leaf.group-extension")
    required = required_capabilities(group_extensions)
    if required is None:
        return
    proposals = set(required.proposal_types) - set(ProposalType)
    if not (
        _supports(capabilities, set(required.extension_types))
        and proposals <= set(capabilities.proposals)
        and set(required.credential_types) <= set(capabilities.credentials)
    ):
        raise ValidationError("leaf.required-capabilities")


def _supports(capabilities: Capabilities, extension_types: set[int]) -> bool:
    return extension_types - DEFAULT_EXTENSION_TYPES <= set(capabilities.extensions)


def check_members_together(tree: RatchetTree) -> None:
    """Check what must hold among all leaves (RFC 9420 section 7.3).

    Raises:
        ValidationError: ``tree.signature-key-repeated``, ``tree.encryption-key-repeated`` or
            ``tree.credential-type``.
    """
    census = tree.census
    if census.signature_keys.repeated:
        raise ValidationError("tree.signature-key-repeated")
    # Section 12.4.3.1 asks the same of parents: no key may stand at two nodes.
    if census.encryption_keys.repeated:
        raise ValidationError("tree.encryption-key-repeated")
    in_use = set(census.credential_types)
    # Members mostly list the same types, so that few lists are left to compare.
    if any(not in_use.issubset(listed) for listed in census.credential_lists):
        raise ValidationError("tree.credential-type")
