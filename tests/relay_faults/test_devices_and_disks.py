"""Real devices at a relay whose disk fills up, fails, is locked or damaged: they recover by themselves.

What the relay does then is judged on the wire in `test_disks`; here two people write to each other before,
during and after it. Each text arrives once and in order, and while the relay cannot keep one, its sender sees
it as not yet stored.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chatserver.store.database import PAGE_BYTES
from clients.sdk import relay_link
from clients.sdk.device import Device
from clients.sdk.line import network
from clients.sdk.model import LinePhase, MessageState, Role
from support.mounts import Image, in_memory
from support.pair import Pair, make_device, states_of, texts_of, until, until_texts
from support.relay_process import RelayProcess

CONFIG = """
[store]
erase_seconds = 0.2
reserve_mib = 1
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device waits up to a minute for a relay that is gone, and 5 to 10 seconds after a refusal."""
    monkeypatch.setattr(relay_link, "MAX_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(network, "BACKOFF_SECONDS", 0.2)


@asynccontextmanager
async def pair_on(folder: Path, store: Path) -> AsyncIterator[Pair]:
    """A line between two devices that are online, at a relay whose store lies there."""
    (folder / "relay").mkdir()
    process = RelayProcess(folder / "relay", config=CONFIG, measured=False)
    process.store = store
    await process.init()
    await process.start()
    therapist = make_device(folder / "therapist", Role.THERAPIST, process.url)
    client = make_device(folder / "client", Role.CLIENT, process.url)
    pair = Pair(process, therapist, client)
    try:
        async with therapist.online(), client.online():
            invitation = await therapist.invite()
            await client.connect(invitation.link, name="sara", hurry=True)
            client.send_text("sara", "before")
            await until_texts(therapist, 1)
            await pair.settle()
            yield pair
    finally:
        therapist.close()
        client.close()
        await process.stop()


def speak(pair: Pair, word: str) -> None:
    pair.client.send_text("sara", word)
    pair.therapist.send_text("client", word)


def waiting(device: Device) -> bool:
    return states_of(device)[-1] in {MessageState.QUEUED, MessageState.SEALED}


def told(device: Device, kind: str) -> bool:
    return any(alarm.kind == kind for alarm in device.alarms(device.line().name))


async def all_is_well(pair: Pair, *words: str) -> None:
    """Everything has arrived once, in order, and is receipted; nobody was told of a fork."""
    assert await until_texts(pair.therapist, 1 + len(words)) == ["before", *words]
    assert await until_texts(pair.client, len(words)) == list(words)
    await pair.settle()
    for device in pair.both:
        assert set(states_of(device)) == {MessageState.DELIVERED}
        assert device.line().phase is LinePhase.OPEN
        assert not told(device, "fork")
        assert not told(device, "unreadable")


@pytest.mark.system
@pytest.mark.asyncio
async def test_devices_outlast_a_full_disk(tmp_path: Path) -> None:
    with in_memory(tmp_path / "disk", "4m") as disk:
        async with pair_on(tmp_path, disk / "store") as pair:
            with contextlib.suppress(OSError), (disk / "filler").open("wb") as filler:
                while True:
                    filler.write(bytes(4096))
                    filler.flush()
            speak(pair, "during")
            await until(lambda: all(told(device, "relay-refuses") for device in pair.both))
            assert waiting(pair.client)
            assert waiting(pair.therapist)
            (disk / "filler").unlink()
            speak(pair, "after")
            await all_is_well(pair, "during", "after")
            assert not told(pair.client, "relay-refuses"), "what was over is no alarm any more"


@pytest.mark.asyncio
async def test_devices_outlast_a_stranger_who_locks_the_store(tmp_path: Path) -> None:
    async with pair_on(tmp_path, tmp_path / "store") as pair:
        stranger = sqlite3.connect(pair.relay.store / "relay.db", isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        speak(pair, "during")
        await until(lambda: told(pair.client, "relay-refuses") or told(pair.therapist, "relay-refuses"))
        assert waiting(pair.client)
        stranger.execute("ROLLBACK")
        stranger.close()
        speak(pair, "after")
        await all_is_well(pair, "during", "after")


@pytest.mark.system
@pytest.mark.parametrize("how", ["fails", "read-only"])
@pytest.mark.asyncio
async def test_devices_outlast_a_disk_that_fails_or_becomes_read_only(how: str, tmp_path: Path) -> None:
    """The relay ends, the operator mounts the disk again and starts it."""
    image = Image(tmp_path / "image")
    with contextlib.ExitStack() as mount:
        mount.enter_context(image.mounted())
        async with pair_on(tmp_path, image.point / "store") as pair:
            if how == "fails":
                image.cut_power()
            else:
                image.become_read_only()
            speak(pair, "during")
            assert await pair.relay.ended() == 7
            assert waiting(pair.client)
            mount.pop_all().close()
            mount.enter_context(image.mounted())
            await pair.relay.start()
            speak(pair, "after")
            await all_is_well(pair, "during", "after")
        await pair.relay.stop()


@pytest.mark.asyncio
async def test_devices_outlast_a_damaged_store_and_the_new_one_in_its_place(tmp_path: Path) -> None:
    """The relay ends and does not start; the operator makes a new store. A relay that lost its state (R9)."""
    async with pair_on(tmp_path, tmp_path / "store") as pair:
        await pair.relay.stop()
        file = pair.relay.store / "relay.db"
        with file.open("r+b") as damaged:
            for page in range(1, damaged.seek(0, 2) // PAGE_BYTES):
                damaged.seek(page * PAGE_BYTES)
                damaged.write(b"\x55" * PAGE_BYTES)
        speak(pair, "during")
        await pair.relay.launch()
        assert await pair.relay.ended() == 7
        assert waiting(pair.client)
        assert texts_of(pair.client, "them") == []
        pair.relay.store.rename(tmp_path / "damaged")
        await pair.relay.init()
        await pair.relay.start()
        speak(pair, "after")
        await all_is_well(pair, "during", "after")
        assert all(told(device, "relay-lost-state") for device in pair.both)
