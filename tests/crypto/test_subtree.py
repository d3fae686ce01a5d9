"""subtree.py and tally.py: what is shared between epochs, and what is counted instead of searched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.errors import StateError
from crypto.group import CommitReceived, Group
from crypto.ratchet_tree import Census, RatchetTree
from crypto.subtree import Subtree, build_subtree
from crypto.tally import FEW_CHANGES, Tally
from crypto.tree_math import LeafIndex, NodeIndex
from support.mls_groups import FAST, Circle, Device, seeded

T = TypeVar("T", bound=Hashable)
RNG = seeded(3)
LEAVES = [
    Device.make(FAST, f"device {index}", RNG).key_package(RNG).key_package.leaf_node for index in range(9)
]


def tree_of(count: int) -> RatchetTree:
    tree = RatchetTree(FAST, [LEAVES[0]])
    for leaf in LEAVES[1:count]:
        tree.add_leaf(leaf)
    return tree


@pytest.mark.parametrize("height", [0, 1, 2, 3])
def test_a_subtree_is_built_in_array_order_from_any_start(height: int) -> None:
    width = 2 ** (height + 1) - 1
    start = 2 * (width + 1)
    top = build_subtree([None] * width, start=start)
    assert [step.index for step in top.in_order()] == list(range(start, start + width))
    assert top.blank
    assert not top.full


def test_a_change_leaves_everything_beside_its_path_the_same_object() -> None:
    tree = tree_of(8)
    twin = tree.copy()
    twin.set_leaf(LeafIndex(5), LEAVES[8])
    changed = {8, 9, 10, 11, 7}  # node 10 is the leaf; 9, 11 and 7 are above it
    for index in range(15):
        same = tree._at(NodeIndex(index)) is twin._at(NodeIndex(index))
        assert same == (index not in changed - {8}), index


@contextmanager
def visits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count the subtrees that are made, and the passes over all of them."""
    counts: Counter[str] = Counter()
    make, in_order = Subtree.__init__, Subtree.in_order

    def counted_make(self: Subtree, *args: object) -> None:
        counts["made"] += 1
        make(self, *args)  # type: ignore[arg-type]  # handed on as they came

    def counted_pass(self: Subtree) -> Iterator[Subtree]:
        counts["passes"] += 1
        return in_order(self)

    with monkeypatch.context() as patch:
        patch.setattr(Subtree, "__init__", counted_make)
        patch.setattr(Subtree, "in_order", counted_pass)
        yield counts


def test_a_self_update_makes_one_path_and_passes_over_no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work grows with the depth alone, for who makes the commit and for who processes it."""
    made: dict[int, tuple[int, int]] = {}
    for size in (4, 8, 16):
        circle = Circle(FAST, size, seed=size)
        for leaf in range(0, size, 2):
            circle.update(leaf)
        with visits(monkeypatch) as committing:
            pending = circle.pending(0)
        with visits(monkeypatch) as processing:
            received = circle[1].unprotect(pending.message)
        assert isinstance(received, CommitReceived)
        assert committing["passes"] == processing["passes"] == 0
        made[size] = (committing["made"], processing["made"])
    for side in (0, 1):
        assert made[8][side] - made[4][side] == made[16][side] - made[8][side] <= 3


def test_a_message_passes_over_no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    circle = Circle(FAST, 4)
    with visits(monkeypatch) as counts:
        message = circle[0].protect(b"text", authenticated_data=b"", rng=circle.rng)
        circle[1].unprotect(message)
    assert not counts


def test_a_staged_epoch_shares_the_tree_that_it_came_from() -> None:
    circle = Circle(FAST, 8)
    old: Group = circle[5]
    received = old.unprotect(circle.pending(0).message)
    assert isinstance(received, CommitReceived)
    assert received.staged is not None
    before, after = old._state.tree, received.staged.group._state.tree
    untouched = NodeIndex(11)  # the half of leaves 4 to 7, which leaf 0 does not change
    assert before._at(untouched) is after._at(untouched)
    assert before._at(before.root) is not after._at(after.root)


def test_nodes_outside_of_the_tree_are_our_own_mistake() -> None:
    tree = tree_of(4)
    for index in (-1, 7, 100):
        with pytest.raises(StateError):
            tree.node(NodeIndex(index))


def counts(tally: Tally[T]) -> dict[T, int]:
    return {value: tally.count(value) for value in tally}


def census_of(tree: RatchetTree) -> list[object]:
    census = tree.census
    return [
        counts(census.encryption_keys),
        counts(census.signature_keys),
        counts(census.credential_types),
        counts(census.credential_lists),
    ]


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("arus"), st.integers(0, 8)), max_size=14))
def test_the_census_is_that_of_the_nodes(steps: list[tuple[str, int]]) -> None:
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
            case _:
                tree = tree.copy()
        counted = Census.of(tree.nodes)
        assert census_of(tree) == census_of(RatchetTree(FAST, tree.nodes))
        assert tree.census.encryption_keys.repeated == counted.encryption_keys.repeated
        assert tree.census.signature_keys.repeated == counted.signature_keys.repeated


@settings(max_examples=100, deadline=None)
@given(
    first=st.lists(st.integers(0, 5)),
    steps=st.lists(st.tuples(st.sampled_from(["add", "discard", "copy"]), st.integers(0, 5))),
)
def test_a_tally_counts_as_a_counter_does(first: list[int], steps: list[tuple[str, int]]) -> None:
    tally, expected = Tally(first), Counter(first)
    for step, value in steps:
        if step == "add":
            tally.add(value)
            expected[value] += 1
        elif step == "discard" and expected[value]:
            tally.discard(value)
            expected[value] -= 1
        elif step == "copy":
            tally = tally.copy()
        assert {value: tally.count(value) for value in tally} == +expected
        assert tally.repeated == sum(count - 1 for count in (+expected).values())


def test_a_copied_tally_is_independent_and_merges_what_became_much() -> None:
    tally = Tally(range(10))
    for value in range(10, 10 + 2 * FEW_CHANGES):
        tally.add(value)
    twin = tally.copy()
    assert not twin._changes
    twin.discard(0)
    tally.add(3)
    assert (twin.count(0), tally.count(0)) == (0, 1)
    assert (twin.repeated, tally.repeated) == (0, 1)
    assert 0 not in set(twin)
