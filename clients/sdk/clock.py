"""The SDK's only source of time: UTC seconds, monotonic seconds, and waiting.

`scale` speeds up the delays of lines (receipts, first contact, upkeep) for demonstrations and replays; a
session's rhythm of one cell a second is never scaled. 1.0 is real time.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final


def steady_seconds() -> float:
    """Monotonic seconds that go on while the computer sleeps, where the system can tell (Linux)."""
    boottime: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class Clock:
    """Time as the device sees it.

    Args:
        scale: How much faster than real time the delays of lines run.
    """

    def __init__(self, scale: float = 1.0) -> None:
        if scale <= 0:
            raise ValueError("time can only go forward")
        self.scale: Final = scale
        self._utc_start: Final = time.time()
        self._steady_start: Final = time.monotonic()

    def now(self) -> float:
        """UTC seconds since 1970; follows the system's clock when it is not scaled."""
        if self.scale == 1.0:
            return time.time()
        return self._utc_start + (time.monotonic() - self._steady_start) * self.scale

    async def sleep(self, seconds: float) -> None:
        """Wait so many (scaled) seconds."""
        await asyncio.sleep(max(0.0, seconds) / self.scale)

    def real(self, seconds: float) -> float:
        """How many real seconds a scaled span takes."""
        return max(0.0, seconds) / self.scale
