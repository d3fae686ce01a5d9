"""UpdatePath: a committer's new leaf and the new keys along its path (RFC 9420 section 7.6). Structs."""

from __future__ import annotations

from dataclasses import dataclass

from crypto.codec import Reader, Writer
from crypto.leaf_node import LeafNode, read_leaf_node, write_leaf_node


@dataclass(frozen=True, slots=True, kw_only=True)
class HPKECiphertext:
    """``struct { opaque kem_output<V>; opaque ciphertext<V>; } HPKECiphertext;``."""

    kem_output: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePathNode:
    """A parent's new public key, and its path secret once per node of the copath child's resolution.

    ::

        struct {
            HPKEPublicKey encryption_key;
            HPKECiphertext encrypted_path_secret<V>;
        } UpdatePathNode;
    """

    encryption_key: bytes
    encrypted_path_secret: tuple[HPKECiphertext, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePath:
    """``struct { LeafNode leaf_node; UpdatePathNode nodes<V>; } UpdatePath;``."""

    leaf_node: LeafNode
    nodes: tuple[UpdatePathNode, ...]


def read_hpke_ciphertext(reader: Reader) -> HPKECiphertext:
    """Read an HPKECiphertext.

    Raises:
        CodecError: Malformed.
    """
    return HPKECiphertext(kem_output=reader.opaque(), ciphertext=reader.opaque())


def write_hpke_ciphertext(writer: Writer, ciphertext: HPKECiphertext) -> None:
    """Append an HPKECiphertext."""
    writer.opaque(ciphertext.kem_output).opaque(ciphertext.ciphertext)


def _read_node(reader: Reader) -> UpdatePathNode:
    return UpdatePathNode(
        encryption_key=reader.opaque(), encrypted_path_secret=tuple(reader.vector(read_hpke_ciphertext))
    )


def _write_node(writer: Writer, node: UpdatePathNode) -> None:
    writer.opaque(node.encryption_key).vector(node.encrypted_path_secret, write_hpke_ciphertext)


def read_update_path(reader: Reader) -> UpdatePath:
    """Read an UpdatePath.

    Raises:
        CodecError: Malformed.
    """
    return UpdatePath(leaf_node=read_leaf_node(reader), nodes=tuple(reader.vector(_read_node)))


def write_update_path(writer: Writer, path: UpdatePath) -> None:
    """Append an UpdatePath."""
    write_leaf_node(writer, path.leaf_node)
    writer.vector(path.nodes, _write_node)
