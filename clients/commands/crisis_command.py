"""`amanat crisis`: help at once, without a vault, a network or a passphrase."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Final

from clients.commands.command import Command
from clients.commands.context import Context
from clients.sdk.errors import ExitCode
from clients.terminal import crisis


def _crisis(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.json:
        context.print_json({"lines": [asdict(line) for line in crisis.CRISIS_LINES], "note": crisis.CLOSING})
    else:
        context.print(crisis.as_text())
    return ExitCode.OK


COMMANDS: Final = (
    Command(
        name="crisis",
        help="show where to find help at once (works offline, without unlocking)",
        run=_crisis,
        exit_codes=(ExitCode.OK,),
        json=True,
    ),
)
