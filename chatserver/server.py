"""The relay's sockets: one port for WebSockets and for two small GETs, and nothing else.

* `/v1/ws`, subprotocol `amanat.v1`: picows (`websocket`), no extension (PITFALLS: compression leaks).
* `GET /v1/bundles/{bits}/{prefix_hex}`: a bucket of contact bundles (DESIGN section 6), by aiohttp.
* `GET /v1/health`: says that the relay runs, and nothing about anybody, by aiohttp.

`Front` reads the beginning of every connection and hands it on, once: to the one library or to the other
(ADR 0041). Hence every answer of a GET closes its connection: what follows could not change sides any more.

There is no access log, no Server header with versions, no cookie. A TCP connection that has not become a
WebSocket in time, or does not finish its HTTP request in time, is cut off, whatever it was doing (`Door`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, cast

import aiofastnet
from aiohttp import web

from chatserver.rates import AddressRecord
from chatserver.relay import Relay
from chatserver.sender import frame_head
from chatserver.store.errors import StoreError
from chatserver.turns import Turns
from chatserver.upgrade import END, MAX_HEAD_BYTES, NoUpgrade, Upgrade, read_head, wants_upgrade
from chatserver.websocket import CLOSE_SECONDS, Framing, WebSocket
from chatserver.wire import limits
from chatserver.wire.errors import ErrorCode
from chatserver.wire.frames import Failed

PIECE_BYTES: Final = 32_768
"""A bucket is written in pieces of this size, each when the one before it has gone."""

BACKLOG: Final = 1_024
"""Connections that the kernel keeps until they are accepted."""

_HEADERS: Final = {"Server": "amanat", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_UPGRADE_HEADERS: Final = {"Server": "amanat", "Sec-WebSocket-Protocol": limits.SUBPROTOCOL}
_BAD_REQUEST: Final = (
    "HTTP/1.1 400 Bad Request\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
    + "Content-Type: application/octet-stream\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
).encode("ascii")
_TRY_LATER: Final = 1013


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
        if connection in self._waiting:
            return
        if len(self._waiting) >= self._relay.config.limits.connections:
            transport.abort()
            return
        self.extend(connection, transport, self._relay.config.times.handshake_seconds)

    def extend(self, connection: object, transport: asyncio.Transport, seconds: float) -> None:
        """It may go on for some seconds from now."""
        self._waiting[connection] = (transport, self._relay.clock.monotonic() + seconds)

    def replace(self, old: object, new: object) -> None:
        """The same TCP connection under another name, its deadline unchanged."""
        waiting = self._waiting.pop(old, None)
        if waiting is not None:
            self._waiting[new] = waiting

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

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Somebody comes."""
        super().connection_made(handler, transport)
        self._door.enter(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Somebody goes."""
        self._door.leave(handler)
        super().connection_lost(handler, exc)


class Front(asyncio.Protocol):
    """The beginning of one connection: reads until it is known whose it is, then hands it on."""

    def __init__(self, server: RelayServer) -> None:
        self._server = server
        self._begun = b""
        self._known = False
        self._gone = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: somebody comes."""
        # uvloop's transports are no subclasses of asyncio's, so there is nothing to ask them.
        self._transport = cast("asyncio.Transport", transport)
        self._server.door.enter(self, self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's name)
        """asyncio: gone before anything was known."""
        self._server.door.leave(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: look at what has come."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        begun = self._begun = self._begun + data
        if self._known:
            return
        upgrade = wants_upgrade(begun)
        if upgrade is None:
            return
        if upgrade and begun.find(END, 0, MAX_HEAD_BYTES) < 0:
            if len(begun) >= MAX_HEAD_BYTES:
                self._refuse(transport)
            return
        self._known = True
        self._server.turns.do(self._hand_on)
        if not self._gone:
            transport.pause_reading()

    def _hand_on(self) -> bool:
        """Its turn has come; whether it is still there."""
        self._gone = True
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if not transport.is_reading():
            transport.resume_reading()
        begun = self._begun
        if wants_upgrade(begun):
            end = begun.find(END, 0, MAX_HEAD_BYTES)
            self._upgrade(transport, begun[:end], begun[end + len(END) :])
        else:
            self._server.take_http(self, transport, begun)
        return True

    def _upgrade(self, transport: asyncio.Transport, head: bytes, rest: bytes) -> None:
        try:
            upgrade = read_head(head)
        except NoUpgrade:
            self._refuse(transport)
            return
        self._server.take_websocket(self, transport, upgrade, rest)

    @staticmethod
    def _refuse(transport: asyncio.Transport) -> None:
        transport.write(_BAD_REQUEST)
        transport.close()


class RelayServer:
    """The relay on a TCP port. `start`, then `stop`; in between `sweep` once a second."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.door = Door(relay)
        self.turns = Turns()
        self._server: asyncio.Server | None = None
        self._listener: Listener | None = None
        self._sockets: set[WebSocket] = set()

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
        if tls is None:
            self._server = await aiofastnet.create_server(
                loop, lambda: Front(self), host, port, backlog=BACKLOG
            )
        else:
            self._server = await loop.create_server(
                lambda: Front(self),
                host,
                port,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=self.relay.config.times.handshake_seconds,
                ssl_shutdown_timeout=CLOSE_SECONDS,
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
        loop = asyncio.get_running_loop()
        latest = loop.time() + CLOSE_SECONDS
        while self._sockets and loop.time() < latest:  # noqa: ASYNC110 (once, at the end, and bounded)
            await asyncio.sleep(0.01)
        for socket in tuple(self._sockets):
            socket.transport.abort()

    # -- connections ----------------------------------------------------------------------------------------

    def take_http(self, front: Front, transport: asyncio.Transport, begun: bytes) -> None:
        """A connection that is none for the WebSocket is aiohttp's."""
        if self._listener is None:
            transport.abort()
            return
        handler = self._listener()
        self.door.replace(front, handler)
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(begun)

    def take_websocket(
        self, front: Front, transport: asyncio.Transport, upgrade: Upgrade, rest: bytes
    ) -> None:
        """A connection that is to be a WebSocket."""
        self.door.leave(front)
        transport.set_write_buffer_limits(high=self.relay.config.limits.queued_kib * 1024)
        socket = WebSocket(transport, self._sockets.discard)
        framing = Framing(socket, self.relay.flusher, _UPGRADE_HEADERS)
        peer = (transport.get_extra_info("peername") or ("",))[0]
        address, onion = self.relay.address_of(peer, list(upgrade.forwarded_for))
        self._sockets.add(socket)
        if self.relay.full(address):
            self.relay.tally.connections_refused += 1
            framing.begin(upgrade, b"")
            failed = Failed(code=ErrorCode.TOO_MANY_CONNECTIONS).encode()
            transport.write(frame_head(len(failed)) + failed)
            socket.close(_TRY_LATER)
            return
        socket.messages = self.relay.enter(socket, address, onion=onion)
        framing.begin(upgrade, rest)

    # -- requests -------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self._answer(request)
        answer.force_close()
        return answer

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is None:
            return _answer(400)
        self.door.extend(request.protocol, request.transport, self.relay.config.times.http_seconds)
        if request.method != "GET":
            return _answer(405)
        if request.path == limits.HEALTH_PATH:
            return _answer(503 if self.relay.draining else 200, b"ok\n")
        if request.path.startswith(limits.BUNDLES_PATH + "/"):
            return await self._bundles(request)
        return _answer(400 if request.path == limits.WEBSOCKET_PATH else 404)

    def _address(self, request: web.BaseRequest) -> tuple[AddressRecord | None, bool]:
        return self.relay.address_of(request.remote or "", request.headers.getall("X-Forwarded-For", []))

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
    response.force_close()
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
