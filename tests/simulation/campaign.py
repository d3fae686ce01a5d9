"""The long run of the simulator: tens of thousands of seeds, from wherever the last run stopped.

Usage: ``python tests/simulation/campaign.py [--seeds N] [--first N] [--seconds T] [--processes P]
[--profile NAME]``.
What was run stands in ``.cache/simulation``: how many seeds, and every failure with its story. A change of
the code under test begins a new count. Ends with 0 if no invariant was broken, else with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
RECORD = ROOT / ".cache" / "simulation"
CODE = ("crypto", "keys", "chatserver", "clients/sdk", "tests/simulation")
CHUNK = 20
"""Seeds that a process takes at once."""
LENGTHS = (8, 72)
"""Steps of the seeds that do not have their own length; on average as long as those."""
PROGRESS_SECONDS = 60.0
"""How often it says how far it is."""
MINIMISE_SECONDS = 60.0
"""Processor time for making a failure's story short: a run that never settles takes long by itself."""


def say(text: str) -> None:
    """A line for the person who waits, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def code_digest() -> str:
    """Of everything that a verdict depends on."""
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def steps_of(seed: int) -> int:
    """How long a seed of the campaign is: every second one any length, the others (0) as they stand for."""
    dice = random.Random(f"{seed}/campaign")
    return dice.randint(*LENGTHS) if dice.random() < 0.5 else 0


def run_chunk(first: int, profile: str) -> dict[str, Any]:
    """Run some seeds; what came of them, as plain values."""
    from simulation import aimed
    from simulation.run import minimise, plan_of, simulate

    done: dict[str, Any] = {
        "first": first,
        "failures": [],
        "leaves": {},
        "days": 0.0,
        "events": 0,
        "faults": {},
    }
    leaves: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        plan = plan_of(seed, profile=profile)
        if plan.profile not in aimed.AIMS:
            plan = plan_of(seed, profile=profile, steps=steps_of(seed))
        begun = time.process_time()
        outcome = simulate(plan)
        seconds = time.process_time() - begun
        leaves[str(plan.leaves)] += 1
        faults.update(outcome.happened)
        done["days"] += outcome.days
        done["events"] += outcome.events
        if outcome.kind:
            skip = minimise(plan, outcome.kind, budget=min(25, int(MINIMISE_SECONDS / max(seconds, 0.1))))
            story = simulate(plan, skip=skip).trace
            done["failures"].append(
                {
                    "seed": seed,
                    "profile": plan.profile,
                    "leaves": plan.leaves,
                    "steps": plan.steps,
                    "kind": outcome.kind,
                    "what": outcome.what,
                    "story": list(story[-200:]),
                }
            )
    done["leaves"], done["faults"] = dict(leaves), dict(faults)
    return done


def _load(path: Path) -> dict[str, Any]:
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return known
    return {
        "done": [],
        "seeds": 0,
        "seconds": 0.0,
        "days": 0.0,
        "events": 0,
        "leaves": {},
        "faults": {},
        "failures": [],
    }


def _add(record: dict[str, Any], chunk: dict[str, Any]) -> None:
    record["done"].append(chunk["first"])
    record["seeds"] += CHUNK
    record["days"] += chunk["days"]
    record["events"] += chunk["events"]
    record["failures"] += chunk["failures"]
    for name in ("leaves", "faults"):
        record[name] = dict(Counter(record[name]) + Counter(chunk[name]))


def _firsts(record: dict[str, Any], begin: int, wanted: int) -> Iterator[int]:
    done = set(record["done"])  # several processes finish out of order
    begin -= begin % CHUNK
    yield from (first for first in range(begin, begin + wanted, CHUNK) if first not in done)


def campaign(*, wanted: int, seconds: float, processes: int, profile: str, begin: int = 0) -> dict[str, Any]:
    """Run until so many seeds are done or the time is up; returns the record."""
    RECORD.mkdir(parents=True, exist_ok=True)
    path = RECORD / f"{code_digest()}{'-' + profile if profile else ''}.json"
    record = _load(path)
    before = record["seconds"]
    begun = said = time.monotonic()
    seeds_before = record["seeds"]
    if seeds_before:
        say(f"goes on after {seeds_before} seeds, {len(record['failures'])} failures ({path.name})")
    for chunk in _chunks(_firsts(record, begin, wanted), profile, processes, until=begun + seconds):
        _add(record, chunk)
        record["seconds"] = before + time.monotonic() - begun
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(record, indent=1), encoding="utf-8")
        unfinished.replace(path)  # whenever it is stopped, the record is whole
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            hourly = (record["seeds"] - seeds_before) * 3_600 / (said - begun)
            bad = len(record["failures"])
            say(f"{record['seeds']} of {wanted} seeds, {bad} failures, {hourly:.0f} seeds an hour")
        for failure in chunk["failures"]:
            say(f"seed {failure['seed']} ({failure['profile']}, {failure['leaves']} leaves, "
                f"{failure['steps']} steps): "
                f"{failure['kind']}: {failure['what']}")  # fmt: skip
            for line in failure["story"]:
                say(f"    {line}")
    return record


def _chunks(firsts: Iterator[int], profile: str, processes: int, *, until: float) -> Iterator[dict[str, Any]]:
    """Chunks as they are done, by this process or by several."""
    if processes == 1:
        for first in firsts:
            yield run_chunk(first, profile)
            if time.monotonic() >= until:
                return
        return
    with ProcessPoolExecutor(processes) as pool:
        at_once = zip(range(processes), firsts, strict=False)
        running = {pool.submit(run_chunk, first, profile) for _, first in at_once}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                following = next(firsts, None) if time.monotonic() < until else None
                if following is not None:
                    running.add(pool.submit(run_chunk, following, profile))


def main(argv: Sequence[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="The long run of the simulator.")
    parser.add_argument("--seeds", type=int, default=100_000, help="stop when so many are done (100,000)")
    parser.add_argument("--first", type=int, default=0, help="the seed to begin with (0)")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--processes", type=int, default=cores, help="one for each core, if not said")
    parser.add_argument("--profile", default="", help="instead of the one that each seed stands for")
    options = parser.parse_args(argv)
    record = campaign(
        wanted=options.seeds,
        begin=options.first,
        seconds=options.seconds,
        processes=options.processes,
        profile=options.profile,
    )
    leaves = ", ".join(f"{count} with {number} leaves" for number, count in sorted(record["leaves"].items()))
    say(
        f"{record['seeds']} seeds ({leaves}), {record['days']:.0f} simulated days, "
        f"{record['events']} events, {record['seconds']:.0f} s, {len(record['failures'])} failures"
    )
    return 1 if record["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
