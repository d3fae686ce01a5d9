"""What RFC 6455 forbids a client and aiohttp's reader takes: watched for in front of it (docs/adr/0028).

* a frame without a mask (section 5.1),
* a new message inside one that is open, where the open one has been empty so far, and a continuation of
  nothing (section 5.4),
* a CLOSE with code 1006, which stands for a close without a code and is never sent (section 7.4.1).

`FrameWatch` knows no sockets: it walks from header to header of whatever bytes come, and touches no payload
but the code of a CLOSE. What else can be wrong with a frame is left to the reader behind it.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import WebSocketError, WSCloseCode, web

_MASKED: Final = 0x80
_FINAL: Final = 0x80
_FIRST_CONTROL: Final = 0x08
_CLOSE: Final = 0x08
_MASK_BYTES: Final = 4
_NEVER_SENT: Final = 1006
_CUT: Final = -1
_BROKEN: Final = -2


class FrameWatch:
    """Follows the frames of one client through its byte stream."""

    __slots__ = ("_head", "_open", "_skip")

    def __init__(self) -> None:
        self._skip = 0
        self._head = b""
        self._open = False

    def good_bytes(self, data: bytes) -> int:
        """How many of these bytes may be read: all of them, or those before the frame that breaks a rule.

        After a broken rule nothing more may be asked.
        """
        at = self._skip
        end = len(data)
        if at >= end:  # within a payload
            self._skip = at - end
            return end
        before = len(self._head)
        if before:
            data = self._head + data
            self._head = b""
        while at < len(data):
            behind = self._frame(data, at)
            if behind == _BROKEN:
                return max(0, at - before)
            if behind == _CUT:
                self._head = data[at:]
                at = len(data)
            else:
                at = behind
        self._skip = at - len(data)
        return end

    def _frame(self, data: bytes, at: int) -> int:
        """Index behind the frame that begins at `at`; _CUT: its header is not all there; _BROKEN."""
        end = len(data)
        if end - at < 2:
            return _CUT
        first, length = data[at], data[at + 1]
        if length < _MASKED:
            return _BROKEN
        length &= 0x7F
        body = at + 2 + _MASK_BYTES
        if length >= 126:
            body += 2 if length == 126 else 8
            if end < body - _MASK_BYTES:
                return _CUT
            length = int.from_bytes(data[at + 2 : body - _MASK_BYTES], "big")
        opcode = first & 0x0F
        if opcode < _FIRST_CONTROL:
            if (opcode == 0) is not self._open:
                return _BROKEN
            self._open = first < _FINAL
        elif opcode == _CLOSE and length >= 2:
            if end < body + 2:
                return _CUT
            code = (data[body] ^ data[body - 4]) << 8 | data[body + 1] ^ data[body - 3]
            if code == _NEVER_SENT:
                return _BROKEN
        return body + length


class _WatchedReader:
    """aiohttp's reader behind a `FrameWatch`."""

    __slots__ = ("_broken", "_reader", "_watch")

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._watch = FrameWatch()
        self._broken = False

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if self._broken:
            return True, b""
        good = self._watch.good_bytes(data)
        if good == len(data):
            answer: tuple[bool, bytes] = self._reader.feed_data(data)
            return answer
        self._broken = True
        self._reader.feed_data(data[:good])
        if self._reader.queue.exception() is None:
            self._reader.queue.set_exception(WebSocketError(WSCloseCode.PROTOCOL_ERROR, "RFC 6455"))
        return True, b""


class WatchedHandler(web.RequestHandler):
    """aiohttp's HTTP connection, whose WebSocket is watched."""

    __slots__ = ()

    def set_parser(self, parser: Any, data_received_cb: Any = None) -> None:
        """The connection has become a WebSocket."""
        super().set_parser(_WatchedReader(parser), data_received_cb)  # type: ignore[arg-type]  # its two methods
