"""What keeps a device's memory out of files and from other programs of the same user (PITFALLS: core dumps).

Called first by every process of a device: the program `amanat` and the child that holds a session (S7).
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def harden() -> None:
    """No core dump, no tracing by others of the same user. What the system does not know is left out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
