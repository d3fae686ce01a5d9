"""Time as an argument: the relay asks a clock, and tests bring one that they turn by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the relay wants to know about time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def utc_seconds(self) -> float:
        """UTC seconds since 1970."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def utc_seconds(self) -> float:
        """UTC seconds since 1970."""
        return time.time()


class ManualClock:
    """A clock for tests and simulations: it goes when told to."""

    def __init__(self, *, monotonic: float = 1_000.0, utc_seconds: float = 1_800_000_000.0) -> None:
        self._monotonic = monotonic
        self._utc = utc_seconds

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic

    def utc_seconds(self) -> float:
        """UTC seconds since 1970."""
        return self._utc

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        self._monotonic += seconds
        self._utc += seconds
