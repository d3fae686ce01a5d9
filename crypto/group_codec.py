"""A group's state as bytes, for the vault (R7). They hold secrets: whoever stores them encrypts them.

::

    struct {
        opaque magic[8] = "AMNTGRP" and a zero byte;
        uint16 version;
        ... fields of the version ...
        opaque digest[32];  /* SHA-256 over everything before it, in every version */
    } StoredGroup;

The digest is against damage, not against an attacker: the vault authenticates. It comes first in the checks,
so that a flipped bit is never taken for a newer version.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, TypeVar

from crypto.codec import CodecError, Reader, Writer, decode
from crypto.errors import StateError
from crypto.group_context import read_group_context, write_group_context
from crypto.group_state import GroupState
from crypto.limits import MAX_STORED_BYTES
from crypto.ratchet_tree import from_ratchet_tree
from crypto.secret_tree import RatchetPolicy
from crypto.secret_tree_codec import read_secret_tree, write_secret_tree
from crypto.sensitive import Secret
from crypto.suites import suite as suite_of
from crypto.tree_math import LeafIndex, NodeIndex, leaf_to_node
from crypto.tree_nodes import read_ratchet_tree

T = TypeVar("T")

GROUP_MAGIC: Final = b"AMNTGRP\0"
STAGED_MAGIC: Final = b"AMNTSTG\0"
VERSION: Final = 1
DIGEST_BYTES: Final = 32


def seal_stored(magic: bytes, body: bytes) -> bytes:
    """Frame a body with magic, version and digest.

    Raises:
        StateError: It is longer than :data:`crypto.limits.MAX_STORED_BYTES`, and could not be read again.
    """
    framed = magic + VERSION.to_bytes(2, "big") + body
    if len(framed) + DIGEST_BYTES > MAX_STORED_BYTES:
        raise StateError("this group is too large to be stored")
    return framed + hashlib.sha256(framed).digest()


def open_stored(data: bytes, magic: bytes, read: Callable[[Reader], T]) -> T:
    """Undo :func:`seal_stored` and decode the body.

    Raises:
        CodecError: Damaged, not of this kind, or longer than anything that is stored.
        StateError: Written by a newer version of this program.
    """
    if len(data) > MAX_STORED_BYTES:
        raise CodecError(0, "stored group state is longer than allowed")
    framed, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if not hmac.compare_digest(hashlib.sha256(framed).digest(), digest):
        raise CodecError(0, "stored group state is damaged")
    reader = Reader(framed)
    if reader.bytes_(len(magic)) != magic:
        raise CodecError(0, "not a stored group state of this kind")
    version = reader.u16()
    if version > VERSION:
        raise StateError("this group state was written by a newer version of the program; please upgrade it")
    if version != VERSION:
        raise CodecError(len(magic), "unknown version of the group state")
    return decode(reader.bytes_(reader.remaining), read)


def encode_group_state(state: GroupState) -> bytes:
    """The stored form of a state."""
    writer = Writer()
    write_group_context(writer, state.context)
    writer.raw(state.tree.to_bytes()).u32(state.own_leaf)
    writer.optional(state.signer, Writer.u32)
    writer.opaque(state.signature_private.reveal())
    writer.vector(sorted(state.private_keys.items(), key=lambda item: item[0]), _write_private_key)
    writer.opaque(state.interim_transcript_hash)
    writer.opaque(state.sender_data_secret.reveal()).opaque(state.init_secret.reveal())
    writer.optional(state.exporter_secret, _write_secret)
    writer.opaque(state.epoch_authenticator)
    writer.u32(state.ratchet_policy.max_forward).u32(state.ratchet_policy.keep_skipped)
    write_secret_tree(writer, state.secret_tree)
    return seal_stored(GROUP_MAGIC, writer.to_bytes())


def decode_group_state(data: bytes) -> GroupState:
    """Read the stored form of a state.

    Raises:
        CodecError: Damaged.
        ValidationError: Damaged in a way that decodes (of an unknown suite, a malformed tree).
        StateError: Written by a newer version of this program.
    """
    return open_stored(data, GROUP_MAGIC, _read_group_state)


def _read_group_state(reader: Reader) -> GroupState:
    context = read_group_context(reader)
    suite = suite_of(context.cipher_suite)
    tree = from_ratchet_tree(suite, read_ratchet_tree(reader))
    own_leaf = LeafIndex(reader.u32())
    signer = reader.optional(Reader.u32)
    signature_private = Secret(reader.opaque())
    private_keys = dict(reader.vector(_read_private_key))
    if tree.leaf(own_leaf) is None or leaf_to_node(own_leaf) not in private_keys:
        raise reader.error("own leaf is blank")
    interim_transcript_hash = reader.opaque()
    sender_data_secret, init_secret = Secret(reader.opaque()), Secret(reader.opaque())
    exporter_secret = reader.optional(_read_secret)
    epoch_authenticator = reader.opaque()
    policy = RatchetPolicy(max_forward=reader.u32(), keep_skipped=reader.u32())
    secret_tree = read_secret_tree(reader, suite, policy)
    if secret_tree.n_leaves != tree.n_leaves:
        raise reader.error("secret tree and ratchet tree differ in size")
    return GroupState(
        suite=suite,
        context=context,
        tree=tree,
        own_leaf=own_leaf,
        private_keys=private_keys,
        signature_private=signature_private,
        interim_transcript_hash=interim_transcript_hash,
        sender_data_secret=sender_data_secret,
        init_secret=init_secret,
        exporter_secret=exporter_secret,
        epoch_authenticator=epoch_authenticator,
        secret_tree=secret_tree,
        ratchet_policy=policy,
        signer=None if signer is None else LeafIndex(signer),
    )


def _write_secret(writer: Writer, value: Secret) -> None:
    writer.opaque(value.reveal())


def _read_secret(reader: Reader) -> Secret:
    return Secret(reader.opaque())


def _write_private_key(writer: Writer, item: tuple[NodeIndex, Secret]) -> None:
    node_index, private = item
    writer.u32(node_index).opaque(private.reveal())


def _read_private_key(reader: Reader) -> tuple[NodeIndex, Secret]:
    return NodeIndex(reader.u32()), Secret(reader.opaque())
