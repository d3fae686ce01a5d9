"""What the relay does to itself before it holds anything: no core dump, no tracer, descriptors enough.

A core dump, or another process of the same user, could read cells in memory and socket addresses (PITFALLS,
"Server and store"). Swap is the operator's (`amanat-relay check-config` says so), unless memory is locked.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_PR_GET_DUMPABLE: Final = 3
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2


def forbid_core_dumps() -> bool:
    """Set RLIMIT_CORE to 0 and, on Linux, PR_SET_DUMPABLE to 0; True if the kernel confirms both."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 and resource.getrlimit(resource.RLIMIT_CORE) == (
        0,
        0,
    )


def lock_memory() -> bool:
    """Keep all pages of this process, present and future, out of swap (mlockall); True if the kernel did.

    The soft limit of locked memory is raised to the hard one first; where that is too small (systemd:
    LimitMEMLOCK=infinity), nothing is locked.
    """
    if not sys.platform.startswith("linux"):
        return False
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) == 0)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
