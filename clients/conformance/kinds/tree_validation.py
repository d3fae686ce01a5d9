"""tree-validation: resolutions, tree hashes, parent hashes, signatures (RFC 9420 sections 4.1, 7.8, 7.9)."""

from __future__ import annotations

from clients.conformance.case import Case, expect_equal, integer, items, unhex
from crypto.codec import decode
from crypto.leaf_node import verify_leaf_signature
from crypto.leaf_validation import check_members_together
from crypto.parent_hash import check_parent_hashes
from crypto.ratchet_tree import from_ratchet_tree
from crypto.suites import suite
from crypto.tree_math import NodeIndex
from crypto.tree_nodes import read_ratchet_tree
from crypto.tree_validation import check_unmerged_leaves


def check(case: Case) -> None:
    """Compare every resolution and tree hash, then validate the tree as a joiner does."""
    algorithms = suite(integer(case, "cipher_suite"))
    encoded = unhex(case, "tree")
    tree = from_ratchet_tree(algorithms, decode(encoded, read_ratchet_tree))
    expect_equal("tree, encoded again", tree.to_bytes(), encoded)
    resolutions, hashes = items(case, "resolutions"), items(case, "tree_hashes")
    expect_equal("number of nodes", (len(resolutions), len(hashes)), (len(tree.nodes),) * 2)
    for index in range(len(tree.nodes)):
        node = NodeIndex(index)
        expect_equal(f"resolution of node {index}", list(tree.resolution(node)), resolutions[index])
        expect_equal(f"tree hash of node {index}", tree.tree_hash(node).hex(), hashes[index])
    check_unmerged_leaves(tree)
    check_members_together(tree)
    check_parent_hashes(algorithms, tree)
    group_id = unhex(case, "group_id")
    for leaf_index, leaf in tree.members():
        verify_leaf_signature(algorithms, leaf, group_id=group_id, leaf_index=leaf_index)
