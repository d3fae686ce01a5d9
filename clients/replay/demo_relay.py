"""The relay that `./run` leaves running: started once, found again by a later `./run`, ended by `--stop`.

Everything lies in `.amanat/relay` of the checkout: configuration, store, log, and `running.json` with the
process id and the address. A process id alone is never trusted: it counts only if that address answers too.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.replay.relay_process import CONFIGURATION, Left, RelayFailed, left_in

USUAL_PORT: Final = 8440
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
LISTENING: Final = "listening on "


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A relay that answers."""

    pid: int
    url: str


class DemoRelay:
    """The relay of one checkout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._note = folder / "running.json"
        self._config = folder / "config.toml"
        self.store = folder / "store"
        self.log = folder / "relay.log"
        self._process: subprocess.Popen[bytes] | None = None

    def find(self) -> Running | None:
        """The relay of an earlier `./run`, if it still answers."""
        noted = self._noted()
        return noted if noted is not None and _answers(noted.url) and _is_relay(noted.pid) else None

    def start(self, port: int | None) -> tuple[Running, str]:
        """Start it and wait until it listens.

        Args:
            port: Where to listen; None for the port of last time, or the usual one.

        Returns:
            The relay, and a sentence where it listens elsewhere than expected.

        Raises:
            RelayFailed: it did not start.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._config.exists():
            self._config.write_text(CONFIGURATION)
        noted = self._noted()
        wanted = port or (_port_of(noted.url) if noted else 0) or USUAL_PORT
        remark = ""
        if not _is_free(wanted):
            remark = f"Port {wanted} is taken by another program, so the relay takes a free one."
            wanted = 0
        log_start = self.log.stat().st_size if self.log.exists() else 0
        if not self.store.exists():
            self._call("init")
        process = self._process = self._spawn(wanted)
        url = self._wait_listening(process, log_start)
        running = Running(pid=process.pid, url=url)
        self._note.write_text(json.dumps({"pid": running.pid, "url": running.url}))
        return running, remark

    def stop(self) -> bool:
        """End it; False where none was running.

        Raises:
            RelayFailed: it does not end.
        """
        running = self.find()
        if running is None:
            return False
        os.kill(running.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while _is_relay(running.pid):
            if self._process is not None and self._process.poll() is not None:
                break  # a child of this very process
            if time.monotonic() > until:
                raise RelayFailed(f"The relay (process {running.pid}) does not end; see {self.log}.")
            time.sleep(0.1)
        if self._process is not None:
            self._process.wait()
        return True

    def left(self) -> Left:
        """What the store holds."""
        return left_in(self.store)

    def _noted(self) -> Running | None:
        try:
            noted = json.loads(self._note.read_text())
            return Running(pid=int(noted["pid"]), url=str(noted["url"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "chatserver.main", "--config", str(self._config)]

    def _call(self, what: str) -> None:
        with self.log.open("a") as log:
            done = subprocess.run(
                [*self._command(), what], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
        if done.returncode != 0:
            raise RelayFailed(f"The relay could not make its store: {self._last_words()}")

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        with self.log.open("a") as log:
            return subprocess.Popen(
                [*self._command(), "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that it outlives the terminal's Ctrl-C
            )

    def _wait_listening(self, process: subprocess.Popen[bytes], log_start: int) -> str:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            for line in self._new_lines(log_start):
                if line.startswith(LISTENING):
                    return line.removeprefix(LISTENING).strip()
            time.sleep(0.05)
        if process.poll() is None:
            process.terminate()
        raise RelayFailed(f"The relay did not start: {self._last_words()} (The whole log: {self.log})")

    def _new_lines(self, start: int) -> Iterator[str]:
        with self.log.open("rb") as log:
            log.seek(start)
            for line in log:
                if line.endswith(b"\n"):
                    yield line.decode(errors="replace")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line for line in reversed(lines) if line.strip()), "it said nothing.")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v1/health", timeout=3) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _is_relay(pid: int) -> bool:
    """Whether the process is there and, where /proc can tell, is a relay."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    command = Path(f"/proc/{pid}/cmdline")
    try:
        return not command.exists() or b"chatserver.main" in command.read_bytes()
    except OSError:
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _port_of(url: str) -> int:
    port = url.rpartition(":")[2]
    return int(port) if port.isdigit() else 0
