"""A relay of the audit's own: the settings of the one audited, a fresh store, seen by strace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Final

from clients.audit.live.patience import Patience
from clients.audit.target import Target
from clients.replay.disk import CALL, NO_FILE, TARGET, WRITING
from clients.replay.relay_process import CONFIGURATION, STOP_SECONDS, RelayFailed, RelayProcess

QUOTED: Final = '"'
STRING_BYTES: Final = 70_000
CORES_ALLOWED: Final = ("/bin/sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$0" "$@"')
"""The relay must forbid cores itself: from outside they are allowed."""
LOOK_SECONDS: Final = 0.25
READY_SECONDS: Final = 0.05
STILL_SECONDS: Final = 1.0
DROPPED: Final = frozenset({"listen", "store", "operator", "tls"})
"""Sections of the audited relay's settings that say where it is, and not how it behaves."""


def configuration(target: Target) -> str:
    """The settings for the audit's own relay: those audited, but for places."""
    if target.config is None:
        return CONFIGURATION
    try:
        told = tomllib.loads(target.config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return CONFIGURATION
    store = {name: value for name, value in told.get("store", {}).items() if name != "directory"}
    kept: dict[str, dict[str, Any]] = {"store": {"directory": "store", **store}}
    kept |= {name: table for name, table in told.items() if name not in DROPPED}
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
        for name, table in kept.items()
    )


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            return str(value)


class AuditedRelay(RelayProcess):
    """A relay as the target starts one; with `traced`, every byte that it writes to a file is kept."""

    start_seconds: ClassVar[float] = 240.0

    def __init__(self, folder: Path, target: Target, *, traced: bool = False) -> None:
        super().__init__(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._place = folder
        self._traced = traced
        self.trace = folder.parent / f"{folder.name}.strace"
        self.output = folder.parent / f"{folder.name}.out"
        """Its standard output, from all its starts."""
        self._output_read = 0
        self.config.write_text(configuration(target), encoding="utf-8")

    def _command(self) -> list[str]:
        return [*self._target.relay, "--config", str(self.config)]

    def _spawn(self) -> subprocess.Popen[str]:
        tracer = [
            "strace", "-f", "-qq", "-y", "-xx", "-s", str(STRING_BYTES),
            "-e", f"trace={WRITING}", "-e", "signal=none", "-o", str(self.trace),
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONPATH"] = str(self._target.tree)
        self._output_read = _size(self.output)
        with self.log.open("a") as log, self.output.open("a") as output:
            return subprocess.Popen(
                [
                    *CORES_ALLOWED,
                    *(tracer if self._traced else ()),
                    *self._command(),
                    "--port",
                    str(self._port),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                text=True,
                env=environment,
                cwd=self._place,
            )

    def _first_line(self) -> str:
        """Of this start. The output is a file, so that all of it can be searched."""
        process = self._process
        while process is not None:
            ended = process.poll() is not None
            line, end, _ = self.output.read_bytes()[self._output_read :].partition(b"\n")
            if end or ended:
                return line.decode(errors="replace")
            time.sleep(READY_SECONDS)
            process = self._process
        return ""

    @property
    def relay_pid(self) -> int:
        """The relay itself, where a tracer stands before it."""
        if not self._traced:
            return self.pid
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        if not children:
            raise RelayFailed("The relay is not there.")
        return int(children[0])

    def end_now(self, how: signal.Signals) -> int:
        """End it without a word; returns the wait status (`os.WCOREDUMP` and the like)."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        _, status = os.waitpid(process.pid, 0)
        process.returncode = -int(how)
        if process.stdout is not None:
            process.stdout.close()
        return status

    def written(self, start: int = 0, end: int | None = None) -> dict[str, bytes]:
        """What the relay wrote to files, per file, as strace saw it between two places of its record."""
        text = self.trace.read_bytes()[start:end].decode("ascii", "replace")
        found: dict[str, list[bytes]] = {}
        for line in text.splitlines():
            match = CALL.match(line)
            if match is None:
                continue
            targets = TARGET.findall(match["arguments"].split(QUOTED, 1)[0])
            if not targets or NO_FILE.match(_plain(targets[0][1])):
                continue
            pieces = match["arguments"].split(QUOTED)[1::2]
            found.setdefault(_plain(targets[0][1]), []).extend(_unescaped(piece) for piece in pieces)
        return {name: b"".join(pieces) for name, pieces in found.items()}

    def record_bytes(self) -> int:
        """How long strace's record is now."""
        return self.trace.stat().st_size if self.trace.exists() else 0

    async def stop(self) -> int:
        """End it as an operator would. A tracer in front passes no signal on, so the relay itself gets it."""
        if self._process is not None and self._traced:
            with contextlib.suppress(OSError, RelayFailed):
                os.kill(self.relay_pid, signal.SIGTERM)
                await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        return await super().stop()

    async def wait_erased(self, patience: Patience) -> bool:
        """Wait until no write-ahead log holds anything for a second (H1); False if that does not happen."""
        since = time.monotonic()
        while time.monotonic() - since < STILL_SECONDS:
            if patience.over:
                return False
            await asyncio.sleep(LOOK_SECONDS)
            if any(_size(path) for path in self.store.glob("*-wal")):
                since = time.monotonic()
        return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _plain(name: str) -> str:
    """A path as strace -xx writes it: sometimes in hexadecimal."""
    return _unescaped(name).decode(errors="replace") if name.startswith("\\x") else name


def _unescaped(piece: str) -> bytes:
    with contextlib.suppress(ValueError):
        return bytes.fromhex(piece.replace("\\x", ""))
    return piece.encode()
