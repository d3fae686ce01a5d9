"""What a load generator is told to do, and the frames that all of them write."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import struct
from dataclasses import dataclass
from typing import Final

from chatserver.wire import frames as f
from chatserver.wire.limits import (
    BODY_BYTES,
    NO_INCARNATION,
    SUBPROTOCOL,
    WEBSOCKET_PATH,
    ChannelClass,
)
from clients.bench.raw_socket import RawSocket, masked_frame

NUMBER: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do.

    Attributes:
        target: "relay" or "bare".
        port: where the server listens.
        pid: the server's process, to read its processor time and memory.
        kind: "exchange", "idle" or "drain".
        cls: class of channel.
        cell_bytes: size of a message's body.
        pairs: pairs of connections; for "idle" the number of connections, for "drain" of cells that
            wait.
        window: messages of one pair under way.
        rate: messages a second of all pairs together; 0 means as many as go.
        seconds: of measuring, after `warm_seconds`.
    """

    target: str
    port: int
    pid: int
    kind: str = "exchange"
    cls: int = 2
    cell_bytes: int = 2_048
    pairs: int = 16
    window: int = 16
    rate: int = 0
    seconds: float = 3.0
    warm_seconds: float = 0.5


def job_argument(job: Job) -> str:
    """The job as the one argument of `python -m clients.bench.load`."""
    return json.dumps(dataclasses.asdict(job))


def attach_frame(cls: ChannelClass, key: bytes, side: int, request: int = 1) -> bytearray:
    """An ATTACH of one of the two readers, ready to be written."""
    attach = f.Attach(
        request=request,
        cls=cls,
        readers=2,
        k=key,
        token=bytes([side]) * 32,
        incarnation=NO_INCARNATION,
        position=0,
    )
    return masked_frame(attach.encode())


def deposit_frame(cls: ChannelClass, key: bytes, cell_bytes: int) -> bytearray:
    """A DEPOSIT, whose numbers `number_deposit` fills in. Built by hand: the size may be another one (R2)."""
    head = f.Deposit(
        request=0, cls=cls, readers=2, k=key, deposit_id=bytes(16), close=False, body=bytes(BODY_BYTES[cls])
    ).encode()[: -BODY_BYTES[cls]]
    return masked_frame(head + bytes(cell_bytes))


def number_deposit(frame: bytearray, body_at: int, number: int) -> None:
    """Fill in the request and the deposit id, at their places in DEPOSIT."""
    frame[body_at - 55 : body_at - 51] = NUMBER.pack(number)
    frame[body_at - 17 : body_at - 13] = NUMBER.pack(number)


async def hello(port: int) -> RawSocket:
    """A connection to the relay that has said HELLO."""
    socket = await RawSocket.open(port, WEBSOCKET_PATH, SUBPROTOCOL)
    greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    socket.on_message = lambda _data, _start, _end: greeted.set_result(None)
    socket.write(masked_frame(f.Hello(version=1).encode()))
    await asyncio.wait_for(greeted, 30)
    return socket
