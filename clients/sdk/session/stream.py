"""The byte stream of a session (S5): cumulative acknowledgement, and repetition after 3 seconds.

A stretch of bytes that went out in one cell is a *segment*. What was not acknowledged 3 seconds later goes
out again, in a new message, in the place of the next cell; the rhythm of cells never changes for it. The
receiver takes what continues its stream and drops what would leave a gap, so nothing is ever delivered twice
or out of order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from crypto.errors import ValidationError

RESEND_AFTER_SECONDS: Final = 3.0
MAX_WAITING_BYTES: Final = 256 * 1024
"""Most bytes that wait to be acknowledged; at one cell a second that is two and a half minutes."""


@dataclass(slots=True)
class _Segment:
    start: int
    end: int
    sent_at: float


class SendStream:
    """Own bytes, from the first that the peer has not acknowledged."""

    __slots__ = ("_acked", "_buffer", "_next", "_segments")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._acked = 0
        self._next = 0
        self._segments: deque[_Segment] = deque()

    @property
    def end(self) -> int:
        """Offset behind the last byte appended."""
        return self._acked + len(self._buffer)

    @property
    def acked(self) -> int:
        """Offset up to which the peer holds everything."""
        return self._acked

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the peer has not acknowledged."""
        return len(self._buffer)

    def append(self, data: bytes) -> int:
        """Add bytes; returns the offset behind them."""
        self._buffer += data
        return self.end

    def take(self, limit: int, now: float) -> tuple[int, bytes]:
        """What the next cell carries: a segment to be repeated, else new bytes, else nothing.

        Args:
            limit: Bytes at most.
            now: Seconds of a monotonic clock.

        Returns:
            Offset and bytes.
        """
        for segment in self._segments:
            if now - segment.sent_at >= RESEND_AFTER_SECONDS:
                segment.sent_at = now
                start = max(segment.start, self._acked)
                return start, bytes(self._buffer[start - self._acked : segment.end - self._acked])
        start, end = self._next, min(self._next + limit, self.end)
        if end > start:
            self._segments.append(_Segment(start, end, now))
            self._next = end
        return start, bytes(self._buffer[start - self._acked : end - self._acked])

    def acknowledge(self, offset: int) -> None:
        """The peer holds everything up to `offset`. An older number than known is no news.

        Raises:
            ValidationError: "S5-ack": it acknowledges what was never sent.
        """
        if offset > self._next:
            raise ValidationError("S5-ack")
        if offset <= self._acked:
            return
        del self._buffer[: offset - self._acked]
        self._acked = offset
        while self._segments and self._segments[0].end <= offset:
            self._segments.popleft()

    def wipe(self) -> None:
        """Forget everything."""
        self._buffer[:] = bytes(len(self._buffer))
        self._buffer.clear()
        self._segments.clear()


class ReceiveStream:
    """The peer's bytes: how far they are here without a gap."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    @property
    def next(self) -> int:
        """The cumulative acknowledgement: offset of the first byte not here."""
        return self._next

    def accept(self, offset: int, data: bytes) -> bytes:
        """The part of `data` that is new and continues the stream; empty if it is old or leaves a gap."""
        if offset > self._next or offset + len(data) <= self._next:
            return b""
        new = data[self._next - offset :]
        self._next += len(new)
        return new
