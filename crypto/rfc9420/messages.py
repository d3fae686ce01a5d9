"""Framing and opening proposals and commits, as PublicMessage or PrivateMessage (RFC 9420 section 6)."""

from __future__ import annotations

from collections.abc import Callable

from crypto.codec import decode
from crypto.commit import Commit
from crypto.errors import StateError, ValidationError
from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    SenderType,
    WireFormat,
    sign_framed_content,
)
from crypto.group_context import GroupContext
from crypto.group_state import GroupState
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.private_message import PrivateMessage, protect_private, unprotect_private
from crypto.proposals import Add, Proposal
from crypto.public_message import PublicMessage
from crypto.rfc9420.external_extensions import external_senders
from crypto.rfc9420.public_messages import protect_public, unprotect_public
from crypto.rfc9420.state import FullState
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex

Rng = Callable[[int], bytes]


def sign_content(
    suite: CipherSuite,
    signature_private: Secret,
    *,
    context: GroupContext,
    sender: Sender,
    content: Proposal | Commit,
    authenticated_data: bytes,
    wire_format: WireFormat,
) -> AuthenticatedContent:
    """Frame and sign a proposal or commit for an epoch; a commit still lacks its confirmation tag.

    Raises:
        StateError: The key is none of the suite.
    """
    framed = FramedContent(
        group_id=context.group_id,
        epoch=context.epoch,
        sender=sender,
        authenticated_data=authenticated_data,
        content_type=ContentType.COMMIT if isinstance(content, Commit) else ContentType.PROPOSAL,
        content=content,
    )
    signature = sign_framed_content(
        suite,
        signature_private.reveal(),
        wire_format=wire_format,
        content=framed,
        group_context=context.to_bytes(),
    )
    return AuthenticatedContent(
        wire_format=wire_format, content=framed, auth=FramedContentAuthData(signature=signature)
    )


def protect(state: FullState, authenticated: AuthenticatedContent, rng: Rng) -> bytes:
    """Wrap a member's signed content in the wire format that it was signed for; an MLSMessage.

    Raises:
        StateError: The ratchet is used up.
    """
    core = state.core
    body: PublicMessage | PrivateMessage
    if authenticated.wire_format is WireFormat.PUBLIC_MESSAGE:
        body = protect_public(
            core.suite,
            authenticated,
            membership_key=state.membership_key.reveal(),
            group_context=core.context.to_bytes(),
        )
    else:
        body = protect_private(
            core.suite,
            authenticated,
            sender_data_secret=core.sender_data_secret.reveal(),
            secret_tree=core.secret_tree,
            rng=rng,
        )
    return MLSMessage(body=body).to_bytes()


def protect_external(suite: CipherSuite, authenticated: AuthenticatedContent, context: GroupContext) -> bytes:
    """Wrap the content of somebody who is no member: a PublicMessage without membership tag."""
    if authenticated.content.sender.sender_type is SenderType.MEMBER:
        raise StateError("a member's message carries a membership tag")
    body = protect_public(suite, authenticated, membership_key=b"", group_context=context.to_bytes())
    return MLSMessage(body=body).to_bytes()


def open_any(state: FullState, message: bytes) -> AuthenticatedContent:
    """Open a message of this epoch; the ratchets of private senders move.

    Raises:
        CodecError: Malformed.
        ValidationError: ``message.*``, ``external-sender.*`` or ``new-member-*``: the rule broken.
        GenerationUsedError: A replay.
        AuthenticationError: Not genuine.
    """
    core, body = state.core, decode(message, read_mls_message).body
    if isinstance(body, PublicMessage):
        _check_epoch(core, body.content.group_id, body.content.epoch)
        return unprotect_public(
            core.suite,
            body,
            signature_key=_public_sender_key(core, body),
            membership_key=state.membership_key.reveal(),
            group_context=core.context.to_bytes(),
        )
    if not isinstance(body, PrivateMessage):
        raise ValidationError("message.wire-format")
    _check_epoch(core, body.group_id, body.epoch)
    # As in crypto.group_messages: a commit that turns out to be invalid must leave no trace in the ratchets.
    is_commit = body.content_type is ContentType.COMMIT
    authenticated, _ = unprotect_private(
        core.suite,
        body,
        sender_data_secret=core.sender_data_secret.reveal(),
        secret_tree=core.secret_tree,
        signature_key=core.signature_key,
        group_context=core.context.to_bytes(),
        own_leaf=core.own_leaf,
        consume=not is_commit,
    )
    return authenticated


def _check_epoch(core: GroupState, group_id: bytes, epoch: int) -> None:
    if group_id != core.context.group_id:
        raise ValidationError("message.group-id")
    if epoch != core.context.epoch:
        raise ValidationError("message.epoch")


def _public_sender_key(core: GroupState, message: PublicMessage) -> bytes:
    """The signature key that section 6.1 names for each type of sender."""
    sender, content = message.content.sender, message.content.content
    match sender.sender_type:
        case SenderType.MEMBER:
            return core.signature_key(LeafIndex(sender.leaf_index))
        case SenderType.EXTERNAL:
            senders = external_senders(core.context.extensions)
            if sender.index is None or sender.index >= len(senders):
                raise ValidationError("external-sender.unknown")
            return senders[sender.index].signature_key
        case SenderType.NEW_MEMBER_PROPOSAL:
            if not isinstance(content, Add):
                raise ValidationError("new-member-proposal.type")
            return content.key_package.leaf_node.signature_key
        case SenderType.NEW_MEMBER_COMMIT:
            if not isinstance(content, Commit) or content.path is None:
                raise ValidationError("external-commit.path-missing")
            return content.path.leaf_node.signature_key
