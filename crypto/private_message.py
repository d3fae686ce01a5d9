"""PrivateMessage: signed and encrypted content of a member (RFC 9420 section 6.3).

Invariants:

* Receiving changes the secret tree only after the content was decrypted and its signature verified.
* A fresh reuse guard goes into every nonce, in case a state was lost and a generation repeats.
* Padding is zeros, and checked to be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crypto.codec import CodecError, Reader, Writer, decode, encode_opaque
from crypto.dhkem import Rng
from crypto.errors import StateError
from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    Sender,
    WireFormat,
    read_auth_data,
    read_content,
    read_content_type,
    verify_framed_content,
    write_auth_data,
    write_content,
)
from crypto.labels import expand_with_label
from crypto.secret_tree import RatchetType, SecretTree
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex

REUSE_GUARD_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateMessage:
    """An encrypted framed content.

    ::

        struct {
            opaque group_id<V>;
            uint64 epoch;
            ContentType content_type;
            opaque authenticated_data<V>;
            opaque encrypted_sender_data<V>;
            opaque ciphertext<V>;
        } PrivateMessage;
    """

    group_id: bytes
    epoch: int
    content_type: ContentType
    authenticated_data: bytes
    encrypted_sender_data: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderData:
    """``struct { uint32 leaf_index; uint32 generation; opaque reuse_guard[4]; } SenderData;``."""

    leaf_index: LeafIndex
    generation: int
    reuse_guard: bytes


def read_private_message(reader: Reader) -> PrivateMessage:
    """Read a PrivateMessage.

    Raises:
        CodecError: Malformed.
    """
    return PrivateMessage(
        group_id=reader.opaque(),
        epoch=reader.u64(),
        content_type=read_content_type(reader),
        authenticated_data=reader.opaque(),
        encrypted_sender_data=reader.opaque(),
        ciphertext=reader.opaque(),
    )


def write_private_message(writer: Writer, message: PrivateMessage) -> None:
    """Append a PrivateMessage."""
    writer.opaque(message.group_id).u64(message.epoch).u8(message.content_type)
    writer.opaque(message.authenticated_data)
    writer.opaque(message.encrypted_sender_data).opaque(message.ciphertext)


def _read_sender_data(reader: Reader) -> SenderData:
    return SenderData(
        leaf_index=LeafIndex(reader.u32()),
        generation=reader.u32(),
        reuse_guard=reader.bytes_(REUSE_GUARD_BYTES),
    )


def sender_data_key_nonce(
    suite: CipherSuite, sender_data_secret: bytes, ciphertext: bytes
) -> tuple[bytes, bytes]:
    """Key and nonce of the sender data, from the first ``Nh`` bytes of the ciphertext (section 6.3.2)."""
    sample = ciphertext[: suite.nh]
    key = expand_with_label(suite, sender_data_secret, "key", sample, suite.aead.nk)
    nonce = expand_with_label(suite, sender_data_secret, "nonce", sample, suite.aead.nn)
    return key, nonce


def _sender_data_aad(group_id: bytes, epoch: int, content_type: ContentType) -> bytes:
    """``struct { opaque group_id<V>; uint64 epoch; ContentType content_type; } SenderDataAAD;``."""
    return encode_opaque(group_id) + epoch.to_bytes(8, "big") + content_type.to_bytes(1, "big")


def _content_aad(group_id: bytes, epoch: int, content_type: ContentType, authenticated_data: bytes) -> bytes:
    """PrivateContentAAD: SenderDataAAD and ``opaque authenticated_data<V>``."""
    return _sender_data_aad(group_id, epoch, content_type) + encode_opaque(authenticated_data)


def _guarded(nonce: bytes, reuse_guard: bytes) -> bytes:
    """The nonce with its first four bytes XORed with the reuse guard (section 6.3.1)."""
    mask = int.from_bytes(reuse_guard, "big") << 8 * (len(nonce) - REUSE_GUARD_BYTES)
    return (int.from_bytes(nonce, "big") ^ mask).to_bytes(len(nonce), "big")


def _ratchet_type(content_type: ContentType) -> RatchetType:
    return RatchetType.APPLICATION if content_type is ContentType.APPLICATION else RatchetType.HANDSHAKE


def protect_private(
    suite: CipherSuite,
    message: AuthenticatedContent,
    *,
    sender_data_secret: bytes,
    secret_tree: SecretTree,
    rng: Rng,
    padding: int = 0,
) -> PrivateMessage:
    """Encrypt a member's signed content with the next generation of its ratchet.

    The secret tree moves; save it before the message leaves (R7).

    Args:
        suite: The group's suite.
        message: Signed for the wire format PrivateMessage.
        sender_data_secret: Of the epoch.
        secret_tree: Of the epoch.
        rng: Source of the reuse guard.
        padding: Zero bytes to add inside.

    Raises:
        StateError: Content signed for another wire format, or the ratchet is used up.
    """
    if message.wire_format is not WireFormat.PRIVATE_MESSAGE:
        raise StateError("the content was signed for another wire format")
    content = message.content
    leaf, kind = content.sender.leaf_index, content.content_type
    inner = Writer()
    write_content(inner, content.content)
    write_auth_data(inner, message.auth, kind)
    inner.raw(bytes(padding))
    key = secret_tree.take_next(leaf, _ratchet_type(kind))
    reuse_guard = rng(REUSE_GUARD_BYTES)
    aad = _content_aad(content.group_id, content.epoch, kind, content.authenticated_data)
    ciphertext = suite.aead_seal(key.key, _guarded(key.nonce, reuse_guard), aad, inner.to_bytes())
    sender_data = Writer().u32(leaf).u32(key.generation).raw(reuse_guard).to_bytes()
    data_key, data_nonce = sender_data_key_nonce(suite, sender_data_secret, ciphertext)
    data_aad = _sender_data_aad(content.group_id, content.epoch, kind)
    return PrivateMessage(
        group_id=content.group_id,
        epoch=content.epoch,
        content_type=kind,
        authenticated_data=content.authenticated_data,
        encrypted_sender_data=suite.aead_seal(data_key, data_nonce, data_aad, sender_data),
        ciphertext=ciphertext,
    )


def open_sender_data(suite: CipherSuite, message: PrivateMessage, sender_data_secret: bytes) -> SenderData:
    """Decrypt the sender data. The leaf index in it is not yet known to be a member's.

    Raises:
        AuthenticationError: It was not made by a member of this epoch.
        CodecError: It was, and is malformed.
    """
    key, nonce = sender_data_key_nonce(suite, sender_data_secret, message.ciphertext)
    aad = _sender_data_aad(message.group_id, message.epoch, message.content_type)
    return decode(suite.aead_open(key, nonce, aad, message.encrypted_sender_data), _read_sender_data)


def unprotect_private(
    suite: CipherSuite,
    message: PrivateMessage,
    *,
    sender_data_secret: bytes,
    secret_tree: SecretTree,
    signature_key: Callable[[LeafIndex], bytes],
    group_context: bytes,
    own_leaf: LeafIndex | None = None,
    consume: bool = True,
) -> tuple[AuthenticatedContent, SenderData]:
    """Decrypt and verify a PrivateMessage of this epoch (the caller has compared group id and epoch).

    1. Open the sender data. 2. Find the sender's signature key. 3. Derive the key of its generation.
    4. Decrypt. 5. Decode, padding included. 6. Verify the signature. 7. Only now consume the generation,
    unless it is one's own (R9: a device recognises its own messages and clones without moving its ratchet).

    Args:
        suite: The group's suite.
        message: As decoded.
        sender_data_secret: Of the epoch.
        secret_tree: Of the epoch; unchanged if anything fails.
        signature_key: Gives a leaf's public key; raises ValidationError for a blank one.
        group_context: Encoded GroupContext of the epoch.
        own_leaf: The leaf whose ratchet must not move.
        consume: False leaves the generation usable: a commit may still turn out to be invalid (R14).

    Raises:
        AuthenticationError: Steps 1, 4 and 6.
        ValidationError: Step 2, or step 3: too far ahead.
        GenerationUsedError: Step 3: the generation was used.
        CodecError: Steps 1 and 5.
    """
    sender_data = open_sender_data(suite, message, sender_data_secret)
    leaf, kind = sender_data.leaf_index, message.content_type
    public = signature_key(leaf)
    prepared = secret_tree.prepare(leaf, _ratchet_type(kind), sender_data.generation)
    nonce = _guarded(prepared.key.nonce, sender_data.reuse_guard)
    aad = _content_aad(message.group_id, message.epoch, kind, message.authenticated_data)
    reader = Reader(suite.aead_open(prepared.key.key, nonce, aad, message.ciphertext))
    content = FramedContent(
        group_id=message.group_id,
        epoch=message.epoch,
        sender=Sender.member(leaf),
        authenticated_data=message.authenticated_data,
        content_type=kind,
        content=read_content(reader, kind),
    )
    auth = read_auth_data(reader, kind)
    _check_padding(reader)
    authenticated = AuthenticatedContent(wire_format=WireFormat.PRIVATE_MESSAGE, content=content, auth=auth)
    verify_framed_content(suite, public, authenticated, group_context)
    if consume and leaf != own_leaf:
        secret_tree.consume(prepared)
    return authenticated, sender_data


def _check_padding(reader: Reader) -> None:
    start = reader.offset
    if reader.bytes_(reader.remaining).strip(b"\0"):
        raise CodecError(start, "padding is not all zeros")
