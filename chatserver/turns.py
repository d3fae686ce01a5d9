"""Work that anybody may cause, a little of it in each turn of the event loop, so that nobody waits for all.

A crowd that connects at once, and wants a handshake each, is served a few at a time; between them everything
else that is ready has its turn. While there is no crowd nothing waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 4
"""Handshakes in one turn: about a millisecond."""


class Turns:
    """Runs pieces of work in the order in which they come, at most `AT_ONCE` in a turn of the loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], bool]] = deque()
        self._left = AT_ONCE
        self._asked = False

    def __len__(self) -> int:
        return len(self._waiting)

    def do(self, work: Callable[[], bool]) -> None:
        """Run it now, if this turn has not seen too much already; else later.

        Args:
            work: lets no exception out; returns whether there still was anything to do. Who has gone while
                waiting uses up nobody's turn, so a crowd that comes and goes does not lengthen the queue.
        """
        if not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._next)
        if self._left and not self._waiting:
            self._left -= work()
        else:
            self._waiting.append(work)

    def _next(self) -> None:
        self._left = AT_ONCE
        while self._left and self._waiting:
            self._left -= self._waiting.popleft()()
        self._asked = self._left < AT_ONCE
        if self._asked:
            asyncio.get_running_loop().call_soon(self._next)
