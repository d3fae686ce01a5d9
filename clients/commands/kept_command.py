"""`kept`: live sessions whose text both people agreed to keep."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from clients.commands.command import Command, add_line_argument, offline_codes
from clients.commands.context import Context
from clients.commands.line_commands import message_as_json, message_as_text
from clients.sdk.errors import ExitCode, UnknownSession, UsageError
from clients.sdk.model import KeptSession, LineName
from clients.terminal.display import stamp

if TYPE_CHECKING:
    # Only for annotations: `amanat crisis` and `--help` must not load the network's code.
    from clients.sdk.device import Device


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser)
    parser.add_argument("id", metavar="ID", nargs="?", help="print the texts of this session")
    parser.add_argument("--delete", action="store_true", help="delete its texts from this device")


def _find(device: Device, line: LineName, short_id: str) -> KeptSession:
    """The session whose id begins with what the person typed.

    Raises:
        UnknownSession: none, or more than one, begins so.
    """
    found = [kept for kept in device.kept_sessions(line) if kept.session_id.startswith(short_id.lower())]
    if len(found) != 1 or not short_id:
        raise UnknownSession
    return found[0]


def _as_json(kept: KeptSession) -> dict[str, Any]:
    return {"id": kept.session_id, "texts": kept.texts, "first_utc_seconds": kept.first_utc_seconds}


def _kept(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.delete and arguments.id is None:
        raise UsageError("Say which session to delete: `amanat kept` lists their ids.")
    with closing(context.open_device()) as device:
        line = device.line(arguments.line).name
        if arguments.id is None:
            _list(context, device, line, as_json=arguments.json)
            return ExitCode.OK
        kept = _find(device, line, arguments.id)
        if arguments.delete:
            context.confirm(f"This deletes {kept.texts} text(s) of a live session from this device.")
            device.delete_kept_session(line, kept.session_id)
            if arguments.json:
                context.print_json({"line": line, "deleted": _as_json(kept)})
            else:
                context.print("Deleted from this device; the other person's copy is theirs.")
            return ExitCode.OK
        for message in device.messages(line):
            if message.session_id != kept.session_id:
                continue
            if arguments.json:
                context.print_json(message_as_json(line, message))
            else:
                context.print_theirs(message_as_text(line, message))
    return ExitCode.OK


def _list(context: Context, device: Device, line: LineName, *, as_json: bool) -> None:
    sessions = device.kept_sessions(line)
    if as_json:
        context.print_json({"line": line, "sessions": [_as_json(kept) for kept in sessions]})
        return
    for kept in sessions:
        when = stamp(kept.first_utc_seconds, "%Y-%m-%d %H:%M")
        context.print(f"{kept.session_id[:8]}  {when}  {kept.texts} text(s)")
    if not sessions:
        context.note("No live session of this line was kept; that needs both people's agreement in it.")


COMMANDS: Final = (
    Command(
        name="kept",
        help="list, read or delete live sessions that both agreed to keep",
        description="A live session leaves nothing behind, unless both people agree in it to keep its text. "
        "Then the text\nstands in the line's conversation on each device, without signatures. This lists "
        "such sessions, prints\none (ID), or deletes it from this device (ID --delete). "
        "`amanat end --delete` deletes them too.",
        run=_kept,
        add_arguments=_arguments,
        exit_codes=offline_codes(),
        json=True,
    ),
)
