"""How a command is declared: name, help, arguments, and the function that does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from clients.commands.context import Context
from clients.sdk.errors import ExitCode

EXIT_CODE_MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "it failed; the sentence on stderr says why",
    ExitCode.USAGE: "wrong use: arguments, role, unknown line, text too long",
    ExitCode.MISSING_PREREQUISITE: "something outside is missing: a file, a program, a terminal",
    ExitCode.TIMED_OUT: "the other side or the relay did not answer in time",
    ExitCode.RELAY_UNREACHABLE: "the relay cannot be reached; what was to be sent stays queued",
    ExitCode.WRONG_PASSPHRASE: "wrong or empty passphrase",
    ExitCode.VAULT_TROUBLE: "the vault is missing, there already, damaged, in use, or too new",
    ExitCode.REFUSED: "refused: invitation mistyped, used or expired, inbox full, admission",
    ExitCode.DECISION_NEEDED: "a person must decide first: see `amanat resolve --help`",
}

_VAULT: Final = (ExitCode.MISSING_PREREQUISITE, ExitCode.WRONG_PASSPHRASE, ExitCode.VAULT_TROUBLE)
_ALWAYS: Final = (ExitCode.OK, ExitCode.FAILED, ExitCode.USAGE)
_ONLINE: Final = (ExitCode.TIMED_OUT, ExitCode.RELAY_UNREACHABLE)


def offline_codes(*more: ExitCode) -> tuple[ExitCode, ...]:
    """Exit codes of a command that opens the vault only."""
    return tuple(sorted({*_ALWAYS, *_VAULT, *more}))


def online_codes(*more: ExitCode) -> tuple[ExitCode, ...]:
    """Exit codes of a command that also speaks to the relay."""
    return tuple(sorted({*_ALWAYS, *_VAULT, *_ONLINE, *more}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. `run` returns the exit code, or raises `AmanatError`."""

    name: str
    help: str
    run: Callable[[Context, argparse.Namespace], int]
    exit_codes: Sequence[ExitCode]
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    description: str = ""
    json: bool = False

    def declare(self, commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add this command to the parser."""
        codes = "\n".join(f"  {code:d}  {EXIT_CODE_MEANINGS[code]}" for code in self.exit_codes)
        parser = commands.add_parser(
            self.name,
            help=self.help,
            description=(self.description or self.help).strip(),
            epilog=f"exit codes:\n{codes}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if self.add_arguments is not None:
            self.add_arguments(parser)
        if self.json:
            parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.set_defaults(command=self)


def add_line_argument(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """`--line NAME`; optional where a device has only one line."""
    parser.add_argument(
        "--line",
        metavar="NAME",
        required=required,
        help="which line" + ("" if required else "; not needed while there is only one"),
    )
