"""FramedContent and its authentication: what a message says and who signed it (RFC 9420 sections 6, 6.1).

Content types and sender types are closed enums on the wire: another value has no known structure and is a
:class:`CodecError`. PublicMessage and PrivateMessage wrap what stands here (modules of those names).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from crypto.code_points import ProtocolVersion
from crypto.codec import CodecError, Reader, Writer, encode, encode_opaque
from crypto.commit import Commit, read_commit, write_commit
from crypto.errors import StateError, ValidationError
from crypto.labels import sign_with_label, verify_with_label
from crypto.proposals import Proposal, read_proposal, write_proposal
from crypto.signatures import Signer
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex

SIGN_LABEL = "FramedContentTBS"


class WireFormat(IntEnum):
    """RFC 9420 section 17.2."""

    PUBLIC_MESSAGE = 1
    PRIVATE_MESSAGE = 2
    WELCOME = 3
    GROUP_INFO = 4
    KEY_PACKAGE = 5


class ContentType(IntEnum):
    """RFC 9420 section 6."""

    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3


class SenderType(IntEnum):
    """RFC 9420 section 6."""

    MEMBER = 1
    EXTERNAL = 2
    NEW_MEMBER_PROPOSAL = 3
    NEW_MEMBER_COMMIT = 4


CONTEXT_SENDERS = frozenset({SenderType.MEMBER, SenderType.NEW_MEMBER_COMMIT})
"""Senders whose signature covers the GroupContext."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sent it.

    Attributes:
        sender_type: See :class:`SenderType`.
        index: leaf_index of a member, sender_index of an external sender, else None.
    """

    sender_type: SenderType
    index: int | None = None

    @classmethod
    def member(cls, leaf_index: LeafIndex) -> Sender:
        """A member of the group."""
        return cls(sender_type=SenderType.MEMBER, index=leaf_index)

    @property
    def leaf_index(self) -> LeafIndex:
        """The member's leaf.

        Raises:
            ValidationError: The sender is no member.
        """
        if self.sender_type is not SenderType.MEMBER or self.index is None:
            raise ValidationError("message.sender-not-a-member")
        return LeafIndex(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class FramedContent:
    """The message itself.

    ::

        struct {
            opaque group_id<V>;
            uint64 epoch;
            Sender sender;
            opaque authenticated_data<V>;
            ContentType content_type;
            select (FramedContent.content_type) {
                case application: opaque application_data<V>;
                case proposal:    Proposal proposal;
                case commit:      Commit commit;
            };
        } FramedContent;

    Attributes:
        content: Application data as bytes, a Proposal, or a Commit, as ``content_type`` says.
    """

    group_id: bytes
    epoch: int
    sender: Sender
    authenticated_data: bytes
    content_type: ContentType
    content: bytes | Proposal | Commit = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FramedContentAuthData:
    """``struct { opaque signature<V>; select (content_type) { case commit: MAC confirmation_tag; } }``."""

    signature: bytes
    confirmation_tag: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatedContent:
    """``struct { WireFormat wire_format; FramedContent content; FramedContentAuthData auth; }``."""

    wire_format: WireFormat
    content: FramedContent
    auth: FramedContentAuthData


def read_content_type(reader: Reader) -> ContentType:
    """Read a ContentType.

    Raises:
        CodecError: Another value than the three.
    """
    start = reader.offset
    try:
        return ContentType(reader.u8())
    except ValueError:
        raise CodecError(start, "unknown content type") from None


def read_sender(reader: Reader) -> Sender:
    """Read a Sender.

    Raises:
        CodecError: Malformed, or of an unknown type.
    """
    start = reader.offset
    try:
        sender_type = SenderType(reader.u8())
    except ValueError:
        raise CodecError(start, "unknown sender type") from None
    if sender_type in {SenderType.MEMBER, SenderType.EXTERNAL}:
        return Sender(sender_type=sender_type, index=reader.u32())
    return Sender(sender_type=sender_type)


def write_sender(writer: Writer, sender: Sender) -> None:
    """Append a Sender."""
    writer.u8(sender.sender_type)
    if sender.index is not None:
        writer.u32(sender.index)


def read_content(reader: Reader, content_type: ContentType) -> bytes | Proposal | Commit:
    """Read the ``select`` of FramedContent and of PrivateMessageContent.

    Raises:
        CodecError: Malformed.
    """
    match content_type:
        case ContentType.APPLICATION:
            return reader.opaque()
        case ContentType.PROPOSAL:
            return read_proposal(reader)
        case ContentType.COMMIT:
            return read_commit(reader)


def write_content(writer: Writer, content: bytes | Proposal | Commit) -> None:
    """Append the ``select`` of FramedContent and of PrivateMessageContent."""
    if isinstance(content, bytes):
        writer.opaque(content)
    elif isinstance(content, Commit):
        write_commit(writer, content)
    else:
        write_proposal(writer, content)


def read_framed_content(reader: Reader) -> FramedContent:
    """Read a FramedContent.

    Raises:
        CodecError: Malformed.
    """
    group_id, epoch, sender = reader.opaque(), reader.u64(), read_sender(reader)
    authenticated_data = reader.opaque()
    content_type = read_content_type(reader)
    return FramedContent(
        group_id=group_id,
        epoch=epoch,
        sender=sender,
        authenticated_data=authenticated_data,
        content_type=content_type,
        content=read_content(reader, content_type),
    )


def write_framed_content(writer: Writer, content: FramedContent) -> None:
    """Append a FramedContent."""
    writer.raw(_encode_framed_content(content))


def _encode_framed_content(content: FramedContent) -> bytes:
    """FramedContent, in one piece: this is under the signature of each message."""
    body = content.content
    return b"".join(
        (
            encode_opaque(content.group_id),
            content.epoch.to_bytes(8, "big"),
            encode(content.sender, write_sender),
            encode_opaque(content.authenticated_data),
            content.content_type.to_bytes(1, "big"),
            encode_opaque(body) if isinstance(body, bytes) else encode(body, write_content),
        )
    )


def read_auth_data(reader: Reader, content_type: ContentType) -> FramedContentAuthData:
    """Read a FramedContentAuthData.

    Raises:
        CodecError: Malformed.
    """
    signature = reader.opaque()
    tag = reader.opaque() if content_type is ContentType.COMMIT else None
    return FramedContentAuthData(signature=signature, confirmation_tag=tag)


def write_auth_data(writer: Writer, auth: FramedContentAuthData, content_type: ContentType) -> None:
    """Append a FramedContentAuthData.

    Raises:
        StateError: A commit without a confirmation tag, or a tag without a commit.
    """
    if (auth.confirmation_tag is not None) != (content_type is ContentType.COMMIT):
        raise StateError("a commit, and nothing else, carries a confirmation tag")
    writer.opaque(auth.signature)
    if auth.confirmation_tag is not None:
        writer.opaque(auth.confirmation_tag)


def read_authenticated_content(reader: Reader) -> AuthenticatedContent:
    """Read an AuthenticatedContent.

    Raises:
        CodecError: Malformed, or of a wire format that frames no content.
    """
    start = reader.offset
    wire_format = reader.u16()
    if wire_format not in {WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE}:
        raise CodecError(start, "wire format frames no content")
    content = read_framed_content(reader)
    auth = read_auth_data(reader, content.content_type)
    return AuthenticatedContent(wire_format=WireFormat(wire_format), content=content, auth=auth)


def write_authenticated_content(writer: Writer, message: AuthenticatedContent) -> None:
    """Append an AuthenticatedContent; its bytes are the input to a ProposalRef."""
    writer.u16(message.wire_format)
    write_framed_content(writer, message.content)
    write_auth_data(writer, message.auth, message.content.content_type)


def framed_content_tbs(wire_format: WireFormat, content: FramedContent, group_context: bytes | None) -> bytes:
    """The bytes under the signature.

    ::

        struct {
            ProtocolVersion version = mls10;
            WireFormat wire_format;
            FramedContent content;
            select (sender_type) { case member: case new_member_commit: GroupContext context; };
        } FramedContentTBS;

    Args:
        wire_format: How the message will be sent.
        content: What is signed.
        group_context: Encoded GroupContext of the epoch; ignored where the signature does not cover it.

    Raises:
        StateError: The sender's signature covers the GroupContext, and there is none.
    """
    context = b""
    if content.sender.sender_type in CONTEXT_SENDERS:
        if group_context is None:
            raise StateError("the signature of this sender covers the group context")
        context = group_context
    head = ProtocolVersion.MLS10.to_bytes(2, "big") + wire_format.to_bytes(2, "big")
    return b"".join((head, _encode_framed_content(content), context))


def sign_framed_content(
    suite: CipherSuite,
    private: bytes | Signer,
    *,
    wire_format: WireFormat,
    content: FramedContent,
    group_context: bytes | None,
) -> bytes:
    """The signature of FramedContentAuthData.

    Raises:
        StateError: A key or a context that does not fit.
    """
    return sign_with_label(
        suite, private, SIGN_LABEL, framed_content_tbs(wire_format, content, group_context)
    )


def verify_framed_content(
    suite: CipherSuite, public: bytes, message: AuthenticatedContent, group_context: bytes | None
) -> None:
    """Check the signature of a message; the confirmation tag of a commit is checked by whoever applies it.

    Raises:
        AuthenticationError: The signature does not fit.
    """
    tbs = framed_content_tbs(message.wire_format, message.content, group_context)
    verify_with_label(suite, public, SIGN_LABEL, tbs, message.auth.signature)
