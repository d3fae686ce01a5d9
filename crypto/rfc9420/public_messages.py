"""Protecting and opening PublicMessages: signed, with a membership tag, not encrypted (RFC 9420 section 6.2).

Application data is refused here in both directions, though it decodes.
"""

from __future__ import annotations

from typing import Final

from crypto.codec import Writer
from crypto.errors import StateError, ValidationError
from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    SenderType,
    WireFormat,
    framed_content_tbs,
    verify_framed_content,
    write_auth_data,
)
from crypto.public_message import PublicMessage
from crypto.suites import CipherSuite

SENDER_MAY_SEND: Final = {
    SenderType.MEMBER: frozenset({ContentType.PROPOSAL, ContentType.COMMIT}),
    SenderType.EXTERNAL: frozenset({ContentType.PROPOSAL}),
    SenderType.NEW_MEMBER_PROPOSAL: frozenset({ContentType.PROPOSAL}),
    SenderType.NEW_MEMBER_COMMIT: frozenset({ContentType.COMMIT}),
}
"""Content that each sender may put into a PublicMessage (RFC 9420 sections 6 and 6.1)."""


def _tbm(content: FramedContent, auth: FramedContentAuthData, group_context: bytes) -> bytes:
    """``struct { FramedContentTBS content_tbs; FramedContentAuthData auth; } AuthenticatedContentTBM;``."""
    writer = Writer().raw(framed_content_tbs(WireFormat.PUBLIC_MESSAGE, content, group_context))
    write_auth_data(writer, auth, content.content_type)
    return writer.to_bytes()


def protect_public(
    suite: CipherSuite, message: AuthenticatedContent, *, membership_key: bytes, group_context: bytes
) -> PublicMessage:
    """Wrap a signed proposal or commit.

    Raises:
        StateError: Application data, a sender who may not send it, or content signed for another wire format.
    """
    content = message.content
    if content.content_type not in SENDER_MAY_SEND[content.sender.sender_type]:
        raise StateError("this content may not be sent as a PublicMessage by this sender")
    if message.wire_format is not WireFormat.PUBLIC_MESSAGE:
        raise StateError("the content was signed for another wire format")
    tag = None
    if content.sender.sender_type is SenderType.MEMBER:
        tag = suite.mac(membership_key, _tbm(content, message.auth, group_context))
    return PublicMessage(content=content, auth=message.auth, membership_tag=tag)


def unprotect_public(
    suite: CipherSuite,
    message: PublicMessage,
    *,
    signature_key: bytes,
    membership_key: bytes,
    group_context: bytes,
) -> AuthenticatedContent:
    """Check a PublicMessage.

    1. The sender may send this content. 2. A member's membership tag fits. 3. The signature fits.

    Args:
        suite: The group's suite.
        message: As decoded.
        signature_key: Public key of the sender, as ``sender_type`` says (RFC 9420 section 6.1).
        membership_key: Of the epoch.
        group_context: Encoded GroupContext of the epoch.

    Raises:
        ValidationError: Step 1.
        AuthenticationError: Steps 2 and 3.
    """
    content = message.content
    if content.content_type not in SENDER_MAY_SEND[content.sender.sender_type]:
        raise ValidationError("message.content-of-sender")
    if content.sender.sender_type is SenderType.MEMBER:
        suite.verify_mac(
            membership_key, _tbm(content, message.auth, group_context), message.membership_tag or b""
        )
    authenticated = AuthenticatedContent(
        wire_format=WireFormat.PUBLIC_MESSAGE, content=content, auth=message.auth
    )
    verify_framed_content(suite, signature_key, authenticated, group_context)
    return authenticated
