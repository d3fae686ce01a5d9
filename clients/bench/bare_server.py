"""The yardstick: a server on the same WebSocket library that forwards messages and does nothing else.

Connections of one path are one room; each message goes to the others in the room as it came. No frames, no
numbers, no store, no limits. Run as `python -m clients.bench.bare_server`; prints its port.
"""

from __future__ import annotations

import asyncio
import gc
import signal

from aiohttp import WSMsgType, web

from clients.bench.processes import raise_descriptor_limit


class Rooms:
    """Who is in which room."""

    def __init__(self) -> None:
        self._rooms: dict[str, set[web.WebSocketResponse]] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One connection."""
        socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 17)
        await socket.prepare(request)
        room = self._rooms.setdefault(request.path, set())
        room.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    for other in room:
                        if other is not socket:
                            await other.send_bytes(message.data)
        finally:
            room.discard(socket)
        return socket


async def serve() -> None:
    """Listen on a free port until SIGTERM."""
    raise_descriptor_limit()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    server = web.Server(Rooms().handle, access_log=None)
    listener = await loop.create_server(server, "127.0.0.1", 0, backlog=1024)
    gc.collect()
    gc.freeze()
    print(f"listening on http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", flush=True)
    await stopping.wait()
    listener.close()


def main() -> None:
    """Run on uvloop where there is one, as the relay does."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve())
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
