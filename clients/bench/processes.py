"""What the kernel says about a process, and how to start one and wait for its port."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.bench.raw_socket import BenchFailed

START_SECONDS: Final = 180.0
"""At its start the relay reads the whole store, and ends what a crash left behind."""
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PROCESSORS: Final = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
_LISTENING: Final = "listening on http://127.0.0.1:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that listens on loopback."""

    pid: int
    port: int


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, user and system, in seconds (resolution: a kernel tick, 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory of a process in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


@contextlib.contextmanager
def pinned(*, to_server: bool) -> Iterator[None]:
    """What is started within runs on the server's processor, or on all but that one, if there are several."""
    processors = sorted(_PROCESSORS)
    if len(processors) < 2:
        yield
        return
    os.sched_setaffinity(0, processors[:1] if to_server else processors[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


@contextlib.contextmanager
def server(arguments: list[str], *, folder: Path) -> Iterator[Running]:
    """Start `python ARGUMENTS`, wait for the line with its port, end it with SIGTERM.

    Raises:
        BenchFailed: it did not start in time.
    """
    log = folder / "server.log"
    with log.open("w") as errors, pinned(to_server=True):
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    with process:
        try:
            yield Running(pid=process.pid, port=_port(process))
        finally:
            process.terminate()
            try:
                process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _port(process: subprocess.Popen[str]) -> int:
    if process.stdout is None:
        raise BenchFailed("the server has no output")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ready, _, _ = select.select([process.stdout], [], [], 0.2)
        if ready:
            line = process.stdout.readline()
            if line.startswith(_LISTENING):
                return int(line.removeprefix(_LISTENING))
            raise BenchFailed("the server ended instead of listening")
    raise BenchFailed("the server did not listen in time")
