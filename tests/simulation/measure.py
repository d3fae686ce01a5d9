"""How fast the simulator is, and where its time goes: what ``amanat bench simulation`` runs in a checkout.

Usage: ``python tests/simulation/measure.py [--seeds N] [--first S]``. Prints one JSON object. Speed is
measured without a profiler, shares with one, on the same seeds; times are processor seconds.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PARTS = (
    ("simulator", "/tests/simulation/"),
    ("line machine", "/clients/sdk/line"),
    ("session machine", "/clients/sdk/session/"),
    ("MLS and cells", "/crypto/"),
    ("vault, certificates", "/keys/"),
    ("relay and wire", "/chatserver/"),
    ("event loop", "/asyncio/"),
)
"""Where a function's own time belongs; the rest is the standard library and C code it calls."""


def _shares(profile: cProfile.Profile) -> dict[str, float]:
    """Share of each part in the processor time, callees of C counted where they were called from."""
    spent: Counter[str] = Counter()
    stats: Any = pstats.Stats(profile)
    for (file, _, _), (_, _, own, _, callers) in stats.stats.items():
        part = next((name for name, folder in PARTS if folder in file), "")
        if part:
            spent[part] += own
            continue
        for (caller, _, _), (_, _, from_there, _) in callers.items():
            spent[next((name for name, folder in PARTS if folder in caller), "other")] += from_there
    whole = sum(spent.values()) or 1.0
    return {name: round(seconds / whole, 3) for name, seconds in spent.most_common()}


def measure(first: int, seeds: int) -> dict[str, Any]:
    """Run the seeds twice; see the module."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from simulation.run import plan_of, simulate

    plans = [plan_of(seed) for seed in range(first, first + seeds)]
    begun = time.process_time()
    outcomes = [simulate(plan) for plan in plans]
    seconds = time.process_time() - begun
    profile = cProfile.Profile()
    profile.enable()
    for plan in plans:
        simulate(plan)
    profile.disable()
    steps = sum(plan.steps for plan in plans)
    return {
        "seeds": seeds,
        "first_seed": first,
        "violations": sum(bool(outcome.kind) for outcome in outcomes),
        "processor_seconds": round(seconds, 3),
        "steps": steps,
        "steps_per_second": round(steps / seconds, 1),
        "events_per_second": round(sum(outcome.events for outcome in outcomes) / seconds, 1),
        "aead_seals_per_second": round(sum(outcome.seals for outcome in outcomes) / seconds, 1),
        "simulated_days": round(sum(outcome.days for outcome in outcomes), 1),
        "seeds_per_hour_and_core": round(3600 * seeds / seconds),
        "where_the_time_goes": _shares(profile),
    }


def main(argv: Sequence[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="How fast the simulator is.")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args(argv)
    sys.stdout.write(json.dumps(measure(options.first, options.seeds)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
