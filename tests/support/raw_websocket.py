"""WebSocket by hand (RFC 6455), for saying what no library would say."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from chatserver.wire.limits import SUBPROTOCOL, WEBSOCKET_PATH

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
PATIENCE_SECONDS: Final = 60.0
_MASK: Final = b"\x11\x22\x33\x44"


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True
) -> bytes:
    """One frame of a client, section 5.2; `reserved` are the three bits RSV1 to RSV3 as a number."""
    head = bytes((fin << 7 | reserved << 4 | opcode,))
    length = len(payload)
    if length < 126:
        head += bytes((masked << 7 | length,))
    elif length < 1 << 16:
        head += bytes((masked << 7 | 126,)) + length.to_bytes(2, "big")
    else:
        head += bytes((masked << 7 | 127,)) + length.to_bytes(8, "big")
    if not masked:
        return head + payload
    pad = (_MASK * (length // 4 + 1))[:length]
    hidden = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(length, "big")
    return head + _MASK + hidden


def closing(code: int, reason: bytes = b"") -> bytes:
    """A CLOSE frame, section 5.5.1."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def handshake(**changes: str | None) -> bytes:
    """An opening handshake, section 4.1; a header changed to None is left out (write `_` for `-`)."""
    headers: dict[str, str | None] = {
        "Host": "relay",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(b"a nonce of 16 by").decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    lines = [f"GET {WEBSOCKET_PATH} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass(frozen=True)
class Heard:
    """A frame of the server."""

    opcode: int
    payload: bytes
    fin: bool

    @property
    def close_code(self) -> int | None:
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else None


class RawSocket:
    """A connection whose every byte the test decides."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, *pieces: bytes) -> None:
        """Write each piece by itself; a server that has gone is no error."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    async def hear(self) -> Heard | None:
        """The next frame; None at the end of the stream."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                first, second = await self.reader.readexactly(2)
                assert not second & 0x80, "a server's frames are not masked (section 5.1)"
                assert not first & 0x70, "no extension was agreed to"
                length = second & 0x7F
                if length >= 126:
                    wide = await self.reader.readexactly(2 if length == 126 else 8)
                    length = int.from_bytes(wide, "big")
                payload = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Heard(first & 0x0F, payload, bool(first & 0x80))

    async def hear_all(self) -> list[Heard]:
        """Every frame up to the end."""
        heard = []
        while (one := await self.hear()) is not None:
            heard.append(one)
        return heard


async def http_head(reader: asyncio.StreamReader) -> bytes:
    """The head of an HTTP answer."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await reader.readuntil(b"\r\n\r\n")


@contextlib.asynccontextmanager
async def raw_socket(port: int, opening: bytes | None = None) -> AsyncIterator[RawSocket]:
    """A WebSocket after its handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(opening or handshake())
        head = await http_head(reader)
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield RawSocket(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
