"""Loads that fill the store: cells that wait for a reader, channels that do nothing."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any, Final

from chatserver.wire import frames as f
from chatserver.wire.limits import ChannelClass
from clients.bench.jobs import NUMBER, Job, attach_frame, deposit_frame, hello, number_deposit
from clients.bench.processes import cpu_seconds
from clients.bench.raw_socket import BenchFailed, masked_frame

DRAIN_ACK_EVERY: Final = 100
DRAIN_WINDOW: Final = 64
FILL_CONNECTIONS: Final = 4
FILL_WINDOW: Final = 60
JOB_SECONDS: Final = 1_200.0
"""The longest that draining or filling may take."""


async def drain(job: Job) -> dict[str, Any]:
    """Let cells of class `stored` wait, then come back as a reader and take and acknowledge them all."""
    per_channel = 1_000
    keys = [
        hashlib.sha256(f"drain {number} {time.time_ns()}".encode()).digest()
        for number in range(-(-job.pairs // per_channel))
    ]
    waiting = len(keys) * per_channel
    await _deposit_all(job, keys, per_channel)
    seen = dict.fromkeys(range(1, len(keys) + 1), 0)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    reader = await hello(job.port)

    def take(data: bytes, start: int, _end: int) -> None:
        if data[start] != f.Cell.TYPE:
            return
        handle = NUMBER.unpack_from(data, start + 1)[0]
        seen[handle] += 1
        if seen[handle] % DRAIN_ACK_EVERY == 0:
            ack = f.Ack(request=(handle << 16) + seen[handle], handle=handle, seq=seen[handle])
            reader.write(masked_frame(ack.encode()))
        if sum(seen.values()) == waiting and not done.done():
            done.set_result(None)

    reader.on_message = take
    cpu, start = cpu_seconds(job.pid), time.perf_counter()
    for number, key in enumerate(keys):
        reader.write(attach_frame(ChannelClass.STORED, key, 0, request=number + 1))
    await asyncio.wait_for(done, JOB_SECONDS)
    elapsed, cpu = time.perf_counter() - start, cpu_seconds(job.pid) - cpu
    reader.close()
    return {
        "cells": waiting,
        "seconds": round(elapsed, 3),
        "messages_per_second": round(waiting / elapsed, 1),
        "server_cpu_us_per_message": round(cpu / waiting * 1e6, 2),
    }


async def _deposit_all(job: Job, keys: list[bytes], per_channel: int) -> None:
    """Deposit so many cells into each channel, from a connection that is attached to none."""
    socket = await hello(job.port)
    frames = [deposit_frame(ChannelClass.STORED, key, job.cell_bytes) for key in keys]
    total, sent, answered, refused = len(keys) * per_channel, 0, 0, 0
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send() -> None:
        nonlocal sent
        frame = frames[sent % len(frames)]
        sent += 1
        number_deposit(frame, len(frame) - job.cell_bytes, sent)
        socket.write(bytes(frame))

    def answer(data: bytes, start: int, _end: int) -> None:
        nonlocal answered, refused
        answered += 1
        refused += data[start] != f.Stored.TYPE
        if sent < total:
            send()
        elif answered == total:
            done.set_result(None)

    socket.on_message = answer
    for _ in range(min(DRAIN_WINDOW, total)):
        send()
    await asyncio.wait_for(done, JOB_SECONDS)
    socket.close()
    if refused:
        raise BenchFailed(f"the relay refused {refused} deposits of the benchmark")


async def fill(job: Job) -> dict[str, Any]:
    """Make channels of class `stored` that then exist in the store and do nothing."""
    start = time.perf_counter()
    share = -(-job.pairs // FILL_CONNECTIONS)
    await asyncio.gather(*(_fill_some(job, number, share) for number in range(FILL_CONNECTIONS)))
    elapsed = time.perf_counter() - start
    return {"channels": share * FILL_CONNECTIONS, "seconds": round(elapsed, 1)}


async def _fill_some(job: Job, connection: int, count: int) -> None:
    socket = await hello(job.port)
    attached = f.Attached.TYPE
    sent = answered = 0
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    salt = f"fill {connection} {time.time_ns()} ".encode()

    def send() -> None:
        nonlocal sent
        sent += 1
        key = hashlib.sha256(salt + NUMBER.pack(sent)).digest()
        socket.write(attach_frame(ChannelClass.STORED, key, 0, request=sent))

    def answer(data: bytes, start: int, end: int) -> None:
        nonlocal answered
        if data[start] == attached:
            frame = f.decode_server(data[start:end])
            if isinstance(frame, f.Attached):
                detach = f.Detach(request=frame.request + (1 << 30), handle=frame.handle)
                socket.write(masked_frame(detach.encode()))
            return
        answered += 1
        if data[start] != f.Done.TYPE:
            done.set_exception(BenchFailed("the relay did not make a channel of the benchmark"))
        elif answered == count:
            done.set_result(None)
        elif sent < count:
            send()

    socket.on_message = answer
    for _ in range(min(FILL_WINDOW, count)):
        send()
    await asyncio.wait_for(done, JOB_SECONDS)
    socket.close()
