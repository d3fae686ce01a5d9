"""A load that fills the store: cells that wait for a reader who comes back."""

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
JOB_SECONDS: Final = 1_200.0
"""The longest that draining may take."""


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
