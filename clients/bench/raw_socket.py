"""A WebSocket client that costs next to nothing, so that a load generator measures the server and not itself.

Frames to the server carry a mask of zeros, which RFC 6455 section 5.3 allows to nobody who wants its
protection and which leaves prepared bytes as they are; the server does its full work of unmasking. Nothing is
verified beyond what finding the next frame takes. For benchmarks on loopback only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

_BINARY: Final = 0x82
_MASKED: Final = 0x80

MessageHandler = Callable[[bytes, int, int], None]
"""Gets (data, start, end): the message is `data[start:end]`."""


class BenchFailed(Exception):
    """The server did not do what a benchmark needs. The message is one sentence."""


def masked_frame(payload: bytes) -> bytearray:
    """One binary message to a server, mask zero; the payload stands at the end."""
    length = len(payload)
    if length < 126:
        head = bytes((_BINARY, _MASKED | length))
    else:
        head = bytes((_BINARY, _MASKED | 126)) + length.to_bytes(2, "big")
    return bytearray(head + bytes(4) + payload)


class RawSocket(asyncio.Protocol):
    """One connection.

    Attributes:
        on_message: called for each message.
        closed: why the connection is over, "" while it is open.
    """

    def __init__(self) -> None:
        self.on_message: MessageHandler = lambda _data, _start, _end: None
        self.closed = ""
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rest = b""

    @classmethod
    async def open(cls, port: int, path: str, subprotocol: str = "") -> RawSocket:
        """Connect to 127.0.0.1.

        Raises:
            OSError: nobody listens.
            BenchFailed: the handshake was refused.
        """
        _, socket = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ]
        if subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        socket.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(30):
            await socket._opened
        return socket

    def write(self, data: bytes | bytearray) -> None:
        """Send prepared frames."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands."""
        # uvloop's transports are no subclasses of asyncio's, so there is nothing to ask them.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is over."""
        self.closed = type(exc).__name__ if exc is not None else "closed"
        if not self._opened.done():
            self._opened.set_exception(BenchFailed("the server ended the handshake"))

    def data_received(self, data: bytes) -> None:
        """asyncio: find the messages in what came."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        start = 0
        if not self._opened.done():
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self._opened.set_exception(BenchFailed("the server refused the handshake"))
                return
            self._opened.set_result(None)
            start = end + 4
        self._rest = self._messages(data, start)

    def _messages(self, data: bytes, start: int) -> bytes:
        total = len(data)
        while total - start >= 2:
            length = data[start + 1]
            body = start + 2
            if length == 126:
                body = start + 4
                if total < body:
                    break
                length = data[start + 2] << 8 | data[start + 3]
            elif length == 127:
                raise BenchFailed("a longer message than any in this benchmark")
            if total < body + length:
                break
            if data[start] == _BINARY:
                self.on_message(data, body, body + length)
            start = body + length
        return data[start:]
