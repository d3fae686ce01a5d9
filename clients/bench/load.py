"""The load generator: a process of its own, `python -m clients.bench.load JOB`, JSON in and JSON out.

A *pair* is two connections: one deposits, the other receives. `window` messages of a pair are under way at
once; when one arrives, the next is sent. With a `rate`, messages leave at even intervals instead and the
window is the most that may be under way. Latency runs from just before a message is written to its arrival at
the other connection, both by the clock of this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from chatserver.wire import frames as f
from chatserver.wire.limits import ChannelClass
from clients.bench.jobs import Job, attach_frame, deposit_frame, hello, number_deposit
from clients.bench.load_store import drain
from clients.bench.processes import cpu_seconds, raise_descriptor_limit, resident_bytes
from clients.bench.raw_socket import BenchFailed, RawSocket, masked_frame

_STAMP: Final = struct.Struct(">Q")
_CELL_HEAD: Final = 14
_BARE_HEAD: Final = 1
ACK_EVERY: Final = 8
"""Class `stored`: both readers acknowledge every so many cells."""


class Pair:
    """One depositor and one receiver."""

    def __init__(self, job: Job, number: int, latencies: list[int]) -> None:
        self._job = job
        self._number = number
        self._latencies = latencies
        self._cls = ChannelClass(job.cls)
        self._head = _CELL_HEAD if job.target == "relay" else _BARE_HEAD
        self._sockets: list[RawSocket] = []
        self._handles = [0, 0]
        self._seen = [0, 0]
        self._requests = 1_000_000
        self._template = bytearray()
        self._stamp_at = 0
        self.received = 0
        self.sent = 0
        self.failed = 0
        self.measuring = False
        self.stopped = False

    async def open(self) -> None:
        """Connect both ends, attach them to a channel of their own."""
        key = hashlib.sha256(f"bench {self._job.cls} {self._number} {time.time_ns()}".encode()).digest()
        for side in (0, 1):
            if self._job.target == "bare":
                self._sockets.append(await RawSocket.open(self._job.port, f"/room/{self._number}"))
            else:
                self._sockets.append(await hello(self._job.port))
                await self._attach(side, key)
        if self._job.target == "bare":
            self._template = masked_frame(b"\x83" + bytes(self._job.cell_bytes))
        else:
            self._template = deposit_frame(self._cls, key, self._job.cell_bytes)
        self._stamp_at = len(self._template) - self._job.cell_bytes
        self._sockets[0].on_message = self._at_depositor
        self._sockets[1].on_message = self._at_receiver

    async def _attach(self, side: int, key: bytes) -> None:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        socket = self._sockets[side]
        socket.on_message = lambda data, start, end: answer.set_result(data[start:end])
        socket.write(attach_frame(self._cls, key, side))
        attached = f.decode_server(await asyncio.wait_for(answer, 30))
        if not isinstance(attached, f.Attached):
            raise BenchFailed("the relay did not attach a connection of the benchmark")
        self._handles[side] = attached.handle

    def send(self, count: int) -> None:
        """Send some messages in one write."""
        frame = self._template
        at = self._stamp_at
        frames = []
        for _ in range(count):
            self.sent += 1
            if self._job.target == "relay":
                number_deposit(frame, at, self.sent)
            frame[at : at + 8] = _STAMP.pack(time.perf_counter_ns())
            frames.append(bytes(frame))
        self._sockets[0].write(b"".join(frames))

    def room(self) -> int:
        """How many more may be under way."""
        return self._job.window - (self.sent - self.received)

    def _at_receiver(self, data: bytes, start: int, _end: int) -> None:
        if data[start] != f.Cell.TYPE:
            self._note(data[start])
            return
        self.received += 1
        if self.measuring:
            sent_at = _STAMP.unpack_from(data, start + self._head)[0]
            self._latencies.append(time.perf_counter_ns() - sent_at)
        self._acknowledge(1)
        if not self.stopped and not self._job.rate:
            self.send(1)

    def _at_depositor(self, data: bytes, start: int, _end: int) -> None:
        if data[start] == f.OwnCell.TYPE:
            self._acknowledge(0)
        else:
            self._note(data[start])

    def _acknowledge(self, side: int) -> None:
        if self._job.target != "relay" or self._cls is not ChannelClass.STORED:
            return
        self._seen[side] += 1
        if self._seen[side] % ACK_EVERY == 0:
            self._requests += 1
            ack = f.Ack(request=self._requests, handle=self._handles[side], seq=self._seen[side])
            self._sockets[side].write(masked_frame(ack.encode()))

    def _note(self, kind: int) -> None:
        if kind in {f.Refused.TYPE, f.Failed.TYPE}:
            self.failed += 1

    def close(self) -> None:
        """Cut both connections."""
        for socket in self._sockets:
            socket.close()


async def exchange(job: Job) -> dict[str, Any]:
    """Let messages flow and measure."""
    latencies: list[int] = []
    pairs = [Pair(job, number, latencies) for number in range(job.pairs)]
    for pair in pairs:
        await pair.open()
    pacing = asyncio.ensure_future(_pace(job, pairs)) if job.rate else None
    if pacing is None:
        for pair in pairs:
            pair.send(job.window)
    await asyncio.sleep(job.warm_seconds)
    before = (_received(pairs), cpu_seconds(job.pid), _own_cpu(), time.perf_counter())
    for pair in pairs:
        pair.measuring = True
    await asyncio.sleep(job.seconds)
    after = (_received(pairs), cpu_seconds(job.pid), _own_cpu(), time.perf_counter())
    for pair in pairs:
        pair.stopped = True
    if pacing is not None:
        pacing.cancel()
    messages, cpu, own, elapsed = (end - start for start, end in zip(before, after, strict=True))
    # What is under way still arrives, so that a server that loses messages is found out.
    for _ in range(200):
        if all(pair.received >= pair.sent for pair in pairs):
            break
        await asyncio.sleep(0.05)
    lost = sum(pair.sent - pair.received for pair in pairs)
    refused = sum(pair.failed for pair in pairs)
    for pair in pairs:
        pair.close()
    latencies.sort()
    return {
        "messages": messages,
        "seconds": round(elapsed, 3),
        "messages_per_second": round(messages / elapsed, 1),
        "server_cpu_us_per_message": round(cpu / messages * 1e6, 2) if messages else None,
        "server_busy": round(cpu / elapsed, 3),
        "generator_busy": round(own / elapsed, 3),
        "latency_p50_ms": _percentile(latencies, 0.50),
        "latency_p99_ms": _percentile(latencies, 0.99),
        "lost": lost,
        "refused": refused,
    }


async def _pace(job: Job, pairs: list[Pair]) -> None:
    start = time.perf_counter()
    sent = 0
    while True:
        due = int((time.perf_counter() - start) * job.rate)
        while sent < due:
            pair = pairs[sent % len(pairs)]
            if pair.room() > 0:
                pair.send(1)
            sent += 1
        await asyncio.sleep(0.002)


async def idle(job: Job) -> dict[str, Any]:
    """Open connections that then say nothing, and see what the server's memory says."""
    limit = raise_descriptor_limit()
    wanted = min(job.pairs, limit - 64)
    before = resident_bytes(job.pid)
    sockets: list[RawSocket] = []
    while len(sockets) < wanted:
        batch = min(100, wanted - len(sockets))
        opening = [
            hello(job.port) if job.target == "relay" else RawSocket.open(job.port, "/idle")
            for _ in range(batch)
        ]
        opened = await asyncio.gather(*opening, return_exceptions=True)
        sockets.extend(socket for socket in opened if isinstance(socket, RawSocket))
        if any(isinstance(socket, BaseException) for socket in opened):
            break
    await asyncio.sleep(1)
    after, cpu = resident_bytes(job.pid), cpu_seconds(job.pid)
    await asyncio.sleep(job.seconds)
    cpu = cpu_seconds(job.pid) - cpu
    alive = sum(not socket.closed for socket in sockets)
    for socket in sockets:
        socket.close()
    return {
        "wanted": job.pairs,
        "descriptor_limit": limit,
        "opened": alive,
        "bytes_per_connection": round((after - before) / alive) if alive else None,
        "server_resident_bytes": after,
        "server_cpu_ms_per_second": round(cpu / job.seconds * 1000, 1),
    }


def _received(pairs: list[Pair]) -> int:
    return sum(pair.received for pair in pairs)


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _percentile(values: list[int], share: float) -> float | None:
    if not values:
        return None
    return round(values[min(len(values) - 1, int(len(values) * share))] / 1e6, 3)


KINDS: Final[dict[str, Callable[[Job], Coroutine[Any, Any, dict[str, Any]]]]] = {
    "exchange": exchange,
    "idle": idle,
    "drain": drain,
}


def main(argv: list[str]) -> int:
    """Do one job and print its result."""
    job = Job(**json.loads(argv[0]))
    work = KINDS[job.kind](job)
    try:
        import uvloop
    except ImportError:
        result = asyncio.run(work)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(work)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
