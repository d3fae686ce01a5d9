"""Many messages both ways through crashes, lost answers, duplicates, commits, lost stores: nothing lost."""

from __future__ import annotations

import random

import pytest
from _pytest.mark import ParameterSet

from clients.sdk.line.events import (
    CellArrived,
    Event,
    FlushReceipts,
    LinePhase,
    NetworkEvent,
    SelfUpdate,
    SendText,
)
from crypto.sensitive import Plaintext
from support.fake_relay import Connection
from support.line_world import DAY, Crash, Sim, World


class Walk:
    """A seeded sequence of accidents over one world."""

    def __init__(self, seed: int, *, devices: int = 2) -> None:
        self.dice = random.Random(seed)
        self.world = World(seed)
        self.sent: dict[str, list[str]] = {}
        if devices > 2:
            self.world.online(self.world.client, self.world.therapist)
            for number in range(3, devices + 1):
                owner = self.world.client if number % 2 else self.world.therapist
                self.world.connect(self.world.add_device(owner, f"device {number}"))
                self.world.run(60)
        relay = self.world.relay
        relay.answer_lost = lambda connection, deposit: self.dice.random() < 0.05
        relay.tamper = self._duplicate

    def _duplicate(self, connection: Connection, event: NetworkEvent) -> list[NetworkEvent]:
        again = isinstance(event, CellArrived) and self.dice.random() < 0.1
        return [event, event] if again else [event]

    def handle(self, sim: Sim, event: Event) -> None:
        """One step that may die before its commit, or after it and before its effects."""
        die = self.dice.random()
        if die < 0.03:
            sim.vault.before_commit = _crash
            with pytest.raises(Crash):
                sim.machine.handle(event, self.world.now)
            sim.vault.before_commit = None
            self.world.restart(sim)
        elif die < 0.06:
            sim.effects += sim.machine.handle(event, self.world.now)
            self.world.restart(sim)
        else:
            self.world.handle(sim, event)

    def step(self) -> None:
        world = self.world
        sim = self.dice.choice(world.sims)
        match self.dice.randrange(10):
            case 0 | 1 | 2 | 3:
                text = f"{sim.name} {len(self.sent.setdefault(sim.name, []))}"
                self.sent[sim.name].append(text)
                self._say(sim, text)
            case 4 if not sim.online:
                world.connect(sim)
            case 5 if sim.online and self.dice.random() < 0.5:
                world.disconnect(sim)
            case 6:
                world.restart(sim)
            case 7 if self.dice.random() < 0.3:
                world.handle(sim, SelfUpdate())
            case 8:
                world.run(self.dice.choice([1, 30, 900]))
            case _:
                self._deliver_some()

    def _say(self, sim: Sim, text: str) -> None:
        """A person presses *send* again if the program died before it said that it has the text."""
        item_id = sim.rng.randbytes(16)
        event = SendText(item_id=item_id, text=Plaintext(text))  # type: ignore[arg-type]  # NewType of bytes
        self.handle(sim, event)
        self.world.handle(sim, event)

    def _deliver_some(self) -> None:
        for _ in range(self.dice.randrange(1, 12)):
            waiting = [s for s in self.world.sims if s.connection is not None and s.connection.queue]
            if not waiting:
                return
            sim = self.dice.choice(waiting)
            if sim.connection is not None:
                self.handle(sim, sim.connection.queue.popleft())

    def finish(self, *, hours: float = 2) -> None:
        world = self.world
        world.relay.answer_lost = lambda connection, deposit: False
        for _ in range(4):
            for sim in world.sims:
                if not sim.online:
                    world.connect(sim)
            world.run(hours * 900)
        for sim in world.sims:
            world.handle(sim, FlushReceipts())
        world.run(60)

    def check(self, *, waiting_cells: bool = False) -> None:
        for sim in self.world.sims:
            assert sim.view().phase is LinePhase.ACTIVE
            by_sender: dict[bytes, list[str]] = {}
            for row in sim.rows():
                assert not row.missing
                by_sender.setdefault(row.sender_device, []).append(row.body.reveal_text())
            for other in self.world.sims:
                assert by_sender.get(other.own.device_id, []) == self.sent.get(other.name, []), other.name
            assert set(sim.states()) <= {"DELIVERED"}
            assert sim.view().undelivered == 0
        assert waiting_cells or self.world.relay.waiting_cells() == 0


def _seeds(quick: int, all_of_them: int) -> list[ParameterSet]:
    """A few seeds always, the rest with --long."""
    marks = [() if seed < quick else (pytest.mark.long,) for seed in range(all_of_them)]
    return [pytest.param(seed, marks=marks[seed]) for seed in range(all_of_them)]


def _crash() -> None:
    raise Crash


@pytest.mark.parametrize("seed", _seeds(4, 40))
def test_two_devices_exactly_once_in_order_nothing_lost(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(120):
        walk.step()
    walk.finish()
    walk.check()


@pytest.mark.parametrize("seed", _seeds(2, 12))
@pytest.mark.parametrize("devices", [3, 4])
def test_more_devices_exactly_once_in_order_nothing_lost(seed: int, devices: int) -> None:
    walk = Walk(100 + seed, devices=devices)
    for _ in range(120):
        walk.step()
    walk.finish()
    walk.check()


@pytest.mark.parametrize("seed", _seeds(3, 30))
def test_relay_loses_its_store_again_and_again(seed: int) -> None:
    """R9: what had not been receipted is deposited again; nobody loses anything."""
    walk = Walk(200 + seed)
    for number in range(120):
        walk.step()
        if number % 40 == 39:
            for sim in walk.world.sims:
                if sim.online:
                    walk.world.disconnect(sim)
            walk.world.relay.lose_store()
    walk.finish(hours=4 * 60)  # whoever missed a closing cell for good comes back by R18 after a day
    walk.check(waiting_cells=True)  # a channel left by R18 keeps its cells until they expire


def test_a_month_of_silence_loses_nothing() -> None:
    """R12: cells expire at the relay after 30 days; content is queued again before and after."""
    walk = Walk(7)
    world = walk.world
    world.online(world.client, world.therapist)
    world.disconnect(world.therapist)
    for number in range(5):
        walk.sent.setdefault("client", []).append(f"t{number}")
        world.say(world.client, f"t{number}")
    world.run(45 * DAY)
    walk.finish()
    assert world.therapist.received() == walk.sent["client"]
    assert world.client.states() == ["DELIVERED"] * 5
