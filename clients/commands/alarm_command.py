"""`alarms`, and how every other command tells a person what is new about a line."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from clients.commands.command import Command, add_line_argument, offline_codes
from clients.commands.context import Context
from clients.sdk.errors import ExitCode
from clients.sdk.model import LineAlarm, LinePhase
from clients.terminal.display import stamp

if TYPE_CHECKING:
    # Only for annotations: `amanat crisis` and `--help` must not load the network's code.
    from clients.sdk.device import Device


def alarm_as_json(alarm: LineAlarm) -> dict[str, Any]:
    """One alarm for a program; `kind` tells it from a message."""
    return {
        "line": alarm.line,
        "kind": "alarm",
        "alarm": alarm.kind,
        "text": alarm.sentence,
        "since": alarm.since,
        "decision_needed": alarm.decision_needed,
    }


def note_alarms(context: Context, alarms: Iterable[LineAlarm]) -> None:
    """Say on stderr what a person has to know: nobody should have to ask for it."""
    for alarm in alarms:
        context.note(f"{alarm.line}: {alarm.sentence}")


def note_stopped(context: Context, device: Device, line: str | None = None) -> bool:
    """Say which lines wait for a decision, each time: the exit code 9 needs a reason.

    Returns:
        Whether there is one.
    """
    lines = device.lines() if line is None else [device.line(line)]
    stopped = [line.name for line in lines if line.phase is LinePhase.STOPPED]
    for name in stopped:
        context.note(
            f"{name}: this line is stopped until you two have compared its safety number and "
            "`amanat resolve` has noted the outcome."
        )
    return bool(stopped)


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser)
    parser.add_argument(
        "--acknowledge",
        action="store_true",
        help="you have read them: show them no more (those that wait for `amanat resolve` stay)",
    )


def _alarms(context: Context, arguments: argparse.Namespace) -> int:
    with closing(context.open_device()) as device:
        names = [line.name for line in device.lines()]
        if arguments.line is not None:
            names = [device.line(arguments.line).name]
        shown: list[LineAlarm] = []
        for name in names:
            device.tell_new_alarms(name)
            shown += device.alarms(name)
            if arguments.acknowledge:
                device.acknowledge_alarms(name)
    if arguments.json:
        context.print_json({"alarms": [alarm_as_json(alarm) for alarm in shown]})
    else:
        for alarm in shown:
            context.print_theirs(f"{stamp(alarm.since, '%Y-%m-%d %H:%M')}  {alarm.line}: {alarm.sentence}")
        if not shown:
            context.note("No alarms.")
    return ExitCode.DECISION_NEEDED if any(alarm.decision_needed for alarm in shown) else ExitCode.OK


COMMANDS: Final = (
    Command(
        name="alarms",
        help="list what you have to know about your lines, and acknowledge it",
        description="List what you have to know about your lines and have not acknowledged. Other commands "
        "tell each alarm\nonce, on stderr, when it is new. The exit code is 9 while one of them waits for "
        "`amanat resolve`.",
        run=_alarms,
        add_arguments=_arguments,
        exit_codes=offline_codes(ExitCode.DECISION_NEEDED),
        json=True,
    ),
)
