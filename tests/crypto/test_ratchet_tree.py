"""ratchet_tree.py and tree_nodes.py: shape, encoding, cached hashes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.codec import CodecError, decode
from crypto.errors import StateError, ValidationError
from crypto.leaf_node import LeafNode, LeafNodeSource
from crypto.ratchet_tree import RatchetTree, from_ratchet_tree
from crypto.tree_math import LeafIndex, NodeIndex
from crypto.tree_nodes import ParentNode, read_node, read_ratchet_tree
from support.mls_groups import FAST, Circle, Device, seeded

RNG = seeded(1)
LEAVES = [
    Device.make(FAST, f"device {index}", RNG).key_package(RNG).key_package.leaf_node for index in range(12)
]


def tree_of(count: int) -> RatchetTree:
    tree = RatchetTree(FAST, [LEAVES[0]])
    for leaf in LEAVES[1:count]:
        tree.add_leaf(leaf)
    return tree


def fresh(tree: RatchetTree) -> RatchetTree:
    """The same tree without anything cached."""
    return from_ratchet_tree(FAST, decode(tree.to_bytes(), read_ratchet_tree))


def test_leaf_0_counts_as_any_other() -> None:
    tree = tree_of(3)
    assert tree.find_leaf(LEAVES[0]) == LeafIndex(0)
    tree.remove_leaf(LeafIndex(0))
    assert tree.leaf(LeafIndex(0)) is None
    assert [index for index, _ in tree.members()] == [1, 2]
    assert tree.add_leaf(LEAVES[5]) == LeafIndex(0)
    assert tree.find_leaf(LEAVES[5]) == LeafIndex(0)
    assert tree.find_leaf(LEAVES[9]) is None


@pytest.mark.parametrize(("count", "n_leaves"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 16)])
def test_the_tree_grows_and_shrinks_by_halves(count: int, n_leaves: int) -> None:
    tree = tree_of(count)
    assert tree.n_leaves == n_leaves
    for leaf in range(count - 1, 0, -1):
        tree.remove_leaf(LeafIndex(leaf))
        assert tree.nodes == fresh(tree).nodes
    assert (tree.n_leaves, len(tree.nodes)) == (1, 1)


def test_leaves_outside_of_the_tree_are_nobody() -> None:
    tree = tree_of(3)
    for leaf in (3, 4, 1000, -1):
        assert tree.leaf(LeafIndex(leaf)) is None
        with pytest.raises(ValidationError):
            tree.remove_leaf(LeafIndex(leaf))
        with pytest.raises(ValidationError):
            tree.update_leaf(LeafIndex(leaf), LEAVES[0])


def test_a_copy_is_independent() -> None:
    tree = tree_of(4)
    before = tree.tree_hash()
    twin = tree.copy()
    twin.remove_leaf(LeafIndex(3))
    twin.add_leaf(LEAVES[7])
    assert tree.tree_hash() == before != twin.tree_hash()
    assert tree.leaf(LeafIndex(3)) == LEAVES[3]


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("arups"), st.integers(0, 11)), max_size=12))
def test_cached_hashes_are_those_of_a_fresh_tree(steps: list[tuple[str, int]]) -> None:
    tree = tree_of(3)
    for step, number in steps:
        occupied = [index for index, _ in tree.members()]
        leaf = occupied[number % len(occupied)]
        match step:
            case "a":
                tree.add_leaf(LEAVES[number])
            case "r" if len(occupied) > 1:
                tree.remove_leaf(leaf)
            case "u":
                tree.update_leaf(leaf, LEAVES[number])
            case "p":
                parents = {
                    parent: ParentNode(encryption_key=bytes([number]) * 32, parent_hash=b"")
                    for parent, _ in tree.filtered_direct_path(leaf)
                }
                tree.set_parents(leaf, parents)
            case _:
                tree = tree.copy()
        assert tree.tree_hash() == fresh(tree).tree_hash()
        assert tree.to_bytes() == fresh(tree).to_bytes()


class Counting:
    """A suite that counts its hashes."""

    def __init__(self) -> None:
        self.hashes = 0

    def hash(self, data: bytes) -> bytes:
        self.hashes += 1
        return FAST.hash(data)


def test_unchanged_subtrees_are_not_hashed_again() -> None:
    suite = Counting()
    tree = RatchetTree(suite, tree_of(8).nodes)  # type: ignore[arg-type]  # a fake with the one method used
    tree.tree_hash()
    assert suite.hashes == 15
    tree.update_leaf(LeafIndex(5), LEAVES[9])
    twin = tree.copy()
    tree.tree_hash()
    assert suite.hashes == 15 + 4
    twin.tree_hash()  # a copy shares what it has in common, hashes that were not known yet too
    assert suite.hashes == 15 + 4
    twin.update_leaf(LeafIndex(4), LEAVES[10])
    tree.tree_hash()
    assert suite.hashes == 15 + 4
    twin.tree_hash()
    assert suite.hashes == 15 + 8


def test_what_was_decoded_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = Circle(FAST, 4)[0]._state.tree.to_bytes()
    tree = from_ratchet_tree(FAST, decode(encoded, read_ratchet_tree))
    monkeypatch.setattr("crypto.leaf_node.encode", None)
    monkeypatch.setattr("crypto.tree_nodes.encode", None)
    assert tree.to_bytes() == encoded
    tree.tree_hash()


def test_the_last_node_is_not_blank() -> None:
    with pytest.raises(ValidationError, match=r"tree\.trailing-blank"):
        from_ratchet_tree(FAST, [LEAVES[0], None])
    with pytest.raises(ValidationError, match=r"tree\.empty"):
        from_ratchet_tree(FAST, [])


def test_leaves_and_parents_stand_in_their_places() -> None:
    parent = ParentNode(encryption_key=b"k", parent_hash=b"")
    with pytest.raises(ValidationError, match=r"tree\.node-type"):
        from_ratchet_tree(FAST, [LEAVES[0], LEAVES[1]])
    with pytest.raises(ValidationError, match=r"tree\.node-type"):
        from_ratchet_tree(FAST, [parent])


def test_an_array_that_is_no_tree_is_our_own_mistake() -> None:
    with pytest.raises(StateError):
        RatchetTree(FAST, [LEAVES[0], None])


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x03", b"\x02\x00\x00\x05\x00\x00\x00\x01"])
def test_malformed_nodes_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode(data, read_node)


def test_a_parent_knows_its_unmerged_leaves_in_order() -> None:
    tree = tree_of(4)
    root = tree.root
    tree.set_parents(LeafIndex(0), {root: ParentNode(encryption_key=b"k", parent_hash=b"")})
    tree.remove_leaf(LeafIndex(2))
    tree.set_parents(LeafIndex(0), {root: ParentNode(encryption_key=b"k", parent_hash=b"")})
    tree.set_leaf(LeafIndex(0), None)
    assert tree.add_leaf(LEAVES[5]) == 0
    assert tree.add_leaf(LEAVES[6]) == 2
    parent = tree.parent_node(root)
    assert parent is not None
    assert parent.unmerged_leaves == (0, 2)
    assert tree.resolution(root) == (3, 0, 4)
    assert tree.resolution(NodeIndex(1)) == (0, 2)
    assert isinstance(tree.node(NodeIndex(0)), LeafNode)
    assert LEAVES[0].leaf_node_source is LeafNodeSource.KEY_PACKAGE
