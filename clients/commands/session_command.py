"""`session`: a live session, on this terminal or by a script."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clients.commands.alarm_command import note_alarms
from clients.commands.command import Command, add_line_argument, online_codes
from clients.commands.context import Context, MissingPrerequisite
from clients.sdk.errors import AmanatError, ExitCode, UsageError
from clients.sdk.model import Role
from clients.sdk.session.front import EndReason
from clients.sdk.session.scripted import parse_script, sizes_sentence, unfinished

if TYPE_CHECKING:
    # Only for annotations: `amanat crisis` and `--help` must not load the network's code.
    from clients.sdk.session.handle import SessionResult

DEFAULT_TIMEOUT_SECONDS: Final = 600.0

_END_SENTENCES: Final = {
    EndReason.ENDED: "The session has ended; its keys and texts are gone from this device.",
    EndReason.PEER_SILENT: "The other side was silent for ten minutes; the session is wiped.",
    EndReason.PANIC: "The session was wiped at once.",
    EndReason.PARENT_GONE: "The session was wiped because the program around it ended.",
    EndReason.RELAY_REFUSED: "The relay refused to carry the session on; it is wiped.",
    EndReason.PEER_BROKEN: "The other side's device sent something that Amanat does not send; all is wiped.",
    EndReason.FORK: "The relay showed the two devices different messages; the session is wiped.",
    EndReason.NOT_JOINED: "The session did not begin.",
}
_EXIT_CODES: Final = {
    EndReason.ENDED: ExitCode.OK,
    EndReason.PANIC: ExitCode.OK,
    EndReason.PEER_SILENT: ExitCode.TIMED_OUT,
    EndReason.NOT_JOINED: ExitCode.TIMED_OUT,
    EndReason.FORK: ExitCode.DECISION_NEEDED,
}


def end_sentence(reason: EndReason, *, kept: int = 0) -> str:
    """What a person is told about the end of a session, of which so many texts were kept by agreement."""
    if kept:
        return (
            "The session has ended; its keys are gone. You both agreed to keep its text: "
            f"{kept} text(s) stand in the line's conversation."
        )
    return _END_SENTENCES[reason]


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser)
    parser.add_argument(
        "--script", type=Path, metavar="FILE", help='{"turns": [["client", "text"], ["therapist", "text"]]}'
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="with --script: agree to keep the session's text; it is kept if the other side agrees too",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for the other side (default 600)",
    )


def _session(context: Context, arguments: argparse.Namespace) -> int:
    from clients.sdk.session.handle import SCRIPTED, TERMINAL

    script = None if arguments.script is None else _read_script(arguments.script)
    # A broken script, or a text too long for it, is refused before the other side is kept waiting.
    turns = [] if script is None else parse_script(script)
    if script is None and arguments.keep:
        raise UsageError("--keep belongs to --script; on the terminal F6 asks and agrees.")
    if script is None and not (context.interactive and context.out.isatty()):
        raise MissingPrerequisite("A live session needs a terminal, or a script (--script FILE).")

    async def work() -> tuple[SessionResult, str]:
        with closing(context.open_device()) as device:
            line = device.line(arguments.line).name
            if script is not None:
                context.note(sizes_sentence(turns, device.role))
            async with device.online():
                await device.wait_online()
                context.note(
                    "Offering a live session and waiting for the client. Ctrl-C gives up."
                    if device.role is Role.THERAPIST
                    else "Waiting for your therapist to open the live session. Ctrl-C gives up."
                )
                async with device.session(line) as session:
                    await session.start(
                        front=TERMINAL if script is None else SCRIPTED,
                        script=script,
                        options={"keep": "1"} if arguments.keep else None,
                        timeout_seconds=arguments.timeout,
                    )
                    result = await session.wait()
                with suppress(AmanatError):  # the session is over, whatever becomes of receipts of the line
                    await device.settle()
                note_alarms(context, device.tell_new_alarms(line))
                wrong = ""
                if script is not None:
                    wrong = unfinished(turns, device.role, result.reports, delivered=result.sent)
                return result, wrong

    result, wrong = asyncio.run(work())
    if arguments.json:
        context.print_json(_as_json(result))
    else:
        context.print(end_sentence(result.reason, kept=result.kept))
    if wrong:
        context.note(wrong)
    code = _EXIT_CODES.get(result.reason, ExitCode.FAILED)
    return ExitCode.FAILED if wrong and code is ExitCode.OK else code


def _read_script(path: Path) -> str:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise MissingPrerequisite(f"The script {path} cannot be read.") from None
    return content


def _as_json(result: SessionResult) -> dict[str, Any]:
    return {
        "reason": result.reason.value,
        "sent": result.sent,
        "received": result.received,
        "seconds": round(result.seconds, 3),
        "cells_sent": result.cells_sent,
        "cells_received": result.cells_received,
        "kept": result.kept,
        "reports": [list(report) for report in result.reports],
    }


COMMANDS: Final = (
    Command(
        name="session",
        help="hold a live session",
        description="Hold a live session on a line: a therapist offers it now and waits for the client, a "
        "client waits\nfor the therapist's offer. It exists in memory only, in a process of its own, and is "
        "wiped at the end,\nunless both agree in it to keep its text (F6; see `amanat kept`).\n\n"
        "A script (--script) is checked first: a text that could not be sent ends the command with 2, "
        "before\nanybody waits. A session that did not play the script whole ends it with 1.",
        run=_session,
        add_arguments=_arguments,
        exit_codes=online_codes(ExitCode.DECISION_NEEDED),
        json=True,
    ),
)
