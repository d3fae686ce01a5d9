"""`send`, `receive`, `history`, `lines`, `end`: the asynchronous conversation."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from clients.commands.alarm_command import alarm_as_json, note_alarms, note_stopped
from clients.commands.command import Command, add_line_argument, offline_codes, online_codes
from clients.commands.context import Context
from clients.sdk.errors import AmanatError, EmptyText, ExitCode, UsageError
from clients.sdk.model import (
    LineAlarm,
    LineChanged,
    LineMessage,
    LineName,
    LinePhase,
    LineSummary,
    MessageArrived,
    MessageKind,
    MessageState,
)
from clients.terminal.display import stamp

if TYPE_CHECKING:
    # Only for annotations: `amanat crisis` and `--help` must not load the network's code.
    from clients.sdk.device import Device

_SETTLE_SECONDS: Final = 30.0
_Show = Callable[[LineName, LineMessage], None]
_STATE_SENTENCES: Final = {
    MessageState.QUEUED: "Queued on this device; it goes out with the next connection.",
    MessageState.SEALED: "Queued on this device; it goes out with the next connection.",
    MessageState.STORED: "At the relay; delivered when the other device has fetched it.",
    MessageState.DELIVERED: "Delivered.",
    MessageState.FAILED: "It will not be delivered: the line has ended.",
}


_HELD_PHASES: Final = {LinePhase.RETURNING, LinePhase.STOPPED}
_HELD_SENTENCE: Final = "Kept on this device; it goes out once this device may use the line again."


_UNSENT: Final = {MessageState.QUEUED, MessageState.SEALED}


def _sending_code(line: LineSummary, state: MessageState) -> ExitCode:
    """How `send` ends where the relay could be reached."""
    if state is MessageState.FAILED:
        return ExitCode.FAILED
    if line.phase is LinePhase.STOPPED:
        return ExitCode.DECISION_NEEDED
    return ExitCode.TIMED_OUT if state in _UNSENT else ExitCode.OK


def message_as_json(line: LineName, message: LineMessage) -> dict[str, Any]:
    """One message for a program. `utc_seconds` is its sender's claim (R23)."""
    kept = {"session": message.session_id} if message.kind is MessageKind.SESSION else {}
    return {
        "line": line,
        "item": message.item_id,
        "from": message.sender,
        "utc_seconds": message.utc_seconds,
        "counter": message.counter,
        "kind": message.kind.value,
        "state": message.state.value,
        "text": message.text,
        **kept,
    }


def message_as_text(line: LineName, message: LineMessage) -> str:
    """One message for a person."""
    when = stamp(message.utc_seconds, "%Y-%m-%d %H:%M")
    who = "you" if message.sender == "me" else str(line)
    match message.kind:
        case MessageKind.TEXT:
            return f"{when}  {who}: {message.text}"
        case MessageKind.SESSION:
            return f"{when}  {who} (live session): {message.text}"
        case MessageKind.NOTICE:
            return f"{when}  {line}: ({message.text})"
        case MessageKind.OFFER:
            return f"{when}  {line}: (an appointment; see `amanat offers --line {line}`)"
        case MessageKind.NEWER_VERSION:
            return f"{when}  {line}: (this needs a newer version of Amanat)"
        case MessageKind.MISSING:
            return f"{'':16}  {line}: (a message is missing here; it has been asked for)"


def _send_arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser)
    parser.add_argument(
        "text",
        metavar="TEXT",
        help="the text; `-` reads it from stdin, and keeps it out of the shell's history",
    )


def _send(context: Context, arguments: argparse.Namespace) -> int:
    text = _read_stdin(context) if arguments.text == "-" else arguments.text
    if not text:
        raise EmptyText

    async def send() -> tuple[LineSummary, str, MessageState, AmanatError | None]:
        with closing(context.open_device()) as device:
            line = device.line(arguments.line).name
            item_id = device.send_text(line, text)
            trouble = None
            try:
                async with device.online():
                    await device.settle(_SETTLE_SECONDS)
            except AmanatError as error:
                trouble = error
            state = _state_of(device, line, item_id)
            fresh = device.tell_new_alarms(line)
            # What keeps a text here is said each time; anything else once.
            told = device.alarms(line) if device.line(line).phase in _HELD_PHASES else fresh
            note_alarms(context, told)
            if trouble is None:
                note_stopped(context, device, line)
            return device.line(line), item_id, state, trouble

    line, item_id, state, trouble = asyncio.run(send())
    if arguments.json:
        context.print_json(
            {"line": line.name, "item": item_id, "state": state.value, "alarms": list(line.alarms)}
        )
    else:
        waits = state in _UNSENT and line.phase in _HELD_PHASES
        context.print(_HELD_SENTENCE if waits else _STATE_SENTENCES.get(state, state.value))
    if trouble is not None and state in _UNSENT:
        raise trouble
    return _sending_code(line, state)


def _read_stdin(context: Context) -> str:
    """All of stdin, without the line end that every tool puts after it."""
    try:
        return context.stdin.read().removesuffix("\n")
    except UnicodeDecodeError:
        raise UsageError("The text on stdin is not UTF-8; nothing was sent.") from None


def _state_of(device: Device, line: LineName, item_id: str) -> MessageState:
    for message in reversed(device.messages(line)):
        if message.item_id == item_id:
            return message.state
    return MessageState.QUEUED


def _receive_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="stay, and print what comes, until Ctrl-C")
    parser.add_argument(
        "--wait", metavar="SECONDS", type=float, default=0.0, help="wait until nothing has come for so long"
    )


def _receive(context: Context, arguments: argparse.Namespace) -> int:
    def show(line: LineName, message: LineMessage) -> None:
        if arguments.json:
            context.print_json(message_as_json(line, message))
        else:
            context.print_theirs(message_as_text(line, message))

    def tell(alarms: Iterable[LineAlarm]) -> None:
        for alarm in alarms:
            if arguments.json:
                context.print_json(alarm_as_json(alarm))
            note_alarms(context, [alarm])

    async def receive() -> tuple[int, bool]:
        with closing(context.open_device()) as device:
            try:
                async with device.online():
                    if arguments.follow:
                        await _follow(device, show, tell)
                    count = await _receive_once(device, show, idle_seconds=arguments.wait)
            finally:
                tell(device.tell_new_alarms())
            return count, note_stopped(context, device)

    try:
        count, stopped = asyncio.run(receive())
    except KeyboardInterrupt:
        if arguments.follow:
            return ExitCode.OK
        raise
    if count == 0 and not arguments.json:
        context.note("Nothing new.")
    return ExitCode.DECISION_NEEDED if stopped else ExitCode.OK


async def _follow(device: Device, show: _Show, tell: Callable[[Iterable[LineAlarm]], None]) -> None:
    """Print what comes, for ever."""
    tell(device.tell_new_alarms())
    async for event in device.events():
        match event:
            case MessageArrived():
                show(event.line, event.message)
                device.mark_read(event.line)
            case LineChanged():
                tell(device.tell_new_alarms(event.line))
            case _:
                pass


async def _receive_once(device: Device, show: _Show, *, idle_seconds: float) -> int:
    trouble: AmanatError | None = None
    try:
        await device.settle(_SETTLE_SECONDS, idle_seconds=idle_seconds)
    except AmanatError as error:
        trouble = error  # what had come before is shown all the same
    count = 0
    for line, message in device.new_messages():
        show(line, message)
        device.mark_told(line, [message.item_id])
        device.mark_read(line)
        count += 1
    if trouble is not None:
        raise trouble
    return count


def _history_arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser)
    parser.add_argument("--limit", metavar="N", type=int, help="only the newest N messages")


def _history(context: Context, arguments: argparse.Namespace) -> int:
    with closing(context.open_device()) as device:
        line = device.line(arguments.line).name
        for message in device.messages(line, limit=arguments.limit):
            if arguments.json:
                context.print_json(message_as_json(line, message))
            else:
                context.print_theirs(message_as_text(line, message))
    return ExitCode.OK


def line_as_json(line: LineSummary) -> dict[str, Any]:
    """One line for a program."""
    return {
        "name": line.name,
        "peer": line.peer_name,
        "phase": line.phase.value,
        "unread": line.unread,
        "last_activity": line.last_activity,
        "waiting_to_send": line.waiting_to_send,
        "undelivered": line.undelivered,
        "alarms": list(line.alarms),
        "safety_number_confirmed": line.safety_number_confirmed,
        "offered_now": line.offered_now,
    }


def _lines(context: Context, arguments: argparse.Namespace) -> int:
    with closing(context.open_device()) as device:
        lines = device.lines()
    if arguments.json:
        context.print_json({"lines": [line_as_json(line) for line in lines]})
        return ExitCode.OK
    if not lines:
        context.note("No line yet.")
    for line in lines:
        marks = [line.phase.value]
        if line.unread:
            marks.append(f"{line.unread} unread")
        if line.waiting_to_send:
            marks.append(f"{line.waiting_to_send} waiting to be sent")
        if not line.safety_number_confirmed:
            marks.append("safety number not compared")
        if line.offered_now:
            marks.append("a live session waits for you")
        peer = f" ({line.peer_name})" if line.peer_name and line.peer_name != line.name else ""
        context.print_theirs(f"{line.name}{peer}: {', '.join(marks)}")
        for alarm in line.alarms:
            context.print(f"  ! {alarm}")
    return ExitCode.OK


def _end_arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser, required=True)
    parser.add_argument(
        "--block", action="store_true", help="at once: destroy the keys before the other side knows"
    )
    parser.add_argument("--delete", action="store_true", help="also delete the texts on this device")


def _end(context: Context, arguments: argparse.Namespace) -> int:
    async def end() -> tuple[LineSummary, AmanatError | None]:
        with closing(context.open_device()) as device:
            line = device.line(arguments.line)
            if line.undelivered:
                context.note(f"{line.undelivered} message(s) are not delivered yet and may be lost.")
            fate = "are deleted" if arguments.delete else "stay"
            context.confirm(
                f"This ends the line {line.name!r} for both of you, for good; its texts here {fate}."
            )
            device.end_line(line.name, block=arguments.block, delete_texts=arguments.delete)
            try:
                async with device.online():
                    await device.settle(_SETTLE_SECONDS)
            except AmanatError as error:
                return device.line(line.name), error
            return device.line(line.name), None

    line, trouble = asyncio.run(end())
    context.result(
        {
            "line": line.name,
            "phase": line.phase.value,
            "relay_reached": trouble is None,
            "texts_deleted": arguments.delete,
        },
        "The line is ended on this device.",
        as_json=arguments.json,
    )
    if trouble is not None:
        context.note(f"The other side is told with the next connection. {trouble.sentence}")
    return ExitCode.OK


COMMANDS: Final = (
    Command(
        name="send",
        help="send a text over a line",
        description="Send a text (at most 12,288 bytes of UTF-8; longer ones are refused before sending).\n"
        "If the relay cannot be reached the text stays queued on this device, and the exit code is 5. If "
        "this device\nlost its place in the line and waits to be let in again, the text waits with it: 4. If "
        "the line is stopped\nuntil a person decides: 9. Alarms of the line are told on stderr, each once.",
        run=_send,
        add_arguments=_send_arguments,
        exit_codes=online_codes(ExitCode.DECISION_NEEDED),
        json=True,
    ),
    Command(
        name="receive",
        help="fetch and print new messages",
        description="Fetch and print new messages, each once; with --json one object a line. New alarms are "
        'told on stderr,\neach once (with --json also as an object with the kind "alarm"); while a line is '
        "stopped until a person\ndecides, the exit code is 9.",
        run=_receive,
        add_arguments=_receive_arguments,
        exit_codes=online_codes(ExitCode.DECISION_NEEDED),
        json=True,
    ),
    Command(
        name="history",
        help="print a line's conversation as this device keeps it",
        run=_history,
        add_arguments=_history_arguments,
        exit_codes=offline_codes(),
        json=True,
    ),
    Command(
        name="lines",
        help="list the lines of this device",
        run=_lines,
        exit_codes=offline_codes(),
        json=True,
    ),
    Command(
        name="end",
        help="end a line",
        description="End a line for both people. Without --block the other side is told first and its device "
        "confirms;\nwith --block this device destroys the keys at once. Texts stay unless --delete is given.",
        run=_end,
        add_arguments=_end_arguments,
        exit_codes=offline_codes(),
        json=True,
    ),
)
