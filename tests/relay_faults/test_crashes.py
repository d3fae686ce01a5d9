"""SIGKILL at random moments under traffic: nothing acknowledged is lost, nothing finished is kept.

The wire clients of `support.crash_world` bring the volume and check every number, every digest and every
acknowledgement as it comes; two real devices bring everything that stands above the wire. Moments are drawn
from a seed. Kills hit the relay while it serves, while it erases (every tenth of a second here) and while it
starts.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from clients.sdk import relay_link
from support.crash_world import World
from support.marked import remainders
from support.pair import Pair, texts_of
from support.pair import devices as offline_pair
from support.relay_process import RelayProcess
from support.store_scan import files_of, occurrences, runs_left

CONFIG = """
[store]
erase_seconds = 0.1
[limits]
deposits_per_minute = 1000000
requests_per_minute = 1000000
creations_per_minute = 100000
[times]
drain_seconds = 2
"""
CIRCLES = [2, 3]
"""Readers of each circle of wire clients."""

LEAST_STORED = 12
"""Cells that are stored between two kills, at least; a busy machine must not make the test an empty one."""

ROUND_SECONDS = 180.0


class Crashes:
    """The relay, the traffic, and the hand that kills."""

    def __init__(self, relay: RelayProcess, seed: int) -> None:
        self.relay = relay
        self.random = random.Random(seed)
        self.world = World(relay.url, seed, CIRCLES)
        self.kills = 0
        self.kills_while_starting = 0
        self.said: dict[str, int] = {"therapist": 0, "client": 0}

    async def rounds(self, kills: int, pair: Pair | None) -> None:
        """Kill so many times; after each restart look for what should be gone."""
        while self.kills < kills:
            await self._stored(self.world.stored + LEAST_STORED)
            if pair is not None:
                self._say_something(pair)
            await asyncio.sleep(self.random.uniform(0.0, 0.12))
            gone = self.world.gone()
            await self._kill()
            await self.relay.launch()
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.uniform(0.0, 0.6))
                await self._kill()
                self.kills_while_starting += 1
                await self.relay.launch()
            await self.relay.ready()
            left = remainders(files_of(self.relay.store), gone)
            assert left == set(), f"kept after kill {self.kills}: {len(left)} of {len(gone)} finished cells"

    async def _kill(self) -> None:
        await self.relay.stop(signal.SIGKILL)
        self.kills += 1

    async def _stored(self, count: int) -> None:
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                while self.world.stored < count:  # noqa: ASYNC110 - the relay is another process
                    await asyncio.sleep(0.005)
        except TimeoutError:
            doing = self.relay.doing()
            pytest.fail(f"after kill {self.kills} the traffic stands still: {self.world.where()}; {doing}")

    def _say_something(self, pair: Pair) -> None:
        for name, device in (("therapist", pair.therapist), ("client", pair.client)):
            if self.random.random() < 0.5:
                device.send_text(device.line().name, f"{name} {self.said[name]}")
                self.said[name] += 1

    async def quiet(self) -> None:
        """Let everybody finish, in peace."""
        self.world.talking = False
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                while not self.world.quiet:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"the traffic does not end: {self.world.where()}")
        self.world.judge()


async def crash(tmp_path: Path, seed: int, kills: int, monkeypatch: pytest.MonkeyPatch) -> Crashes:
    # A device waits up to a minute for a relay that failed so often; the test has not that long.
    monkeypatch.setattr(relay_link, "MAX_PAUSE_SECONDS", 0.5)
    async with offline_pair(tmp_path, config=CONFIG, measured=False) as pair:
        crashes = Crashes(pair.relay, seed)
        async with pair.therapist.online(), pair.client.online():
            invitation = await pair.therapist.invite()
            await pair.client.connect(invitation.link, name="sara", hurry=True)
            await pair.settle()
            async with asyncio.TaskGroup() as group:
                traffic = group.create_task(crashes.world.run())
                await crashes.rounds(kills, pair)
                await crashes.quiet()
                traffic.cancel()
            await pair.settle()
            for name, device, sender in (
                ("therapist", pair.therapist, "me"),
                ("therapist", pair.client, "them"),
                ("client", pair.client, "me"),
                ("client", pair.therapist, "them"),
            ):
                assert texts_of(device, sender) == [f"{name} {n}" for n in range(crashes.said[name])]
        await pair.relay.stop()
        tokens, finished, others = crashes.world.secrets()
        files = files_of(pair.relay.store)
        assert remainders(files, crashes.world.gone()) == set()
        assert runs_left(files, tokens) == []
        assert {occurrences(files, channel_id) for channel_id in finished} == {1}, "its tombstone alone"
        assert all(occurrences(files, channel_id) >= 1 for channel_id in others), "the search finds nothing"
    return crashes


def report(crashes: Crashes) -> str:
    world = crashes.world
    epochs = sum(len(circle.epochs) for circle in world.circles)
    return (
        f"{crashes.kills} kills, {crashes.kills_while_starting} of them while starting, {world.stored} cells"
        f" acknowledged to senders, {len(world.gone())} finished by all readers, {epochs} channels,"
        f" {world.connections} connections, {sum(crashes.said.values())} texts of real devices"
    )


@pytest.mark.asyncio
async def test_h1_twenty_kills_lose_nothing_and_keep_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = await crash(tmp_path, 20, 20, monkeypatch)
    assert crashes.world.stored >= 20 * LEAST_STORED / 2
    assert sum(crashes.said.values()) > 5


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.asyncio
async def test_h1_two_hundred_kills_lose_nothing_and_keep_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty at a time."""
    sys.stderr.write(report(await crash(tmp_path, seed, 50, monkeypatch)) + "\n")
