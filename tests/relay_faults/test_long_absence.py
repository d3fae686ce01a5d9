"""A relay that is stopped for longer than its cells live, and two real devices: nothing is lost in silence.

Days pass for all at once: devices and relay see their clocks moved (`Days`, `RelayProcess.days_ahead`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clients.sdk import clock
from clients.sdk.device import Device
from clients.sdk.line.events import AlarmKind
from clients.sdk.model import LinePhase, MessageState
from support.pair import PASSPHRASE, WAIT_SECONDS, Pair, line_pair, states_of, texts_of, until, until_texts
from support.relay_process import RelayProcess

DAY_SECONDS = 86_400


class Days:
    """The module `time`, as `clients.sdk.clock` uses it, some days later."""

    def __init__(self) -> None:
        self.days = 0

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + self.days * DAY_SECONDS


class Later:
    """A pair whose devices are closed and opened again, and the days between."""

    def __init__(self, folder: Path, relay: RelayProcess, days: Days) -> None:
        self.folder = folder
        self.relay = relay
        self.days = days

    async def pass_days(self, days: int) -> None:
        """The relay is stopped all that time."""
        await self.relay.stop()
        self.days.days += days
        self.relay.days_ahead = self.days.days
        await self.relay.start()

    @asynccontextmanager
    async def device(self, name: str) -> AsyncIterator[Device]:
        device = Device.open(self.folder / name, PASSPHRASE)
        try:
            async with device.online():
                yield device
        finally:
            device.close()


@asynccontextmanager
async def line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Later]:
    """A settled line; both devices are closed, the relay runs."""
    days = Days()
    monkeypatch.setattr(clock, "time", days)
    async with line_pair(folder) as pair:
        yield await _closed(folder, pair, days)


async def _closed(folder: Path, pair: Pair, days: Days) -> Later:
    for device in pair.both:
        device.close()
    return Later(folder, pair.relay, days)


def kinds(device: Device) -> list[str]:
    return [alarm.kind for alarm in device.alarms(device.line().name)]


def kind(alarm: AlarmKind) -> str:
    return alarm.name.lower().replace("_", "-")


@pytest.mark.asyncio
async def test_r07_what_expired_is_sealed_anew_and_both_people_are_told_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line(tmp_path, monkeypatch) as later:
        async with later.device("client") as client:
            for number in range(3):
                client.send_text("sara", f"before {number}")
            await client.settle(WAIT_SECONDS)
            assert states_of(client) == [MessageState.STORED] * 3
        await later.pass_days(31)
        async with later.device("therapist") as therapist:
            await until(lambda: kind(AlarmKind.EXPIRED_UNREAD) in kinds(therapist))
            assert texts_of(therapist, "them") == []
            async with later.device("client") as client:
                assert await until_texts(therapist, 3) == [f"before {number}" for number in range(3)]
                client.send_text("sara", "after")
                assert (await until_texts(therapist, 4))[3] == "after"
                therapist.send_text("client", "good to hear")
                await until_texts(client, 1)
                for device in (client, therapist, client):
                    await device.settle(WAIT_SECONDS)
                assert states_of(client) == [MessageState.DELIVERED] * 4
                assert client.line().phase is therapist.line().phase is LinePhase.OPEN
                assert kind(AlarmKind.FORK) not in kinds(client) + kinds(therapist)


@pytest.mark.asyncio
async def test_r07_what_nobody_has_any_more_is_said_to_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's device is lost; what it had sent expires unread."""
    async with line(tmp_path, monkeypatch) as later:
        async with later.device("client") as client:
            client.send_text("sara", "nobody will ever read this")
            await client.settle(WAIT_SECONDS)
        await later.pass_days(31)
        async with later.device("therapist") as therapist:
            await until(lambda: kind(AlarmKind.EXPIRED_UNREAD) in kinds(therapist))
            [alarm] = [
                alarm for alarm in therapist.alarms("client") if alarm.kind == kind(AlarmKind.EXPIRED_UNREAD)
            ]
            assert "deleted messages" in alarm.sentence
            assert not alarm.decision_needed


@pytest.mark.asyncio
async def test_r06_after_everything_has_gone_from_the_relay_the_line_begins_anew_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Untouched for 90 days the channel itself is gone: for the devices a relay that lost its state (R9)."""
    async with line(tmp_path, monkeypatch) as later:
        async with later.device("client") as client:
            client.send_text("sara", "before")
            await client.settle(WAIT_SECONDS)
        await later.pass_days(95)
        async with later.device("client") as client, later.device("therapist") as therapist:
            assert await until_texts(therapist, 1) == ["before"]
            await asyncio.gather(client.settle(WAIT_SECONDS), therapist.settle(WAIT_SECONDS))
            therapist.send_text("client", "after")
            assert await until_texts(client, 1) == ["after"]
            assert kind(AlarmKind.RELAY_LOST_STATE) in kinds(client) + kinds(therapist)
            assert kind(AlarmKind.FORK) not in kinds(client) + kinds(therapist)
