"""Health and metrics for the operator: an HTTP port of its own on 127.0.0.1, and nowhere else.

* `GET /health/live`: the event loop turns.
* `GET /health/ready`: devices are served: 200, or 503 with `draining` or `store` (it failed within the last
  minute, or does not answer in time).
* `GET /metrics`: see `metrics`.

The public port has neither. Whoever has an account on the machine can ask; there is nothing about anybody.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from aiohttp import web

from chatserver.metrics import CONTENT_TYPE, Disk, Metrics
from chatserver.relay import Relay
from chatserver.server import Door, Listener
from chatserver.store.errors import StoreError

HOST: Final = "127.0.0.1"

FAILURE_SECONDS: Final = 60.0
"""For so long after a failure of the store the relay does not call itself ready."""

STORE_ANSWER_SECONDS: Final = 5.0

_HEADERS: Final = {"Server": "amanat", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class OperatorServer:
    """`start`, then `stop`; in between `sweep` once a second."""

    def __init__(self, relay: Relay, store: Path) -> None:
        self._relay = relay
        self._door = Door(relay)
        self._metrics = Metrics(relay, lambda: disk_of(store))
        self._server: asyncio.Server | None = None
        self._listener: Listener | None = None

    async def start(self, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the port is in use.
        """
        loop = asyncio.get_running_loop()
        self._listener = Listener(self._handle, self._door, self._relay.config.times.handshake_seconds)
        self._server = await loop.create_server(self._listener, HOST, port)
        return int(self._server.sockets[0].getsockname()[1])

    def sweep(self) -> None:
        """Cut off who is late, and take the figures when the hour is over."""
        self._door.sweep()
        self._metrics.sweep()

    async def stop(self) -> None:
        """Close."""
        if self._server is None or self._listener is None:
            return
        self._server.close()
        await self._listener.shutdown(0.0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is not None:
            self._door.extend(request.protocol, request.transport, self._relay.config.times.http_seconds)
        if request.method != "GET":
            return _answer(405)
        match request.path:
            case "/health/live":
                return _answer(200, b"ok\n")
            case "/health/ready":
                trouble = await self._trouble()
                return _answer(503, trouble) if trouble else _answer(200, b"ok\n")
            case "/metrics":
                return web.Response(
                    body=self._metrics.render(), headers={**_HEADERS, "Content-Type": CONTENT_TYPE}
                )
            case _:
                return _answer(404)

    async def _trouble(self) -> bytes:
        if self._relay.draining:
            return b"draining\n"
        failed_at = self._relay.store_failed_at
        if failed_at is not None and self._relay.clock.monotonic() - failed_at < FAILURE_SECONDS:
            return b"store\n"
        try:
            async with asyncio.timeout(STORE_ANSWER_SECONDS):
                # The finest bucket there is: it goes the way of every request, and reads next to nothing.
                await self._relay.store.bundles(bits=32, prefix=0)
        except (StoreError, TimeoutError):
            return b"store\n"
        return b""


def disk_of(store: Path) -> Disk:
    """Sizes of the store's files and of the room beside them; zeros where they cannot be read."""
    try:
        used = sum(entry.stat().st_size for entry in os.scandir(store) if entry.is_file())
        room = os.statvfs(store)
    except OSError:
        return Disk(used=0, free=0)
    return Disk(used=used, free=room.f_bavail * room.f_frsize)


def _answer(status: int, body: bytes = b"") -> web.Response:
    headers = {**_HEADERS, "Content-Type": "text/plain"}
    if status == 405:  # RFC 9110 section 15.5.6
        headers["Allow"] = "GET"
    return web.Response(status=status, body=body, headers=headers)
