"""Holds all live sessions of a batch at their first word until the watch on the disk has begun.

So whatever is written to disk between the curtain's rise and its fall is written on behalf of live sessions:
the lines are settled, the relay has come to rest, and nobody does anything else until the last session ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from clients.replay.disk import DiskWatch
from clients.replay.relay_process import RelayProcess


class Curtain:
    """One for each batch.

    Every conversation of the batch either comes through `playing()` or calls `stay_away()`, once; the one who
    holds the batch awaits `conduct()`.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._playing = 0
        self._pids: list[int] = []
        self._all_here = asyncio.Event()
        self._risen = asyncio.Event()
        self._all_done = asyncio.Event()
        self._fallen = asyncio.Event()
        if expected == 0:
            self._all_here.set()
            self._all_done.set()

    def stay_away(self) -> None:
        """This conversation has no session: do not wait for it."""
        self._expected -= 1
        if self._expected == 0:
            self._all_here.set()
            if self._playing == 0:
                self._all_done.set()

    @asynccontextmanager
    async def playing(self, pids: Sequence[int]) -> AsyncIterator[None]:
        """Wait for the rise, hold the curtain up for the block, then wait for the fall."""
        self._pids += pids
        self._playing += 1
        self.stay_away()  # it need not be waited for any more
        try:
            await self._risen.wait()
            yield
        finally:
            self._playing -= 1
            if self._playing == 0 and self._expected == 0:
                self._all_done.set()
        await self._fallen.wait()

    async def conduct(
        self, relay: RelayProcess, folder: Path, *, use_strace: bool, say: Callable[[str], None]
    ) -> DiskWatch:
        """Wait for all, raise the curtain, let it fall after the last; returns what was written meanwhile."""
        try:
            await self._all_here.wait()
            if not await relay.wait_quiet():
                say("The relay's store did not come to rest before the live sessions.")
            async with DiskWatch([relay.pid, *self._pids], folder, use_strace=use_strace) as watch:
                self._risen.set()
                await self._all_done.wait()
                watch.look()
            return watch
        finally:
            self._risen.set()
            self._fallen.set()
