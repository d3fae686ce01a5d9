"""Sealing and opening PrivateMessages with the keys of a state (RFC 9420 sections 6.3, 15)."""

from __future__ import annotations

from collections.abc import Callable

from crypto.codec import decode
from crypto.errors import ValidationError
from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    WireFormat,
    sign_framed_content,
)
from crypto.group_state import GroupState
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.private_message import PrivateMessage, SenderData, protect_private, unprotect_private


def seal_application(
    state: GroupState,
    plaintext: bytes,
    *,
    authenticated_data: bytes,
    rng: Callable[[int], bytes],
    padding: int,
) -> bytes:
    """Sign and encrypt application data; our application ratchet moves.

    Raises:
        StateError: The ratchet of this epoch is used up.
    """
    content = FramedContent(
        group_id=state.context.group_id,
        epoch=state.context.epoch,
        sender=Sender.member(state.own_leaf),
        authenticated_data=authenticated_data,
        content_type=ContentType.APPLICATION,
        content=plaintext,
    )
    signature = sign_framed_content(
        state.suite,
        state.sign_with(),
        wire_format=WireFormat.PRIVATE_MESSAGE,
        content=content,
        group_context=state.context.to_bytes(),
    )
    message = protect_private(
        state.suite,
        AuthenticatedContent(
            wire_format=WireFormat.PRIVATE_MESSAGE,
            content=content,
            auth=FramedContentAuthData(signature=signature),
        ),
        sender_data_secret=state.sender_data_secret.reveal(),
        secret_tree=state.secret_tree,
        rng=rng,
        padding=padding,
    )
    return MLSMessage(body=message).to_bytes()


def open_message(
    state: GroupState, data: bytes, *, commit_only: bool = False
) -> tuple[AuthenticatedContent, SenderData]:
    """Decrypt and verify a message of this epoch.

    The sender's application ratchet moves, its handshake ratchet does not: whether a commit opens must not
    depend on which refused ones a device happened to read before (R14), and an accepted one ends the epoch
    with its ratchets.

    Args:
        state: Of the epoch.
        data: An encoded MLSMessage.
        commit_only: Refuse anything but a commit before it is decrypted, so that nothing moves.

    Raises:
        CodecError: Malformed.
        ValidationError: ``message.*``: not a PrivateMessage of this group and epoch by a member.
        GenerationUsedError: A replay, or a message of our own that we know.
        AuthenticationError: Not genuine.
    """
    body = decode(data, read_mls_message).body
    if not isinstance(body, PrivateMessage):
        raise ValidationError("message.wire-format")
    if body.group_id != state.context.group_id:
        raise ValidationError("message.group-id")
    if body.epoch != state.context.epoch:
        raise ValidationError("message.epoch")
    if body.content_type is ContentType.PROPOSAL:
        raise ValidationError("message.proposal-refused")
    if commit_only and body.content_type is not ContentType.COMMIT:
        raise ValidationError("commit.content-type")
    is_application = body.content_type is ContentType.APPLICATION
    return unprotect_private(
        state.suite,
        body,
        sender_data_secret=state.sender_data_secret.reveal(),
        secret_tree=state.secret_tree,
        signature_key=state.signature_key,
        group_context=state.context.to_bytes(),
        own_leaf=state.own_leaf,
        consume=is_application,
    )
