"""A live session touches no disk: every call by which the relay could write to a file is traced.

The relay is started under strace, since nobody may attach to it later. The same trace shows that the search
finds something: a stored cell writes.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from chatserver.wire import frames as f
from clients.replay.disk import bytes_in_trace, strace_works
from support.relay import LIVE, Client, text_of
from support.relay_process import ROOT, RelayProcess
from support.wire_client import client_of

KEY = b"s" * 32
CELLS = 150
WRITING = "write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice,fallocate,ftruncate"
TRACED = WRITING + ",rename,renameat2,open,openat,openat2,creat,mmap"
OPENED_TO_WRITE = re.compile(
    r"^\d+\s+(?:open|openat|creat)\(.*O_(?:WRONLY|RDWR|CREAT|TRUNC).*=\s*\d+<([^>]*)>", re.MULTILINE
)
MAPPED_TO_WRITE = re.compile(r"^\d+\s+mmap\(.*PROT_WRITE.*MAP_SHARED.*<([^>]+)>", re.MULTILINE)


class TracedRelay(RelayProcess):
    """The relay below strace, from its first call on."""

    async def launch(self) -> None:
        self.trace = self.folder / "trace.txt"
        self._process = await asyncio.create_subprocess_exec(
            *("strace", "-f", "-y", "-s", "0", "-e", f"trace={TRACED}", "-e", "signal=none"),
            *("-o", str(self.trace), sys.executable, "-m", "chatserver.main"),
            *("--config", str(self.config), "--store", str(self.store), "--port", str(self.port)),
            cwd=ROOT,
            env={**self._environment(), "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
        )

    def stop_traced(self) -> None:
        """End the relay itself: strace hands no signal on, and ends with it."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGTERM)

    def so_far(self) -> str:
        return self.trace.read_text(errors="replace")


def touched(trace: str) -> list[str]:
    """Files that were written, opened to be written, or mapped to be written."""
    opened = [name for name in OPENED_TO_WRITE.findall(trace) if not name.startswith("/dev/")]
    mapped = [name for name in MAPPED_TO_WRITE.findall(trace) if not name.startswith("/dev/")]
    return sorted({*bytes_in_trace(trace), *opened, *mapped})


async def session(process: RelayProcess) -> None:
    """Two devices, cells both ways, a connection that breaks and comes back."""
    async with client_of(process) as bob:
        await bob.attached(KEY, b"b" * 32, cls=LIVE)
        position = 0
        for turn in range(2):
            async with client_of(process) as alice:
                await alice.attached(KEY, b"a" * 32, cls=LIVE)
                for number in range(CELLS // 2):
                    answer = await alice.deposit(KEY, f"{turn} {number}", cls=LIVE)
                    assert isinstance(answer, f.Stored)
                    assert text_of(await bob.push()) == f"{turn} {number}"
                    position += 1
        assert position == CELLS // 2 * 2


async def stored(client: Client) -> None:
    assert isinstance(await client.deposit(KEY, "to disk"), f.Stored)


@pytest.mark.system
@pytest.mark.asyncio
async def test_r06_a_live_session_writes_to_no_file(tmp_path: Path) -> None:
    if not await asyncio.to_thread(strace_works):
        pytest.skip("strace is not here, or may not trace")
    process = TracedRelay(tmp_path, config="[store]\nerase_seconds = 0.1\n", measured=False)
    await process.init()
    await process.start()
    try:
        # What the start itself erased and wrote is over once the relay serves.
        async with client_of(process):
            before = len(process.so_far())
        await session(process)
        assert touched(process.so_far()[before:]) == []
        async with client_of(process) as client:
            await stored(client)
        wrote = touched(process.so_far()[before:])
        assert any(name.endswith("relay.db-wal") for name in wrote), "the search itself finds nothing"
        assert all(name.startswith(str(process.store)) for name in wrote)
    finally:
        process.stop_traced()
        assert await process.ended() == 0
