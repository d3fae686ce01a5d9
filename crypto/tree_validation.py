"""Integrity of a ratchet tree that somebody shows us when we join (RFC 9420 section 12.4.3.1)."""

from __future__ import annotations

from crypto.errors import ValidationError
from crypto.extensions import Extensions
from crypto.leaf_validation import check_leaf, check_members_together
from crypto.parent_hash import check_parent_hashes
from crypto.ratchet_tree import RatchetTree
from crypto.suites import CipherSuite
from crypto.tree_math import direct_path, is_in_subtree, leaf_to_node
from crypto.tree_nodes import ParentNode


def check_tree(
    suite: CipherSuite, tree: RatchetTree, *, group_id: bytes, group_extensions: Extensions
) -> None:
    """Check all that a joiner must check of a tree, except that its hash is the signed one.

    Raises:
        ValidationError: ``tree.*`` or ``leaf.*`` names the rule broken.
        CodecError: The group's ``required_capabilities`` are malformed.
    """
    check_unmerged_leaves(tree)
    check_members_together(tree)
    check_parent_hashes(suite, tree)
    for leaf_index, leaf in tree.members():
        check_leaf(
            suite,
            leaf,
            group_id=group_id,
            leaf_index=leaf_index,
            group_extensions=group_extensions,
            source=None,
        )


def check_unmerged_leaves(tree: RatchetTree) -> None:
    """Check each parent's list of unmerged leaves (RFC 9420 sections 7.1 and 12.4.3.1).

    Raises:
        ValidationError: ``tree.unmerged-unsorted``, ``tree.unmerged-not-below``, ``tree.unmerged-blank`` or
            ``tree.unmerged-between``.
    """
    for step in tree.subtrees():
        node_index, parent = step.index, step.node
        if not isinstance(parent, ParentNode):
            continue
        listed = parent.unmerged_leaves
        if list(listed) != sorted(set(listed)):
            raise ValidationError("tree.unmerged-unsorted")
        for leaf_index in listed:
            below = leaf_to_node(leaf_index)
            if not is_in_subtree(below, node_index):
                raise ValidationError("tree.unmerged-not-below")
            if tree.leaf(leaf_index) is None:
                raise ValidationError("tree.unmerged-blank")
            path = direct_path(below, tree.n_leaves)
            for between in path[: path.index(node_index)]:
                lower = tree.parent_node(between)
                if lower is not None and leaf_index not in lower.unmerged_leaves:
                    raise ValidationError("tree.unmerged-between")
