"""`amanat audit`: checks every promise, says which hold, and writes reports."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from clients.audit.claims import load
from clients.audit.model import LATER_GROUPS, AuditReport, Group
from clients.audit.report import compare as comparing
from clients.audit.report import plain, signing, terminal
from clients.audit.report.html import page
from clients.audit.report.oscal import document
from clients.audit.runner import audit
from clients.audit.store.snapshot import forget
from clients.audit.target import find
from clients.sdk.errors import AmanatError, UsageError

ALL: Final = "all"
DESCRIPTION: Final = """\
Checks every promise of Amanat and says of each: holds, broken, or could not be checked here and why.

  all      every group below (the default)
  source   the program's text: what it can import, send, store, log; what it depends on
  store    a relay's store, read only
  live     a relay and two devices of its own, watched from all sides (about 2 minutes)
  host     the machine on which a relay runs

Without --config and --store the relay that ./run left running is looked at.
Others:  amanat audit sign FILE | verify FILE | compare OLD NEW | claims
"""
EPILOG: Final = """\
exit codes: 0 all that can be checked holds; 1 something is broken, or could not be checked that must be;
2 wrong use. Some checks need root (memory and sockets of other processes), some strace.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `amanat audit`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in _OTHERS:
            return _OTHERS[arguments[0]](arguments[1:])
        return _audit(arguments)
    except AmanatError as error:
        print(error.sentence, file=sys.stderr)
        return int(error.exit_code)


def claims_main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `amanat claims`: every promise, in the words of the file."""
    parser = argparse.ArgumentParser(
        prog="amanat claims", description="Every promise, how it is checked, and what the check cannot see."
    )
    parser.add_argument("--long", action="store_true", help="also how it is checked, and what remains unseen")
    parser.add_argument("--urdu", action="store_true", help="the promises in Urdu")
    options = parser.parse_args(argv)
    for claim in load():
        if options.urdu:
            print(f"{claim.id}\n  {claim.urdu}\n  {claim.urdu_audience}")
            continue
        print(f"{claim.id}\n  {claim.sentence}")
        if options.long:
            print(f"  against: {claim.adversary}; for: {claim.audience}")
            print(f"  checked: {claim.how}\n  not seen: {claim.blind}")
    return 0


def _audit(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="amanat audit",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [ALL, *(group.value for group in Group)]
    parser.add_argument("group", nargs="?", default=ALL, metavar="GROUP", help=", ".join(names))
    parser.add_argument("--claim", action="append", metavar="ID", help="only this promise; may be repeated")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the relay's settings")
    parser.add_argument("--store", type=Path, metavar="DIR", help="the relay's store")
    parser.add_argument("--log", type=Path, metavar="FILE", help="the relay's log, where it is a file")
    parser.add_argument("--json", action="store_true", help="the report as JSON on standard output")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report for reading and printing")
    parser.add_argument("--oscal", type=Path, metavar="FILE", help="write OSCAL assessment results")
    options = parser.parse_args(arguments)
    if options.group in LATER_GROUPS:
        raise UsageError(
            f"The group {options.group} comes with that part of the product; it is not there yet."
        )
    if options.group not in names:
        raise UsageError(f"There is no group {options.group}; there are {', '.join(names)}.")
    known = {claim.id for claim in load()}
    for name in options.claim or ():
        if name not in known:
            raise UsageError(f"There is no promise {name}; `amanat claims` lists them.")
    target = find(options.config, options.store)
    if options.log is not None:
        target = replace(target, log=options.log)
    groups = list(Group) if options.group == ALL else [Group(options.group)]
    only = frozenset(options.claim) if options.claim else None
    try:
        report = audit(target, groups, lambda line: print(line, file=sys.stderr, flush=True), only=only)
    finally:
        forget()
    _write(options, report)
    return 0 if report.good else 1


def _write(options: argparse.Namespace, report: AuditReport) -> None:
    try:
        if options.html is not None:
            options.html.write_text(page(plain.as_data(report)), encoding="utf-8")
        if options.oscal is not None:
            options.oscal.write_text(document(plain.as_data(report)), encoding="utf-8")
    except OSError:
        raise UsageError("The report cannot be written there.") from None
    if options.json:
        sys.stdout.write(plain.as_json(report))
    else:
        print("\n".join(terminal.summary(report)))


def _sign(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="amanat audit sign", description="Sign a report of any form.")
    parser.add_argument("report", type=Path)
    parser.add_argument(
        "--key", type=Path, default=Path("auditor.key"), help="made where it is missing (auditor.key)"
    )
    options = parser.parse_args(arguments)
    print(f"signed; fingerprint of the key: {signing.sign(options.report, options.key)}")
    return 0


def _verify(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="amanat audit verify", description="Check a report's signature.")
    parser.add_argument("report", type=Path)
    parser.add_argument("--by", metavar="FINGERPRINT", help="the key that must have signed it")
    options = parser.parse_args(arguments)
    found = signing.verify(options.report, options.by)
    print(f"signed by the key {found}" if found else "NOT signed by that key, or changed since")
    return 0 if found else 1


def _compare(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="amanat audit compare", description="What differs between two JSON reports; 1 where it is worse."
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args(arguments)
    changes = list(comparing.compare(plain.read(options.old), plain.read(options.new)))
    for worse, sentence in changes:
        print(f"{'worse: ' if worse else ''}{sentence}")
    print(f"{len(changes)} differences")
    return 1 if any(worse for worse, _ in changes) else 0


_OTHERS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "sign": _sign,
    "verify": _verify,
    "compare": _compare,
    "claims": claims_main,
}


if __name__ == "__main__":
    sys.exit(main())
