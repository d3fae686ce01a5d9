"""The yardstick: a server on the relay's WebSocket library that forwards messages and does nothing else.

Connections of one path are one room; each message goes to the others in the room as it came. No frames, no
numbers, no store, no limits. Run as `python -m clients.bench.bare_server`; prints its port.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from clients.bench.processes import raise_descriptor_limit

_Rooms = dict[str, list[WSTransport]]


class Member(WSListener):
    """One connection.

    Args:
        rooms: who is in which room.
        room: this connection's.
    """

    def __init__(self, rooms: _Rooms, room: str) -> None:
        self._rooms = rooms
        self._room = room

    def on_ws_connected(self, transport: WSTransport) -> None:
        """It enters."""
        self._rooms.setdefault(self._room, []).append(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """It says something."""
        if frame.msg_type is WSMsgType.BINARY:
            message = frame.get_payload_as_bytes()
            for other in self._rooms[self._room]:
                if other is not transport:
                    other.send(WSMsgType.BINARY, message)
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """It leaves."""
        self._rooms[self._room].remove(transport)


async def serve() -> None:
    """Listen on a free port until SIGTERM."""
    raise_descriptor_limit()
    logging.getLogger("picows").setLevel(logging.CRITICAL)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    rooms: _Rooms = {}

    def enter(request: WSUpgradeRequest) -> Member:
        return Member(rooms, request.path.decode("ascii"))

    listener = await ws_create_server(enter, "127.0.0.1", 0, backlog=1024)
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
