"""tree_math.py: relations beyond the official vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import tree_math
from crypto.errors import StateError
from crypto.tree_math import LeafIndex, NodeIndex

sizes = st.integers(0, 10).map(lambda exponent: 1 << exponent)


@given(sizes, st.data())
def test_parents_and_children_agree(n_leaves: int, data: st.DataObject) -> None:
    node = NodeIndex(data.draw(st.integers(0, tree_math.node_width(n_leaves) - 1)))
    if node != tree_math.root(n_leaves):
        above = tree_math.parent(node, n_leaves)
        other = tree_math.sibling(node, n_leaves)
        assert {node, other} == {tree_math.left(above), tree_math.right(above)}
        assert tree_math.sibling(other, n_leaves) == node
        assert tree_math.is_in_subtree(node, above)
        assert not tree_math.is_in_subtree(above, node)
    path = tree_math.direct_path(node, n_leaves)
    assert len(path) == tree_math.level(tree_math.root(n_leaves)) - tree_math.level(node)
    assert [tree_math.parent(step, n_leaves) for step in tree_math.copath(node, n_leaves)] == path


@given(sizes, st.data())
def test_the_common_ancestor_is_the_lowest_shared_one(n_leaves: int, data: st.DataObject) -> None:
    nodes = st.integers(0, tree_math.node_width(n_leaves) - 1).map(NodeIndex)
    first, second = data.draw(nodes), data.draw(nodes)
    shared = [
        node
        for node in [first, *tree_math.direct_path(first, n_leaves)]
        if node in [second, *tree_math.direct_path(second, n_leaves)]
    ]
    assert tree_math.common_ancestor(first, second) == shared[0]


def test_leaf_zero_is_a_leaf_like_any_other() -> None:
    zero = LeafIndex(0)
    assert tree_math.leaf_to_node(zero) == 0
    assert tree_math.node_to_leaf(NodeIndex(0)) == 0
    assert tree_math.parent(NodeIndex(0), 2) == 1
    assert tree_math.root(1) == 0


def test_relations_that_do_not_exist_are_said() -> None:
    for impossible in (
        lambda: tree_math.root(0),
        lambda: tree_math.left(NodeIndex(4)),
        lambda: tree_math.right(NodeIndex(4)),
        lambda: tree_math.parent(NodeIndex(3), 4),
        lambda: tree_math.parent(NodeIndex(9), 4),
        lambda: tree_math.node_to_leaf(NodeIndex(1)),
    ):
        with pytest.raises(StateError):
            impossible()
    assert tree_math.node_width(0) == 0


def test_the_tree_of_eight_leaves_is_the_one_drawn_in_the_rfc() -> None:
    # RFC 9420 appendix C: leaves at even indices, parents between them.
    assert [tree_math.leaf_to_node(LeafIndex(leaf)) for leaf in range(8)] == list(range(0, 16, 2))
    assert [tree_math.is_leaf(NodeIndex(node)) for node in range(15)] == [node % 2 == 0 for node in range(15)]
    assert [tree_math.node_to_leaf(NodeIndex(node)) for node in range(0, 15, 2)] == list(range(8))
    assert [tree_math.level(NodeIndex(node)) for node in range(15)] == [
        0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0,
    ]  # fmt: skip
    assert [tree_math.left(NodeIndex(node)) for node in (1, 3, 5, 7, 9, 11, 13)] == [0, 1, 4, 3, 8, 9, 12]
    assert [tree_math.right(NodeIndex(node)) for node in (1, 3, 5, 7, 9, 11, 13)] == [2, 5, 6, 11, 10, 13, 14]
    assert [tree_math.parent(NodeIndex(node), 8) for node in range(15) if node != 7] == [
        1, 3, 1, 7, 5, 3, 5, 9, 11, 9, 7, 13, 11, 13,
    ]  # fmt: skip
    assert [tree_math.root(2**depth) for depth in range(5)] == [0, 1, 3, 7, 15]
    assert [tree_math.node_width(2**depth) for depth in range(5)] == [1, 3, 7, 15, 31]


@pytest.mark.parametrize("outside", [-1, 7, 8])
def test_a_node_outside_of_the_tree_has_no_parent(outside: int) -> None:
    with pytest.raises(StateError):
        tree_math.parent(NodeIndex(outside), 4)
