"""tree-math: node relations of the array-based tree (RFC 9420 appendix C)."""

from __future__ import annotations

from collections.abc import Callable

from clients.conformance.case import Case, expect_equal, integer, items
from crypto import tree_math
from crypto.errors import StateError
from crypto.tree_math import NodeIndex


def _or_none(function: Callable[..., NodeIndex], *arguments: int) -> NodeIndex | None:
    try:
        return function(*arguments)
    except StateError:
        return None


def check(case: Case) -> None:
    """Compare every relation of every node."""
    n_leaves = integer(case, "n_leaves")
    nodes = range(tree_math.node_width(n_leaves))
    expect_equal("n_nodes", len(nodes), integer(case, "n_nodes"))
    expect_equal("root", tree_math.root(n_leaves), integer(case, "root"))
    for name, ours in (
        ("left", [_or_none(tree_math.left, node) for node in nodes]),
        ("right", [_or_none(tree_math.right, node) for node in nodes]),
        ("parent", [_or_none(tree_math.parent, node, n_leaves) for node in nodes]),
        ("sibling", [_or_none(tree_math.sibling, node, n_leaves) for node in nodes]),
    ):
        expect_equal(name, ours, list(items(case, name)))
