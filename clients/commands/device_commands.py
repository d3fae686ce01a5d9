"""`link`, `devices`: the two devices of one person."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from clients.commands.command import Command, online_codes
from clients.commands.context import Context
from clients.commands.device_words import device_words
from clients.sdk.errors import AmanatError, ExitCode, UsageError
from clients.sdk.model import OwnDeviceSummary

if TYPE_CHECKING:
    from clients.sdk.device import Device

_SHOW_SECONDS: Final = 600.0
"""How long `link` on the new device waits for its code to be read, unless told otherwise."""
_READ_SECONDS: Final = 60.0
"""How long `link` on the first device waits for the new one."""
_SETTLE_SECONDS: Final = 20.0
_WARNING: Final = (
    "Link only a device that you hold in your hands: it will read everything that is written from now on."
)


def _link_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "code",
        nargs="?",
        metavar="CODE",
        help="on the first device: what the new one shows; in quotes, because it contains a #",
    )
    parser.add_argument("--name", metavar="NAME", help="first device: what to call the new one")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="how long to wait for the other device")


def _link(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.code is None:
        if arguments.name is not None:
            raise UsageError("The first device names the new one: give --name there, with the code.")
        return _show(context, arguments)
    return _read(context, arguments)


def _show(context: Context, arguments: argparse.Namespace) -> int:
    async def wait(device: Device) -> None:
        async with device.online():
            await device.wait_linked(_SHOW_SECONDS if arguments.wait is None else arguments.wait)
            with contextlib.suppress(AmanatError):  # the lines follow whenever both are online
                await device.settle(_SETTLE_SECONDS)

    with closing(context.open_device()) as device:
        code = device.show_linking_code()
        if arguments.json:
            context.print_json({"code": code})
        else:
            context.print("Read this with your first device within an hour: amanat --home DIR link 'CODE'")
            context.print("Whoever else sees it could make this device their own.\n")
            context.print(code)
            context.print_qr(code)
        asyncio.run(wait(device))
        own, lines = device.devices()[0], [line.name for line in device.lines()]
        role = device.role.value
    if arguments.json:
        context.print_json({"linked": own.name, "role": role, "lines": lines})
    else:
        context.print(f"Linked. Your first device calls this one {own.name!r}; lines here: {len(lines)}.")
        if own.lines > len(lines):
            context.print(f"{own.lines - len(lines)} more will follow while both devices are online.")
        context.print("Texts from before stay on the first device.")
    return ExitCode.OK


def _read(context: Context, arguments: argparse.Namespace) -> int:
    async def link(device: Device) -> OwnDeviceSummary:
        async with device.online():
            seconds = _READ_SECONDS if arguments.wait is None else arguments.wait
            summary = await device.link(
                arguments.code, name=arguments.name, timeout_seconds=seconds, lines_seconds=seconds
            )
            with contextlib.suppress(AmanatError):
                await device.settle(_SETTLE_SECONDS)
            return summary

    with closing(context.open_device()) as device:
        context.confirm(_WARNING)
        summary = asyncio.run(link(device))
    if arguments.json:
        context.print_json(_as_json(summary))
    else:
        context.print(f"Linked {summary.name!r}; it is in {summary.lines_joined} of {summary.lines} lines.")
        if summary.lines_joined < summary.lines:
            context.print("The others follow while both devices are online; a line whose other side has not")
            context.print("answered yet waits for that.")
    return ExitCode.OK


def _devices_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=["remove"], help="what to do; without it, list them")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which device")


def _devices(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.action is not None:
        if arguments.name is None:
            raise UsageError("Say which device: amanat devices remove NAME.")
        return _remove(context, arguments)
    with closing(context.open_device()) as device:
        found = device.devices()
    if arguments.json:
        context.print_json({"devices": [_as_json(summary) for summary in found]})
        return ExitCode.OK
    for summary in found:
        context.print(", ".join(device_words(summary)))
    return ExitCode.OK


def _remove(context: Context, arguments: argparse.Namespace) -> int:
    trouble: AmanatError | None = None

    async def go_out(device: Device) -> None:
        async with device.online():
            await device.settle(_SETTLE_SECONDS)

    with closing(context.open_device()) as device:
        device.find_device(arguments.name)
        context.confirm(
            f"This takes {arguments.name!r} out of every line. It keeps what it has received, and reads "
            "nothing that is written after the others have heard of it.",
            word="remove",
        )
        device.remove_device(arguments.name)
        try:
            asyncio.run(go_out(device))
        except AmanatError as error:
            trouble = error
        gone = all(summary.name != arguments.name for summary in device.devices())
    if arguments.json:
        context.print_json({"removed": arguments.name, "done": gone})
    elif gone:
        context.print(f"{arguments.name!r} is removed from every line; each line has new keys.")
    else:
        context.print(f"{arguments.name!r} is being removed; this goes on while this device is online.")
    if trouble is not None and not gone:
        raise trouble
    return ExitCode.OK


def _as_json(summary: OwnDeviceSummary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "state": summary.state.value,
        "this_device": summary.this_device,
        "id": summary.short_id,
        "lines_joined": summary.lines_joined,
        "lines": summary.lines,
        "linked_at": summary.linked_at,
        "heard_at": summary.heard_at,
    }


COMMANDS: Final = (
    Command(
        name="link",
        help="link a second device of yours",
        description="A person can use two devices. On the new one: `amanat --home NEW init --link --relay "
        "URL`,\nthen `amanat --home NEW link`, which shows a code and waits. On the first one:\n"
        "`amanat --home DIR link CODE`. The new device gets every line, and nothing of what was written\n"
        "before. Interrupted, linking goes on by itself once both devices are online; run the same\n"
        "commands again to watch it.",
        run=_link,
        add_arguments=_link_arguments,
        exit_codes=online_codes(ExitCode.REFUSED),
        json=True,
    ),
    Command(
        name="devices",
        help="list your devices, or remove one that is lost",
        description="List your devices. `amanat devices remove NAME` takes one out of every line; only the "
        "first device\ncan, and each line gets new keys. If the relay cannot be reached the removal stays "
        "queued here,\nand the exit code is 5.",
        run=_devices,
        add_arguments=_devices_arguments,
        exit_codes=online_codes(ExitCode.REFUSED),
        json=True,
    ),
)
