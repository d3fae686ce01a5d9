"""secret-tree: sender data keys and the ratchets of all leaves (RFC 9420 sections 6.3.2 and 9)."""

from __future__ import annotations

from clients.conformance.case import Case, expect_equal, field, integer, items, unhex
from crypto.private_message import sender_data_key_nonce
from crypto.secret_tree import MAX_GENERATION, RatchetPolicy, RatchetType, SecretTree
from crypto.suites import suite
from crypto.tree_math import LeafIndex

FAR_AHEAD = RatchetPolicy(max_forward=MAX_GENERATION)
"""Vectors may name any generation."""


def check(case: Case) -> None:
    """Compare the sender data key, then every generation named of every leaf."""
    algorithms = suite(integer(case, "cipher_suite"))
    sender_data = field(case, "sender_data")
    key, nonce = sender_data_key_nonce(
        algorithms, unhex(sender_data, "sender_data_secret"), unhex(sender_data, "ciphertext")
    )
    expect_equal("sender_data.key", key, unhex(sender_data, "key"))
    expect_equal("sender_data.nonce", nonce, unhex(sender_data, "nonce"))

    leaves = items(case, "leaves")
    tree = SecretTree(algorithms, len(leaves), unhex(case, "encryption_secret"), FAR_AHEAD)
    for index, generations in enumerate(leaves):
        for entry in sorted(generations, key=lambda entry: integer(entry, "generation")):
            _check_generation(tree, LeafIndex(index), entry)


def _check_generation(tree: SecretTree, leaf: LeafIndex, entry: Case) -> None:
    generation = integer(entry, "generation")
    for ratchet in RatchetType:
        prepared = tree.prepare(leaf, ratchet, generation)
        tree.consume(prepared)
        name = ratchet.name.lower()
        where = f"of leaf {leaf}, generation {generation}"
        expect_equal(f"{name}_key {where}", prepared.key.key, unhex(entry, f"{name}_key"))
        expect_equal(f"{name}_nonce {where}", prepared.key.nonce, unhex(entry, f"{name}_nonce"))
