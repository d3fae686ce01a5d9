"""The secret tree as bytes, for the vault (R7). They are secrets: the vault encrypts them.

::

    struct { uint32 node; opaque secret<V>; } NodeSecret;
    struct { uint32 generation; opaque key<V>; opaque nonce<V>; } Skipped;
    struct { uint32 leaf; uint8 ratchet; uint64 generation; opaque secret<V>; Skipped skipped<V>; } Ratchet;
    struct { uint32 n_leaves; NodeSecret nodes<V>; Ratchet ratchets<V>; } SecretTree;

A decoded tree covers every leaf exactly once, by the secret of one node above it or by its two ratchets: a
damaged encoding can neither revive a consumed secret nor lose one unnoticed.
"""

from __future__ import annotations

from collections import Counter

from crypto.codec import CodecError, Reader, Writer
from crypto.secret_tree import (
    MAX_GENERATION,
    MessageKey,
    Ratchet,
    RatchetId,
    RatchetPolicy,
    RatchetType,
    SecretTree,
)
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex, NodeIndex, level, node_width


def write_secret_tree(writer: Writer, tree: SecretTree) -> None:
    """Append a tree."""
    writer.u32(tree.n_leaves)
    writer.vector(sorted(tree._nodes.items()), _write_node)
    writer.vector(sorted(tree._ratchets.items(), key=lambda item: item[0]), _write_ratchet)


def _write_node(writer: Writer, item: tuple[NodeIndex, bytes]) -> None:
    node, secret = item
    writer.u32(node).opaque(secret)


def _write_ratchet(writer: Writer, item: tuple[RatchetId, Ratchet]) -> None:
    (leaf, ratchet), state = item
    writer.u32(leaf).u8(ratchet).u64(state.generation).opaque(state.secret)
    writer.vector(state.skipped.values(), _write_skipped)


def _write_skipped(writer: Writer, key: MessageKey) -> None:
    writer.u32(key.generation).opaque(key.key).opaque(key.nonce)


def read_secret_tree(reader: Reader, suite: CipherSuite, policy: RatchetPolicy | None = None) -> SecretTree:
    """Read what :func:`write_secret_tree` wrote.

    Raises:
        CodecError: Malformed, a secret of the wrong size, an index outside the tree, or a leaf that is not
            covered exactly once.
    """
    start = reader.offset
    n_leaves = reader.u32()
    if n_leaves < 1 or n_leaves & (n_leaves - 1):
        raise CodecError(start, "number of leaves is not a power of two")
    tree = SecretTree(suite, n_leaves, b"", policy)
    nodes = reader.vector(lambda item: _read_node(item, suite, n_leaves))
    ratchets = reader.vector(lambda item: _read_ratchet(item, suite, n_leaves))
    if not _covers_each_leaf_once(nodes, ratchets, n_leaves):
        raise CodecError(start, "a leaf is not covered exactly once")
    tree._nodes = dict(nodes)
    tree._ratchets = dict(ratchets)
    return tree


def _read_exactly(reader: Reader, size: int) -> bytes:
    start = reader.offset
    value = reader.opaque(max_len=size)
    if len(value) != size:
        raise CodecError(start, "a secret of the wrong size")
    return value


def _read_node(reader: Reader, suite: CipherSuite, n_leaves: int) -> tuple[NodeIndex, bytes]:
    start = reader.offset
    node = NodeIndex(reader.u32())
    if node >= node_width(n_leaves):
        raise CodecError(start, "node outside the tree")
    return node, _read_exactly(reader, suite.nh)


def _read_ratchet(reader: Reader, suite: CipherSuite, n_leaves: int) -> tuple[RatchetId, Ratchet]:
    start = reader.offset
    leaf = LeafIndex(reader.u32())
    try:
        ratchet = RatchetType(reader.u8())
    except ValueError:
        raise CodecError(start, "unknown kind of ratchet") from None
    if leaf >= n_leaves:
        raise CodecError(start, "leaf outside the tree")
    state = Ratchet(generation=reader.u64(), secret=_read_exactly(reader, suite.nh))
    if state.generation > MAX_GENERATION + 1:
        raise CodecError(start, "generation out of range")
    for key in reader.vector(lambda item: _read_skipped(item, suite)):
        if key.generation >= state.generation:
            raise CodecError(start, "a kept generation that is not past")
        state.skipped[key.generation] = key
    return (leaf, ratchet), state


def _read_skipped(reader: Reader, suite: CipherSuite) -> MessageKey:
    return MessageKey(
        generation=reader.u32(),
        key=_read_exactly(reader, suite.aead.nk),
        nonce=_read_exactly(reader, suite.aead.nn),
    )


def _covers_each_leaf_once(
    nodes: list[tuple[NodeIndex, bytes]], ratchets: list[tuple[RatchetId, Ratchet]], n_leaves: int
) -> bool:
    ids = Counter(ratchet_id for ratchet_id, _ in ratchets)
    leaves = {leaf for leaf, _ in ids}
    if any(ids[leaf, ratchet] != 1 for leaf in leaves for ratchet in RatchetType):
        return False
    spans = [(int(leaf), int(leaf) + 1) for leaf in leaves]
    for node, _ in nodes:
        reach = (1 << level(node)) - 1
        spans.append(((node - reach) // 2, (node + reach) // 2 + 1))
    expected = 0
    for first, past in sorted(spans):
        if first != expected:
            return False
        expected = past
    return expected == n_leaves
