"""Parent nodes, and nodes as the ``ratchet_tree`` extension has them (RFC 9420 sections 7.1, 12.4.3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from crypto.codec import CodecError, Reader, Writer, encode
from crypto.leaf_node import LeafNode, read_leaf_node
from crypto.tree_math import LeafIndex


class NodeType(IntEnum):
    """RFC 9420 section 7.8."""

    LEAF = 1
    PARENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentNode:
    """A key that all members below hold, except the unmerged ones.

    ::

        struct {
            HPKEPublicKey encryption_key;
            opaque parent_hash<V>;
            uint32 unmerged_leaves<V>;
        } ParentNode;
    """

    encryption_key: bytes
    parent_hash: bytes
    unmerged_leaves: tuple[LeafIndex, ...] = ()
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """The encoding."""
        if self._encoded is not None:
            return self._encoded
        encoded = encode(self, _write_parent_fields)
        object.__setattr__(self, "_encoded", encoded)
        return encoded


Node = LeafNode | ParentNode


def _read_leaf_index(reader: Reader) -> LeafIndex:
    return LeafIndex(reader.u32())


def _read_parent_node(reader: Reader) -> ParentNode:
    start = reader.offset
    parent = ParentNode(
        encryption_key=reader.opaque(),
        parent_hash=reader.opaque(),
        unmerged_leaves=tuple(reader.vector(_read_leaf_index)),
    )
    object.__setattr__(parent, "_encoded", reader.since(start))
    return parent


def _write_parent_fields(writer: Writer, parent: ParentNode) -> None:
    writer.opaque(parent.encryption_key).opaque(parent.parent_hash)
    writer.vector(parent.unmerged_leaves, Writer.u32)


def read_node(reader: Reader) -> Node:
    """Read ``struct { NodeType node_type; select … LeafNode | ParentNode } Node;``.

    Raises:
        CodecError: Malformed.
    """
    start = reader.offset
    match reader.u8():
        case NodeType.LEAF:
            return read_leaf_node(reader)
        case NodeType.PARENT:
            return _read_parent_node(reader)
        case _:
            raise CodecError(start, "unknown node type")


def write_node(writer: Writer, node: Node) -> None:
    """Append a Node."""
    writer.u8(NodeType.LEAF if isinstance(node, LeafNode) else NodeType.PARENT).raw(node.to_bytes())


def read_ratchet_tree(reader: Reader) -> list[Node | None]:
    """Read ``optional<Node> ratchet_tree<V>``: the nodes as sent, not yet a tree.

    Raises:
        CodecError: Malformed.
    """
    return reader.vector(lambda inner: inner.optional(read_node))
