"""``amanat vectors mls PATH… [--json] [--allow-skips]``: arguments and output of the vector runner.

The commands' package hooks :func:`add_arguments` and :func:`main` in. Exit codes: 0 every case passed (with
``--allow-skips``: passed or was skipped); 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from clients.conformance.runner import Report, run

DESCRIPTION: Final = "Run files in the JSON format of the official MLS test vectors."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a vector file, or a folder of *.json files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--allow-skips",
        action="store_true",
        help="do not count kinds and cipher suites that this version does not check as a failure",
    )


def main(arguments: argparse.Namespace) -> int:
    """Run, print, and give the exit code."""
    report = run(arguments.paths)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        _print_table(report)
    return 0 if report.ok(allow_skips=arguments.allow_skips) else 1


def _print_table(report: Report) -> None:
    print(f"{'file':44} {'kind':20} {'suite':>6} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for file in report.files:
        for suite, counts in sorted(file.suites.items()):
            numbers = f"{counts.passed:7} {counts.failed:7} {counts.skipped:8}"
            print(f"{Path(file.path).name[:44]:44} {file.kind or '?':20} {suite:>6} {numbers}")
        for reason in file.reasons:
            print(f"    {reason}")
    total = report.total
    print(f"passed {total.passed}, failed {total.failed}, skipped {total.skipped}")
