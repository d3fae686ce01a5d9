"""A real relay in a process of its own, on loopback, for integration tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 120.0
LATER = """
import sys, time
from chatserver.clock import SystemClock
from chatserver.main import main
days = int(sys.argv.pop(1))
SystemClock.utc_seconds = lambda self: time.time() + days * 86_400
sys.exit(main())
"""
"""The relay, some days later."""


def free_port() -> int:
    """A port that was free a moment ago; a relay that restarts must come back on the same one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RelayProcess:
    """Start, stop, kill, restart, lose the store."""

    def __init__(self, folder: Path, *, config: str = "", measured: bool = True) -> None:
        """`measured=False`: not under coverage, for a process that is killed before it could report any."""
        self.folder = folder
        self.store = folder / "store"
        self._measured = measured
        self.port = free_port()
        self.config = folder / "relay.toml"
        self.config.write_text(config)
        self.days_ahead = 0
        """The relay lives so many days later than the rest of the machine."""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def log_bytes(self) -> int:
        """Length of the write-ahead log; it goes with a relay that ends in order."""
        log = self.store / "relay.db-wal"
        return log.stat().st_size if log.exists() else 0

    def doing(self) -> str:
        """Where each thread waits in the kernel: for the message of a test that waits for the process."""
        found = []
        for task in sorted(Path(f"/proc/{self.pid}/task").glob("*")):
            with contextlib.suppress(OSError):
                state = (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
                waits = (task / "wchan").read_text().strip() or "0"
                found.append(f"{(task / 'comm').read_text().strip()} {state} in {waits}")
        return "; ".join(found) or "no such process"

    def has_store(self) -> bool:
        return self.store.exists()

    async def init(self) -> None:
        process = await self._run("init")
        assert await process.wait() == 0

    async def start(self) -> None:
        await self.launch()
        await self.ready()

    async def launch(self) -> None:
        """Start the process and wait for nothing."""
        self._process = await self._run("--port", str(self.port), piped=True)

    async def ready(self) -> None:
        """Wait until the process that was launched serves."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise AssertionError(f"the relay does not start: {self.doing()}") from None
        assert line.startswith(b"listening on "), line

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        async with asyncio.timeout(START_SECONDS):
            await self._process.wait()
        self._process = None

    async def ended(self) -> int:
        """Wait until the process has ended by itself; returns its exit code."""
        assert self._process is not None
        async with asyncio.timeout(START_SECONDS):
            code = await self._process.wait()
        self._process = None
        return code

    async def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        await self.stop(how)
        await self.start()

    async def lose_store(self) -> None:
        """Stop, destroy the store, come back with an empty one."""
        await self.stop()
        shutil.rmtree(self.store)
        await self.init()
        await self.start()

    async def therapist_token(self) -> str:
        process = await self._run("therapist-token", piped=True)
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode().split()[-1]

    async def _run(self, *arguments: str, piped: bool = False) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *(("-c", LATER, str(self.days_ahead)) if self.days_ahead else ("-m", "chatserver.main")),
            "--config",
            str(self.config),
            "--store",
            str(self.store),
            *arguments,
            cwd=ROOT,
            env={**self._environment(), "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
        )

    def _environment(self) -> dict[str, str]:
        if self._measured:
            return dict(os.environ)
        return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@contextlib.asynccontextmanager
async def relay(folder: Path, *, config: str = "", measured: bool = True) -> AsyncIterator[RelayProcess]:
    """A relay with a fresh store, running for the length of the block."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a test waits for nothing else here
    process = RelayProcess(folder, config=config, measured=measured)
    await process.init()
    await process.start()
    try:
        yield process
    finally:
        await process.stop(signal.SIGKILL)
