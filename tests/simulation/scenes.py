"""Scenes for aims (`aimed`): the disaster that one rule closes, played through in one step, here R2 to R4.

What a scene did is noted by a name of its own, not as *lie* or *malice*: the oracle then excuses nothing by
it that the rule promises.
"""

from __future__ import annotations

import random
from typing import Any

from chatserver.wire import frames as f
from chatserver.wire.limits import BODY_BYTES, ChannelClass
from clients.sdk.line.events import LinePhase
from simulation import malice
from simulation.device import SimDevice
from simulation.mischief import Lie
from simulation.wire import framed
from simulation.world import DAY, Text, World


def all_online(world: World, seconds: float) -> None:
    for device in world.members():
        device.go_online()
    world.run_until(world.now + seconds)


def connected(world: World) -> list[SimDevice]:
    return [device for device in world.members() if device.running and device.line is not None]


# --------------------------------------------------------------------- R2: other parameters, other channel


def other_sizes(world: World, dice: random.Random) -> None:
    """A member opens the line's address with another class and another number of readers, and closes it."""
    all_online(world, 20)
    for device in dice.sample(connected(world), min(1, len(connected(world)))):
        world.note("other-sizes")
        malice.other_classes(world, device, dice)
    world.run_until(world.now + 20)


def odd_cell(world: World, dice: random.Random) -> None:
    """A member deposits a cell that is shorter than its class says."""
    all_online(world, 20)
    for device in dice.sample(connected(world), min(1, len(connected(world)))):
        state = world.state(device)
        if device.line is None or not state.addresses:
            return
        frame = f.Deposit(
            request=device.next_request() + 1_000,
            cls=ChannelClass.STORED,
            readers=state.readers,
            k=state.addresses[state.turn],
            deposit_id=dice.randbytes(16),
            close=False,
            body=dice.randbytes(BODY_BYTES[ChannelClass.STORED]),
        )
        world.note("other-sizes")
        world.story(device.name, "deposits a cell that is too short")
        device.line.up.write(framed(frame.encode()[: -dice.randrange(1, 9_000)]))
    world.run_until(world.now + 20)


# ------------------------------------------------------------------------------------ R3: slots, positions


def hangs(world: World, dice: random.Random) -> None:
    """A connection dies, and the relay is never told; the device connects again."""
    all_online(world, 20)
    there = connected(world)
    if there:
        device = dice.choice(there)
        world.story(device.name, "its connection hangs: the relay is not told that it has gone")
        if device.line is not None:
            device.line.hang()
        device.go_online()
        world.run_until(world.now + 30)
        before = len(world.texts)
        for other in world.members():
            world.say(other)
        all_online(world, 300)
        _comes_soon(world, list(world.texts.values())[before:], device, "it connected again (R3)")


def _comes_soon(world: World, texts: list[Text], device: SimDevice, since: str) -> None:
    """Five minutes are enough for devices that have their places; no new connection is to be needed."""
    for text in texts:
        theirs = text.sender.own.identity_key != device.own.identity_key
        both = _has_its_place(text.sender) and _has_its_place(device)
        if theirs and both and not text.failed and device.name not in text.got:
            world.violate("late", f"text {text.number} is not with {device.name}, five minutes after {since}")


def _has_its_place(device: SimDevice) -> bool:
    view = device.machine.view()
    return view.phase is LinePhase.ACTIVE and view.attached


def lost_while_away(world: World, dice: random.Random) -> None:
    """The relay loses its disk while a device is away; the others write on; it comes back."""
    members = world.members()
    away = dice.choice(members)
    all_online(world, 60)
    for device in members:
        world.say(device)
    world.run_until(world.now + 60)
    world.story(away.name, "goes offline")
    away.go_offline()
    away.stop()
    world.story("relay", "loses its disk")
    world.note("lost-store")
    world.relay.crash()
    world.relay.lose_disk()
    world.relay.start()
    world.run_until(world.now + 60)
    for device in members:
        if device is not away:
            device.go_online()
    world.run_until(world.now + 60)
    for _ in range(dice.randrange(2, 9)):
        world.say(dice.choice([device for device in members if device is not away]))
    world.run_until(world.now + 60)
    all_online(world, 60)


def nothing_skipped(world: World) -> None:
    """R4: an honest relay that lost its disk, and no more, leaves out no cell of the new record."""
    if set(world.happened) <= {"lost-store"} and world.watch.skipped:
        world.violate("skipped", world.watch.skipped[0])


# ------------------------------------------------------------------------------------ R4: stored, in order


def busy_return(world: World, dice: random.Random) -> None:
    """A device comes back to many cells while others write, and the disk is slow."""
    all_online(world, 30)
    away = dice.choice(world.members())
    others = [device for device in world.members() if device is not away]
    world.story(away.name, "goes offline")
    away.go_offline()
    world.run_until(world.now + 5)
    for _ in range(dice.randrange(2, 6)):
        world.say(dice.choice(others))
    world.run_until(world.now + 10)
    world.relay.commit_seconds = dice.choice([0.2, 1.0])
    away.go_online()
    for _ in range(12):
        world.say(dice.choice(others))
        world.run_until(world.now + 0.2 * dice.random())
    world.run_until(world.now + 30)
    world.relay.commit_seconds = 0.0


def dies_while_storing(world: World, dice: random.Random) -> None:
    """The relay dies before, while or after it stores a text, which soon comes over all the same (R4)."""
    all_online(world, 30)
    when = dice.choice(["before", "while", "after"])
    if when == "while":
        world.relay.commit_seconds = 5.0
    else:
        world.relay.crash_in = (1, when)
    world.story("relay", f"will die {when} it stores")
    device = dice.choice(world.members())
    number = len(world.texts)
    world.say(device)
    world.run_until(world.now + 0.5)
    if when == "while":
        world.relay.crash()
        world.relay.commit_seconds = 0.0
    world.run_until(world.now + 20)
    if not world.relay.up:
        world.relay.start()
    all_online(world, 300)
    others = [d for d in world.members() if d.own.identity_key != device.own.identity_key]
    if not any(other.name in list(world.texts.values())[number].got for other in others):
        world.violate("late", f"text {number} has not come over five minutes after the relay came back (R4)")


def leaves_while_storing(world: World, dice: random.Random) -> None:
    """A depositor is gone before its cell is on the disk; whoever is attached gets it all the same."""
    all_online(world, 120)
    device = dice.choice(world.members())
    world.relay.commit_seconds = 1.0
    number = len(world.texts)
    world.say(device)
    world.run_until(world.now + 0.45)
    world.story(device.name, "leaves while its text is being stored")
    device.go_offline()
    device.stop()
    world.run_until(world.now + 5)
    world.relay.commit_seconds = 0.0
    stored = {cell.body for channel in channels(world) for cell in channel.cells}
    world.run_until(world.now + 60)
    text = list(world.texts.values())[number]
    for other in connected(world):
        state = world.state(other)
        heads = [c.next_seq - 1 for c in channels(world) if c.incarnation == state.channel.incarnation]
        if heads and heads[0] > state.channel.position and stored:
            world.violate("not-shown", f"{other.name} is attached and is not shown text {text.number}")
    all_online(world, 30)


def withheld(world: World, dice: random.Random) -> None:
    """The relay keeps a cell from one device and shows it the next ones (R10)."""
    all_online(world, 60)
    victim = dice.choice(world.members())
    world.mischief.lies.append(Lie("withhold", victim.name, 1))
    world.note("lie")
    for _ in range(2):
        for device in world.members():
            world.say(device)
        world.run_until(world.now + 30)


def flag(world: World, dice: random.Random) -> None:
    """The relay turns one flag for one device, which moves on alone; then all are together (R14, R9)."""
    all_online(world, 60)
    victim = dice.choice(world.members())
    world.mischief.lies.append(Lie("flag", victim.name, 1))
    world.note("lie")
    for device in world.members():
        world.say(device)
    world.run_until(world.now + 120)
    all_online(world, 1.5 * DAY)


def channels(world: World) -> list[Any]:
    return list(getattr(world.relay.store, "_channels", {}).values())
