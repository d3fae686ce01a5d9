"""LeafNode: one member's place in the tree, signed by that member (RFC 9420 section 7.2).

Invariants:

* A decoded leaf keeps its encoding; hashing, signing input and sending use those bytes, never a second
  encoding.
* A leaf is immutable; a changed leaf is a new one, signed anew (:func:`sign_leaf_node`).

Deliberately not here: whether a leaf is *valid* in a tree (:mod:`crypto.leaf_validation`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import lru_cache

from crypto.codec import CodecError, Reader, Writer, encode, encode_opaque
from crypto.credentials import Credential, read_credential, write_credential
from crypto.errors import StateError
from crypto.extensions import (
    Extensions,
    read_code_points,
    read_extensions,
    write_code_points,
    write_extensions,
)
from crypto.labels import sign_with_label, verify_with_label
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex

LEAF_NODE_TBS = "LeafNodeTBS"


class LeafNodeSource(IntEnum):
    """How the leaf came into the tree (RFC 9420 section 7.2)."""

    KEY_PACKAGE = 1
    UPDATE = 2
    COMMIT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the member's device supports; unknown and GREASE values are kept.

    ::

        struct {
            ProtocolVersion versions<V>;
            CipherSuite cipher_suites<V>;
            ExtensionType extensions<V>;
            ProposalType proposals<V>;
            CredentialType credentials<V>;
        } Capabilities;
    """

    versions: tuple[int, ...]
    cipher_suites: tuple[int, ...]
    extensions: tuple[int, ...] = ()
    proposals: tuple[int, ...] = ()
    credentials: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """Validity of a KeyPackage's leaf, in UTC seconds since 1970, both ends inclusive.

    ::

        struct { uint64 not_before; uint64 not_after; } Lifetime;
    """

    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafNode:
    """A leaf of the ratchet tree.

    ::

        struct {
            HPKEPublicKey encryption_key;
            SignaturePublicKey signature_key;
            Credential credential;
            Capabilities capabilities;
            LeafNodeSource leaf_node_source;
            select (LeafNode.leaf_node_source) {
                case key_package: Lifetime lifetime;
                case update:      struct{};
                case commit:      opaque parent_hash<V>;
            };
            Extension extensions<V>;
            opaque signature<V>;  /* SignWithLabel(., "LeafNodeTBS", LeafNodeTBS) */
        } LeafNode;

    Attributes:
        lifetime: Present exactly if the source is ``KEY_PACKAGE``.
        parent_hash: Meaningful only if the source is ``COMMIT``; else empty.
    """

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    leaf_node_source: LeafNodeSource
    lifetime: Lifetime | None = None
    parent_hash: bytes = b""
    extensions: Extensions = ()
    signature: bytes = b""
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """The encoding; of a decoded leaf the very bytes that were decoded."""
        if self._encoded is not None:
            return self._encoded
        encoded = encode(self, _write_fields)
        # The one write to a frozen object: a cache of what the other fields already determine.
        object.__setattr__(self, "_encoded", encoded)
        return encoded

    def to_be_signed(self, *, group_id: bytes | None, leaf_index: LeafIndex | None) -> bytes:
        """LeafNodeTBS: the leaf without its signature, with its place where it was made inside a group.

        Raises:
            StateError: The source is ``UPDATE`` or ``COMMIT`` and the place was not given.
        """
        encoded = self.to_bytes()
        unsigned = encoded[: len(encoded) - len(encode_opaque(self.signature))]
        if self.leaf_node_source is LeafNodeSource.KEY_PACKAGE:
            return unsigned
        if group_id is None or leaf_index is None:
            raise StateError("a leaf made inside a group is signed together with group id and leaf index")
        return unsigned + encode_opaque(group_id) + leaf_index.to_bytes(4, "big")


def sign_leaf_node(
    suite: CipherSuite,
    signature_private: Secret,
    leaf: LeafNode,
    *,
    group_id: bytes | None = None,
    leaf_index: LeafIndex | None = None,
) -> LeafNode:
    """The same leaf with a fresh signature (RFC 9420 section 7.2).

    Args:
        suite: The group's cipher suite.
        signature_private: Private half of ``leaf.signature_key``.
        leaf: Its ``signature`` is ignored.
        group_id: Of the group, unless the leaf is for a KeyPackage.
        leaf_index: Place in the tree, unless the leaf is for a KeyPackage.

    Raises:
        StateError: A place is needed and was not given.
    """
    unsigned = replace(leaf, signature=b"")
    tbs = unsigned.to_be_signed(group_id=group_id, leaf_index=leaf_index)
    return replace(leaf, signature=sign_with_label(suite, signature_private.reveal(), LEAF_NODE_TBS, tbs))


def verify_leaf_signature(
    suite: CipherSuite, leaf: LeafNode, *, group_id: bytes | None, leaf_index: LeafIndex | None
) -> None:
    """Check the leaf's own signature (RFC 9420 section 7.3).

    Raises:
        AuthenticationError: It does not verify.
    """
    tbs = leaf.to_be_signed(group_id=group_id, leaf_index=leaf_index)
    verify_with_label(suite, leaf.signature_key, LEAF_NODE_TBS, tbs, leaf.signature)


# -- codec


def read_capabilities(reader: Reader) -> Capabilities:
    """Read Capabilities.

    Members of a group mostly have the same: equal ones are decoded once and are one object in memory.

    Raises:
        CodecError: Malformed.
    """
    start = reader.offset
    for _ in range(5):
        reader.opaque()
    try:
        return _decode_capabilities(reader.since(start))
    except CodecError as error:
        raise CodecError(start + error.offset, error.reason) from None


@lru_cache(maxsize=64)
def _decode_capabilities(encoded: bytes) -> Capabilities:
    reader = Reader(encoded)
    return Capabilities(
        versions=read_code_points(reader),
        cipher_suites=read_code_points(reader),
        extensions=read_code_points(reader),
        proposals=read_code_points(reader),
        credentials=read_code_points(reader),
    )


def write_capabilities(writer: Writer, capabilities: Capabilities) -> None:
    """Append Capabilities."""
    write_code_points(writer, capabilities.versions)
    write_code_points(writer, capabilities.cipher_suites)
    write_code_points(writer, capabilities.extensions)
    write_code_points(writer, capabilities.proposals)
    write_code_points(writer, capabilities.credentials)


def read_leaf_node(reader: Reader) -> LeafNode:
    """Read a LeafNode.

    Raises:
        CodecError: Malformed.
    """
    start = reader.offset
    encryption_key = reader.opaque()
    signature_key = reader.opaque()
    credential = read_credential(reader)
    capabilities = read_capabilities(reader)
    source_offset = reader.offset
    try:
        source = LeafNodeSource(reader.u8())
    except ValueError:
        raise CodecError(source_offset, "unknown leaf node source") from None
    lifetime = None
    parent_hash = b""
    if source is LeafNodeSource.KEY_PACKAGE:
        lifetime = Lifetime(not_before=reader.u64(), not_after=reader.u64())
    elif source is LeafNodeSource.COMMIT:
        parent_hash = reader.opaque()
    leaf = LeafNode(
        encryption_key=encryption_key,
        signature_key=signature_key,
        credential=credential,
        capabilities=capabilities,
        leaf_node_source=source,
        lifetime=lifetime,
        parent_hash=parent_hash,
        extensions=read_extensions(reader),
        signature=reader.opaque(),
    )
    object.__setattr__(leaf, "_encoded", reader.since(start))
    return leaf


def write_leaf_node(writer: Writer, leaf: LeafNode) -> None:
    """Append a LeafNode."""
    writer.raw(leaf.to_bytes())


def _write_fields(writer: Writer, leaf: LeafNode) -> None:
    writer.opaque(leaf.encryption_key).opaque(leaf.signature_key)
    write_credential(writer, leaf.credential)
    write_capabilities(writer, leaf.capabilities)
    writer.u8(leaf.leaf_node_source)
    if leaf.leaf_node_source is LeafNodeSource.KEY_PACKAGE:
        if leaf.lifetime is None:
            raise StateError("a leaf for a KeyPackage needs a lifetime")
        writer.u64(leaf.lifetime.not_before).u64(leaf.lifetime.not_after)
    elif leaf.leaf_node_source is LeafNodeSource.COMMIT:
        writer.opaque(leaf.parent_hash)
    write_extensions(writer, leaf.extensions)
    writer.opaque(leaf.signature)
