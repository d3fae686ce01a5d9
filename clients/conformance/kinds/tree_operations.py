"""tree-operations: one Add, Update or Remove applied to a tree (RFC 9420 sections 7.7, 7.8, 12.1)."""

from __future__ import annotations

from clients.conformance.case import Case, Mismatch, expect_equal, integer, unhex
from crypto.codec import decode
from crypto.proposals import Add, Remove, Update, read_proposal
from crypto.ratchet_tree import from_ratchet_tree
from crypto.suites import suite
from crypto.tree_math import LeafIndex
from crypto.tree_nodes import read_ratchet_tree


def check(case: Case) -> None:
    """Apply the proposal; compare tree hashes before and after, and the encoded tree."""
    algorithms = suite(integer(case, "cipher_suite"))
    encoded = unhex(case, "tree_before")
    tree = from_ratchet_tree(algorithms, decode(encoded, read_ratchet_tree))
    expect_equal("tree_before, encoded again", tree.to_bytes(), encoded)
    expect_equal("tree_hash_before", tree.tree_hash(), unhex(case, "tree_hash_before"))
    match decode(unhex(case, "proposal"), read_proposal):
        case Add(key_package=key_package):
            tree.add_leaf(key_package.leaf_node)
        case Update(leaf_node=leaf_node):
            tree.update_leaf(LeafIndex(integer(case, "proposal_sender")), leaf_node)
        case Remove(removed=removed):
            tree.remove_leaf(removed)
        case _:
            raise Mismatch("field proposal is no add, update or remove")
    expect_equal("tree_after", tree.to_bytes(), unhex(case, "tree_after"))
    expect_equal("tree_hash_after", tree.tree_hash(), unhex(case, "tree_hash_after"))
