"""All frames of wire protocol v1 under one roof, and the functions that make messages of them and back.

One frame is one binary WebSocket message: `u8 type ‖ fields`. Types below 0x80 go to the relay, the others
come from it. The frames stand in `client_frames` and `server_frames`; import them from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from chatserver.wire.client_frames import (
    Ack,
    Admit,
    Attach,
    ClientFrame,
    Deposit,
    Detach,
    Drop,
    Hello,
    InboxAck,
    InboxChallenge,
    InboxOpen,
    Publish,
)
from chatserver.wire.errors import SizeError
from chatserver.wire.limits import MAX_FRAME_BYTES, MAX_PUBLISH_FRAME_BYTES
from chatserver.wire.server_frames import (
    Acked,
    Attached,
    Cell,
    Challenge,
    Done,
    Draining,
    Expired,
    Failed,
    InboxCell,
    InboxOpened,
    OwnCell,
    Refused,
    ServerFrame,
    ServerHello,
    Stored,
    Superseded,
)
from crypto.codec import CodecError

__all__ = [
    "Ack",
    "Acked",
    "Admit",
    "Attach",
    "Attached",
    "Cell",
    "Challenge",
    "ClientFrame",
    "Deposit",
    "Detach",
    "Done",
    "Draining",
    "Drop",
    "Expired",
    "Failed",
    "Frame",
    "Hello",
    "InboxAck",
    "InboxCell",
    "InboxChallenge",
    "InboxOpen",
    "InboxOpened",
    "OwnCell",
    "Publish",
    "Refused",
    "ServerFrame",
    "ServerHello",
    "Stored",
    "Superseded",
    "decode_client",
    "decode_server",
    "encode",
]

Frame = ClientFrame | ServerFrame

CLIENT_DECODERS: Final[Mapping[int, Callable[[bytes], ClientFrame]]] = MappingProxyType(
    {
        frame.TYPE: frame.decode
        for frame in (
            Hello,
            Attach,
            Deposit,
            Ack,
            Detach,
            InboxChallenge,
            InboxOpen,
            InboxAck,
            Admit,
            Publish,
            Drop,
        )
    }
)
SERVER_DECODERS: Final[Mapping[int, Callable[[bytes], ServerFrame]]] = MappingProxyType(
    {
        frame.TYPE: frame.decode
        for frame in (
            ServerHello,
            Attached,
            Cell,
            OwnCell,
            Stored,
            Acked,
            Expired,
            Refused,
            Failed,
            Draining,
            Superseded,
            Challenge,
            InboxOpened,
            InboxCell,
            Done,
        )
    }
)


def encode(frame: Frame) -> bytes:
    """The message that carries a frame.

    Raises:
        ValueError: a field has a length or value that the syntax does not allow (our caller's fault).
    """
    return frame.encode()


def decode_client(data: bytes) -> ClientFrame:
    """The frame that a client sent.

    Raises:
        SizeError: the frame, or the cell in it, is of a wrong size.
        CodecError: it does not parse, or its type is unknown.
    """
    if len(data) > MAX_FRAME_BYTES and (data[0] != Publish.TYPE or len(data) > MAX_PUBLISH_FRAME_BYTES):
        raise SizeError(0, "frame is longer than allowed")
    decoder = CLIENT_DECODERS.get(data[0]) if data else None
    if decoder is None:
        raise CodecError(0, "unknown type of frame")
    return decoder(data)


def decode_server(data: bytes) -> ServerFrame:
    """The frame that the relay sent.

    Raises:
        SizeError: the frame, or the cell in it, is of a wrong size.
        CodecError: it does not parse, or its type is unknown.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise SizeError(0, "frame is longer than allowed")
    decoder = SERVER_DECODERS.get(data[0]) if data else None
    if decoder is None:
        raise CodecError(0, "unknown type of frame")
    return decoder(data)
