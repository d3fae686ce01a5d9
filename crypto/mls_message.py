"""MLSMessage: the outermost structure on the wire (RFC 9420 section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from crypto.code_points import ProtocolVersion
from crypto.codec import CodecError, Reader, Writer, encode
from crypto.framed_content import WireFormat
from crypto.group_info import GroupInfo, read_group_info, write_group_info
from crypto.key_package import KeyPackage, read_key_package, write_key_package
from crypto.limits import MAX_MESSAGE_BYTES
from crypto.private_message import PrivateMessage, read_private_message, write_private_message
from crypto.public_message import PublicMessage, read_public_message, write_public_message
from crypto.welcome import Welcome, read_welcome, write_welcome

MLSMessageBody = PublicMessage | PrivateMessage | Welcome | GroupInfo | KeyPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class MLSMessage:
    """One of five bodies; its type says which wire format it is.

    ::

        struct {
            ProtocolVersion version = mls10;
            WireFormat wire_format;
            select (MLSMessage.wire_format) { case mls_public_message: PublicMessage public_message; … };
        } MLSMessage;
    """

    body: MLSMessageBody

    @property
    def wire_format(self) -> WireFormat:
        """The wire format of the body."""
        match self.body:
            case PublicMessage():
                return WireFormat.PUBLIC_MESSAGE
            case PrivateMessage():
                return WireFormat.PRIVATE_MESSAGE
            case Welcome():
                return WireFormat.WELCOME
            case GroupInfo():
                return WireFormat.GROUP_INFO
            case KeyPackage():
                return WireFormat.KEY_PACKAGE
        assert_never(self.body)

    def to_bytes(self) -> bytes:
        """The encoding."""
        return encode(self, write_mls_message)


def read_mls_message(reader: Reader) -> MLSMessage:
    """Read an MLSMessage.

    Raises:
        CodecError: Malformed, of another version than MLS 1.0, or of an unknown wire format.
    """
    start = reader.offset
    if reader.remaining > MAX_MESSAGE_BYTES:
        raise CodecError(start, "message is longer than allowed")
    if reader.u16() != ProtocolVersion.MLS10:
        raise CodecError(start, "protocol version is not MLS 1.0")
    try:
        wire_format = WireFormat(reader.u16())
    except ValueError:
        raise CodecError(start, "unknown wire format") from None
    return MLSMessage(body=_read_body(reader, wire_format))


def _read_body(reader: Reader, wire_format: WireFormat) -> MLSMessageBody:
    match wire_format:
        case WireFormat.PUBLIC_MESSAGE:
            return read_public_message(reader)
        case WireFormat.PRIVATE_MESSAGE:
            return read_private_message(reader)
        case WireFormat.WELCOME:
            return read_welcome(reader)
        case WireFormat.GROUP_INFO:
            return read_group_info(reader)
        case WireFormat.KEY_PACKAGE:
            return read_key_package(reader)
    assert_never(wire_format)


def write_mls_message(writer: Writer, message: MLSMessage) -> None:
    """Append an MLSMessage."""
    writer.u16(ProtocolVersion.MLS10).u16(message.wire_format)
    match message.body:
        case PublicMessage() as body:
            write_public_message(writer, body)
        case PrivateMessage() as body:
            write_private_message(writer, body)
        case Welcome() as body:
            write_welcome(writer, body)
        case GroupInfo() as body:
            write_group_info(writer, body)
        case KeyPackage() as body:
            write_key_package(writer, body)
        case _:
            assert_never(message.body)
