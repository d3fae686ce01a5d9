"""The relay's end of a WebSocket: picows finds and unmasks the frames, this module holds it to RFC 6455.

Three seams meet here. Towards the byte stream there is `Framing`, picows's protocol with bounds: it reads at
most READ_BYTES at once, so that its buffer stays within BUFFER_BYTES whatever a peer sends; what is said in
answer to one reading goes out in one write per connection. Towards picows there is `WebSocket`, its listener:
it joins fragments and refuses what picows leaves to its user (reserved bits, fragments out of order, messages
too long). Towards the relay there is `Messages`: whole messages are pushed, without a task or a queue.

What the peer wrote into its handshake never reaches picows (`upgrade.canonical_request`), and picows's log
goes nowhere: it would name lengths, codes and payloads of a peer.

What a peer is told: 1002 for a breach of RFC 6455 (unmasked frames among them, section 5.1), 1007 for a
reason of CLOSE that is no UTF-8, 1009 for a message longer than MAX_MESSAGE_BYTES, which is refused at its
header and never stored. A CLOSE is answered by 1000, or by 1002 where its code is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # its stubs leave it out

from chatserver.sender import Flusher
from chatserver.upgrade import Upgrade, canonical_request
from chatserver.wire import limits

MAX_MESSAGE_BYTES: Final = 2 * limits.MAX_PUBLISH_FRAME_BYTES
"""Longer messages are cut off unread (close code 1009); those between get FAILED(BAD_SIZE)."""

CLOSE_SECONDS: Final = 2.0
"""How long a peer may take to answer a CLOSE, and to read what came before it."""

READ_BYTES: Final = 49_152
"""Read at once from one connection."""

BUFFER_BYTES: Final = 131_072
"""The buffer is doubled when nine tenths are in use: one unfinished frame and one reading fit into this."""

_FIRST_BUFFER_BYTES: Final = 2_048
"""Of a connection that has said nothing yet; what follows grows with use."""

BINARY: Final = WSMsgType.BINARY
"""Looked up for every frame."""
_PROTOCOL_ERROR, _TOO_BIG = 1002, 1009
_NEVER_SENT: Final = frozenset({WSCloseCode.NO_INFO, WSCloseCode.ABNORMAL_CLOSURE})
"""0 and 1006: picows takes them off the wire, section 7.4 does not."""


class Messages(Protocol):
    """Who gets what comes in; see `chatserver.peer.Peer`."""

    def take(self, message: memoryview | bytes) -> None:
        """A whole binary message; a view of it dies with the call."""
        ...

    def take_text(self) -> None:
        """A whole text message."""
        ...

    def take_ping(self, payload: bytes) -> None:
        """A PING, to be answered."""
        ...

    def heard(self) -> None:
        """Something came that needs no answer."""
        ...

    def hang_up(self) -> None:
        """The peer has said CLOSE; `WebSocket.close` is to be called once all before it is answered."""
        ...

    def over(self) -> None:
        """Nothing comes any more, and nothing can be sent. Called once."""
        ...

    def drained(self) -> None:
        """There is room for writing again."""
        ...


class _Silence:
    """A log that is none; picows makes no children of it."""

    def isEnabledFor(self, _level: int) -> bool:  # noqa: N802 (the name in `logging`)
        return False

    def _nothing(self, *_args: object, **_kwargs: object) -> None:
        return

    debug = info = warning = error = exception = log = _nothing


_SILENCE: Final = _Silence()


class WebSocket(WSListener):
    """One connection after its handshake; `chatserver.peer.Socket`.

    Args:
        transport: the byte stream, with TLS or without.
        gone: told once the byte stream is over.

    Attributes:
        transport: the byte stream.
        messages: who gets what comes; to be set before the first byte is fed.
        closed: CLOSE was sent; nothing else may be.
    """

    __slots__ = ("_fragments", "_gone", "_is_text", "_over", "_picows", "closed", "messages", "transport")

    def __init__(
        self, transport: asyncio.Transport, gone: Callable[[WebSocket], None] = lambda _socket: None
    ) -> None:
        self.transport = transport
        self._gone = gone
        self.messages: Messages | None = None
        self.closed = False
        self._picows: WSTransport | None = None
        self._fragments: bytearray | None = None
        self._is_text = False
        self._over = False

    # -- for the relay --------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Read nothing more from the peer; what is in the buffer already still comes."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self, code: int) -> None:
        """Close in order: CLOSE now, the end when the peer has answered, at the latest after CLOSE_SECONDS.

        Who does not read what is still on its way loses it: a closed connection counts against no limit any
        more, so it may hold nothing.
        """
        if self.closed or self._picows is None:
            return
        self.closed = True
        self._picows.send_close(WSCloseCode(code))
        self._end()

    # -- for picows -----------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self._picows = transport

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        """A frame, unmasked, its opcode, its mask and its length judged."""
        kind = frame.msg_type
        if self.closed:
            if kind is WSMsgType.CLOSE:
                self.transport.close()
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(_PROTOCOL_ERROR)
            return
        messages = self.messages
        if messages is None:
            return
        if kind is BINARY and frame.fin and self._fragments is None:
            messages.take(frame.get_payload_as_memoryview())
        elif kind is WSMsgType.PING:
            messages.take_ping(frame.get_payload_as_bytes())
        elif kind is WSMsgType.CLOSE:
            if frame.payload_size and frame.get_close_code() in _NEVER_SENT:
                self._fail(_PROTOCOL_ERROR)
            else:
                messages.hang_up()
        elif kind is WSMsgType.PONG:
            messages.heard()
        else:
            self._fragment(messages, kind, frame)

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """The byte stream is over."""
        self._gone(self)
        self.finish()

    def pause_writing(self) -> None:
        """asyncio: more than the high-water mark waits; the sender looks for itself."""

    def resume_writing(self) -> None:
        """asyncio: there is room again."""
        if self.messages is not None:
            self.messages.drained()

    def finish(self) -> None:
        """Say once that it is over."""
        self.closed = True
        if not self._over:
            self._over = True
            if self.messages is not None:
                self.messages.over()
            self.messages = None

    def broken(self) -> None:
        """There was a breach of RFC 6455, and picows has sent CLOSE."""
        if not self.closed:
            self.closed = True
            self._end()

    # -- within ---------------------------------------------------------------------------------------------

    def _end(self) -> None:
        close = self._picows.close_handshake if self._picows is not None else None
        if close is not None and close.recv is not None:
            self.transport.close()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.transport.abort)
        self.finish()

    def _fail(self, code: int) -> None:
        """Section 7.1.7: say why and close without waiting for an answer."""
        self.close(code)
        self.transport.close()

    def _fragment(self, messages: Messages, kind: WSMsgType, frame: WSFrame) -> None:
        """Section 5.4."""
        if (kind is WSMsgType.CONTINUATION) != (self._fragments is not None):
            self._fail(_PROTOCOL_ERROR)
            return
        if self._fragments is None:
            self._fragments = bytearray()
            self._is_text = kind is WSMsgType.TEXT
        if len(self._fragments) + frame.payload_size > MAX_MESSAGE_BYTES:
            self._fail(_TOO_BIG)
            return
        self._fragments += frame.get_payload_as_memoryview()
        if not frame.fin:
            messages.heard()
            return
        whole, self._fragments = bytes(self._fragments), None
        if self._is_text:
            messages.take_text()
        else:
            messages.take(whole)


class Framing(WSProtocol):  # type: ignore[misc]  # picows is compiled
    """picows's protocol for one connection whose handshake was judged already.

    Args:
        socket: what listens.
        flusher: of all that may be said in answer.
        headers: further fields of the answer 101.
    """

    def __init__(self, socket: WebSocket, flusher: Flusher, headers: dict[str, str]) -> None:
        def listen(_request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), socket)

        super().__init__(
            None,
            None,
            False,  # the server's side
            listen,
            _SILENCE,
            False,  # an exception of ours is the peer's to handle, not picows's
            None,
            False,  # no PING of its own
            1,
            1,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # PING is answered by `Messages`, within its bounds
            MAX_MESSAGE_BYTES,
            None,
            _FIRST_BUFFER_BYTES,
        )
        self._socket = socket
        self._flusher = flusher
        self._broken = False

    def begin(self, upgrade: Upgrade, rest: bytes) -> None:
        """Take over the byte stream: answer 101, then take what has come already."""
        transport = self._socket.transport
        transport.set_protocol(cast("asyncio.BufferedProtocol", self))
        self.connection_made(transport)
        self.feed(canonical_request(upgrade))
        self.feed(rest)

    def feed(self, data: bytes) -> None:
        """Take bytes that were read elsewhere."""
        while data:
            room = self.get_buffer(-1)
            count = min(len(data), len(room))
            room[:count] = data[:count]
            self.buffer_updated(count)
            data = data[count:]

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio: where to read to."""
        room: Any = super().get_buffer(sizehint)
        return cast("memoryview", room[:READ_BYTES])

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: so much was read."""
        if self._broken:  # not counted, so that the next reading overwrites it
            return
        flusher = self._flusher
        flusher.hold()
        super().buffer_updated(nbytes)
        if self.transport.is_close_frame_sent and not self._socket.closed:
            self._broken = True
            self._socket.broken()  # before flushing: nothing may follow the CLOSE that picows has sent
        flusher.flush()
