"""`amanat bench`: measurements that anybody can repeat.

Exit codes: 0 measured; 1 failed; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from clients.bench.raw_socket import BenchFailed


def main(argv: Sequence[str] | None = None) -> int:
    """Run `amanat bench …`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="amanat bench",
        description="Measurements that anybody can repeat.",
        epilog="exit codes: 0 measured; 1 failed; 2 usage",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="WHAT")
    relay = kinds.add_parser(
        "relay",
        help="messages per second, processor time, latency and memory of the relay, beside a bare server",
        description="The relay beside a bare forwarding server on the same WebSocket library, in one run of"
        " some fifteen minutes, on loopback, each on a processor of its own. Run nothing else meanwhile.",
        epilog="exit codes: 0 measured; 1 failed; 2 usage",
    )
    relay.add_argument("--json", action="store_true", help="for programs")
    relay.add_argument("--seconds", type=float, default=1.5, help="of each measurement (default 1.5)")
    relay.add_argument("--runs", type=int, default=3, help="of which the median counts (default 3)")
    relay.add_argument("--connections", type=int, default=10_000, help="idle connections (default 10000)")
    relay.add_argument("--pairs", default="1,10,100,1000", help="pairs that talk (default 1,10,100,1000)")
    relay.add_argument("--window", type=int, default=32, help="messages of a pair under way (default 32)")
    relay.add_argument(
        "--waiting",
        type=int,
        default=10_000,
        help="cells that wait for a reader (default 10000)",
    )
    relay.add_argument(
        "--channels",
        default="1000,10000,100000,1000000",
        help="channels in the store, ascending (default 1000,10000,100000,1000000)",
    )
    mls = kinds.add_parser(
        "mls",
        help="processor time, memory and size of state of the MLS core, beside mls-rs and ts-mls",
        description="Application messages, KeyPackages, adds, joins and self-updates in groups of several"
        " sizes, by this program and, where they are installed, by mls-rs and ts-mls: some six minutes."
        " Do not run anything else meanwhile.",
        epilog="exit codes: 0 measured; 1 failed; 2 usage",
    )
    mls.add_argument("--json", action="store_true", help="for programs")
    mls.add_argument("--sizes", default="2,8,64,256,1000", help="members, separated by commas")
    mls.add_argument("--seconds", type=float, default=150, help="for one program at one size (default 150)")
    simulation = kinds.add_parser(
        "simulation",
        help="simulated steps per second, and where the time goes (in a checkout of the source tree)",
        description="Runs seeds of the simulator in tests/simulation, without and with a profiler.",
        epilog="exit codes: 0 measured; 1 failed, or this is no checkout; 2 usage",
    )
    simulation.add_argument("--json", action="store_true", help="for programs")
    simulation.add_argument("--seeds", type=int, default=60, help="how many (default 60)")
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:  # argparse has said what it had to say
        return end.code if isinstance(end.code, int) else 2
    if options.kind == "mls":
        return _mls(options)
    if options.kind == "simulation":
        return _simulation(options)
    return _relay(options)


def _relay(options: argparse.Namespace) -> int:
    """`amanat bench relay`."""
    from clients.bench.relay import Plan, as_text, measure

    pairs, channels = _numbers(options.pairs), _numbers(options.channels)
    bounds = (
        (options.seconds, 0.1, 60),
        (options.runs, 1, 99),
        (options.connections, 1, 50_000),
        (options.window, 1, 256),
        (options.waiting, 1, 100_000),
        *((number, 1, 1_000) for number in pairs),
        *((number, 1, 10_000_000) for number in channels),
    )
    if not pairs or not channels or any(not low <= value <= high for value, low, high in bounds):
        print("amanat bench: a number is out of its bounds", file=sys.stderr)
        return 2
    plan = Plan(
        seconds=options.seconds,
        runs=options.runs,
        connections=options.connections,
        pairs=pairs,
        window=options.window,
        waiting=options.waiting,
        channels=tuple(sorted(channels)),
    )
    try:
        result = measure(plan, lambda line: print(f"measuring {line} ...", file=sys.stderr, flush=True))
    except BenchFailed as error:
        print(f"amanat bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2) if options.json else as_text(result))
    return 0


def _simulation(options: argparse.Namespace) -> int:
    """`amanat bench simulation`."""
    from clients.bench.simulation import as_text, measure

    if not 1 <= options.seeds <= 1_000_000:
        print("amanat bench: --seeds wants a number from 1 to 1000000", file=sys.stderr)
        return 2
    try:
        found = measure(seeds=options.seeds)
    except BenchFailed as error:
        print(f"amanat bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    return 1 if found["violations"] else 0


def _numbers(text: str) -> tuple[int, ...]:
    """Numbers separated by commas; empty where one is none."""
    parts = text.split(",")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def _mls(options: argparse.Namespace) -> int:
    """`amanat bench mls`."""
    from clients.bench.mls import as_text, measure

    parts = options.sizes.split(",")
    if not all(part.isdecimal() and 2 <= int(part) <= 10_000 for part in parts):
        print("amanat bench: --sizes wants numbers from 2 to 10000", file=sys.stderr)
        return 2
    if not 1 <= options.seconds <= 3600:
        print("amanat bench: --seconds wants a number from 1 to 3600", file=sys.stderr)
        return 2
    result = measure(
        sizes=[int(part) for part in parts],
        seconds=options.seconds,
        say=lambda line: print(f"measured {line}", file=sys.stderr),
    )
    print(json.dumps(result, indent=2) if options.json else as_text(result))
    return 1 if any("left_out" in figures for figures in result["results"]["amanat"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
