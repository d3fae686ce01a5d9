"""treekem: update paths processed by every member, and fresh ones made and processed (RFC 9420 section 7)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from clients.conformance.case import Case, Mismatch, expect_equal, integer, items, unhex
from crypto.codec import decode, encode
from crypto.group_context import GroupContext
from crypto.labels import derive_secret
from crypto.ratchet_tree import RatchetTree, from_ratchet_tree
from crypto.sensitive import Secret
from crypto.suites import CipherSuite, suite
from crypto.tree_math import LeafIndex, NodeIndex, leaf_to_node
from crypto.tree_nodes import read_ratchet_tree
from crypto.treekem import create_path, encrypt_path, merge_path, open_path
from crypto.update_path import UpdatePath, read_update_path, write_update_path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """One case: the tree before any update, and the private state of each member."""

    suite: CipherSuite
    tree: RatchetTree
    context: GroupContext
    private_keys: Mapping[LeafIndex, Mapping[NodeIndex, Secret]]
    signature_private: Mapping[LeafIndex, Secret]

    def provisional(self, tree: RatchetTree) -> bytes:
        return GroupContext(
            cipher_suite=self.context.cipher_suite,
            group_id=self.context.group_id,
            epoch=self.context.epoch,
            tree_hash=tree.tree_hash(),
            confirmed_transcript_hash=self.context.confirmed_transcript_hash,
        ).to_bytes()


def check(case: Case) -> None:
    """Process each update path as every other member, then make and process a new one by the same sender."""
    setting = _read_setting(case)
    for entry in items(case, "update_paths"):
        _check_given_path(setting, entry)
        _check_new_path(setting, LeafIndex(integer(entry, "sender")))


def _read_setting(case: Case) -> _Setting:
    algorithms = suite(integer(case, "cipher_suite"))
    tree = from_ratchet_tree(algorithms, decode(unhex(case, "ratchet_tree"), read_ratchet_tree))
    private_keys: dict[LeafIndex, dict[NodeIndex, Secret]] = {}
    signature_private: dict[LeafIndex, Secret] = {}
    for entry in items(case, "leaves_private"):
        leaf = LeafIndex(integer(entry, "index"))
        keys = {leaf_to_node(leaf): unhex(entry, "encryption_priv")}
        for known in items(entry, "path_secrets"):
            node_secret = derive_secret(algorithms, unhex(known, "path_secret"), "node")
            keys[NodeIndex(integer(known, "node"))] = algorithms.derive_key_pair(node_secret)[0]
        for index, private in keys.items():
            node = tree.node(index)
            if node is None:
                raise Mismatch(f"leaf {leaf} knows a key of blank node {index}")
            public = algorithms.hpke_public_key(private)
            expect_equal(f"public key of node {index}", public, node.encryption_key)
        private_keys[leaf] = {index: Secret(private) for index, private in keys.items()}
        signature_private[leaf] = Secret(unhex(entry, "signature_priv"))
    context = GroupContext(
        cipher_suite=algorithms.code,
        group_id=unhex(case, "group_id"),
        epoch=integer(case, "epoch"),
        tree_hash=tree.tree_hash(),
        confirmed_transcript_hash=unhex(case, "confirmed_transcript_hash"),
    )
    return _Setting(
        suite=algorithms,
        tree=tree,
        context=context,
        private_keys=private_keys,
        signature_private=signature_private,
    )


def _receivers(setting: _Setting, sender: LeafIndex) -> list[LeafIndex]:
    return [leaf for leaf, _ in setting.tree.members() if leaf != sender]


def _check_given_path(setting: _Setting, entry: Case) -> None:
    sender = LeafIndex(integer(entry, "sender"))
    encoded = unhex(entry, "update_path")
    update_path = decode(encoded, read_update_path)
    expect_equal("update_path, encoded again", encode(update_path, write_update_path), encoded)
    tree = setting.tree.copy()
    merge_path(setting.suite, tree, sender, update_path, new_leaves=())
    expect_equal("tree_hash_after", tree.tree_hash(), unhex(entry, "tree_hash_after"))
    path_secrets = items(entry, "path_secrets")
    for leaf in _receivers(setting, sender):
        path_secret, commit_secret = _open(setting, tree, sender, update_path, leaf)
        expect_equal(f"path secret of leaf {leaf}", path_secret.hex(), path_secrets[leaf])
        expect_equal(f"commit_secret of leaf {leaf}", commit_secret, unhex(entry, "commit_secret"))


def _check_new_path(setting: _Setting, sender: LeafIndex) -> None:
    leaf = setting.tree.leaf(sender)
    if leaf is None:
        raise Mismatch("the sender's leaf is blank")
    tree = setting.tree.copy()
    new_path = create_path(
        setting.suite,
        tree,
        sender,
        leaf=leaf,
        signature_private=setting.signature_private[sender],
        group_id=setting.context.group_id,
        rng=secrets.token_bytes,
    )
    update_path = encrypt_path(
        setting.suite,
        tree,
        new_path,
        context=setting.provisional(tree),
        new_leaves=(),
        rng=secrets.token_bytes,
    )
    merged = setting.tree.copy()
    merge_path(setting.suite, merged, sender, update_path, new_leaves=())
    expect_equal("tree hash of a new path", merged.tree_hash(), tree.tree_hash())
    for receiver in _receivers(setting, sender):
        _, commit_secret = _open(setting, merged, sender, update_path, receiver)
        expect_equal("commit secret of a new path", commit_secret, new_path.commit_secret.reveal())


def _open(
    setting: _Setting, tree: RatchetTree, sender: LeafIndex, update_path: UpdatePath, receiver: LeafIndex
) -> tuple[bytes, bytes]:
    opened = open_path(
        setting.suite,
        tree,
        sender,
        update_path,
        own_leaf=receiver,
        private_keys=setting.private_keys[receiver],
        context=setting.provisional(tree),
        new_leaves=(),
    )
    return opened.path_secret.reveal(), opened.commit_secret.reveal()
