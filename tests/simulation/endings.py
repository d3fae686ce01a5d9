"""Scenes for aims (`aimed`) about the ends of channels and epochs: R5, R8, R10, R15 and R19."""

from __future__ import annotations

import random

from clients.sdk.line import events as e
from clients.sdk.line.events import LinePhase
from crypto.errors import StateError
from simulation import malice, scenes, split
from simulation.device import SimDevice
from simulation.world import DAY, World

# ----------------------------------------------------------------------------- R5, R8: closing and leaving


def full_channel(world: World, dice: random.Random) -> None:
    """A device is lost for good while the others fill the channel; its person removes it."""
    scenes.all_online(world, 60)
    lost = [device for device in world.members() if not device.primary]
    if not lost:
        return
    gone = dice.choice(lost)
    owner = next(d for d in world.members() if d.primary and d.own.identity_key == gone.own.identity_key)
    world.story(gone.name, "is lost for good")
    gone.wants = False
    gone.stop()
    world.ghosts.append(malice.Ghost(gone, gone.vault.snapshot()))
    for _ in range(12):
        world.say(dice.choice([device for device in world.members() if device is not gone]))
    world.run_until(world.now + 60)
    world.story(owner.name, f"removes {gone.name}")
    _wants(owner, e.RemoveDevice(device_id=gone.own.device_id))
    gone.joined = False
    world.run_until(world.now + 300)
    if world.state(owner).member(gone.own.device_id) is not None:
        world.violate("stuck", f"{gone.name} cannot be removed from a channel that is full (R5)")


def races(world: World, dice: random.Random) -> None:
    """All change keys at once and write, on a slow network, and some are cut off in the middle of it."""
    scenes.all_online(world, 20)
    world.delays = dice.choice([(0.02, 0.2), (0.5, 3.0)])
    for device in world.members():
        if dice.random() < 0.8:
            world.story(device.name, "wants new keys")
            _wants(device, e.SelfUpdate())
        for _ in range(dice.randrange(3)):
            world.say(device)
    world.run_until(world.now + 4 * world.delays[1] * dice.random())
    for device in world.members():
        world.say(device)
        if dice.random() < 0.5 and device.line is not None:
            world.story(device.name, "loses its connection")
            device.line.cut("cut")
    world.run_until(world.now + 60)
    world.delays = (0.02, 0.2)


def squat(world: World, dice: random.Random) -> None:
    """R8: a member changes keys while the others are away, and takes their places in the next channel."""
    scenes.all_online(world, 120)
    rogue = dice.choice(world.members())
    for device in world.members():
        if device is not rogue:
            device.go_offline()
    before = world.state(rogue).epoch
    world.story(rogue.name, "changes keys while nobody is there")
    _wants(rogue, e.SelfUpdate())
    world.run_until(world.now + 30)
    if world.state(rogue).epoch != before and rogue.line is not None:
        world.note("squat")
        malice.squats(world, rogue, dice)
        world.run_until(world.now + 10)
    _everybody_has_a_place(world)
    world.run_until(world.now + 1.5 * DAY)


def gone(world: World, dice: random.Random) -> None:
    """R8: a device is away until the closing cell of its channel has expired."""
    scenes.all_online(world, 120)
    away = dice.choice(world.members())
    world.story(away.name, "is away for a long time")
    world.note("absent-90")
    away.wants = False
    away.stop()
    world.run_until(world.now + 10)
    for device in world.members():
        if device is not away:
            _wants(device, e.SelfUpdate())
            world.say(device)
    world.run_until(world.now + dice.choice([92, 100, 120]) * DAY)
    _everybody_has_a_place(world)
    world.run_until(world.now + DAY)


def _shut_out(device: SimDevice) -> bool:
    view = device.machine.view()
    return view.phase is LinePhase.ACTIVE and not view.attached


def _everybody_has_a_place(world: World) -> None:
    """R8: after some hours whoever was shut out has asked to be let in, and does not just wait."""
    scenes.all_online(world, 3_600)
    if any(_shut_out(device) for device in world.members()):
        world.run_until(world.now + 120)  # just then another one may have been let in
    for device in world.members():
        if _shut_out(device):
            world.violate("locked-out", f"{device.name} has no place in its channel, and waits for ever (R8)")
    scenes.all_online(world, 2 * 3_600)


# -------------------------------------------------------------------------------------------- R10: the log


def two_logs(world: World, dice: random.Random) -> None:
    """The relay shows one device another log, and some cells to both."""
    scenes.all_online(world, 60)
    for device in world.members():
        world.say(device)
    world.run_until(world.now + 30)
    if world.two_stores.second is not None or not world.relay.up:
        return
    apart = dice.choice(world.members()).name
    world.story("relay", f"keeps {apart} on a second store")
    world.note("two-stores")
    world.two_stores.begin(apart=frozenset({apart}), crosses=0.5, slowest=2.0)
    world.run_until(world.now + 60)
    for _ in range(3):
        scenes.all_online(world, 5)
        for device in world.members():
            world.say(device)
        world.run_until(world.now + 20)
    world.story("relay", "has one store again")
    world.two_stores.end(second_survives=dice.random() < 0.5)
    scenes.all_online(world, 60)


def two_ends(world: World, dice: random.Random) -> None:
    """The relay shows one device a text before the closing cell that it shows nobody else (R10)."""
    scenes.all_online(world, 120)
    devices = world.members()
    if world.two_stores.second is not None or not world.relay.up or len(devices) < 2:
        return
    apart, other = dice.sample(devices, 2)
    world.story("relay", f"keeps {apart.name} on a second store")
    world.note("two-stores")
    world.two_stores.begin(apart=frozenset({apart.name}), crosses=1.0, slowest=2.0)
    world.run_until(world.now + 60)
    scenes.all_online(world, 30)
    world.story(other.name, "wants new keys")
    _wants(other, e.SelfUpdate())
    world.say(apart)
    world.run_until(world.now + 60)
    for device in (other, apart, other, apart):
        world.say(device)
        world.run_until(world.now + 30)
    world.story("relay", "has one store again")
    world.two_stores.end(second_survives=dice.random() < 0.5)
    scenes.all_online(world, 60)


def after_hole(world: World, dice: random.Random) -> None:
    """A device comes back when cells that it has not read have expired."""
    scenes.all_online(world, 60)
    away = dice.choice(world.members())
    world.story(away.name, "is away for more than a month")
    world.note("absent")
    away.wants = False
    away.stop()
    for _ in range(3):
        for device in world.members():
            if device is not away:
                device.go_online()
                world.say(device)
        world.run_until(world.now + DAY)
    world.run_until(world.now + 30 * DAY)
    scenes.all_online(world, 120)
    for device in world.members():
        world.say(device)
    world.run_until(world.now + 60)


def _wants(device: SimDevice, intent: e.Event) -> None:
    try:
        device.intent(intent)
    except StateError:
        device.world.story(device.name, "is told that this is not possible now")


# ----------------------------------------------------------------------------------- R15: alone, and known


def alone(world: World, dice: random.Random) -> None:
    """A change of keys that nobody else can follow; three hours later all are together again (R15, R18)."""
    scenes.all_online(world, 1_200)
    able = [d for d in scenes.connected(world) if d.machine.view().phase is LinePhase.ACTIVE]
    if len(able) < len(world.members()):
        return
    before = world.happened.get("split", 0)
    split.splits(world, dice.choice(able), dice)
    world.run_until(world.now + 180)
    scenes.all_online(world, 3 * 3_600)
    phases = [device.machine.view().phase for device in world.members()]
    epochs = {(world.state(device).group_id, world.state(device).epoch) for device in world.members()}
    turns = {world.state(device).turn for device in world.members()}
    apart = len(epochs) > 1 or len(turns) > 1 or set(phases) != {LinePhase.ACTIVE}
    if world.happened.get("split", 0) > before and apart:
        world.violate("apart", "three hours after a change of keys that some could not follow they are apart")
    world.run_until(world.now + 1.5 * DAY)


def expired(world: World, dice: random.Random) -> None:
    """R15: keys are changed when a certificate has run out."""
    scenes.all_online(world, 60)
    world.run_until(world.now + 12 * DAY)
    scenes.all_online(world, 60)
    for device in world.members():
        _wants(device, e.SelfUpdate())
        world.run_until(world.now + 30)


# --------------------------------------------------------------------------------------- R19: crash points


def leaving(world: World, dice: random.Random) -> None:
    """Everybody is cut off in the moment in which an old channel is left."""
    scenes.all_online(world, 30)
    device = dice.choice(world.members())
    world.story(device.name, "wants new keys")
    _wants(device, e.SelfUpdate())
    world.run_until(world.now + 1.2 * dice.random())
    for other in world.members():
        if other.line is not None and dice.random() < 0.8:
            world.story(other.name, "loses its connection")
            other.line.cut("cut")
    world.run_until(world.now + 60)


def old_channels_go(world: World) -> None:
    """R19, R6: when all have left a channel, its cells are erased at once and not after 90 days."""
    devices = world.members()
    if any(d.machine.view().phase is not LinePhase.ACTIVE or d.came_back for d in devices) or world.removed:
        return
    for channel in scenes.channels(world):
        if channel.closed_seq and len(channel.slots) == channel.readers:
            world.violate("kept", "all have left a channel, and the relay still keeps its cells (R19)")


def adds_and_dies(world: World, dice: random.Random) -> None:
    """A device is added, and the program that has to hand out the Welcome dies in between."""
    scenes.all_online(world, 30)
    owner = dice.choice([device for device in world.members() if device.primary])
    if len(world.members()) < 4 and len(world.devices) < 6:
        number = len(world.devices)
        world.add_device(owner, f"{owner.name}-{number + 1}")
        world.run_until(world.now + 2 * dice.random())
        world.story(owner.name, "its program dies")
        owner.stop("crash")
        world.run_until(world.now + 20)
    scenes.all_online(world, 60)


def all_welcomed(world: World) -> None:
    """R19: the Welcome waits until it is handed out, so a device that was added comes."""
    counted = {member.device_id for device in world.members() for member in world.state(device).members}
    for device in world.devices:
        if not device.joined and device.own.device_id in counted:
            world.violate("not-welcomed", f"{device.name} was added, and never got its Welcome")
