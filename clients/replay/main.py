"""`amanat replay`: conversations between fresh devices, and a search for what the relay learnt of them."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from clients.replay import printed
from clients.replay.conversations import Conversation, bundled_shapes, choose, load_shapes, load_texts
from clients.replay.outcome import Store
from clients.replay.run import BATCH, Options, replay
from clients.sdk.errors import AmanatError, UsageError

DEFAULT_TIME_SCALE = 5.0
STORES = {
    "stored": frozenset({Store.STORED}),
    "live": frozenset({Store.LIVE}),
    "both": frozenset(Store),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `amanat replay`."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--shapes", type=Path, metavar="FILE", help="who spoke and how many bytes; texts are made up"
    )
    source.add_argument("--texts", type=Path, metavar="FILE", help="your own conversations")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--conversation", type=int, metavar="N", help="the one with this id (otherwise the first)"
    )
    which.add_argument("--all", action="store_true", help="every conversation of the file")
    parser.add_argument(
        "--store",
        choices=sorted(STORES),
        default="both",
        help="over the line (stored), in a live session (live), or once over each (both, the default)",
    )
    parser.add_argument(
        "--time-scale",
        type=float,
        default=DEFAULT_TIME_SCALE,
        metavar="X",
        help="random delays run X times as fast, the session's one cell a second does not "
        f"(default {DEFAULT_TIME_SCALE:g})",
    )
    parser.add_argument(
        "--at-once", type=int, default=BATCH, metavar="K", help=f"conversations at once (default {BATCH})"
    )
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")


def _conversations(options: argparse.Namespace) -> list[Conversation]:
    if options.texts is not None:
        loaded = load_texts(options.texts)
    else:
        loaded = load_shapes(options.shapes or bundled_shapes())
    return choose(loaded, options.conversation, every=options.all)


def run(options: argparse.Namespace) -> int:
    """Carry out parsed options: 0 when every promise was kept, 1 when not.

    Raises:
        AmanatError: It could not be done at all; its sentence says why.
    """
    if not options.time_scale > 0:
        raise UsageError("--time-scale must be greater than 0.")
    if options.at_once < 1:
        raise UsageError("--at-once must be at least 1.")
    asked = Options(
        conversations=_conversations(options),
        stores=STORES[options.store],
        time_scale=options.time_scale,
        at_once=options.at_once,
    )
    report = asyncio.run(replay(asked, lambda line: print(line, file=sys.stderr, flush=True)))
    print(printed.as_json(report) if options.json else printed.as_text(report))
    return 0 if report.good else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `amanat replay`."""
    parser = argparse.ArgumentParser(
        prog="amanat replay",
        description="Runs conversations between fresh devices through a relay of its own, over a real "
        "WebSocket, and searches all that the relay saw, wrote and logged for texts, keys and identifiers.",
        epilog="Ends with 0: every message delivered once, in order, identical, nothing found, nothing left, "
        "nothing of a live session on disk; 1: not so; 2: wrong option or file; 5: the relay did not start.",
    )
    add_arguments(parser)
    options = parser.parse_args(argv)
    try:
        return run(options)
    except AmanatError as error:
        print(error.sentence, file=sys.stderr)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
