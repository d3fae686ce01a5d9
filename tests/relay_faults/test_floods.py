"""Under each flood honest devices go on, memory stays bounded, and what is over a limit is refused by name.

What is asserted are counts and bytes. The latency of honest cells is measured in the same run, beside the
undisturbed figure, and only reported (`-s`): on a busy machine it says more about the machine.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from chatserver.wire import frames as f
from support.hostile import ATTACKS
from support.relay import LIVE, Client, text_of
from support.relay_process import ROOT, RelayProcess, relay
from support.wire_client import client_of

CONFIG = """
[limits]
bundle_fetches_per_minute = 2
deposits_per_minute = 300
requests_per_minute = 300
creations_per_minute = 40
inbox_requests_per_minute = 20
connections_per_address = 400
[times]
handshake_seconds = 1
"""
HONEST = "deposits_per_minute = 300"
ROUNDS = {
    "deposits": (400, {"Stored": 300, "RATE": 10}),
    "guesses": (100, {"CREATION_LIMIT": 30, "Attached": 40}),
    "acknowledgements": (350, {"RATE": 5}),
    "bundles": (150, {"200": 100, "429": 10}),
    "inboxes": (40, {"RATE": 10}),
    "reconnects": (150, {"hello": 150}),
    "half_open": (120, {"cut off": 120}),
    "garbage": (12, {"closed 1008": 12}),
    "deaf": (8, {"deaf": 8}),
    "idle": (420, {"open": 398, "refused": 22}),
}
"""Rounds of each attack in the usual run, and answers that there must be at least so many of."""

GROWTH_MIB = 24
"""By how much the relay's memory may grow under one attack: 400 idle connections take 16 MiB (see config)."""


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Honest:
    """Two devices in a live session, and how long each cell takes from the one to the other."""

    def __init__(self, alice: Client, bob: Client, name: str) -> None:
        self.alice = alice
        self.bob = bob
        self.seconds: list[float] = []
        self.key = f"honest beside {name}".encode().ljust(32)

    async def begin(self) -> None:
        await self.alice.attached(self.key, b"a" * 32, cls=LIVE)
        await self.bob.attached(self.key, b"b" * 32, cls=LIVE)

    async def say(self) -> None:
        text = f"honest {len(self.seconds)}"
        begun = time.perf_counter()
        assert isinstance(await self.alice.deposit(self.key, text, cls=LIVE), f.Stored)
        assert text_of(await self.bob.push()) == text
        self.seconds.append(time.perf_counter() - begun)

    async def say_until(self, attack: asyncio.Task[Counter[str]], *, pause: float) -> list[float]:
        """Talk as long as the attack lasts, at least 20 cells."""
        first = len(self.seconds)
        while not attack.done() or len(self.seconds) < first + 20:
            await self.say()
            await asyncio.sleep(pause)
        return self.seconds[first:]


async def attack_here(name: str, port: int, rounds: int) -> Counter[str]:
    return await ATTACKS[name](port, rounds)


async def attack_apart(name: str, port: int, rounds: int) -> Counter[str]:
    """In a process of its own, last in the queue for a processor: an attacker burns another machine's."""
    program = ROOT / "tests" / "support" / "hostile.py"
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "15", sys.executable, str(program)),
        *(name, str(port), str(rounds)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return Counter(json.loads(output))


async def honest_pair(
    process: RelayProcess, name: str, rounds: int, *, apart: bool
) -> tuple[Honest, Counter[str]]:
    async with client_of(process) as alice, client_of(process) as bob:
        honest = Honest(alice, bob, name)
        await honest.begin()
        attacking = asyncio.ensure_future(
            (attack_apart if apart else attack_here)(name, process.port, rounds)
        )
        await honest.say_until(attacking, pause=0.02 if apart else 0.05)
        return honest, await attacking


async def flooded(process: RelayProcess, name: str) -> None:
    rounds, expected = ROUNDS[name]
    before = resident_mib(process.pid)
    honest, answers = await honest_pair(process, name, rounds, apart=False)
    grown = resident_mib(process.pid) - before
    assert len(honest.seconds) >= 20, name
    for answer, least in expected.items():
        assert answers[answer] >= least, (name, answers)
    assert grown < GROWTH_MIB, name


@pytest.mark.asyncio
async def test_honest_devices_go_on_and_memory_stays_bounded(tmp_path: Path) -> None:
    """One relay meets one flood after the other."""
    # Where deposits are not what is limited, the honest may talk for as long as a slow machine takes.
    patient = CONFIG.replace(HONEST, "deposits_per_minute = 100000")
    async with relay(tmp_path, config=patient, measured=False) as process:
        for name in ATTACKS:
            if name != "deposits":
                await flooded(process, name)


@pytest.mark.asyncio
async def test_a_flood_of_deposits_is_refused_and_honest_devices_go_on(tmp_path: Path) -> None:
    async with relay(tmp_path, config=CONFIG, measured=False) as process:
        await flooded(process, "deposits")


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] * 1000


@pytest.mark.long
@pytest.mark.asyncio
async def test_latency_of_honest_cells_under_each_flood_is_reported(tmp_path: Path) -> None:
    config = CONFIG.replace(HONEST, "deposits_per_minute = 100000")
    lines = []
    async with relay(tmp_path, config=config, measured=False) as process:
        for name, (rounds, _) in ROUNDS.items():
            async with client_of(process) as alice, client_of(process) as bob:
                honest = Honest(alice, bob, name)
                await honest.begin()
                for _ in range(300):
                    await honest.say()
                    await asyncio.sleep(0.005)
                quiet = p99(honest.seconds)
                memory = resident_mib(process.pid)
                attacking = asyncio.ensure_future(attack_apart(name, process.port, rounds * 3))
                begun = time.perf_counter()
                under = await honest.say_until(attacking, pause=0.005)
                rate = sum((await attacking).values()) / (time.perf_counter() - begun)
                disturbed = p99(under)
                lines.append(
                    f"{name:17} p99 {quiet:6.2f} ms undisturbed, {disturbed:6.2f} ms under attack"
                    f" ({disturbed / quiet:4.1f} times, {len(under)} cells, attack {rate:.0f}/s), memory"
                    f" {resident_mib(process.pid) - memory:+5.1f} MiB"
                )
    sys.stderr.write("\n" + "\n".join(lines) + "\n")
