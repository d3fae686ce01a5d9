"""Vectors about trees: tree-operations, tree-validation, treekem (RFC 9420 sections 4, 7, 12.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from crypto.codec import encode
from crypto.credentials import Credential
from crypto.group_context import GroupContext
from crypto.key_package import KeyPackage, generate_key_package
from crypto.leaf_node import Capabilities, LeafNode, LeafNodeSource, Lifetime, sign_leaf_node
from crypto.proposals import Add, Proposal, Remove, Update, write_proposal
from crypto.ratchet_tree import RatchetTree
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex, NodeIndex, is_in_subtree, leaf_to_node
from crypto.treekem import NewPath, create_path, encrypt_path
from crypto.update_path import write_update_path

Rng = Callable[[int], bytes]
Case = dict[str, Any]

LIFETIME = Lifetime(not_before=1_790_000_000, not_after=1_790_000_000 + 90 * 86_400)


class Grower:
    """A tree that grows by Adds, Removes and paths, with the secrets of everybody in it."""

    def __init__(self, suite: CipherSuite, rng: Rng) -> None:
        self.suite = suite
        self.rng = rng
        self.group_id = rng(32)
        self.tree = RatchetTree(suite, [])
        self.leaf_private: dict[LeafIndex, bytes] = {}
        self.signature_private: dict[LeafIndex, bytes] = {}
        self.path_secrets: dict[LeafIndex, dict[NodeIndex, bytes]] = {}
        self._count = 0

    def key_package(self) -> tuple[KeyPackage, bytes, bytes]:
        """A new client's, with its encryption and signature keys."""
        signature_private, _ = self.suite.generate_signature_key_pair(self.rng)
        bundle = generate_key_package(
            suite=self.suite,
            signature_private=signature_private,
            credential=Credential.basic(b"client %d" % self._count),
            capabilities=Capabilities(versions=(1,), cipher_suites=(self.suite.code,), credentials=(1,)),
            lifetime=LIFETIME,
            rng=self.rng,
        )
        self._count += 1
        return bundle.key_package, bundle.encryption_private.reveal(), signature_private

    def add(self) -> LeafIndex:
        """Add a client at the leftmost blank leaf."""
        key_package, private, signature_private = self.key_package()
        leaf = self.tree.add_leaf(key_package.leaf_node)
        self.leaf_private[leaf] = private
        self.signature_private[leaf] = signature_private
        self.path_secrets[leaf] = {}
        return leaf

    def remove(self, leaf: int) -> None:
        """Remove a client; what it knew of blank nodes is forgotten by all."""
        self.tree.remove_leaf(LeafIndex(leaf))
        for secrets in (self.leaf_private, self.signature_private, self.path_secrets):
            del secrets[LeafIndex(leaf)]
        for known in self.path_secrets.values():
            for node in [node for node in known if not self._is_there(node)]:
                del known[node]

    def _is_there(self, node: NodeIndex) -> bool:
        return node < 2 * self.tree.n_leaves - 1 and self.tree.node(node) is not None

    def new_path(self, sender: LeafIndex, tree: RatchetTree) -> NewPath:
        """A fresh path, put into ``tree``."""
        leaf = tree.leaf(sender)
        assert leaf is not None
        return create_path(
            self.suite,
            tree,
            sender,
            leaf=leaf,
            signature_private=Secret(self.signature_private[sender]),
            group_id=self.group_id,
            rng=self.rng,
        )

    def update(self, sender: int) -> None:
        """Merge a fresh path by one member, of which everybody below learns what it may."""
        path = self.new_path(LeafIndex(sender), self.tree)
        self.leaf_private[LeafIndex(sender)] = path.private_keys[leaf_to_node(LeafIndex(sender))].reveal()
        for leaf, known in self.path_secrets.items():
            for node in [node for node in known if not self._is_there(node)]:
                del known[node]
            for (parent, _), path_secret in zip(path.path, path.path_secrets, strict=True):
                if is_in_subtree(leaf_to_node(leaf), parent):
                    known[parent] = path_secret.reveal()
                else:
                    known.pop(parent, None)


def grown(suite: CipherSuite, rng: Rng) -> Iterator[Grower]:
    """Trees of many shapes: full, ragged, with blanks, with unmerged leaves, with an empty left half."""
    for size in (2, 3, 4, 5, 8):
        grower = Grower(suite, rng)
        for _ in range(size):
            grower.add()
        for leaf in range(size):
            grower.update(leaf)
        yield grower
    blanks = Grower(suite, rng)
    for _ in range(7):
        blanks.add()
    for leaf in range(7):
        blanks.update(leaf)
    blanks.remove(2)
    blanks.remove(5)
    blanks.update(0)
    yield blanks
    unmerged = Grower(suite, rng)
    for _ in range(6):
        unmerged.add()
    for leaf in (5, 2, 0):
        unmerged.update(leaf)
    unmerged.remove(3)
    unmerged.update(2)
    for _ in range(3):
        unmerged.add()
    unmerged.update(0)
    yield unmerged
    half = Grower(suite, rng)
    for _ in range(4):
        half.add()
    half.remove(0)
    half.remove(1)
    half.update(3)
    yield half


def tree_validation(grower: Grower) -> Case:
    """Resolution and tree hash of every node."""
    nodes = [NodeIndex(index) for index in range(len(grower.tree.nodes))]
    return {
        "cipher_suite": grower.suite.code,
        "tree": grower.tree.to_bytes().hex(),
        "group_id": grower.group_id.hex(),
        "resolutions": [[int(node) for node in grower.tree.resolution(index)] for index in nodes],
        "tree_hashes": [grower.tree.tree_hash(index).hex() for index in nodes],
    }


def treekem(grower: Grower) -> Case:
    """One update path by every member, and what every other one gets from it."""
    suite, epoch, confirmed = grower.suite, 5, grower.rng(grower.suite.nh)
    leaves = sorted(grower.leaf_private)
    paths = []
    for sender in leaves:
        tree = grower.tree.copy()
        path = grower.new_path(sender, tree)
        context = GroupContext(
            cipher_suite=suite.code,
            group_id=grower.group_id,
            epoch=epoch,
            tree_hash=tree.tree_hash(),
            confirmed_transcript_hash=confirmed,
        )
        update_path = encrypt_path(
            suite, tree, path, context=context.to_bytes(), new_leaves=(), rng=grower.rng
        )
        shared = {leaf: path.secret_shared_with(leaf) for leaf in leaves if leaf != sender}
        paths.append(
            {
                "sender": int(sender),
                "update_path": encode(update_path, write_update_path).hex(),
                "path_secrets": [
                    None if (known := shared.get(LeafIndex(leaf))) is None else known.reveal().hex()
                    for leaf in range(tree.n_leaves)
                ],
                "commit_secret": path.commit_secret.reveal().hex(),
                "tree_hash_after": tree.tree_hash().hex(),
            }
        )
    private = [
        {
            "index": int(leaf),
            "encryption_priv": grower.leaf_private[leaf].hex(),
            "signature_priv": grower.signature_private[leaf].hex(),
            "path_secrets": [
                {"node": int(node), "path_secret": path_secret.hex()}
                for node, path_secret in sorted(grower.path_secrets[leaf].items())
            ],
        }
        for leaf in leaves
    ]
    return {
        "cipher_suite": suite.code,
        "group_id": grower.group_id.hex(),
        "epoch": epoch,
        "confirmed_transcript_hash": confirmed.hex(),
        "ratchet_tree": grower.tree.to_bytes().hex(),
        "leaves_private": private,
        "update_paths": paths,
    }


def tree_operations(suite: CipherSuite, rng: Rng) -> Iterator[Case]:
    """Add at the end, Add into a blank leaf, Update, Remove in the middle, Remove that truncates the tree."""

    def case(grower: Grower, proposal: Proposal, sender: int) -> Case:
        after = grower.tree.copy()
        match proposal:
            case Add():
                after.add_leaf(proposal.key_package.leaf_node)
            case Update():
                after.update_leaf(LeafIndex(sender), proposal.leaf_node)
            case Remove():
                after.remove_leaf(proposal.removed)
        return {
            "cipher_suite": suite.code,
            "tree_before": grower.tree.to_bytes().hex(),
            "proposal": encode(proposal, write_proposal).hex(),
            "proposal_sender": sender,
            "tree_hash_before": grower.tree.tree_hash().hex(),
            "tree_after": after.to_bytes().hex(),
            "tree_hash_after": after.tree_hash().hex(),
        }

    grower = Grower(suite, rng)
    for _ in range(5):
        grower.add()
    for leaf in range(5):
        grower.update(leaf)
    yield case(grower, Remove(removed=LeafIndex(4)), 0)
    yield case(grower, Add(key_package=grower.key_package()[0]), 1)
    yield case(grower, Update(leaf_node=_updated(grower, LeafIndex(3))), 3)
    yield case(grower, Remove(removed=LeafIndex(0)), 2)
    grower.remove(1)
    yield case(grower, Add(key_package=grower.key_package()[0]), 0)


def _updated(grower: Grower, leaf: LeafIndex) -> LeafNode:
    before = grower.tree.leaf(leaf)
    assert before is not None
    _, public = grower.suite.generate_key_pair(grower.rng)
    return sign_leaf_node(
        grower.suite,
        Secret(grower.signature_private[leaf]),
        replace(
            before,
            encryption_key=public,
            leaf_node_source=LeafNodeSource.UPDATE,
            lifetime=None,
            parent_hash=b"",
        ),
        group_id=grower.group_id,
        leaf_index=leaf,
    )
