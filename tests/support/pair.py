"""Two real devices on a real relay, for integration tests. They wait on events, never on time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from clients.sdk.device import Device
from clients.sdk.model import LineMessage, MessageKind, MessageState, Role
from keys.passphrase import TEST_COST
from support.relay_process import RelayProcess, relay

PASSPHRASE = "correct horse"
WAIT_SECONDS = 60.0


def make_device(folder: Path, role: Role, url: str, *, token: str | None = None) -> Device:
    return Device.create(
        folder,
        role=role,
        relay_url=url,
        passphrase=PASSPHRASE,
        display_name="Dr Sara" if role is Role.THERAPIST else "",
        therapist_token=token,
        cost=TEST_COST,
    )


class Pair:
    """A therapist's and a client's device with a line between them."""

    def __init__(self, relay_process: RelayProcess, therapist: Device, client: Device) -> None:
        self.relay = relay_process
        self.therapist = therapist
        self.client = client

    @property
    def both(self) -> tuple[Device, Device]:
        return self.therapist, self.client

    async def settle(self) -> None:
        """Both, twice: what one sends the other must read and receipt."""
        for _ in range(2):
            for device in self.both:
                await device.settle(WAIT_SECONDS)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


async def until_texts(device: Device, count: int) -> list[str]:
    """Wait until the device's only line shows so many texts of the peer."""
    await until(lambda: len(texts_of(device, "them")) >= count)
    return texts_of(device, "them")


def texts_of(device: Device, sender: str) -> list[str]:
    if not device.lines():
        return []
    return [message.text for message in shown(device) if message.sender == sender]


def shown(device: Device) -> list[LineMessage]:
    return [
        message
        for message in device.messages(device.line().name)
        if message.kind in {MessageKind.TEXT, MessageKind.MISSING}
    ]


def states_of(device: Device) -> list[MessageState]:
    return [message.state for message in shown(device) if message.sender == "me"]


@contextlib.asynccontextmanager
async def devices(folder: Path, *, config: str = "", measured: bool = True) -> AsyncIterator[Pair]:
    """A relay and two devices, offline, without a line."""
    async with relay(folder / "relay", config=config, measured=measured) as process:
        therapist = make_device(folder / "therapist", Role.THERAPIST, process.url)
        client = make_device(folder / "client", Role.CLIENT, process.url)
        try:
            yield Pair(process, therapist, client)
        finally:
            therapist.close()
            client.close()


@contextlib.asynccontextmanager
async def relay_again(folder: Path) -> AsyncIterator[RelayProcess]:
    """The relay of `devices(folder)` once more, with its store and under its address."""
    process = RelayProcess(folder / "relay")
    client = Device.open(folder / "client", PASSPHRASE)
    process.port = int(client.relay_url.rsplit(":", 1)[1])
    client.close()
    await process.start()
    try:
        yield process
    finally:
        await process.stop(signal.SIGKILL)


@contextlib.asynccontextmanager
async def line_pair(folder: Path, *, config: str = "") -> AsyncIterator[Pair]:
    """Both online, a line open and settled."""
    async with devices(folder, config=config) as pair, pair.therapist.online(), pair.client.online():
        invitation = await pair.therapist.invite()
        await pair.client.connect(invitation.link, name="sara", hurry=True)
        await pair.settle()
        yield pair
