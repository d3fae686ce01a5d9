"""The ratchet tree's public side: nodes, evolution, tree hashes (RFC 9420 sections 7.7, 7.8, 12.4.3.3).

Invariants:

* The array has 2^(d+1) - 1 entries, leaves at even indices; nodes are immutable and shared between copies, so
  a copy costs one list and a staged epoch never touches the tree that it came from.
* Tree hashes are cached per node, and exactly those on a changed leaf's path are forgotten.

Deliberately not here: private keys (:mod:`crypto.treekem`), whether a received tree is valid
(:mod:`crypto.tree_validation`), parent hashes (:mod:`crypto.parent_hash`).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from crypto.codec import Writer
from crypto.errors import StateError, ValidationError
from crypto.leaf_node import LeafNode
from crypto.limits import MAX_TREE_LEAVES
from crypto.suites import CipherSuite
from crypto.tree_math import (
    LeafIndex,
    NodeIndex,
    direct_path,
    is_in_subtree,
    is_leaf,
    leaf_to_node,
    left,
    node_to_leaf,
    node_width,
    right,
    root,
)
from crypto.tree_nodes import Node, NodeType, ParentNode, write_node


class RatchetTree:
    """All nodes of one group's tree, blank ones as None.

    Args:
        suite: Gives the hash.
        nodes: In array order; must be as long as a full tree (see :func:`from_ratchet_tree`).
    """

    __slots__ = ("_hashes", "_nodes", "_suite")

    def __init__(self, suite: CipherSuite, nodes: Sequence[Node | None]) -> None:
        if (len(nodes) + 1) & len(nodes):
            raise StateError("a ratchet tree has 2^(d+1) - 1 nodes")
        self._suite = suite
        self._nodes: list[Node | None] = list(nodes)
        self._hashes: list[bytes | None] = [None] * len(self._nodes)

    def copy(self) -> RatchetTree:
        """An independent tree that shares the immutable nodes and the hashes known so far."""
        twin = RatchetTree.__new__(RatchetTree)
        twin._suite = self._suite
        twin._nodes = self._nodes.copy()
        twin._hashes = self._hashes.copy()
        return twin

    # -- reading

    @property
    def nodes(self) -> tuple[Node | None, ...]:
        """Every node in array order."""
        return tuple(self._nodes)

    @property
    def n_leaves(self) -> int:
        """Leaves that the tree has room for, a power of two."""
        return (len(self._nodes) + 1) // 2

    @property
    def root(self) -> NodeIndex:
        """Index of the root."""
        return root(self.n_leaves)

    def leaf(self, leaf_index: LeafIndex) -> LeafNode | None:
        """The leaf there, or None where it is blank or outside of the tree."""
        if not 0 <= leaf_index < self.n_leaves:
            return None
        node = self._nodes[leaf_to_node(leaf_index)]
        return node if isinstance(node, LeafNode) else None

    def parent_node(self, node_index: NodeIndex) -> ParentNode | None:
        """The parent node there, or None where it is blank."""
        node = self._nodes[node_index]
        return node if isinstance(node, ParentNode) else None

    def node(self, node_index: NodeIndex) -> Node | None:
        """The node there, or None where it is blank."""
        return self._nodes[node_index]

    def members(self) -> Iterator[tuple[LeafIndex, LeafNode]]:
        """The occupied leaves from left to right."""
        for leaf_index, node in enumerate(self._nodes[::2]):
            if isinstance(node, LeafNode):
                yield LeafIndex(leaf_index), node

    def find_leaf(self, leaf: LeafNode) -> LeafIndex | None:
        """Where exactly this leaf stands, or None."""
        encoded = leaf.to_bytes()
        return next((index for index, other in self.members() if other.to_bytes() == encoded), None)

    def resolution(self, node_index: NodeIndex) -> list[NodeIndex]:
        """The nodes that together cover the subtree's members (RFC 9420 section 4.1.1)."""
        node = self._nodes[node_index]
        if isinstance(node, ParentNode):
            return [node_index, *(leaf_to_node(leaf) for leaf in node.unmerged_leaves)]
        if isinstance(node, LeafNode):
            return [node_index]
        if is_leaf(node_index):
            return []
        return self.resolution(left(node_index)) + self.resolution(right(node_index))

    def filtered_direct_path(self, leaf_index: LeafIndex) -> list[tuple[NodeIndex, NodeIndex]]:
        """Pairs (parent, its child on the copath) from the leaf upwards (RFC 9420 section 4.1.2).

        Parents whose copath child has an empty resolution are left out.
        """
        pairs: list[tuple[NodeIndex, NodeIndex]] = []
        child = leaf_to_node(leaf_index)
        for parent in direct_path(child, self.n_leaves):
            copath_child = right(parent) if left(parent) == child else left(parent)
            if self.resolution(copath_child):
                pairs.append((parent, copath_child))
            child = parent
        return pairs

    # -- evolution (RFC 9420 sections 7.7 and 12.1)

    def make_room(self) -> LeafIndex:
        """The leftmost blank leaf, after extending the tree if there was none (section 7.7).

        Raises:
            ValidationError: ``tree.too-large``.
        """
        free = (index for index, node in enumerate(self._nodes[::2]) if node is None)
        leaf_index = LeafIndex(next(free, self.n_leaves))
        if leaf_index == self.n_leaves:
            if self.n_leaves >= MAX_TREE_LEAVES:
                raise ValidationError("tree.too-large")
            added = len(self._nodes) + 1
            self._nodes += [None] * added
            self._hashes += [None] * added
        return leaf_index

    def add_leaf(self, leaf: LeafNode) -> LeafIndex:
        """Put a leaf into the leftmost blank place, extending the tree if there is none (section 12.1.1).

        Raises:
            ValidationError: ``tree.too-large``.
        """
        leaf_index = self.make_room()
        for ancestor in direct_path(leaf_to_node(leaf_index), self.n_leaves):
            parent = self.parent_node(ancestor)
            if parent is not None:
                unmerged = list(parent.unmerged_leaves)
                insort(unmerged, leaf_index)
                self._nodes[ancestor] = replace(parent, unmerged_leaves=tuple(unmerged))
        self.set_leaf(leaf_index, leaf)
        return leaf_index

    def update_leaf(self, leaf_index: LeafIndex, leaf: LeafNode) -> None:
        """Replace a member's leaf and blank its path (section 12.1.2).

        Raises:
            ValidationError: ``update.blank-leaf``.
        """
        if self.leaf(leaf_index) is None:
            raise ValidationError("update.blank-leaf")
        self.set_leaf(leaf_index, leaf)
        self.blank_path(leaf_index)

    def remove_leaf(self, leaf_index: LeafIndex) -> None:
        """Blank a member's leaf and its path, then truncate (section 12.1.3).

        Raises:
            ValidationError: ``remove.blank-leaf``.
        """
        if self.leaf(leaf_index) is None:
            raise ValidationError("remove.blank-leaf")
        self._nodes[leaf_to_node(leaf_index)] = None
        self._forget_hashes(leaf_index)
        self.blank_path(leaf_index)
        while self.n_leaves > 1 and all(node is None for node in self._nodes[self.n_leaves :]):
            middle = len(self._nodes) // 2
            del self._nodes[middle:]
            del self._hashes[middle:]

    def set_leaf(self, leaf_index: LeafIndex, leaf: LeafNode) -> None:
        """Replace what stands at a leaf, and nothing above it."""
        self._nodes[leaf_to_node(leaf_index)] = leaf
        self._forget_hashes(leaf_index)

    def blank_path(self, leaf_index: LeafIndex) -> None:
        """Blank every parent above a leaf."""
        for ancestor in direct_path(leaf_to_node(leaf_index), self.n_leaves):
            self._nodes[ancestor] = None
        self._forget_hashes(leaf_index)

    def set_parents(self, leaf_index: LeafIndex, parents: dict[NodeIndex, ParentNode]) -> None:
        """Replace parents that all stand on the path of one leaf."""
        for node_index, parent in parents.items():
            self._nodes[node_index] = parent
        self._forget_hashes(leaf_index)

    def _forget_hashes(self, leaf_index: LeafIndex) -> None:
        node_index = leaf_to_node(leaf_index)
        self._hashes[node_index] = None
        for ancestor in direct_path(node_index, self.n_leaves):
            self._hashes[ancestor] = None

    # -- hashes (RFC 9420 section 7.8)

    def tree_hash(self, node_index: NodeIndex | None = None) -> bytes:
        """Hash of the subtree at a node, of the whole tree if none is named."""
        where = self.root if node_index is None else node_index
        known = self._hashes[where]
        if known is not None:
            return known
        if is_leaf(where):
            fresh = self._hash_leaf(node_to_leaf(where), self._nodes[where])
        else:
            fresh = self._hash_parent(
                self._nodes[where], self.tree_hash(left(where)), self.tree_hash(right(where))
            )
        self._hashes[where] = fresh
        return fresh

    def tree_hash_without(self, node_index: NodeIndex, excluded: Collection[LeafIndex]) -> bytes:
        """Hash of a subtree as if some leaves were blank and in no ``unmerged_leaves`` (section 7.9)."""
        inside = [leaf for leaf in excluded if is_in_subtree(leaf_to_node(leaf), node_index)]
        if not inside:
            return self.tree_hash(node_index)
        if is_leaf(node_index):
            return self._hash_leaf(node_to_leaf(node_index), None)
        parent = self.parent_node(node_index)
        if parent is not None:
            kept = tuple(index for index in parent.unmerged_leaves if index not in inside)
            parent = replace(parent, unmerged_leaves=kept)
        return self._hash_parent(
            parent,
            self.tree_hash_without(left(node_index), inside),
            self.tree_hash_without(right(node_index), inside),
        )

    def _hash_leaf(self, leaf_index: LeafIndex, leaf: Node | None) -> bytes:
        """``TreeHashInput{leaf, LeafNodeHashInput{uint32 leaf_index; optional<LeafNode> leaf_node;}}``."""
        writer = Writer().u8(NodeType.LEAF).u32(leaf_index)
        _write_optional(writer, leaf)
        return self._suite.hash(writer.to_bytes())

    def _hash_parent(self, parent: Node | None, left_hash: bytes, right_hash: bytes) -> bytes:
        """``ParentNodeHashInput{optional<ParentNode> parent_node; opaque left_hash<V>, right_hash<V>;}``."""
        writer = Writer().u8(NodeType.PARENT)
        _write_optional(writer, parent)
        return self._suite.hash(writer.opaque(left_hash).opaque(right_hash).to_bytes())

    # -- encoding (RFC 9420 section 12.4.3.3)

    def to_bytes(self) -> bytes:
        """``optional<Node> ratchet_tree<V>``, without blank nodes after the last one that is not blank."""
        last = max(index for index, node in enumerate(self._nodes) if node is not None)
        writer = Writer()
        writer.vector(self._nodes[: last + 1], _write_entry)
        return writer.to_bytes()


def _write_entry(writer: Writer, node: Node | None) -> None:
    if node is None:
        writer.u8(0)
    else:
        writer.u8(1)
        write_node(writer, node)


def _write_optional(writer: Writer, node: Node | None) -> None:
    if node is None:
        writer.u8(0)
    else:
        writer.u8(1).raw(node.to_bytes())


def from_ratchet_tree(suite: CipherSuite, nodes: Sequence[Node | None]) -> RatchetTree:
    """Build a tree from the nodes of a ``ratchet_tree`` extension (RFC 9420 section 12.4.3.3).

    Raises:
        ValidationError: ``tree.empty``, ``tree.too-large``, ``tree.trailing-blank`` or ``tree.node-type``.
    """
    if not nodes:
        raise ValidationError("tree.empty")
    if len(nodes) > node_width(MAX_TREE_LEAVES):
        raise ValidationError("tree.too-large")
    if nodes[-1] is None:
        raise ValidationError("tree.trailing-blank")
    for index, node in enumerate(nodes):
        if node is not None and isinstance(node, LeafNode) != is_leaf(NodeIndex(index)):
            raise ValidationError("tree.node-type")
    width = 1
    while width < len(nodes):
        width = 2 * width + 1
    return RatchetTree(suite, [*nodes, *([None] * (width - len(nodes)))])
