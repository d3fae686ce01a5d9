"""How many bytes processes write to disk while a live session runs: none, if S7 and R6 hold.

`strace` sees every write to a file; where it is missing or not allowed to trace, `/proc/PID/io` is read
instead, which counts what reaches the storage layer: less exact (nothing for a file in memory), but it also
sees writes through a memory map. Both count a process with its threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

WRITING: Final = "write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice,fallocate"
CALL: Final = re.compile(
    r"^\s*(?:\d+\s+)?(?P<call>\w+)\((?P<arguments>.*)\)\s*=\s*(?P<result>\d+)", re.MULTILINE | re.DOTALL
)
TARGET: Final = re.compile(r"(\d+)<((?:[^>\\]|\\.)*)>")
NO_FILE: Final = re.compile(
    r"(socket|pipe|anon_inode|TCP|TCPv6|UDP|UNIX|UNIX-STREAM|NETLINK|signalfd|timerfd|eventfd)[:\[]"
    r"|/dev/(null|zero|full|u?random|tty|pts/|ptmx)|/memfd:|/proc/"
)
ATTACH_SECONDS: Final = 10.0


def strace_works() -> bool:
    """Whether strace is installed and may attach to another process here."""
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen(["sleep", "5"]) as sleeper:
        try:
            tracer = subprocess.run(
                ["strace", "-p", str(sleeper.pid), "-o", os.devnull, "-e", "trace=none"],
                capture_output=True,
                timeout=0.5,
                check=False,
            )
            return tracer.returncode == 0
        except subprocess.TimeoutExpired:
            return True  # it was still tracing
        finally:
            sleeper.kill()


def bytes_in_trace(trace: str) -> dict[str, int]:
    """Bytes written per file, from what `strace -y` wrote; sockets, pipes and terminals are left out."""
    written: dict[str, int] = {}
    for line in trace.splitlines():
        match = CALL.match(line)
        if match is None:
            continue
        targets = TARGET.findall(match["arguments"].split('"', 1)[0])
        if not targets:
            continue
        # copy_file_range and splice name the source first, sendfile the target
        number, name = targets[-1] if match["call"] in ("copy_file_range", "splice") else targets[0]
        if NO_FILE.match(name):
            continue
        size = 1 if match["call"] == "fallocate" else int(match["result"])
        written[name or number] = written.get(name or number, 0) + size
    return written


def bytes_in_proc(pid: int) -> int:
    """`write_bytes` of a process, 0 where it has gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            name, _, value = line.partition(": ")
            if name == "write_bytes":
                return int(value)
    return 0


class DiskWatch:
    """`async with DiskWatch(pids, folder) as watch: ...`, then `watch.written` and `watch.method`.

    A process that ends within the block is counted up to its end where strace traces it, and up to the last
    look (`look()`) otherwise.
    """

    def __init__(self, pids: Iterable[int], folder: Path, *, use_strace: bool) -> None:
        self._pids = sorted(set(pids))
        self._trace = folder / "strace.txt"
        self._use_strace = use_strace
        self._tracer: subprocess.Popen[bytes] | None = None
        self._before: dict[int, int] = {}
        self._latest: dict[int, int] = {}
        self.method = "strace" if use_strace else "/proc/PID/io"
        self.written: dict[str, int] = {}
        """Bytes per file (strace) or per process (/proc)."""

    @property
    def total(self) -> int:
        """All bytes written in the block."""
        return sum(self.written.values())

    async def __aenter__(self) -> Self:
        if not self._use_strace:
            self._before = {pid: bytes_in_proc(pid) for pid in self._pids}
            return self
        command = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={WRITING}", "-e", "signal=none"]
        command += ["-o", str(self._trace)]
        for pid in self._pids:
            command += ["-p", str(pid)]
        self._tracer = _in_background(command)
        async with asyncio.timeout(ATTACH_SECONDS):
            while not all(_is_traced(pid) for pid in self._pids):  # noqa: ASYNC110 - the kernel has no event
                await asyncio.sleep(0.05)
        return self

    def look(self) -> None:
        """Take a reading now, while the processes are still there (needed for /proc only)."""
        if not self._use_strace:
            for pid in self._pids:
                self._latest[pid] = max(self._latest.get(pid, 0), bytes_in_proc(pid))

    async def __aexit__(self, *_: object) -> None:
        if self._tracer is None:
            self.look()
            self.written = {
                f"process {pid}": self._latest[pid] - self._before[pid]
                for pid in self._pids
                if self._latest[pid] > self._before[pid]
            }
            return
        self._tracer.send_signal(signal.SIGINT)  # detaches and leaves the processes as they are
        await asyncio.to_thread(self._tracer.wait)
        self.written = bytes_in_trace(self._trace.read_text(errors="replace"))
        self._trace.unlink()


def _is_traced(pid: int) -> bool:
    """Whether a tracer is attached to a process; True where the process has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    return re.search(r"^TracerPid:\s*[1-9]", status, re.MULTILINE) is not None


def _in_background(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a program without a terminal."""
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
