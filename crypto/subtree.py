"""Subtrees of a ratchet tree, immutable, shared between the trees of successive epochs (RFC 9420 section 4).

A changed leaf makes new subtrees on its own path only; everything beside it is the same object in the old
tree and in the new one. What a subtree's nodes determine, its tree hash and its resolution, is computed once
for each object and kept in it, so that nothing is ever to be forgotten: a cache cannot outlive what it was
made of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from crypto.codec import Writer
from crypto.leaf_node import LeafNode
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex, NodeIndex, is_in_subtree, leaf_to_node
from crypto.tree_nodes import Node, NodeType, ParentNode


class Subtree:
    """A node with all that is below it.

    Args:
        index: In the array representation.
        node: None where it is blank.
        children: Left and right, full subtrees of the same height; None exactly for a leaf.

    Attributes:
        blank: No node in it is set.
        full: Each of its leaves is occupied.
    """

    __slots__ = ("_hash", "_resolution", "blank", "children", "full", "index", "node")

    def __init__(
        self, index: NodeIndex, node: Node | None, children: tuple[Subtree, Subtree] | None = None
    ) -> None:
        self.index = index
        self.node = node
        self.children = children
        self._hash: bytes | None = None
        self._resolution: tuple[NodeIndex, ...] | None = None
        self.full = node is not None
        self.blank = node is None
        if children is not None:
            left, right = children
            self.full = left.full and right.full
            self.blank = node is None and left.blank and right.blank

    def child_towards(self, index: NodeIndex) -> Subtree | None:
        """The child that has ``index`` below it or is it; None below a leaf."""
        if self.children is None:
            return None
        return self.children[index > self.index]

    def with_path(self, leaf: NodeIndex, changes: Mapping[NodeIndex, Node | None]) -> Subtree:
        """The subtree with some nodes on the path of one leaf replaced, the leaf itself among them or not."""
        node = changes.get(self.index, self.node)
        if self.children is None:
            return Subtree(self.index, node)
        left, right = self.children
        if leaf < self.index:
            return Subtree(self.index, node, (left.with_path(leaf, changes), right))
        return Subtree(self.index, node, (left, right.with_path(leaf, changes)))

    def in_order(self) -> Iterator[Subtree]:
        """All subtrees in the order of the array representation."""
        waiting: list[Subtree] = []
        step: Subtree | None = self
        while step is not None or waiting:
            while step is not None:
                waiting.append(step)
                step = None if step.children is None else step.children[0]
            here = waiting.pop()
            yield here
            step = None if here.children is None else here.children[1]

    def resolution(self) -> tuple[NodeIndex, ...]:
        """The nodes that together cover the subtree's members (RFC 9420 section 4.1.1)."""
        known = self._resolution
        if known is None:
            known = self._resolution = self._resolve()
        return known

    def _resolve(self) -> tuple[NodeIndex, ...]:
        if isinstance(self.node, ParentNode):
            return (self.index, *(leaf_to_node(leaf) for leaf in self.node.unmerged_leaves))
        if self.node is not None:
            return (self.index,)
        if self.children is None:
            return ()
        left, right = self.children
        return left.resolution() + right.resolution()

    # -- hashes (RFC 9420 sections 7.8 and 7.9)

    def tree_hash(self, suite: CipherSuite) -> bytes:
        """Its tree hash; ``suite`` is the group's, always the same one."""
        known = self._hash
        if known is None:
            if self.children is None:
                known = _hash_leaf(suite, self.index, self.node)
            else:
                left, right = self.children
                known = _hash_parent(suite, self.node, left.tree_hash(suite), right.tree_hash(suite))
            self._hash = known
        return known

    def tree_hash_without(self, suite: CipherSuite, excluded: Collection[LeafIndex]) -> bytes:
        """Its tree hash as if some leaves were blank and in no ``unmerged_leaves`` (section 7.9)."""
        inside = [leaf for leaf in excluded if is_in_subtree(leaf_to_node(leaf), self.index)]
        if not inside:
            return self.tree_hash(suite)
        if self.children is None:
            return _hash_leaf(suite, self.index, None)
        node = self.node
        if isinstance(node, ParentNode):
            kept = tuple(index for index in node.unmerged_leaves if index not in inside)
            node = replace(node, unmerged_leaves=kept)
        left, right = self.children
        return _hash_parent(
            suite, node, left.tree_hash_without(suite, inside), right.tree_hash_without(suite, inside)
        )


def build_subtree(nodes: Sequence[Node | None], *, start: int = 0) -> Subtree:
    """The subtree of an array of 2^(d+1) - 1 nodes whose first one has the index ``start``."""
    level = [Subtree(NodeIndex(start + index), nodes[index]) for index in range(0, len(nodes), 2)]
    span = 1
    while len(level) > 1:
        level = [
            Subtree(NodeIndex(left.index + span), nodes[left.index - start + span], (left, right))
            for left, right in zip(level[::2], level[1::2], strict=True)
        ]
        span *= 2
    return level[0]


def _hash_leaf(suite: CipherSuite, index: NodeIndex, leaf: Node | None) -> bytes:
    """``TreeHashInput{leaf, LeafNodeHashInput{uint32 leaf_index; optional<LeafNode> leaf_node;}}``."""
    writer = Writer().u8(NodeType.LEAF).u32(index // 2)
    _write_optional(writer, leaf)
    return suite.hash(writer.to_bytes())


def _hash_parent(suite: CipherSuite, parent: Node | None, left_hash: bytes, right_hash: bytes) -> bytes:
    """``ParentNodeHashInput{optional<ParentNode> parent_node; opaque left_hash<V>, right_hash<V>;}``."""
    writer = Writer().u8(NodeType.PARENT)
    _write_optional(writer, parent)
    return suite.hash(writer.opaque(left_hash).opaque(right_hash).to_bytes())


def _write_optional(writer: Writer, node: Node | None) -> None:
    if node is None:
        writer.u8(0)
    else:
        writer.u8(1).raw(node.to_bytes())


def leaves_of(subtree: Subtree) -> Iterator[tuple[LeafIndex, LeafNode]]:
    """The occupied leaves from left to right."""
    for step in subtree.in_order():
        if isinstance(step.node, LeafNode):
            yield LeafIndex(step.index // 2), step.node
