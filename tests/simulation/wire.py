"""Simulated sockets: two byte streams that take their time, and may be cut at any byte.

Messages travel as WebSocket frames (RFC 6455 section 5.2, without masks) in pieces; the far end puts them
together again. Randomness comes from the link's own generator, so that one link's fate does not depend on
another's.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

from chatserver.sender import frame_head
from chatserver.websocket import Messages


class Scheduler(Protocol):
    """The world, as far as a link needs it."""

    now: float

    def at(self, when: float, what: Callable[[], None]) -> None: ...

    def bytes_moved(self, link: str, *, up: bool, data: bytes) -> None: ...


class Assembler:
    """Puts WebSocket messages together from a byte stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        found: list[bytes] = []
        while len(self._buffer) >= 2:
            length, head = self._buffer[1], 2
            if length == 126:
                head = 4
                length = int.from_bytes(self._buffer[2:4], "big") if len(self._buffer) >= 4 else 1 << 20
            elif length == 127:
                head = 10
                length = int.from_bytes(self._buffer[2:10], "big") if len(self._buffer) >= 10 else 1 << 20
            if len(self._buffer) < head + length:
                break
            found.append(bytes(self._buffer[head : head + length]))
            del self._buffer[: head + length]
        return found


def framed(message: bytes) -> bytes:
    """One message as the bytes that travel."""
    return frame_head(len(message)) + message


class Stream:
    """One direction: what was written arrives in order, later, in pieces."""

    def __init__(
        self,
        scheduler: Scheduler,
        name: str,
        *,
        up: bool,
        dice: random.Random,
        delay: Callable[[], float],
        arrive: Callable[[bytes], None],
    ) -> None:
        self._scheduler = scheduler
        self._name = name
        self._up = up
        self._dice = dice
        self._delay = delay
        self._arrive = arrive
        self._on_its_way: deque[bytes] = deque()
        self._last = 0.0
        self._dead = False

    def write(self, data: bytes) -> None:
        if self._dead or not data:
            return
        self._scheduler.bytes_moved(self._name, up=self._up, data=data)
        pieces = [data]
        if self._dice.random() < 0.1:
            cut = self._dice.randrange(len(data) + 1)
            pieces = [data[:cut], data[cut:]]
        for piece in pieces:
            if piece:
                self._last = max(self._last, self._scheduler.now + self._delay())
                self._on_its_way.append(piece)
                self._scheduler.at(self._last, self._next)

    def _next(self) -> None:
        if self._on_its_way and not self._dead:
            self._arrive(self._on_its_way.popleft())

    def fall_silent(self) -> None:
        """Nothing more arrives, and nobody is told."""
        self._dead = True
        self._on_its_way.clear()

    def cut(self) -> None:
        """The connection breaks: of what is on its way a part arrives, up to any byte; nothing more comes."""
        if self._dead:
            return
        self._dead = True
        waiting = b"".join(self._on_its_way)
        self._on_its_way.clear()
        arrives = waiting[: self._dice.randrange(len(waiting) + 1)] if waiting else b""
        if arrives:
            self._arrive(arrives)


class RelaySocket:
    """The relay's end: `chatserver.peer.Socket` and `chatserver.sender.Transport` in one.

    What comes in is handed to the relay in a turn of the loop of its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._send = send
        self._assembler = Assembler()
        self._came: deque[bytes | None] = deque()
        self._woken = False
        self._paused = False
        self._over = False
        self.peer: Messages | None = None
        self.dead = False
        self.closed = False
        self.on_close: Callable[[], None] = lambda: None

    # -- for the network

    def arrive(self, data: bytes) -> None:
        self._came.extend(self._assembler.feed(data))
        self._wake()

    def hang_up(self) -> None:
        """The client's end is gone."""
        self._came.append(None)
        self._wake()

    def _wake(self) -> None:
        if self._came and not self._woken and not self._paused:
            self._woken = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._woken = False
        while self._came and not self._paused and self.peer is not None and not self._over:
            message = self._came.popleft()
            if message is None or self.closed:
                self._end()
            else:
                self.peer.take(message)

    def _end(self) -> None:
        if not self._over and self.peer is not None:
            self._over = True
            self.peer.over()

    # -- for the relay

    @property
    def transport(self) -> RelaySocket:
        return self

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._wake()

    def close(self, code: int) -> None:
        if not self.closed:
            self.closed = True
            self._came.append(None)
            self._wake()
            if not self.dead:
                self.on_close()

    def write(self, data: bytes) -> None:
        if not self.dead and not self.closed:
            self._send(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.closed = True
        self._came.append(None)
        self._wake()
        self.on_close()
