"""The ratchet tree's public side: nodes, evolution, tree hashes (RFC 9420 sections 7.7, 7.8, 12.4.3.3).

Invariants:

* The array representation has 2^(d+1) - 1 entries, leaves at even indices. It is held as immutable subtrees
  (:mod:`crypto.subtree`), so that a copy costs nothing, a change costs one path, and a staged epoch never
  touches the tree that it came from.
* What is asked of all nodes together (:class:`Census`) is kept up to date with each change, not searched for.

Deliberately not here: private keys (:mod:`crypto.treekem`), whether a received tree is valid
(:mod:`crypto.tree_validation`), parent hashes (:mod:`crypto.parent_hash`).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from crypto.codec import encode_length
from crypto.errors import StateError, ValidationError
from crypto.leaf_node import LeafNode
from crypto.limits import MAX_TREE_LEAVES
from crypto.subtree import Subtree, build_subtree, leaves_of
from crypto.suites import CipherSuite
from crypto.tally import Tally
from crypto.tree_math import (
    LeafIndex,
    NodeIndex,
    direct_path,
    is_leaf,
    leaf_to_node,
    node_to_leaf,
    node_width,
)
from crypto.tree_nodes import Node, NodeType, ParentNode


@dataclass(slots=True, kw_only=True)
class Census:
    """What occurs in a tree, and how often.

    Attributes:
        encryption_keys: Of all nodes.
        signature_keys: Of all leaves.
        credential_types: In use by leaves.
        credential_lists: Credential types that leaves support, as they list them.
    """

    encryption_keys: Tally[bytes]
    signature_keys: Tally[bytes]
    credential_types: Tally[int]
    credential_lists: Tally[tuple[int, ...]]

    @classmethod
    def of(cls, nodes: Sequence[Node | None]) -> Census:
        """Count once."""
        leaves = [node for node in nodes if isinstance(node, LeafNode)]
        return cls(
            encryption_keys=Tally(node.encryption_key for node in nodes if node is not None),
            signature_keys=Tally(leaf.signature_key for leaf in leaves),
            credential_types=Tally(leaf.credential.credential_type for leaf in leaves),
            credential_lists=Tally(leaf.capabilities.credentials for leaf in leaves),
        )

    def copy(self) -> Census:
        """An independent census that shares what does not change."""
        return Census(
            encryption_keys=self.encryption_keys.copy(),
            signature_keys=self.signature_keys.copy(),
            credential_types=self.credential_types.copy(),
            credential_lists=self.credential_lists.copy(),
        )

    def add(self, node: Node) -> None:
        """Count a node that was put into the tree."""
        self.encryption_keys.add(node.encryption_key)
        if isinstance(node, LeafNode):
            self.signature_keys.add(node.signature_key)
            self.credential_types.add(node.credential.credential_type)
            self.credential_lists.add(node.capabilities.credentials)

    def discard(self, node: Node) -> None:
        """Forget a node that was taken out of the tree."""
        self.encryption_keys.discard(node.encryption_key)
        if isinstance(node, LeafNode):
            self.signature_keys.discard(node.signature_key)
            self.credential_types.discard(node.credential.credential_type)
            self.credential_lists.discard(node.capabilities.credentials)


class RatchetTree:
    """All nodes of one group's tree, blank ones as None.

    Args:
        suite: Gives the hash.
        nodes: In array order; must be as long as a full tree (see :func:`from_ratchet_tree`), or empty.

    Attributes:
        census: What occurs in it; only to be read.
    """

    __slots__ = ("_n_leaves", "_suite", "_top", "census")

    def __init__(self, suite: CipherSuite, nodes: Sequence[Node | None]) -> None:
        if (len(nodes) + 1) & len(nodes):
            raise StateError("a ratchet tree has 2^(d+1) - 1 nodes")
        self._suite = suite
        self._n_leaves = (len(nodes) + 1) // 2
        self._top = build_subtree(nodes) if nodes else Subtree(NodeIndex(0), None)
        self.census = Census.of(nodes)

    def copy(self) -> RatchetTree:
        """An independent tree that shares everything as long as neither changes."""
        twin = RatchetTree.__new__(RatchetTree)
        twin._suite = self._suite
        twin._n_leaves = self._n_leaves
        twin._top = self._top
        twin.census = self.census.copy()
        return twin

    # -- reading

    @property
    def nodes(self) -> tuple[Node | None, ...]:
        """Every node in array order."""
        return tuple(step.node for step in self._top.in_order()) if self._n_leaves else ()

    def subtrees(self) -> Iterator[Subtree]:
        """Every subtree in the order of its top node in the array."""
        return self._top.in_order()

    @property
    def width(self) -> int:
        """Number of nodes, blank ones included."""
        return node_width(self._n_leaves)

    @property
    def n_leaves(self) -> int:
        """Leaves that the tree has room for, a power of two."""
        return self._n_leaves

    @property
    def root(self) -> NodeIndex:
        """Index of the root."""
        return self._top.index

    def leaf(self, leaf_index: LeafIndex) -> LeafNode | None:
        """The leaf there, or None where it is blank or outside of the tree."""
        if not 0 <= leaf_index < self._n_leaves:
            return None
        node = self.node(leaf_to_node(leaf_index))
        return node if isinstance(node, LeafNode) else None

    def parent_node(self, node_index: NodeIndex) -> ParentNode | None:
        """The parent node there, or None where it is blank. Raises as :meth:`node`."""
        node = self.node(node_index)
        return node if isinstance(node, ParentNode) else None

    def node(self, node_index: NodeIndex) -> Node | None:
        """The node there, or None where it is blank.

        Raises:
            StateError: It is outside of the tree.
        """
        return self._at(node_index).node

    def _at(self, node_index: NodeIndex) -> Subtree:
        step: Subtree | None = self._top
        if 0 <= node_index < node_width(self._n_leaves):
            while step is not None and step.index != node_index:
                step = step.child_towards(node_index)
            if step is not None:
                return step
        raise StateError("the node is outside the tree")

    def members(self) -> Iterator[tuple[LeafIndex, LeafNode]]:
        """The occupied leaves from left to right."""
        return leaves_of(self._top)

    def find_leaf(self, leaf: LeafNode) -> LeafIndex | None:
        """Where exactly this leaf stands, or None."""
        encoded = leaf.to_bytes()
        return next((index for index, other in self.members() if other.to_bytes() == encoded), None)

    def resolution(self, node_index: NodeIndex) -> tuple[NodeIndex, ...]:
        """The nodes that together cover the subtree's members (RFC 9420 section 4.1.1)."""
        return self._at(node_index).resolution()

    def filtered_direct_path(self, leaf_index: LeafIndex) -> list[tuple[NodeIndex, NodeIndex]]:
        """Pairs (parent, its child on the copath) from the leaf upwards (RFC 9420 section 4.1.2).

        Parents whose copath child has an empty resolution are left out.
        """
        pairs: list[tuple[NodeIndex, NodeIndex]] = []
        target, step = leaf_to_node(leaf_index), self._top
        while step.children is not None:
            left, right = step.children
            below, beside = (left, right) if target < step.index else (right, left)
            if beside.resolution():
                pairs.append((step.index, beside.index))
            step = below
        return pairs[::-1]

    # -- evolution (RFC 9420 sections 7.7 and 12.1)

    def _change(self, leaf_index: LeafIndex, changes: Mapping[NodeIndex, Node | None]) -> None:
        """Replace nodes that all stand on the path of one leaf; all other subtrees stay the same objects."""
        for node_index, after in changes.items():
            before = self.node(node_index)
            if before is not None:
                self.census.discard(before)
            if after is not None:
                self.census.add(after)
        self._top = self._top.with_path(leaf_to_node(leaf_index), changes)

    def make_room(self) -> LeafIndex:
        """The leftmost blank leaf, after extending the tree if there was none (section 7.7).

        Raises:
            ValidationError: ``tree.too-large``.
        """
        if self._top.full:
            if self._n_leaves >= MAX_TREE_LEAVES:
                raise ValidationError("tree.too-large")
            width = self.width
            beside = build_subtree([None] * width, start=width + 1)
            self._top = Subtree(NodeIndex(width), None, (self._top, beside))
            self._n_leaves *= 2
        self._n_leaves = max(self._n_leaves, 1)
        step = self._top
        while step.children is not None:
            left, right = step.children
            step = right if left.full else left
        return node_to_leaf(step.index)

    def add_leaf(self, leaf: LeafNode) -> LeafIndex:
        """Put a leaf into the leftmost blank place, extending the tree if there is none (section 12.1.1).

        Raises:
            ValidationError: ``tree.too-large``.
        """
        leaf_index = self.make_room()
        changes: dict[NodeIndex, Node | None] = {leaf_to_node(leaf_index): leaf}
        for ancestor in direct_path(leaf_to_node(leaf_index), self._n_leaves):
            parent = self.parent_node(ancestor)
            if parent is not None:
                unmerged = list(parent.unmerged_leaves)
                insort(unmerged, leaf_index)
                changes[ancestor] = replace(parent, unmerged_leaves=tuple(unmerged))
        self._change(leaf_index, changes)
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
        self.set_leaf(leaf_index, None)
        self.blank_path(leaf_index)
        while self._top.children is not None and self._top.children[1].blank:
            if self._top.node is not None:
                self.census.discard(self._top.node)
            self._top = self._top.children[0]
            self._n_leaves //= 2

    def set_leaf(self, leaf_index: LeafIndex, leaf: LeafNode | None) -> None:
        """Replace what stands at a leaf, and nothing above it."""
        self._change(leaf_index, {leaf_to_node(leaf_index): leaf})

    def blank_path(self, leaf_index: LeafIndex) -> None:
        """Blank every parent above a leaf."""
        self._change(leaf_index, dict.fromkeys(direct_path(leaf_to_node(leaf_index), self._n_leaves)))

    def set_parents(self, leaf_index: LeafIndex, parents: Mapping[NodeIndex, ParentNode]) -> None:
        """Replace parents that all stand on the path of one leaf."""
        self._change(leaf_index, parents)

    # -- hashes (RFC 9420 section 7.8)

    def tree_hash(self, node_index: NodeIndex | None = None) -> bytes:
        """Hash of the subtree at a node, of the whole tree if none is named."""
        where = self._top if node_index is None else self._at(node_index)
        return where.tree_hash(self._suite)

    # -- encoding (RFC 9420 section 12.4.3.3)

    def to_bytes(self) -> bytes:
        """``optional<Node> ratchet_tree<V>``, without blank nodes after the last one that is not blank."""
        entries = [_entry(step.node) for step in self._top.in_order()]
        while entries[-1] == _BLANK:
            entries.pop()
        encoded = b"".join(entries)
        return encode_length(len(encoded)) + encoded


_BLANK = bytes([0])
_LEAF = bytes([1, NodeType.LEAF])
_PARENT = bytes([1, NodeType.PARENT])


def _entry(node: Node | None) -> bytes:
    """``optional<Node>``."""
    if node is None:
        return _BLANK
    return (_LEAF if isinstance(node, LeafNode) else _PARENT) + node.to_bytes()


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
