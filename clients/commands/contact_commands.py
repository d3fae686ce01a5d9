"""`invite`, `connect`, `safety-number`, `resolve`: how two people find each other, and make sure of it."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import closing
from datetime import UTC, datetime
from typing import Final

from clients.commands.command import Command, add_line_argument, offline_codes, online_codes
from clients.commands.context import Context
from clients.sdk.errors import ExitCode
from clients.sdk.model import LineSummary
from keys.invitations import Invitation


def _invite_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--link-only", action="store_true", help="print the link and nothing else")
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help="new one-use token of the relay's operator, if the relay asks for one",
    )


def _invite(context: Context, arguments: argparse.Namespace) -> int:
    async def make() -> Invitation:
        with closing(context.open_device()) as device:
            if arguments.token:
                device.use_therapist_token(arguments.token)
            async with device.online():
                invitation = await device.invite()
                await device.settle()
                return invitation

    invitation = asyncio.run(make())
    until = datetime.fromtimestamp(invitation.expires_day * 86_400, tz=UTC).date().isoformat()
    if arguments.json:
        context.print_json({"link": invitation.link, "expires": until})
    elif arguments.link_only:
        context.print(invitation.link)
    else:
        context.print("Give this to one client, over a way that only the two of you can read.")
        context.print(f"It works once, until {until}.\n")
        context.print(invitation.link)
        context.print_qr(invitation.link)
    return ExitCode.OK


def _connect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("link", metavar="LINK", help="the invitation; in quotes, because it contains a #")
    parser.add_argument("--line", metavar="NAME", help="name the new line (only this device knows the name)")
    parser.add_argument(
        "--now",
        action="store_true",
        help="skip the random wait of 5 to 60 seconds, which hides that fetching and writing belong together",
    )


def _connect(context: Context, arguments: argparse.Namespace) -> int:
    async def open_line() -> LineSummary:
        with closing(context.open_device()) as device:
            async with device.online():
                if not arguments.now:
                    context.note(
                        "Waiting up to a minute, so that no time tells the relay who begins to write."
                    )
                line = await device.connect(arguments.link, name=arguments.line, hurry=arguments.now)
                await device.settle()
                return line

    line = asyncio.run(open_line())
    if arguments.json:
        context.print_json({"line": line.name, "peer": line.peer_name, "phase": line.phase.value})
    else:
        context.print(f"The line is open; here it is called {line.name!r}.")
        context.print("You can write at once. Compare the safety number in your first session.")
    return ExitCode.OK


def _safety_number_arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser)
    parser.add_argument(
        "--confirm", action="store_true", help="note that both of you compared it and it was the same"
    )


def _safety_number(context: Context, arguments: argparse.Namespace) -> int:
    with closing(context.open_device()) as device:
        line = device.line(arguments.line)
        groups = device.safety_number(line.name).split()
        payload = device.safety_number_qr(line.name).decode("ascii")
        if arguments.confirm:
            device.confirm_safety_number(line.name)
        confirmed = arguments.confirm or line.safety_number_confirmed
    if arguments.json:
        context.print_json({"line": line.name, "number": " ".join(groups), "confirmed": confirmed})
        return ExitCode.OK
    for start in range(0, len(groups), 4):
        context.print("   ".join(groups[start : start + 4]))
    context.print_qr(payload)
    if confirmed:
        context.print("\nCompared and found the same.")
    else:
        context.print("\nRead it to each other. If it is the same on both devices, nobody sits between you;")
        context.print("note that with --confirm. If it differs, stop writing and talk in person.")
    return ExitCode.OK


def _resolve_arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser, required=True)
    answer = parser.add_mutually_exclusive_group(required=True)
    answer.add_argument("--same", action="store_true", help="the safety numbers were the same: go on")
    answer.add_argument("--different", action="store_true", help="they differed: end the line")


def _resolve(context: Context, arguments: argparse.Namespace) -> int:
    with closing(context.open_device()) as device:
        if arguments.different:
            context.confirm(f"This ends the line {arguments.line!r}; its texts stay on this device.")
        device.resolve(arguments.line, same=arguments.same)
        line = device.line(arguments.line)
    context.result(
        {"line": line.name, "same": arguments.same, "phase": line.phase.value},
        "Noted. The line comes back once, when both devices are connected."
        if arguments.same
        else "The line has ended. Do not trust what came over it last; meet, and make a new one.",
        as_json=arguments.json,
    )
    return ExitCode.OK


COMMANDS: Final = (
    Command(
        name="invite",
        help="therapist: make an invitation for one client",
        description="Make an invitation (link and QR code): for one client, once, for 14 days.",
        run=_invite,
        add_arguments=_invite_arguments,
        exit_codes=online_codes(ExitCode.REFUSED),
        json=True,
    ),
    Command(
        name="connect",
        help="client: open a line from an invitation",
        description="Open a line to the therapist who gave you this invitation.",
        run=_connect,
        add_arguments=_connect_arguments,
        exit_codes=online_codes(ExitCode.REFUSED),
        json=True,
    ),
    Command(
        name="safety-number",
        help="show the number that both people compare",
        run=_safety_number,
        add_arguments=_safety_number_arguments,
        exit_codes=offline_codes(),
        json=True,
    ),
    Command(
        name="resolve",
        help="say whether the safety numbers were the same, after an alarm",
        description="A line that raised an alarm (somebody may have shown the two devices different "
        "messages)\nstops until you two have compared its safety number, in person or by voice.",
        run=_resolve,
        add_arguments=_resolve_arguments,
        exit_codes=offline_codes(),
        json=True,
    ),
)
