"""Parent hashes: which update put a key into the tree, and to whom its secret went (RFC 9420 section 7.9)."""

from __future__ import annotations

from collections.abc import Sequence

from crypto.codec import Writer
from crypto.errors import ValidationError
from crypto.leaf_node import LeafNode, LeafNodeSource
from crypto.ratchet_tree import RatchetTree
from crypto.subtree import Subtree
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex, NodeIndex, is_in_subtree, leaf_to_node
from crypto.tree_nodes import Node, ParentNode


def set_path_keys(
    suite: CipherSuite,
    tree: RatchetTree,
    leaf_index: LeafIndex,
    path: Sequence[tuple[NodeIndex, NodeIndex]],
    public_keys: Sequence[bytes],
) -> bytes:
    """Blank a leaf's path and put new keys on its filtered part (RFC 9420 section 7.5), changing ``tree``.

    Args:
        suite: The group's cipher suite.
        tree: Changed in place.
        leaf_index: Whose path it is.
        path: ``tree.filtered_direct_path(leaf_index)``.
        public_keys: One for each parent of ``path``.

    Returns:
        The parent hash that the leaf itself must carry.
    """
    tree.blank_path(leaf_index)
    parents: dict[NodeIndex, ParentNode] = {}
    parent_hash = b""  # the root has no node above it
    for (node_index, copath_child), public_key in reversed(list(zip(path, public_keys, strict=True))):
        parents[node_index] = ParentNode(encryption_key=public_key, parent_hash=parent_hash)
        # The commit resets this node, so its original sibling tree hash is the sibling's present one.
        parent_hash = _hash(suite, public_key, parent_hash, tree.tree_hash(copath_child))
    tree.set_parents(leaf_index, parents)
    return parent_hash


def check_parent_hashes(suite: CipherSuite, tree: RatchetTree) -> None:
    """Demand that each parent is parent-hash valid (RFC 9420 section 7.9.2), as a joiner must.

    "Top down": below each non-blank parent P there is exactly one node D whose parent hash is that of P. D is
    a leaf or again such a parent, so that the chain ends at a leaf, which signed it.

    Raises:
        ValidationError: ``tree.parent-hash``.
    """
    for step in tree.subtrees():
        if step.children is None or not isinstance(step.node, ParentNode):
            continue
        left, right = step.children
        linked = _count_linked(suite, tree, step.node, left, right)
        linked += _count_linked(suite, tree, step.node, right, left)
        if linked != 1:
            raise ValidationError("tree.parent-hash")


def _count_linked(
    suite: CipherSuite, tree: RatchetTree, parent: ParentNode, child: Subtree, sibling: Subtree
) -> int:
    """How many nodes D below ``child`` were updated together with ``parent``."""
    resolution = set(child.resolution())
    unmerged = {leaf_to_node(leaf_index) for leaf_index in parent.unmerged_leaves}
    unmerged_here = {node for node in unmerged if is_in_subtree(node, child.index)}
    # "the intersection of P's unmerged_leaves with the subtree under C is equal to the resolution of C with D
    # removed": so D is all that remains of the resolution.
    candidates = resolution - unmerged_here
    if len(candidates) != 1 or not unmerged_here <= resolution:
        return 0
    original_sibling = sibling.tree_hash_without(suite, parent.unmerged_leaves)
    expected = _hash(suite, parent.encryption_key, parent.parent_hash, original_sibling)
    return sum(_carried(tree.node(candidate)) == expected for candidate in candidates)


def _carried(node: Node | None) -> bytes | None:
    """The parent hash that a node carries, None if it has no such field."""
    if isinstance(node, LeafNode) and node.leaf_node_source is not LeafNodeSource.COMMIT:
        return None
    return None if node is None else node.parent_hash


def _hash(suite: CipherSuite, encryption_key: bytes, parent_hash: bytes, sibling_hash: bytes) -> bytes:
    """Hash of ``ParentHashInput``.

    ::

        struct {
            HPKEPublicKey encryption_key;
            opaque parent_hash<V>;
            opaque original_sibling_tree_hash<V>;
        } ParentHashInput;
    """
    writer = Writer().opaque(encryption_key).opaque(parent_hash).opaque(sibling_hash)
    return suite.hash(writer.to_bytes())
