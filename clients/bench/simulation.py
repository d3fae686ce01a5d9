"""`amanat bench simulation`: simulated steps per second, and where the time goes.

The simulator is no part of the installed product: it stands in ``tests/simulation`` of a checkout, imports
the product, and is run from here as a program of its own. Outside of a checkout there is nothing to measure,
which is said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from clients.bench.raw_socket import BenchFailed

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = Path("tests", "simulation", "measure.py")
TIMEOUT_SECONDS: Final = 3_600.0


def measure(*, seeds: int, first: int = 0, checkout: Path = CHECKOUT) -> dict[str, Any]:
    """Run the simulator's own measurement.

    Args:
        seeds: How many seeds, each run twice (once under a profiler).
        first: The first of them.
        checkout: Where the source tree is.

    Raises:
        BenchFailed: This is no checkout, or the measurement failed.
    """
    program = checkout / PROGRAM
    if not program.is_file():
        raise BenchFailed(
            "The simulator is not part of an installed Amanat: run this in a checkout of the source tree."
        )
    run = [sys.executable, str(program), f"--seeds={seeds}", f"--first={first}"]
    try:
        done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError):
        raise BenchFailed("The simulator did not end as it should.") from None
    return found


def as_text(found: dict[str, Any]) -> str:
    """The figures for a person."""
    lines = [
        f"{found['seeds']} seeds, {found['steps']} steps, {found['violations']} violations",
        f"{found['simulated_days']} simulated days",
        f"{found['steps_per_second']} steps and {found['events_per_second']} events per processor second",
        f"{found['seeds_per_hour_and_core']} seeds per hour and core",
        "where the time goes:",
    ]
    shares = found["where_the_time_goes"].items()
    return "\n".join([*lines, *(f"  {share:6.1%}  {part}" for part, share in shares)])
