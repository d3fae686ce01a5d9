"""What is written to disk is counted, what goes to a socket, a pipe or a terminal is not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clients.replay.disk import DiskWatch, bytes_in_trace, strace_works

TRACE = """\
412 write(5</srv/store/relay.db-wal>, ""..., 4120) = 4120
412 pwrite64(5</srv/store/relay.db-wal>, ""..., 4096, 0) = 4096
412 write(7<socket:[8812]>, ""..., 2070) = 2070
412 writev(7<TCP:[127.0.0.1:1->127.0.0.1:2]>, [{iov_base=""..., iov_len=9}], 1) = 9
413 write(1<pipe:[99]>, ""..., 10) = 10
413 write(2</dev/pts/3<char 136:3>>, ""..., 10) = 10
413 write(9<anon_inode:[eventfd]>, ""..., 8) = 8
413 write(4</tmp/a file>, ""..., 7) = -1 ENOSPC (No space left on device)
413 write(4</tmp/a file>, ""..., 5) = 5
413 copy_file_range(3</tmp/from>, NULL, 4</tmp/to>, NULL, 100, 0) = 100
413 fallocate(4</tmp/to>, 0, 0, 4096) = 0
414 +++ exited with 0 +++
"""

WRITER = """\
import os, sys
sys.stdin.read(1)
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(out, b"x" * 5000)
if sys.argv[1] != "/dev/null":
    os.fsync(out)
os.write(1, b"done")
sys.stdin.read(1)
"""

strace_needed = pytest.mark.skipif(not strace_works(), reason="strace is missing or may not trace here")


def test_a_trace_is_read() -> None:
    assert bytes_in_trace(TRACE) == {
        "/srv/store/relay.db-wal": 8216,
        "/tmp/a file": 5,
        "/tmp/to": 101,
    }


def start_writer(target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )


async def watch_a_writer(target: Path, folder: Path, *, use_strace: bool) -> DiskWatch:
    with start_writer(target) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        async with DiskWatch([process.pid], folder, use_strace=use_strace) as watch:
            process.stdin.write(b"1")
            assert await asyncio.to_thread(process.stdout.read, 4) == b"done"
            watch.look()
        process.stdin.write(b"2")
    return watch


@strace_needed
@pytest.mark.system
@pytest.mark.asyncio
async def test_strace_counts_what_goes_to_a_file(tmp_path: Path) -> None:
    watch = await watch_a_writer(tmp_path / "out", tmp_path, use_strace=True)
    assert watch.method == "strace"
    assert watch.written == {str(tmp_path / "out"): 5000}


@strace_needed
@pytest.mark.system
@pytest.mark.asyncio
async def test_strace_counts_nothing_for_standard_output(tmp_path: Path) -> None:
    watch = await watch_a_writer(Path(os.devnull), tmp_path, use_strace=True)
    assert watch.total == 0


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no /proc here")
@pytest.mark.asyncio
async def test_proc_is_the_fallback(tmp_path: Path) -> None:
    watch = await watch_a_writer(tmp_path / "out", tmp_path, use_strace=False)
    assert watch.method == "/proc/PID/io"
    assert watch.total >= 0  # a file system in memory counts nothing
