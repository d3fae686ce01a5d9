"""Runs a coroutine at once, in the caller's turn, and goes on with it where its futures are resolved.

A request to the store waits once, for one future. As a task it would cost two more turns of the loop and the
bookkeeping of a task, which is as much as the rest of the request. What runs here therefore has no current
task: it may await futures of asyncio only, and nothing that cancels, or limits time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Errand:
    """A coroutine on its way, which is to let no exception out; `done` is called once, however it ends."""

    __slots__ = ("_done", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], done: Callable[[], None]) -> None:
        self._work = work
        self._done = done

    def go_on(self, _future: asyncio.Future[Any] | None = None) -> None:
        """Run until the next future that is not resolved yet, or to the end."""
        try:
            awaited = self._work.send(None)
        except StopIteration:
            self._done()
            return
        except BaseException:  # a fault of ours: the event loop reports it, and nobody waits for it for ever
            self._done()
            raise
        if awaited is None:  # `asyncio.sleep(0)`: the next turn
            asyncio.get_running_loop().call_soon(self.go_on)
            return
        awaited._asyncio_future_blocking = False  # as asyncio's own tasks take a future over
        awaited.add_done_callback(self.go_on)
