"""What goes out on one connection: one write per burst, never an unbounded queue.

Everything said within one turn of the event loop is collected and written at once: a deposit fans out to many
connections, a burst of deposits to one, and each of these connections sees a single write. WebSocket frames
of a server are unmasked (RFC 6455 section 5.1), so their header is made here and the body is never touched;
whole frames only are written, so the library's own CLOSE may follow at any time.

Backpressure: once more than the limit waits for the peer, the sender is `blocked`. Who feeds it (the reader
of requests, the catching-up of channels, the fan-out) then stops; when the queue has drained, it goes on;
when it does not drain in time, the relay disconnects the peer (DESIGN section 8).

The transport is a narrow seam: `Transport` is all that this relay knows of sockets.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Protocol

from chatserver.clock import Clock


class Transport(Protocol):
    """A byte stream to one peer."""

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel, or queue them."""
        ...

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken yet."""
        ...

    def abort(self) -> None:
        """Disconnect at once and drop what waits."""
        ...


@functools.lru_cache(maxsize=512)
def frame_head(length: int) -> bytes:
    """Header of an unmasked, final, binary WebSocket frame (RFC 6455 section 5.2)."""
    if length < 126:
        return bytes((0x82, length))
    if length < 1 << 16:
        return bytes((0x82, 126, length >> 8, length & 0xFF))
    return b"\x82\x7f" + length.to_bytes(8, "big")


class Flusher:
    """Collects the senders that have something to write, and writes once per turn of the loop.

    Attributes:
        bursts: how many there have been; the same number means the same reading of one connection.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._dirty: list[Sender] = []
        self._held = False
        self.bursts = 0

    def hold(self) -> None:
        """A burst begins, whose end `flush` tells: it need not be asked of the loop."""
        self._held = True
        self.bursts += 1

    def mark(self, sender: Sender) -> None:
        """Flush a sender at the end of this burst, or turn."""
        if not self._dirty and not self._held:
            self._call_soon(self.flush)
        self._dirty.append(sender)

    def flush(self) -> None:
        """Flush all marked senders now."""
        self._held = False
        dirty = self._dirty
        if dirty:
            self._dirty = []
            for sender in dirty:
                sender.flush()


class Sender:
    """The outgoing side of one connection.

    Attributes:
        blocked: nothing more should be said now.
        blocked_since: monotonic seconds since when the transport has had no room; None while it has.

    Args:
        transport: where to.
        flusher: when.
        clock: to know since when the peer has been blocked.
        limit_bytes: more than this waiting means blocked. The transport's high-water mark is the same, so
            that it tells when there is room again; who hears that calls `drained`.
    """

    __slots__ = (
        "_clock",
        "_flusher",
        "_limit",
        "_parts",
        "_size",
        "_transport",
        "_unblocked",
        "blocked",
        "blocked_since",
    )

    def __init__(
        self,
        transport: Transport,
        flusher: Flusher,
        clock: Clock,
        *,
        limit_bytes: int,
    ) -> None:
        self._transport = transport
        self._flusher = flusher
        self._clock = clock
        self._limit = limit_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._unblocked: asyncio.Event | None = None
        self.blocked_since: float | None = None
        self.blocked = False

    @property
    def queued_bytes(self) -> int:
        """What waits for the peer, here and in the transport."""
        return self._size + self._transport.get_write_buffer_size()

    def send(self, message: bytes, body: bytes = b"") -> None:
        """Say `message ‖ body` as one binary WebSocket message, at the end of this turn."""
        parts = self._parts
        if not parts:
            self._flusher.mark(self)
        length = len(message) + len(body)
        parts += (frame_head(length), message, body)
        self._size = size = self._size + length
        if size > self._limit:
            self.blocked = True

    def pong(self, payload: bytes) -> None:
        """Answer a PING (RFC 6455 section 5.5.3); at most 125 bytes, which the library has seen to."""
        if not self._parts:
            self._flusher.mark(self)
        self._parts += (bytes((0x8A, len(payload))), payload)
        self._size += 2 + len(payload)
        self.blocked = self.blocked or self._size > self._limit

    def flush(self) -> None:
        """Write what was said."""
        if not self._parts:
            return
        data = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._transport.write(data)
        if self.blocked_since is None:
            self.blocked = self._transport.get_write_buffer_size() > self._limit
            if self.blocked:
                self.blocked_since = self._clock.monotonic()

    def drained(self) -> None:
        """The peer has read on."""
        self.blocked_since = None
        self.blocked = self._size > self._limit
        if self._unblocked is not None:
            self._unblocked.set()
            self._unblocked = None

    async def writable(self) -> None:
        """Wait until the sender is not blocked; the relay's sweep disconnects a peer that takes too long."""
        self.flush()
        while self.blocked_since is not None:
            if self._unblocked is None:
                self._unblocked = asyncio.Event()
            await self._unblocked.wait()

    def forget(self) -> None:
        """Drop what was said and not yet written: nothing may follow a CLOSE (RFC 6455 section 5.5.1)."""
        self._parts.clear()
        self._size = 0
        self.blocked = self.blocked_since is not None

    def abort(self) -> None:
        """Disconnect at once."""
        self.forget()
        self._transport.abort()
