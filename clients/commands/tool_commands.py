"""`open`, and the doors to other programs: `relay`, `replay`, `bench`, `vectors`, loaded when asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from clients.audit import shown
from clients.commands.command import Command, offline_codes
from clients.commands.context import Context, MissingPrerequisite
from clients.conformance import command as vectors
from clients.sdk.errors import ExitCode

HANDED_ON: Final = {
    "replay": "clients.replay.main",
    "bench": "clients.bench.main",
    "audit": "clients.audit.main",
}
"""Commands whose arguments are read elsewhere, all of them, `--help` included."""


def _open(context: Context, arguments: argparse.Namespace) -> int:
    del arguments
    if not (context.interactive and context.out.isatty()):
        raise MissingPrerequisite("The full-screen app needs a terminal.")
    from clients.terminal.app import AmanatApp

    return AmanatApp(context.home, device_class=context.device_class()).run() or ExitCode.OK


def _vectors_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    vectors.add_arguments(kinds.add_parser("mls", help=vectors.DESCRIPTION, description=vectors.DESCRIPTION))


def _vectors(context: Context, arguments: argparse.Namespace) -> int:
    del context
    return vectors.main(arguments)


def _claims_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--long", action="store_true", help="also how it is checked, and what remains unseen")


def _claims(context: Context, arguments: argparse.Namespace) -> int:
    for line in shown.listed(in_full=arguments.long):
        context.print(line)
    return ExitCode.OK


def hand_on(name: str, arguments: list[str]) -> int:
    """Run `replay` or `bench` with its own arguments.

    Raises:
        MissingPrerequisite: this copy of the program does not hold it.
    """
    module = HANDED_ON[name]
    try:
        main = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingPrerequisite(f"This copy of Amanat does not hold `amanat {name}`.") from None
    return int(main(arguments))


def become_relay(arguments: list[str]) -> int:
    """Replace this process by `amanat-relay`; the relay is a program of its own (DESIGN section 2).

    Raises:
        MissingPrerequisite: it is not installed beside this program.
    """
    beside = Path(sys.executable).with_name("amanat-relay")
    program = str(beside) if beside.exists() else shutil.which("amanat-relay")
    if program is None:
        raise MissingPrerequisite("The program amanat-relay is not installed beside this one.")
    os.execv(program, [program, *arguments])  # noqa: S606 - becoming the other program is what this is for


def _never(context: Context, arguments: argparse.Namespace) -> int:
    """Not reached: `main` hands these commands on before it reads arguments."""
    del context, arguments
    return ExitCode.USAGE


COMMANDS: Final = (
    Command(
        name="open",
        help="open the full-screen app",
        description="Open the full-screen app: lines, conversations, live sessions. F2 shows crisis help, F8 "
        "locks at once.\n\nTexts are kept and sent exactly as written, in any script; whether Urdu is joined "
        "and runs from\nright to left on the screen depends on the terminal.",
        run=_open,
        exit_codes=offline_codes(),
    ),
    Command(
        name="relay",
        help="run the relay (amanat-relay); `amanat relay --help` says more",
        run=_never,
        exit_codes=(),
    ),
    Command(
        name="replay",
        help="run conversations between fresh devices through a real relay, and measure",
        run=_never,
        exit_codes=(),
    ),
    Command(
        name="bench",
        help="measure the relay",
        run=_never,
        exit_codes=(),
    ),
    Command(
        name="audit",
        help="check every promise, and say which hold; `amanat audit --help` says more",
        run=_never,
        exit_codes=(),
    ),
    Command(
        name="claims",
        help="show every promise, how it is checked, and what the check cannot see",
        run=_claims,
        add_arguments=_claims_arguments,
        exit_codes=(ExitCode.OK,),
    ),
    Command(
        name="vectors",
        help="run official test vectors",
        run=_vectors,
        add_arguments=_vectors_arguments,
        exit_codes=(ExitCode.OK, ExitCode.FAILED, ExitCode.USAGE),
    ),
)
