"""A recording front: devices connect here; every byte goes on to the relay and back, and is kept.

WebSocket frames are taken apart (RFC 6455 section 5.2), because what a client sends is masked with a random
key that would hide it from any search; what is recorded is the payload of each message as the relay reads it,
and the HTTP head of each connection as it came. The relay is untouched, and cannot tell.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Self
from urllib.parse import urlsplit

from chatserver.wire.frames import Admit, Attach, Cell, Deposit, Drop, InboxOpen, Publish, decode_client
from crypto.codec import CodecError

READ_BYTES: Final = 256 * 1024
HEAD_END: Final = b"\r\n\r\n"
MAX_HEAD_BYTES: Final = 64 * 1024
FIRST_CONTROL_OPCODE: Final = 8
"""Close, ping and pong; below are continuation, text and binary."""
CELL_HEAD_BYTES: Final = 14
"""Of CELL: type, handle, place, close."""
APART: Final = b"\xff" * 16
"""What no needle goes across."""


class Part(Enum):
    """What a piece of a connection is."""

    HTTP = "http"
    """A head, or bytes of a body."""
    MESSAGE = "message"
    """A whole WebSocket message."""
    CONTROL = "control"
    """Payload of a ping, pong or close."""


class MessageReader:
    """Takes one direction of a connection apart: the HTTP head, then WebSocket messages or an HTTP body."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head_read = False
        self._websocket = False
        self._message = bytearray()

    def feed(self, data: bytes) -> list[tuple[Part, bytes]]:
        """Add what came; returns what is whole now, unmasked."""
        self._buffer += data
        whole: list[tuple[Part, bytes]] = []
        if not self._head_read:
            end = self._buffer.find(HEAD_END)
            if end < 0 and len(self._buffer) <= MAX_HEAD_BYTES:
                return []
            cut = end + len(HEAD_END) if end >= 0 else len(self._buffer)
            head = bytes(self._buffer[:cut])
            del self._buffer[:cut]
            self._head_read = True
            self._websocket = b"upgrade: websocket" in head.lower()
            whole.append((Part.HTTP, head))
        if self._websocket:
            while (frame := self._next_frame()) is not None:
                opcode, payload, final = frame
                whole += self._frame(opcode, payload, final=final)
        elif self._buffer:
            whole.append((Part.HTTP, bytes(self._buffer)))
            self._buffer.clear()
        return whole

    def _frame(self, opcode: int, payload: bytes, *, final: bool) -> list[tuple[Part, bytes]]:
        if opcode >= FIRST_CONTROL_OPCODE:
            return [(Part.CONTROL, payload)]
        self._message += payload
        if not final:
            return []
        message = bytes(self._message)
        self._message.clear()
        return [(Part.MESSAGE, message)]

    def _next_frame(self) -> tuple[int, bytes, bool] | None:
        """Opcode, payload and FIN of the next frame, or None where it is not whole yet."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        final, opcode = buffer[0] & 0x80 != 0, buffer[0] & 0x0F
        masked, length, place = buffer[1] & 0x80 != 0, buffer[1] & 0x7F, 2
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(buffer) < place + size:
                return None
            length = int.from_bytes(buffer[place : place + size])
            place += size
        key_bytes = 4 if masked else 0
        if len(buffer) < place + key_bytes + length:
            return None
        key = bytes(buffer[place : place + key_bytes])
        place += key_bytes
        payload = bytes(buffer[place : place + length])
        del buffer[: place + length]
        return opcode, unmask(payload, key) if masked else payload, final


def unmask(payload: bytes, key: bytes) -> bytes:
    """XOR with the repeated 4-byte key (RFC 6455 section 5.3)."""
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(len(payload))


@dataclass(slots=True)
class Capture:
    """What went over the wire, as far as the relay can read it."""

    data: bytearray = field(default_factory=bytearray, repr=False)
    """All messages of both directions, one after the other."""
    cells: Counter[int] = field(default_factory=Counter)
    """Cells deposited or dropped, by size in bytes."""
    unreadable: int = 0
    """Messages from devices that are no frame of the protocol."""
    address_secrets: set[bytes] = field(default_factory=set, repr=False)
    """Channel addresses, slot tokens, admission values: the relay must be told these, so frames hold them."""
    published: list[bytes] = field(default_factory=list, repr=False)
    """Contact bundles, which are public."""

    def from_relay(self, message: bytes) -> None:
        """Take note of a message from the relay.

        The numbers that the relay puts before a cell (handle, place, close) are kept apart from the cell:
        together with its first random byte they now and then spell the encoding of a text of one letter.
        """
        head = CELL_HEAD_BYTES if message[:1] == bytes([Cell.TYPE]) else len(message)
        self.data += message[:head]
        if head < len(message):
            self.data += APART + message[head:]

    def to_relay(self, message: bytes) -> None:
        """Take note of a message from a device."""
        self.data += message
        try:
            frame = decode_client(message)
        except CodecError:
            self.unreadable += 1
            return
        match frame:
            case Attach():
                self.address_secrets |= {frame.k, frame.token}
            case Deposit():
                self.address_secrets.add(frame.k)
                self.cells[len(frame.body)] += 1
            case Drop():
                self.address_secrets.add(frame.admission_value)
                self.cells[len(frame.body)] += 1
            case Admit():
                self.address_secrets.add(frame.admit_hash)
            case InboxOpen():
                self.address_secrets.add(frame.token)
            case Publish():
                self.published.append(frame.bundle)
            case _:
                pass
        self.address_secrets.discard(b"")  # a field that was left empty


class RecordingFront:
    """The front itself: `async with RecordingFront(relay_url) as front`, devices use `front.url`."""

    def __init__(self, relay_url: str) -> None:
        parts = urlsplit(relay_url)
        self._relay = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.capture = Capture()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        try:
            relay_reader, relay_writer = await asyncio.open_connection(*self._relay)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, relay_writer, from_device=True))
                    group.create_task(self._pump(relay_reader, writer, from_device=False))
            finally:
                relay_writer.close()
        except* OSError:
            pass  # the relay is not there, or one side went away: to the device both look the same
        finally:
            writer.close()
            if task is not None:
                self._connections.discard(task)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, from_device: bool
    ) -> None:
        """Carry one direction until its end; the end is handed on, so that the other direction ends too."""
        messages = MessageReader()
        try:
            while data := await source.read(READ_BYTES):
                for part, content in messages.feed(data):
                    if part is Part.MESSAGE and from_device:
                        self.capture.to_relay(content)
                    elif part is Part.MESSAGE:
                        self.capture.from_relay(content)
                    else:
                        self.capture.data += content
                target.write(data)
                await target.drain()
        finally:
            target.close()
