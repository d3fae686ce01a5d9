"""Index arithmetic of the array-based tree (RFC 9420 appendix C).

A tree of ``n`` leaves (a power of two in every real ratchet tree) has its leaves at even node indices and its
parents at odd ones: ``parent=01x => left=00x, right=10x``. All functions are pure. An index outside the tree
is a mistake of ours (StateError); indices from a peer are checked where they are decoded.
"""

from __future__ import annotations

from typing import NewType

from crypto.errors import StateError

LeafIndex = NewType("LeafIndex", int)
"""Number of a leaf, from 0. Leaf 0 is as good as any other: never test an index for truth."""

NodeIndex = NewType("NodeIndex", int)
"""Position of a node in the array representation; leaf ``i`` is node ``2 * i``."""


def leaf_to_node(leaf: LeafIndex) -> NodeIndex:
    """Node index of a leaf."""
    return NodeIndex(2 * leaf)


def is_leaf(node: NodeIndex) -> bool:
    """Whether the node is a leaf."""
    return node % 2 == 0


def node_to_leaf(node: NodeIndex) -> LeafIndex:
    """Leaf index of a leaf node.

    Raises:
        StateError: It is a parent node.
    """
    if not is_leaf(node):
        raise StateError("a parent node has no leaf index")
    return LeafIndex(node // 2)


def level(node: NodeIndex) -> int:
    """Height above the leaves: the number of trailing one bits."""
    return (~node & (node + 1)).bit_length() - 1


def node_width(n_leaves: int) -> int:
    """Number of nodes of a tree with ``n_leaves`` leaves."""
    return 2 * n_leaves - 1 if n_leaves > 0 else 0


def root(n_leaves: int) -> NodeIndex:
    """Root of a tree with ``n_leaves`` leaves.

    Raises:
        StateError: There are no leaves.
    """
    if n_leaves < 1:
        raise StateError("an empty tree has no root")
    return NodeIndex((1 << (node_width(n_leaves).bit_length() - 1)) - 1)


def left(node: NodeIndex) -> NodeIndex:
    """Left child.

    Raises:
        StateError: The node is a leaf.
    """
    height = level(node)
    if height == 0:
        raise StateError("a leaf has no children")
    return NodeIndex(node ^ (1 << (height - 1)))


def right(node: NodeIndex) -> NodeIndex:
    """Right child.

    Raises:
        StateError: The node is a leaf.
    """
    height = level(node)
    if height == 0:
        raise StateError("a leaf has no children")
    return NodeIndex(node ^ (3 << (height - 1)))


def parent(node: NodeIndex, n_leaves: int) -> NodeIndex:
    """Parent in a tree with ``n_leaves`` leaves.

    Raises:
        StateError: The node is the root, or outside the tree.
    """
    if node == root(n_leaves):
        raise StateError("the root has no parent")
    if not 0 <= node < node_width(n_leaves):
        raise StateError("the node is outside the tree")
    height = level(node)
    above = (node >> (height + 1)) & 1
    return NodeIndex((node | (1 << height)) ^ (above << (height + 1)))


def sibling(node: NodeIndex, n_leaves: int) -> NodeIndex:
    """The parent's other child.

    Raises:
        StateError: As for :func:`parent`.
    """
    up = parent(node, n_leaves)
    return right(up) if node < up else left(up)


def direct_path(node: NodeIndex, n_leaves: int) -> list[NodeIndex]:
    """Ancestors from the parent up to the root; empty for the root itself."""
    path: list[NodeIndex] = []
    top = root(n_leaves)
    while node != top:
        node = parent(node, n_leaves)
        path.append(node)
    return path


def copath(node: NodeIndex, n_leaves: int) -> list[NodeIndex]:
    """Siblings of the node and of its ancestors below the root, from the leaf's side up."""
    path = direct_path(node, n_leaves)
    return [sibling(step, n_leaves) for step in [node, *path[:-1]]] if path else []


def is_in_subtree(node: NodeIndex, top: NodeIndex) -> bool:
    """Whether ``node`` is ``top`` or below it."""
    span = 1 << level(top)
    return top - span < node < top + span


def common_ancestor(first: NodeIndex, second: NodeIndex) -> NodeIndex:
    """Lowest node whose subtree holds both (each node counts as its own ancestor)."""
    if is_in_subtree(first, second):
        return second
    if is_in_subtree(second, first):
        return first
    height = (first ^ second).bit_length()
    return NodeIndex(((first >> height) << height) + (1 << (height - 1)) - 1)
