"""A line whose people have one or two devices each, on a real relay. Everything waits on events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from clients.sdk.device import Device
from clients.sdk.model import OwnDeviceSummary
from keys.passphrase import TEST_COST
from support.pair import PASSPHRASE, WAIT_SECONDS, Pair, line_pair, until


def make_new_device(folder: Path, url: str) -> Device:
    """A vault that waits to be linked."""
    return Device.create_linked(folder, relay_url=url, passphrase=PASSPHRASE, cost=TEST_COST)


async def link(first: Device, new: Device, *, name: str | None = None) -> OwnDeviceSummary:
    """Both online: the new one shows a code, the first one reads it."""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(new.wait_linked(WAIT_SECONDS, lines_seconds=WAIT_SECONDS))
        summary = await first.link(
            new.show_linking_code(), name=name, timeout_seconds=WAIT_SECONDS, lines_seconds=WAIT_SECONDS
        )
        await waiting
    return summary


@contextlib.asynccontextmanager
async def linked_pair(
    folder: Path, *, therapists: int = 1, clients: int = 2
) -> AsyncIterator[tuple[Pair, list[Device], list[Device]]]:
    """A settled line; the therapist has so many devices online, the client so many."""
    async with line_pair(folder) as pair, contextlib.AsyncExitStack() as stack:
        sides: list[list[Device]] = []
        for first, count in ((pair.therapist, therapists), (pair.client, clients)):
            devices = [first]
            if count == 2:
                new = make_new_device(folder / f"second-{len(sides)}", pair.relay.url)
                stack.callback(new.close)
                await stack.enter_async_context(new.online())
                await link(first, new)
                devices.append(new)
            sides.append(devices)
        everybody = [*sides[0], *sides[1]]
        await settle_all(everybody)
        yield pair, sides[0], sides[1]


async def settle_all(devices: list[Device]) -> None:
    """What one sends the others must read and receipt."""
    for _ in range(2):
        for device in devices:
            await device.settle(WAIT_SECONDS)


async def until_shown(device: Device, text: str, *, sender: str) -> None:
    """Wait until a device shows a text."""
    await until(
        lambda: any(
            message.text == text and message.sender == sender
            for line in device.lines()
            for message in device.messages(line.name)
        )
    )
