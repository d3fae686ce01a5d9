"""What the running process shows of itself: no core dump, no tracer of the same user, locked memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.relay_process import ROOT, relay

_LOCKS = """
import resource, sys
from chatserver.hardening import lock_memory
if len(sys.argv) > 1:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (int(sys.argv[1]), int(sys.argv[1])))
if len(sys.argv) > 2:
    import os
    os.setresuid(65534, 65534, 65534)
print(int(lock_memory()))
held = bytearray(1 << 22)
print(next(line for line in open("/proc/self/status") if line.startswith("VmLck")))
"""


def field(pid: int, file: str, name: str) -> str:
    """A line of one of a process's files in /proc, without its name."""
    text = Path(f"/proc/{pid}/{file}").read_text()
    found = re.search(rf"^{re.escape(name)}\s*:?\s*(.*)$", text, re.MULTILINE)
    assert found is not None
    return found[1].strip()


@pytest.mark.asyncio
async def test_the_running_relay_leaves_no_core_and_lets_nobody_trace_it(tmp_path: Path) -> None:
    async with relay(tmp_path) as process:
        assert field(process.pid, "limits", "Max core file size").split()[:2] == ["0", "0"]
        # The files in /proc of a process that is not dumpable belong to root, whoever started it.
        assert os.stat(f"/proc/{process.pid}/mem").st_uid == 0  # noqa: PTH116 (a quick look into /proc)
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                os.open(f"/proc/{process.pid}/mem", os.O_RDONLY)


@pytest.mark.skipif(os.geteuid() != 0, reason="starting the relay as somebody else needs root")
def test_another_process_of_the_same_user_cannot_read_the_memory() -> None:
    program = """
import ctypes, os, sys
from chatserver.hardening import forbid_core_dumps
os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # a change of user clears the flag; a service starts with it set
before, child = os.pipe(), 0
hardened = len(sys.argv) > 1
if hardened:
    assert forbid_core_dumps()
pid = os.getpid()
if os.fork() == 0:
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
    try:
        open(f"/proc/{pid}/mem", "rb").close()
        os.write(before[1], b"read")
    except OSError:
        os.write(before[1], b"refused")
    os._exit(0)
print(os.read(before[0], 16).decode())
os.wait()
"""
    for arguments, expected in (([], "read"), (["hardened"], "refused")):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.strip() == expected


def locked(*arguments: str) -> tuple[bool, int]:
    """What `lock_memory` said in a process of its own, and how many KiB the kernel counts as locked."""
    done = subprocess.run(
        [sys.executable, "-c", _LOCKS, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    said, counted = done.stdout.split("\n")[:2]
    return said == "1", int(counted.split()[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mlockall is tested on Linux")
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may lock too little to see it")
def test_memory_is_locked_or_the_caller_is_told() -> None:
    done, kib = locked()
    assert done
    assert kib > 8_192, "what comes later is locked too"
    assert locked("65536", "as nobody") == (False, 0)
