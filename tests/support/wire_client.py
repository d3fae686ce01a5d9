"""A client that speaks the wire to a relay in another process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import websockets

from chatserver.wire.limits import SUBPROTOCOL
from support.relay import Client
from support.relay_process import RelayProcess


@contextlib.asynccontextmanager
async def client_of(process: RelayProcess, *, greet: bool = True) -> AsyncIterator[Client]:
    """A connection; it has said HELLO unless told otherwise."""
    async with websockets.connect(
        process.url.replace("http", "ws", 1) + "/v1/ws",
        subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
        compression=None,
        max_size=1 << 20,
        ping_interval=None,
        close_timeout=1,
    ) as socket:
        client = Client(socket)
        if greet:
            await client.greet()
        yield client
