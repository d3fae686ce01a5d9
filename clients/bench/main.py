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
        " about a minute, on loopback. Do not run anything else meanwhile.",
        epilog="exit codes: 0 measured; 1 failed; 2 usage",
    )
    relay.add_argument("--json", action="store_true", help="for programs")
    relay.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default 3)")
    relay.add_argument("--connections", type=int, default=5_000, help="idle connections (default 5000)")
    relay.add_argument("--pairs", type=int, default=16, help="pairs that talk (default 16)")
    relay.add_argument("--window", type=int, default=16, help="messages of a pair under way (default 16)")
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
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:  # argparse has said what it had to say
        return end.code if isinstance(end.code, int) else 2
    if options.kind == "mls":
        return _mls(options)
    bounds = (
        (options.seconds, 0.1, 60),
        (options.connections, 1, 50_000),
        (options.pairs, 1, 1_000),
        (options.window, 1, 256),
    )
    if any(not low <= value <= high for value, low, high in bounds):
        print("amanat bench: a number is out of its bounds", file=sys.stderr)
        return 2
    from clients.bench.relay import as_text, measure

    try:
        result = measure(
            seconds=options.seconds,
            connections=options.connections,
            pairs=options.pairs,
            window=options.window,
        )
    except BenchFailed as error:
        print(f"amanat bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2) if options.json else as_text(result))
    return 0


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
