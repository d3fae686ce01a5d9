"""All that a member holds of one epoch (RFC 9420 sections 8, 9.2), as data.

Kept: what later messages and the next commit need. Never kept: joiner, commit, epoch, encryption, external
and welcome secrets, confirmation and membership key, resumption PSK; they are dropped as soon as the epoch
has begun. The binary form is in :mod:`crypto.group_codec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crypto.errors import ValidationError
from crypto.group_context import GroupContext
from crypto.leaf_node import LeafNode
from crypto.ratchet_tree import RatchetTree
from crypto.secret_tree import RatchetPolicy, SecretTree
from crypto.sensitive import Secret
from crypto.signatures import Signer
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex, NodeIndex


@dataclass(slots=True, kw_only=True)
class GroupState:
    """One member's view of one epoch. Only ``secret_tree`` and ``exporter_secret`` ever change.

    Attributes:
        suite: The group's cipher suite.
        context: The GroupContext.
        tree: The ratchet tree; never changed once the epoch has begun.
        own_leaf: Our place in it.
        private_keys: HPKE keys of our leaf and of the parents whose secret we know.
        signature_private: Of our leaf.
        interim_transcript_hash: Input to the next confirmed one.
        sender_data_secret: Encrypts who sent a message.
        init_secret: Input to the next epoch.
        exporter_secret: None once wiped (R1).
        epoch_authenticator: Equal on all devices that have the same view.
        secret_tree: Ratchets of the epoch.
        ratchet_policy: How far ratchets may jump.
        signer: Leaf that signed the GroupInfo by which we joined this very epoch, else None.
    """

    suite: CipherSuite
    context: GroupContext
    tree: RatchetTree = field(repr=False)
    own_leaf: LeafIndex
    private_keys: Mapping[NodeIndex, Secret] = field(repr=False)
    signature_private: Secret = field(repr=False)
    interim_transcript_hash: bytes = field(repr=False)
    sender_data_secret: Secret = field(repr=False)
    init_secret: Secret = field(repr=False)
    exporter_secret: Secret | None = field(repr=False)
    epoch_authenticator: bytes = field(repr=False)
    secret_tree: SecretTree = field(repr=False)
    ratchet_policy: RatchetPolicy = field(repr=False)
    signer: LeafIndex | None = None
    _loaded: Signer | None = field(default=None, init=False, repr=False, compare=False)

    def sign_with(self) -> Signer:
        """Our signature key, loaded on first use: loading costs more than signing."""
        if self._loaded is None:
            self._loaded = self.suite.signer(self.signature_private.reveal())
        return self._loaded

    def own_leaf_node(self) -> LeafNode:
        """Our leaf."""
        return self.leaf(self.own_leaf)

    def leaf(self, leaf_index: LeafIndex) -> LeafNode:
        """A member's leaf.

        Raises:
            ValidationError: ``message.sender-not-a-member``: nobody is there.
        """
        leaf = self.tree.leaf(leaf_index)
        if leaf is None:
            raise ValidationError("message.sender-not-a-member")
        return leaf

    def signature_key(self, leaf_index: LeafIndex) -> bytes:
        """A member's public signature key. Raises as :meth:`leaf`."""
        return self.leaf(leaf_index).signature_key
