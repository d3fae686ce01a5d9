"""An event loop without a clock or a socket: it runs what is ready, in order, and stops when nothing is.

The relay's core is written for asyncio. Here its tasks run on virtual time, one after the other, in the order
in which they became ready; so a run depends on nothing but what the simulator feeds in. A store that works in
a thread of its own (SQLite) is waited for: while a call is out, the loop blocks until its answer is there.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class StuckError(Exception):
    """Work that should have ended waits for something that will not happen."""


class SimLoop(asyncio.AbstractEventLoop):
    """See the module. ``now`` is read from the world."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ready: deque[asyncio.Handle] = deque()
        self._from_threads: queue.SimpleQueue[asyncio.Handle] = queue.SimpleQueue()
        self.outside = 0
        """Calls that a thread works on."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.faults: list[BaseException | str] = []

    # -- what asyncio asks for

    def time(self) -> float:
        return self._now()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]  # typeshed's signature is generic over the arguments
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]  # as call_soon
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._from_threads.put(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        if len(self.tasks) > 64:
            self.tasks = [known for known in self.tasks if not known.done()]
        self.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context.get("exception") or str(context.get("message")))

    # -- running

    def run_ready(self) -> None:
        """Run everything that can run now."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            while True:
                while self._ready:
                    handle = self._ready.popleft()
                    if not handle.cancelled():
                        handle._run()
                if not self.outside and self._from_threads.empty():
                    return
                self._ready.append(self._from_threads.get(timeout=60))
        finally:
            asyncio._set_running_loop(before)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end what needs no virtual time.

        Raises:
            StuckError: It waits.
        """
        task: asyncio.Task[T] = self.create_task(work)
        self.run_ready()
        if not task.done():
            task.cancel()
            self.run_ready()
            raise StuckError
        return task.result()

    def cancel_all(self) -> None:
        """The process dies: everything that waits is ended."""
        for _ in range(4):
            waiting = [task for task in self.tasks if not task.done()]
            for task in waiting:
                task.cancel()
            self.run_ready()
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.exception()
        self.tasks = []
