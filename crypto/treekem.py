"""TreeKEM: new path secrets, their encryption to the others, their opening (RFC 9420 sections 7.4 to 7.6).

Private keys are a mapping from node to key: one's own leaf, and those parents on one's path whose secret one
received. Path secrets live no longer than the function that uses them; what a joiner needs of them is handed
out in :class:`NewPath`, which dies with the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from crypto.errors import StateError, ValidationError
from crypto.labels import decrypt_with_label, derive_secret, encrypt_with_label
from crypto.leaf_node import LeafNode, LeafNodeSource, sign_leaf_node
from crypto.parent_hash import set_path_keys
from crypto.ratchet_tree import RatchetTree
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex, NodeIndex, is_in_subtree, leaf_to_node
from crypto.update_path import HPKECiphertext, UpdatePath, UpdatePathNode

UPDATE_PATH_NODE: Final = "UpdatePathNode"

PrivateKeys = Mapping[NodeIndex, Secret]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPath:
    """A committer's fresh path, already in its tree and not yet encrypted to anybody.

    Attributes:
        leaf: The committer's new leaf, signed.
        path: The filtered direct path: (parent, copath child), from the leaf upwards.
        public_keys: Of each parent of ``path``.
        path_secrets: Of each parent of ``path``.
        private_keys: Of the leaf and of each parent of ``path``.
        commit_secret: Input to the key schedule.
    """

    leaf: LeafNode
    path: tuple[tuple[NodeIndex, NodeIndex], ...]
    public_keys: tuple[bytes, ...]
    path_secrets: tuple[Secret, ...]
    private_keys: PrivateKeys
    commit_secret: Secret

    def secret_shared_with(self, leaf_index: LeafIndex) -> Secret | None:
        """The path secret of the lowest parent of the path above a leaf, for its owner's Welcome."""
        for (parent, _), path_secret in zip(self.path, self.path_secrets, strict=True):
            if is_in_subtree(leaf_to_node(leaf_index), parent):
                return path_secret
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedPath:
    """What a member learned from an UpdatePath.

    Attributes:
        path_secret: The one that was decrypted.
        private_keys: Of the parents from there up to the root.
        commit_secret: Input to the key schedule.
    """

    path_secret: Secret
    private_keys: PrivateKeys
    commit_secret: Secret


def _node_key_pair(suite: CipherSuite, path_secret: bytes) -> tuple[Secret, bytes]:
    """``node_secret = DeriveSecret(path_secret, "node")``, and KEM.DeriveKeyPair of it."""
    private, public = suite.derive_key_pair(derive_secret(suite, path_secret, "node"))
    return Secret(private), public


def create_path(
    suite: CipherSuite,
    tree: RatchetTree,
    leaf_index: LeafIndex,
    *,
    leaf: LeafNode,
    signature_private: Secret,
    group_id: bytes,
    rng: Callable[[int], bytes],
) -> NewPath:
    """Make fresh keys for a leaf and its path and put them into ``tree`` (RFC 9420 sections 7.4, 7.5).

    Args:
        suite: The group's cipher suite.
        tree: With the proposals applied; changed in place.
        leaf_index: The committer.
        leaf: Credential, signature key, capabilities and extensions for the new leaf.
        signature_private: Fits ``leaf.signature_key``.
        group_id: Signed with the leaf.
        rng: Returns that many random bytes.
    """
    path = tuple(tree.filtered_direct_path(leaf_index))
    leaf_private, leaf_public = suite.generate_key_pair(rng)
    private_keys = {leaf_to_node(leaf_index): Secret(leaf_private)}
    path_secrets: list[Secret] = []
    public_keys: list[bytes] = []
    path_secret = rng(suite.nh)
    for parent, _ in path:
        private_keys[parent], public_key = _node_key_pair(suite, path_secret)
        public_keys.append(public_key)
        path_secrets.append(Secret(path_secret))
        path_secret = derive_secret(suite, path_secret, "path")
    new_leaf = sign_leaf_node(
        suite,
        signature_private,
        replace(
            leaf,
            encryption_key=leaf_public,
            leaf_node_source=LeafNodeSource.COMMIT,
            lifetime=None,
            parent_hash=set_path_keys(suite, tree, leaf_index, path, public_keys),
        ),
        group_id=group_id,
        leaf_index=leaf_index,
    )
    tree.set_leaf(leaf_index, new_leaf)
    return NewPath(
        leaf=new_leaf,
        path=path,
        public_keys=tuple(public_keys),
        path_secrets=tuple(path_secrets),
        private_keys=private_keys,
        # With nobody else in the tree the path is empty, and path_secret[0] is the secret after the last one.
        commit_secret=Secret(path_secret),
    )


def encrypt_path(
    suite: CipherSuite,
    tree: RatchetTree,
    new_path: NewPath,
    *,
    context: bytes,
    new_leaves: Collection[LeafIndex],
    rng: Callable[[int], bytes],
) -> UpdatePath:
    """Encrypt each path secret to the copath (RFC 9420 section 7.6).

    Args:
        suite: The group's cipher suite.
        tree: With the path in it.
        new_path: Of :func:`create_path`.
        context: The encoded provisional GroupContext.
        new_leaves: Leaves added in the same commit; they get theirs in the Welcome.
        rng: Returns that many random bytes.

    Raises:
        ValidationError: A member's public key is no key of the suite.
    """
    nodes: list[UpdatePathNode] = []
    for (_, copath_child), public_key, path_secret in zip(
        new_path.path, new_path.public_keys, new_path.path_secrets, strict=True
    ):
        sealed: list[HPKECiphertext] = []
        for target in _receivers(tree, copath_child, new_leaves):
            node = tree.node(target)
            if node is None:
                raise StateError("a resolution names a blank node")
            kem_output, ciphertext = encrypt_with_label(
                suite, node.encryption_key, UPDATE_PATH_NODE, context, path_secret.reveal(), rng
            )
            sealed.append(HPKECiphertext(kem_output=kem_output, ciphertext=ciphertext))
        nodes.append(UpdatePathNode(encryption_key=public_key, encrypted_path_secret=tuple(sealed)))
    return UpdatePath(leaf_node=new_path.leaf, nodes=tuple(nodes))


def _receivers(
    tree: RatchetTree, copath_child: NodeIndex, new_leaves: Collection[LeafIndex]
) -> list[NodeIndex]:
    """The resolution of a copath child without the leaves added in this commit."""
    excluded = {leaf_to_node(leaf_index) for leaf_index in new_leaves}
    return [node_index for node_index in tree.resolution(copath_child) if node_index not in excluded]


def merge_path(
    suite: CipherSuite,
    tree: RatchetTree,
    sender: LeafIndex,
    update_path: UpdatePath,
    *,
    new_leaves: Collection[LeafIndex],
) -> None:
    """Check an UpdatePath's shape and put it into ``tree`` (RFC 9420 sections 7.5, 12.4.2).

    Whether the new leaf is valid in itself is for :mod:`crypto.leaf_validation`.

    Raises:
        ValidationError: ``path.*`` names the rule broken.
    """
    path = tree.filtered_direct_path(sender)
    if len(path) != len(update_path.nodes):
        raise ValidationError("path.length")
    for (_, copath_child), node in zip(path, update_path.nodes, strict=True):
        if len(node.encrypted_path_secret) != len(_receivers(tree, copath_child, new_leaves)):
            raise ValidationError("path.ciphertext-count")
    public_keys = [node.encryption_key for node in update_path.nodes]
    fresh = [update_path.leaf_node.encryption_key, *public_keys]
    # The committer's present leaf and path count too: each key must be new to the tree that the path is put
    # into.
    present = tree.census.encryption_keys
    if len(set(fresh)) != len(fresh) or any(present.count(key) for key in fresh):
        raise ValidationError("path.key-not-fresh")
    if any(len(key) != suite.hpke.n_public for key in fresh):
        raise ValidationError("path.key-size")
    parent_hash = set_path_keys(suite, tree, sender, path, public_keys)
    if parent_hash != update_path.leaf_node.parent_hash:
        raise ValidationError("path.parent-hash")
    tree.set_leaf(sender, update_path.leaf_node)


def open_path(
    suite: CipherSuite,
    tree: RatchetTree,
    sender: LeafIndex,
    update_path: UpdatePath,
    *,
    own_leaf: LeafIndex,
    private_keys: PrivateKeys,
    context: bytes,
    new_leaves: Collection[LeafIndex],
) -> OpenedPath:
    """Decrypt the path secret meant for us and derive what follows from it (RFC 9420 section 7.5).

    Args:
        suite: The group's cipher suite.
        tree: With the path merged into it.
        sender: The committer.
        update_path: As received and merged.
        own_leaf: Ours; not the sender's.
        private_keys: Only keys that fit the tree with the proposals applied (see :func:`keys_that_fit`).
        context: The encoded provisional GroupContext.
        new_leaves: Leaves added in the same commit.

    Raises:
        AuthenticationError: The ciphertext does not open.
        ValidationError: ``path.no-ciphertext-for-us``, ``path.key-mismatch``, ``path.secret-size``.
    """
    lowest, copath_child, node = _step_for_us(tree, sender, update_path, own_leaf)
    receivers = _receivers(tree, copath_child, new_leaves)
    for target, ciphertext in zip(receivers, node.encrypted_path_secret, strict=True):
        if target in private_keys:
            path_secret = decrypt_with_label(
                suite,
                private_keys[target].reveal(),
                UPDATE_PATH_NODE,
                context,
                ciphertext.kem_output,
                ciphertext.ciphertext,
            )
            return derive_path(suite, tree, sender, lowest=lowest, path_secret=Secret(path_secret))
    raise ValidationError("path.no-ciphertext-for-us")


def _step_for_us(
    tree: RatchetTree, sender: LeafIndex, update_path: UpdatePath, own_leaf: LeafIndex
) -> tuple[NodeIndex, NodeIndex, UpdatePathNode]:
    """The parent whose copath child has us below it, that child, and the parent's entry in the path."""
    path = tree.filtered_direct_path(sender)
    for (parent, copath_child), node in zip(path, update_path.nodes, strict=True):
        if is_in_subtree(leaf_to_node(own_leaf), copath_child):
            return parent, copath_child, node
    raise ValidationError("path.no-ciphertext-for-us")


def derive_path(
    suite: CipherSuite, tree: RatchetTree, sender: LeafIndex, *, lowest: NodeIndex, path_secret: Secret
) -> OpenedPath:
    """Derive the keys from one parent of a sender's path up to the root, and compare them with the tree.

    Args:
        suite: The group's cipher suite.
        tree: With the sender's path merged into it.
        sender: Whose path it is.
        lowest: The parent that ``path_secret`` belongs to.
        path_secret: From an UpdatePath or a Welcome.

    Raises:
        ValidationError: ``path.secret-size``, ``path.key-mismatch`` or ``path.no-such-node``.
    """
    if len(path_secret) != suite.nh:
        raise ValidationError("path.secret-size")
    parents = [parent for parent, _ in tree.filtered_direct_path(sender)]
    if lowest not in parents:
        raise ValidationError("path.no-such-node")
    private_keys: dict[NodeIndex, Secret] = {}
    current = path_secret.reveal()
    for node_index in parents[parents.index(lowest) :]:
        private_keys[node_index], public_key = _node_key_pair(suite, current)
        parent = tree.parent_node(node_index)
        if parent is None or parent.encryption_key != public_key:
            raise ValidationError("path.key-mismatch")
        current = derive_secret(suite, current, "path")
    return OpenedPath(path_secret=path_secret, private_keys=private_keys, commit_secret=Secret(current))


def keys_that_fit(old: RatchetTree, new: RatchetTree, private_keys: PrivateKeys) -> dict[NodeIndex, Secret]:
    """The private keys whose nodes have the same public key in both trees; all others are outdated."""
    fitting: dict[NodeIndex, Secret] = {}
    for node_index, private in private_keys.items():
        before = old.node(node_index)
        after = new.node(node_index) if node_index < new.width else None
        if before is not None and after is not None and before.encryption_key == after.encryption_key:
            fitting[node_index] = private
    return fitting
