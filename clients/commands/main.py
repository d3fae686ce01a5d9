"""The program `amanat`: reads its arguments, runs one command, and says in one sentence what went wrong.

Exit codes are those of `clients.sdk.errors.ExitCode`; `--help` of each command lists the ones that it can
end with. No traceback ever reaches a person: it could hold their text. Developers set AMANAT_TRACEBACK=1.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import clients
import crypto
from clients.commands import (
    alarm_command,
    contact_commands,
    crisis_command,
    device_commands,
    kept_command,
    line_commands,
    offer_commands,
    session_command,
    tool_commands,
    vault_commands,
)
from clients.commands.command import EXIT_CODE_MEANINGS, Command
from clients.commands.context import Context
from clients.sdk.errors import AmanatError, ExitCode
from clients.sdk.hardening import harden

COMMANDS: Final[tuple[Command, ...]] = (
    *vault_commands.COMMANDS,
    *contact_commands.COMMANDS,
    *device_commands.COMMANDS,
    *line_commands.COMMANDS,
    *alarm_command.COMMANDS,
    *offer_commands.COMMANDS,
    *session_command.COMMANDS,
    *kept_command.COMMANDS,
    *crisis_command.COMMANDS,
    *tool_commands.COMMANDS,
)
HOME_VARIABLE: Final = "AMANAT_HOME"
_INTERRUPTED: Final = 130
"""What shells expect of a program that Ctrl-C ended."""


def main(argv: Sequence[str] | None = None, *, context: Context | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process unless given.
        context: For tests: the world to run in. Its `home` is replaced by `--home` if that is given.
    """
    if not _packages_are_ours():
        print(
            "Another package named `crypto` hides Amanat's; install Amanat in an environment of its own.",
            file=sys.stderr,
        )
        return ExitCode.MISSING_PREREQUISITE
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments, context)
    except SystemExit as end:  # argparse has said what it had to say
        return end.code if isinstance(end.code, int) else ExitCode.USAGE
    except AmanatError as error:
        print(error.sentence, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`). Python would complain once more when it flushes
        # stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - the last line of defence between a defect and a traceback
        if os.environ.get("AMANAT_TRACEBACK"):
            traceback.print_exc()
        name = type(error).__name__
        print(f"Amanat has a defect and had to stop ({name}); please report it.", file=sys.stderr)
        return ExitCode.FAILED


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    codes = "\n".join(f"  {code:d}  {meaning}" for code, meaning in EXIT_CODE_MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="amanat",
        description="End-to-end encrypted text counselling. Help at once: `amanat crisis`.",
        epilog=f"exit codes:\n{codes}\n\nThe passphrase is asked for, or read from the file named in "
        "AMANAT_PASSPHRASE_FILE.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        help=f"folder of this device's vault (default: ${HOME_VARIABLE}, else ~/.amanat)",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.declare(commands)
    return parser


def _run(arguments: list[str], context: Context | None) -> int:
    for name in ("relay", *tool_commands.HANDED_ON):
        if name in arguments and _is_command(arguments, name):
            rest = arguments[arguments.index(name) + 1 :]
            return tool_commands.become_relay(rest) if name == "relay" else tool_commands.hand_on(name, rest)
    namespace = build_parser().parse_args(arguments)
    if context is None:
        harden()
        context = Context(home=_default_home())
    if namespace.home is not None:
        context.home = namespace.home
    command: Command = namespace.command
    return command.run(context, namespace)


def _is_command(arguments: Sequence[str], name: str) -> bool:
    """Whether `name` stands where the command stands, and not, say, as the text of `send`."""
    before = list(arguments[: arguments.index(name)])
    if before[:1] == ["--home"]:
        before = before[2:]
    return all(argument.startswith("--home=") for argument in before)


def _default_home() -> Path:
    named = os.environ.get(HOME_VARIABLE)
    return Path(named) if named else Path.home() / ".amanat"


def _packages_are_ours() -> bool:
    """Whether `import crypto` gives our package and not a stranger's of that name (DESIGN section 2)."""
    return Path(str(crypto.__file__)).parents[1] == Path(str(clients.__file__)).parents[1]


if __name__ == "__main__":
    sys.exit(main())
