"""The relay's sockets: aiohttp, one WebSocket endpoint, two small GETs, and nothing else.

* `/v1/ws`, subprotocol `amanat.v1`: compression off (PITFALLS: side channel, memory), binary messages, one
  task group per connection.
* `GET /v1/bundles/{bits}/{prefix_hex}`: a bucket of contact bundles (DESIGN section 6).
* `GET /v1/health`: says that the relay runs, and nothing about anybody.

There is no access log, no Server header with versions, no cookie. A TCP connection that has not said HELLO in
time, or does not finish its HTTP request in time, is cut off, whatever it was doing (`Door`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from chatserver.frame_watch import WatchedHandler
from chatserver.peer import Kind
from chatserver.rates import AddressRecord
from chatserver.relay import Relay
from chatserver.sender import Transport
from chatserver.store.errors import StoreError
from chatserver.wire import limits
from chatserver.wire.errors import ErrorCode
from chatserver.wire.frames import Failed

MAX_MESSAGE_BYTES: Final = 2 * limits.MAX_PUBLISH_FRAME_BYTES
"""The library cuts off longer messages unread (close code 1009); those between get FAILED(BAD_SIZE)."""

CLOSE_SECONDS: Final = 2.0
"""How long a peer may take to answer a WebSocket CLOSE."""

PIECE_BYTES: Final = 32_768
"""A bucket is written in pieces of this size, each when the one before it has gone."""

_HEADERS: Final = {"Server": "amanat", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_KINDS: Final = {
    WSMsgType.BINARY: Kind.BINARY,
    WSMsgType.TEXT: Kind.TEXT,
    WSMsgType.PING: Kind.ALIVE,
    WSMsgType.PONG: Kind.ALIVE,
}


def websocket_response() -> web.WebSocketResponse:
    """The relay's end of a WebSocket, before its handshake."""
    return web.WebSocketResponse(
        protocols=(limits.SUBPROTOCOL,),
        compress=False,
        autoping=False,
        autoclose=False,  # the answers to what came before a CLOSE go out before ours
        timeout=CLOSE_SECONDS,
        max_msg_size=MAX_MESSAGE_BYTES,
        decode_text=False,
    )


class AiohttpSocket:
    """A `chatserver.peer.Socket` on aiohttp's WebSocket."""

    __slots__ = ("_socket", "_writer", "transport")

    def __init__(
        self, socket: web.WebSocketResponse, writer: AbstractStreamWriter, transport: asyncio.Transport
    ) -> None:
        self._socket = socket
        self._writer = writer
        self.transport: Transport = transport

    async def receive(self) -> tuple[Kind, bytes]:
        """The next message; a PING is answered first."""
        message = await self._socket.receive()
        kind = _KINDS.get(message.type, Kind.OVER)
        if message.type is WSMsgType.PING:
            await self._socket.pong(message.data)
        return kind, message.data if kind is Kind.BINARY else b""

    async def drain(self) -> None:
        """Wait until the transport has room again."""
        await self._writer.drain()

    async def close(self, code: int) -> None:
        """Close in order; a connection that is lost is closed.

        Who does not read what is still on its way loses it after CLOSE_SECONDS: a closed connection counts
        against no limit any more, so it may hold nothing.
        """
        try:
            await self._socket.close(code=code, drain=False)
        except OSError:
            return
        finally:
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.transport.abort)


class Door:
    """Cuts off TCP connections that stay at the door: no HELLO, no finished HTTP request, too many at all.

    aiohttp has no time limit for the head of a request, so the door stands before it: every connection has a
    deadline until it becomes a peer, which has time limits of its own.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._waiting: dict[object, tuple[asyncio.Transport, float]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, connection: object, transport: asyncio.Transport) -> None:
        """A TCP connection was made."""
        if len(self._waiting) >= self._relay.config.limits.connections:
            transport.abort()
            return
        self.extend(connection, transport, self._relay.config.times.handshake_seconds)

    def extend(self, connection: object, transport: asyncio.Transport, seconds: float) -> None:
        """It may go on for some seconds from now."""
        self._waiting[connection] = (transport, self._relay.clock.monotonic() + seconds)

    def leave(self, connection: object) -> None:
        """It is a peer now, or it is gone."""
        self._waiting.pop(connection, None)

    def sweep(self) -> None:
        """Cut off whoever is late."""
        now = self._relay.clock.monotonic()
        late = [connection for connection, (_, deadline) in self._waiting.items() if deadline < now]
        for connection in late:
            transport, _ = self._waiting.pop(connection)
            transport.abort()


class Listener(web.Server):
    """aiohttp's server, which tells the door who comes and goes. With TLS they come when it is agreed."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        door: Door,
        keepalive_seconds: float,
    ) -> None:
        super().__init__(handler, access_log=None, keepalive_timeout=keepalive_seconds)
        self._door = door
        self._keepalive_seconds = keepalive_seconds

    def __call__(self) -> web.RequestHandler:
        """A connection."""
        loop = asyncio.get_running_loop()
        return WatchedHandler(self, loop=loop, access_log=None, keepalive_timeout=self._keepalive_seconds)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Somebody comes."""
        super().connection_made(handler, transport)
        self._door.enter(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Somebody goes."""
        self._door.leave(handler)
        super().connection_lost(handler, exc)


class RelayServer:
    """The relay on a TCP port. `start`, then `stop`; in between `sweep` once a second."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.door = Door(relay)
        self._server: asyncio.Server | None = None
        self._listener: Listener | None = None

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port.

        Args:
            host: the address to listen on.
            port: the port; 0 for any.
            tls: speak TLS by this context, whose handshake has the time of ours.

        Raises:
            OSError: the address is in use or not ours.
        """
        loop = asyncio.get_running_loop()
        self._listener = Listener(self._handle, self.door, self.relay.config.times.handshake_seconds)
        self._server = await loop.create_server(
            self._listener,
            host,
            port,
            backlog=1024,
            ssl=tls,
            ssl_handshake_timeout=self.relay.config.times.handshake_seconds if tls else None,
            ssl_shutdown_timeout=CLOSE_SECONDS if tls else None,
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def sweep(self) -> None:
        """End what is late."""
        self.door.sweep()
        await self.relay.sweep()

    async def stop(self) -> None:
        """Refuse new connections, drain, and close all that is open."""
        if self._server is None or self._listener is None:
            return
        self._server.close()
        await self.relay.drain()
        await self._listener.shutdown(CLOSE_SECONDS)

    # -- requests -------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            return _answer(400)
        if request.path == limits.WEBSOCKET_PATH and request.method == "GET":
            return await self._websocket(request, transport)
        self.door.extend(request.protocol, transport, self.relay.config.times.http_seconds)
        if request.method != "GET":
            return _answer(405)
        if request.path == limits.HEALTH_PATH:
            return _answer(503 if self.relay.draining else 200, b"ok\n")
        if request.path.startswith(limits.BUNDLES_PATH + "/"):
            return await self._bundles(request)
        return _answer(404)

    def _address(self, request: web.BaseRequest) -> tuple[AddressRecord | None, bool]:
        return self.relay.address_of(request.remote or "", request.headers.getall("X-Forwarded-For", []))

    async def _websocket(self, request: web.BaseRequest, transport: asyncio.Transport) -> web.StreamResponse:
        response = websocket_response()
        ready = response.can_prepare(request)
        if not ready or ready.protocol != limits.SUBPROTOCOL:
            return _answer(400)
        response.headers["Server"] = "amanat"
        writer = await response.prepare(request)
        socket = AiohttpSocket(response, writer, transport)
        address, onion = self._address(request)
        if self.relay.full(address):
            self.relay.tally.connections_refused += 1
            await response.send_bytes(Failed(code=ErrorCode.TOO_MANY_CONNECTIONS).encode())
            await socket.close(1013)
            return response
        self.door.leave(request.protocol)
        transport.set_write_buffer_limits(high=self.relay.config.limits.queued_kib * 1024)
        await self.relay.serve(socket, address, onion=onion)
        return response

    async def _bundles(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = request.path.removeprefix(limits.BUNDLES_PATH + "/").split("/")
        if len(parts) != 2 or not parts[0].isascii() or not parts[0].isdigit() or len(parts[0]) > 2:
            return _answer(404)
        bits = int(parts[0])
        digits = max(1, (bits + 3) // 4)
        # A finer prefix than the relay's would name fewer therapists than it should (DESIGN section 6).
        if bits > self.relay.config.bundles.bucket_bits or len(parts[1]) != digits:
            return _answer(404)
        try:
            prefix = int(parts[1], 16)
        except ValueError:
            return _answer(404)
        if prefix >> bits:
            return _answer(404)
        address, _ = self._address(request)
        if not self.relay.may_fetch(address):
            return _answer(429)
        try:
            bucket = await self.relay.bucket(bits, prefix)
        except StoreError as error:
            self.relay.store_failed(error)
            return _answer(503)
        self.relay.tally.bundle_fetches += 1
        return await _feed(request, bucket)


async def _feed(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    """Answer piece by piece, as fast as the peer reads: a slow one holds a piece or two, and no bucket."""
    response = web.StreamResponse(headers=_HEADERS)
    response.content_type = "application/octet-stream"
    response.content_length = len(body)
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=PIECE_BYTES)
    writer = await response.prepare(request)
    rest = memoryview(body)
    try:
        while rest and writer is not None:
            await writer.write(bytes(rest[:PIECE_BYTES]))
            await writer.drain()
            rest = rest[PIECE_BYTES:]
        await response.write_eof()
    except OSError:  # the peer has gone, or the door has cut it off
        return response
    return response


def _answer(status: int, body: bytes = b"") -> web.Response:
    return web.Response(
        status=status,
        body=body,
        content_type="application/octet-stream",
        headers=_HEADERS | ({"Allow": "GET"} if status == 405 else {}),  # RFC 9110 section 15.5.6
    )
