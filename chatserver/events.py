"""The relay's log: an allow-list of events that carry numbers only.

No address, no id, no byte of a peer, no text of an exception can be logged, because there is no function that
takes one: `Log.event` takes a member of `Event` and integers. The loggers of the libraries are silenced for
the same reason: aiohttp and asyncio put requests and exceptions into their messages.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Any

_LIBRARIES = ("aiohttp", "asyncio", "concurrent.futures")


class Event(Enum):
    """Everything that may be logged, with what its numbers mean."""

    STARTED = "started"  # descriptors; dumpless, locked (1: the kernel has confirmed it)
    HOST = "host"  # swap, core_dumps, volume: findings of `check-config` that are unsafe
    TLS_READ = "tls_read"  # ok (0: certificate and key cannot be used, the old ones stay)
    EXPIRED = "expired"  # cells, channels, tombstones, drops: one day's end, rounded up to tens
    DRAINING = "draining"  # seconds
    STOPPED = "stopped"  # flushed (1: everything asked was answered before the end)
    STORE_FAILED = "store_failed"  # count since the start; the cause: full, read_only, busy, damaged, closed
    FAULT = "fault"  # line, in one of our modules: a bug of ours, by its place alone


class Log:
    """Writes events as `event key=number …`, one line each, without a time (the service manager knows it).

    Args:
        write: takes a line; standard error in production.
    """

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self._write = write or _to_stderr

    def event(self, event: Event, **numbers: int) -> None:
        """Log an event. Only integers pass; anything else is a TypeError before a byte is written."""
        for value in numbers.values():
            if type(value) is not int:
                raise TypeError("events carry integers only")
        self._write(" ".join([event.value, *(f"{key}={value}" for key, value in numbers.items())]))

    def fault(self, error: BaseException) -> None:
        """Log where an unexpected exception arose: the name of a module of ours, and the line."""
        module, line = _place(error.__traceback__)
        self._write(f"{Event.FAULT.value} module={module} line={line}")


def silence_libraries() -> None:
    """Let no library write what it saw: their loggers get nowhere."""
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)


def loop_handler(log: Log) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """An exception handler for the event loop that logs the place of a fault and nothing else."""

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # A peer that resets its connection is no fault of ours.
        if isinstance(error, BaseException) and not isinstance(error, OSError):
            log.fault(error)

    return handle


def _place(traceback: TracebackType | None) -> tuple[str, int]:
    place = ("elsewhere", 0)
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] in {"chatserver", "keys", "crypto"}:
            place = (name, traceback.tb_lineno)
        traceback = traceback.tb_next
    return place


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
