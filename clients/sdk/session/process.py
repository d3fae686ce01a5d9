"""Starting the session's child process and talking to it; `child` is the other end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import clients
from clients.sdk.session.control import Message, encode_message, read_message

CHILD_MODULE: Final = "clients.sdk.session.child"
_ROOT: Final = Path(clients.__file__).parents[1]


class ChildProcess:
    """A running child. Made by `start_child`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process still exists."""
        return self._process.returncode is None

    def send(self, content: Message) -> None:
        """Tell the child; nothing happens if it is gone."""
        if not self._writer.is_closing():
            self._writer.write(encode_message(content))

    async def read(self) -> Message | None:
        """What the child says next; None once it is gone.

        Raises:
            CodecError: it speaks nonsense.
        """
        return await read_message(self._reader)

    def kill(self) -> None:
        """End the child at once. Its memory is the kernel's again when `wait` returns."""
        # Not by the method of `subprocess`: it looks first whether the child has ended, and a child that it
        # finds ended is one that asyncio then misses, and says so on the terminal.
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        code = await self._process.wait()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        return code


async def start_child(*, on_terminal: bool) -> ChildProcess:
    """Start a child with one end of a socketpair.

    Args:
        on_terminal: Whether it gets this process's terminal (stdin, stdout); otherwise it gets neither.
    """
    ours, theirs = socket.socketpair()
    search_path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    with theirs:
        ours.setblocking(False)
        stream = None if on_terminal else asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            CHILD_MODULE,
            str(theirs.fileno()),
            pass_fds=(theirs.fileno(),),
            stdin=stream,
            stdout=stream,
            env={**os.environ, "PYTHONPATH": search_path},
        )
    reader, writer = await asyncio.open_connection(sock=ours)
    return ChildProcess(process, reader, writer)
