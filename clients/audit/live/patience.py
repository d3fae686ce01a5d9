"""How long the live checks wait on a machine that is busy with something else.

A wait that ends with "it did not come" decides a verdict, so it must not end because the relay or a device
had no processor. What is given up after some seconds on a quiet machine is given up later on a busy one, by
as much as there is more work than processors. Where nothing hinders, this costs nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

LOAD: Final = Path("/proc/loadavg")
MOST: Final = 8.0
"""Times longer, whatever the load: an audit must end."""


def busy(load: Path = LOAD) -> float:
    """How many times more work there is than processors, at least 1 and at most 8; 1 where nobody says."""
    try:
        fields = load.read_text(encoding="ascii").split()
        waiting = max(float(fields[0]), float(fields[3].partition("/")[0]))
    except (OSError, ValueError, IndexError):
        return 1.0
    return min(MOST, max(1.0, waiting / (os.cpu_count() or 1)))


class Patience:
    """Seconds from now on, stretched by how busy the machine is whenever it is asked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun = time.monotonic()

    @property
    def waited(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    @property
    def over(self) -> bool:
        """Whether it is time to give up."""
        return self.waited > self._seconds and self.waited > self._seconds * busy()
