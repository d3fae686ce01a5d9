"""PublicMessage, signed but not encrypted (RFC 9420 section 6.2).

Structure only, so that every MLSMessage decodes: the product sends and accepts PrivateMessages (DESIGN
section 4). Protecting and opening is in :mod:`crypto.rfc9420.public_messages`.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.codec import Reader, Writer
from crypto.framed_content import (
    FramedContent,
    FramedContentAuthData,
    SenderType,
    read_auth_data,
    read_framed_content,
    write_auth_data,
    write_framed_content,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicMessage:
    """A framed content in the open.

    ::

        struct {
            FramedContent content;
            FramedContentAuthData auth;
            select (PublicMessage.content.sender.sender_type) { case member: MAC membership_tag; };
        } PublicMessage;
    """

    content: FramedContent
    auth: FramedContentAuthData
    membership_tag: bytes | None = None


def read_public_message(reader: Reader) -> PublicMessage:
    """Read a PublicMessage.

    Raises:
        CodecError: Malformed.
    """
    content = read_framed_content(reader)
    auth = read_auth_data(reader, content.content_type)
    member = content.sender.sender_type is SenderType.MEMBER
    return PublicMessage(content=content, auth=auth, membership_tag=reader.opaque() if member else None)


def write_public_message(writer: Writer, message: PublicMessage) -> None:
    """Append a PublicMessage."""
    write_framed_content(writer, message.content)
    write_auth_data(writer, message.auth, message.content.content_type)
    if message.membership_tag is not None:
        writer.opaque(message.membership_tag)
