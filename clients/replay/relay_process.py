"""A relay as a process of its own, with a fresh store, and everything that it leaves on disk.

Knows the relay by its command line, its files and its wire only (`chatserver` is not imported here).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

from clients.sdk.errors import AmanatError

STOP_SECONDS: Final = 30.0
LISTENING: Final = "listening on "
BLOCK_BYTES: Final = 4096
OVERLAP_BYTES: Final = 64
"""Of the following block, kept with each block, so that nothing is missed at the border."""
WATCH_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 7.0
"""Longer than the relay takes to erase what was deleted (H1: 5 s)."""


class RelayFailed(AmanatError):
    """The relay process did not start, or ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What the relay still holds."""

    cells: int
    drops: int
    bytes: int


class RelayProcess:
    """`async with RelayProcess(folder) as relay`: `relay.url`, `relay.pid`, until the block ends."""

    start_seconds: ClassVar[float] = 90.0
    """In which it must listen."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self.store = folder / "store"
        self.log = folder / "relay.log"
        self.config = folder / "config.toml"
        self.url = ""

    @property
    def pid(self) -> int:
        """Process id of the running relay."""
        if self._process is None:
            raise RelayFailed("The relay has not been started.")
        return self._process.pid

    def prepare(self) -> None:
        """Write the configuration and make the store, where there is none.

        Raises:
            RelayFailed: `amanat-relay init` said no.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.config.exists():
            self.config.write_text(CONFIGURATION)
        if self.store.exists():
            return
        with self.log.open("a") as log:
            done = subprocess.run(
                [*self._command(), "init"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
        if done.returncode != 0:
            raise RelayFailed(f"The relay could not make its store: {self._last_words()}")

    async def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            RelayFailed: It ended or said nothing in time.
        """
        self._process = self._spawn()
        line = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.start_seconds):
                line = await asyncio.to_thread(self._first_line)
        if not line.startswith(LISTENING):
            await self.stop()
            raise RelayFailed(f"The relay did not start: {self._last_words()}")
        self.url = line.removeprefix(LISTENING).strip()

    async def stop(self) -> int:
        """End it as an operator would; returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return await asyncio.to_thread(process.wait)
        finally:
            if process.stdout is not None:
                process.stdout.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.prepare)
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def left(self) -> Left:
        """Count what the store holds, by reading it beside the relay."""
        return left_in(self.store)

    def files(self) -> list[Path]:
        """Everything in the relay's folder but its log: store and configuration."""
        return [path for path in sorted(self._folder.rglob("*")) if path.is_file() and path != self.log]

    async def wait_quiet(self, timeout_seconds: float = 60.0) -> bool:
        """Wait until nothing in the store has changed for 7 seconds; False if it does not come to rest."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_seconds
        state, since = self._state(), loop.time()
        while loop.time() - since < QUIET_SECONDS:
            if loop.time() > until:
                return False
            await asyncio.sleep(0.25)
            if (now := self._state()) != state:
                state, since = now, loop.time()
        return True

    def _state(self) -> list[tuple[str, int, int]]:
        found = []
        for path in self.files():
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((path.name, status.st_size, status.st_mtime_ns))
        return found

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "chatserver.main", "--config", str(self.config)]

    def _spawn(self) -> subprocess.Popen[str]:
        # A cache of compiled modules, written at the first import, is no write of the relay's.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        with self.log.open("a") as log:
            return subprocess.Popen(
                [*self._command(), "--port", str(self._port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )

    def _first_line(self) -> str:
        process = self._process
        return process.stdout.readline() if process is not None and process.stdout is not None else ""

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it said nothing."


def left_in(store: Path) -> Left:
    """Count what a relay's store holds, by reading it beside the relay.

    Raises:
        RelayFailed: There is no store.
    """
    database = next(iter(sorted(store.glob("*.db"))), None)
    if database is None:
        raise RelayFailed("The relay's store holds no database.")
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        counted = {
            table: connection.execute(
                f"SELECT count(*), coalesce(sum(length(body)), 0) FROM {table}"  # noqa: S608 - two constants
            ).fetchone()
            for table in ("cells", "drops")
        }
    (cells, cell_bytes), (drops, drop_bytes) = counted["cells"], counted["drops"]
    return Left(cells=cells, drops=drops, bytes=cell_bytes + drop_bytes)


CONFIGURATION: Final = '[store]\ndirectory = "store"\n'
"""The relay's settings: its store beside the file, otherwise the defaults."""


class StoreWatch:
    """Keeps every block that the relay's files ever held, as far as a look once a second sees it.

    What is erased after it was acknowledged is thereby searched too. `data()` is what a thief who came again
    and again would have.
    """

    def __init__(self, relay: RelayProcess) -> None:
        self._relay = relay
        self._seen: set[bytes] = set()
        self._data = bytearray()

    def look(self) -> None:
        """Read all files now."""
        for path in self._relay.files():
            with contextlib.suppress(OSError):
                content = path.read_bytes()
                for start in range(0, len(content), BLOCK_BYTES):
                    block = content[start : start + BLOCK_BYTES + OVERLAP_BYTES]
                    if block not in self._seen:
                        self._seen.add(block)
                        self._data += block

    async def watch(self) -> None:
        """Look once a second until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(WATCH_SECONDS)

    def data(self) -> bytes:
        """All blocks."""
        return bytes(self._data)
