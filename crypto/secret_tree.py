"""Secret tree and hash ratchets: one key and nonce per message (RFC 9420 section 9).

Invariants:

* A generation gives its key once. Sending moves the ratchet before the key leaves this module; receiving is
  in two steps, :meth:`SecretTree.prepare` (changes nothing) and :meth:`SecretTree.consume` (only after the
  message was decrypted and its signature verified), so that a forged message changes nothing.
* What was consumed is gone (section 9.2): the secrets of the tree on the path to the leaf, and every ratchet
  secret up to the one in use. The encoding of the tree holds none of it.
* By default nothing is kept for generations that were skipped (R11); a message of such a generation counts as
  used. ``keep_skipped`` exists for conformance.

Deliberately not here: the encoding for storage (:mod:`crypto.secret_tree_codec`), which epoch a tree belongs
to, and saving it before the message goes out (R7).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import pairwise
from typing import Final

from crypto.errors import GenerationUsedError, StateError, ValidationError
from crypto.labels import derive_tree_secret, expand_with_label
from crypto.suites import CipherSuite
from crypto.tree_math import (
    LeafIndex,
    NodeIndex,
    direct_path,
    leaf_to_node,
    left,
    right,
    root,
)

MAX_GENERATION: Final = (1 << 32) - 1
"""Generations are uint32 on the wire (RFC 9420 section 6.3.2)."""


class RatchetType(IntEnum):
    """The two hash ratchets of each leaf."""

    HANDSHAKE = 1
    APPLICATION = 2


RATCHET_LABELS: Final = {RatchetType.HANDSHAKE: "handshake", RatchetType.APPLICATION: "application"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RatchetPolicy:
    """How far a ratchet may jump, and what is kept of a jump.

    Attributes:
        max_forward: Generations that one message may skip (R11: 4,096).
        keep_skipped: Key and nonce of that many skipped generations are kept per ratchet (R11: none).
    """

    max_forward: int = 4096
    keep_skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageKey:
    """Key and nonce of one generation, before the reuse guard."""

    generation: int
    key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Ratchet:
    """A hash ratchet standing before ``generation``."""

    generation: int = 0
    secret: bytes = field(repr=False)
    skipped: OrderedDict[int, MessageKey] = field(default_factory=OrderedDict, repr=False)


RatchetId = tuple[LeafIndex, RatchetType]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedKey:
    """A key derived but not yet consumed; give it to :meth:`SecretTree.consume` once it has proved right."""

    key: MessageKey
    ratchet_id: RatchetId
    _next_secret: bytes | None = field(repr=False)
    _skipped: tuple[MessageKey, ...] = field(repr=False)


class SecretTree:
    """The secret tree of one epoch.

    Args:
        suite: The group's suite.
        n_leaves: Leaves of the ratchet tree, blank ones included; rounded up to a power of two.
        encryption_secret: Root secret; the caller drops its own copy.
        policy: See :class:`RatchetPolicy`.
    """

    __slots__ = ("_n_leaves", "_nodes", "_policy", "_ratchets", "_suite")

    def __init__(
        self,
        suite: CipherSuite,
        n_leaves: int,
        encryption_secret: bytes,
        policy: RatchetPolicy | None = None,
    ) -> None:
        if n_leaves < 1:
            raise StateError("a secret tree has at least one leaf")
        self._suite = suite
        self._n_leaves = 1 << (n_leaves - 1).bit_length()
        self._policy = policy or RatchetPolicy()
        self._nodes: dict[NodeIndex, bytes] = {root(self._n_leaves): encryption_secret}
        self._ratchets: dict[RatchetId, Ratchet] = {}

    def __repr__(self) -> str:
        return f"SecretTree(n_leaves={self._n_leaves})"

    @property
    def n_leaves(self) -> int:
        """Leaves of the tree, blank ones included."""
        return self._n_leaves

    def copy(self) -> SecretTree:
        """An independent tree in the same state. Two trees that both send would use a generation twice."""
        twin = SecretTree(self._suite, self._n_leaves, b"", self._policy)
        twin._nodes = dict(self._nodes)
        twin._ratchets = {
            ratchet_id: replace(state, skipped=OrderedDict(state.skipped))
            for ratchet_id, state in self._ratchets.items()
        }
        return twin

    def next_generation(self, leaf: LeafIndex, ratchet: RatchetType) -> int:
        """The generation before which a ratchet stands: its next unused one."""
        known = self._ratchets.get((leaf, ratchet))
        return known.generation if known is not None else 0

    def take_next(self, leaf: LeafIndex, ratchet: RatchetType) -> MessageKey:
        """Take the next key of one's own ratchet. The tree must be saved before the message leaves.

        Raises:
            StateError: The ratchet is at its end, or there is no such leaf.
        """
        state = self._open_ratchet((leaf, ratchet))
        if state.generation > MAX_GENERATION:
            raise StateError("the ratchet of this epoch is used up")
        key = self._message_key(state.secret, state.generation)
        state.secret = self._step(state.secret, state.generation)
        state.generation += 1
        return key

    def prepare(self, leaf: LeafIndex, ratchet: RatchetType, generation: int) -> PreparedKey:
        """Derive the key of a received message without changing the tree.

        Raises:
            GenerationUsedError: The generation was used before, or skipped and not kept (R11).
            ValidationError: There is no such leaf, or the generation is further ahead than allowed.
        """
        if not 0 <= leaf < self._n_leaves:
            raise ValidationError("message.leaf-outside")
        known = self._ratchets.get((leaf, ratchet))
        start, secret = (known.generation, known.secret) if known else (0, self._peek_root(leaf, ratchet))
        if generation < start:
            kept = known.skipped.get(generation) if known else None
            if kept is None:
                raise GenerationUsedError
            return PreparedKey(key=kept, ratchet_id=(leaf, ratchet), _next_secret=None, _skipped=())
        if generation - start > self._policy.max_forward or generation > MAX_GENERATION:
            raise ValidationError("R11.max-forward")
        first_kept = generation - self._policy.keep_skipped
        skipped: list[MessageKey] = []
        for passed in range(start, generation):
            if passed >= first_kept:
                skipped.append(self._message_key(secret, passed))
            secret = self._step(secret, passed)
        return PreparedKey(
            key=self._message_key(secret, generation),
            ratchet_id=(leaf, ratchet),
            _next_secret=self._step(secret, generation),
            _skipped=tuple(skipped),
        )

    def consume(self, prepared: PreparedKey) -> None:
        """Delete what a prepared key came from: its message was genuine.

        Raises:
            GenerationUsedError: It was consumed before.
        """
        state = self._open_ratchet(prepared.ratchet_id)
        generation = prepared.key.generation
        if prepared._next_secret is None:
            if state.skipped.pop(generation, None) is None:
                raise GenerationUsedError
            return
        if generation < state.generation:
            raise GenerationUsedError
        for key in prepared._skipped:
            state.skipped[key.generation] = key
        while len(state.skipped) > self._policy.keep_skipped:
            state.skipped.popitem(last=False)
        state.secret = prepared._next_secret
        state.generation = generation + 1

    def _message_key(self, secret: bytes, generation: int) -> MessageKey:
        suite = self._suite
        return MessageKey(
            generation=generation,
            key=derive_tree_secret(suite, secret, "key", generation, suite.aead.nk),
            nonce=derive_tree_secret(suite, secret, "nonce", generation, suite.aead.nn),
        )

    def _step(self, secret: bytes, generation: int) -> bytes:
        return derive_tree_secret(self._suite, secret, "secret", generation, self._suite.nh)

    def _child(self, secret: bytes, side: str) -> bytes:
        return expand_with_label(self._suite, secret, "tree", side.encode("ascii"), self._suite.nh)

    def _ratchet_root(self, leaf_secret: bytes, ratchet: RatchetType) -> bytes:
        return expand_with_label(self._suite, leaf_secret, RATCHET_LABELS[ratchet], b"", self._suite.nh)

    def _path_down(self, leaf: LeafIndex) -> list[NodeIndex]:
        """Nodes from the lowest one whose secret is kept down to the leaf, both included."""
        node = leaf_to_node(leaf)
        path: list[NodeIndex] = []
        for step in [node, *direct_path(node, self._n_leaves)]:
            path.append(step)
            if step in self._nodes:
                return path[::-1]
        raise StateError("the secret of this leaf is gone")

    def _peek_root(self, leaf: LeafIndex, ratchet: RatchetType) -> bytes:
        """Root of a ratchet that is not open yet, leaving the tree as it is."""
        path = self._path_down(leaf)
        secret = self._nodes[path[0]]
        for above, node in pairwise(path):
            secret = self._child(secret, "left" if node < above else "right")
        return self._ratchet_root(secret, ratchet)

    def _open_ratchet(self, ratchet_id: RatchetId) -> Ratchet:
        """The ratchet; on first use of a leaf, both ratchets replace the secrets on the path to it."""
        state = self._ratchets.get(ratchet_id)
        if state is not None:
            return state
        leaf = ratchet_id[0]
        if not 0 <= leaf < self._n_leaves:
            raise StateError("there is no such leaf")
        path = self._path_down(leaf)
        for node in path[:-1]:
            secret = self._nodes.pop(node)
            self._nodes[left(node)] = self._child(secret, "left")
            self._nodes[right(node)] = self._child(secret, "right")
        leaf_secret = self._nodes.pop(path[-1])
        for ratchet in RatchetType:
            self._ratchets[leaf, ratchet] = Ratchet(secret=self._ratchet_root(leaf_secret, ratchet))
        return self._ratchets[ratchet_id]
