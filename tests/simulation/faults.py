"""What people do and what goes wrong, one step at a time. Each step draws from a generator of its own.

A seed switches some kinds of faults on and gives them weights; a step then picks one kind, and everything
about it, from ``Random(seed/step)``. Faults of the network and of honest machines come in every run; those of
a dishonest relay, of old vaults, and of malicious members only where the seed says so, because the promises
that hold differ (see `oracle`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from clients.sdk.line import events as e
from clients.sdk.line.payloads import MAX_TEXT_BYTES, TextTooLong
from crypto.errors import StateError
from keys.memory_vault import MemoryVault
from simulation import malice, sessions, split
from simulation.device import CrashPlan, SimDevice
from simulation.mischief import LIES, Lie
from simulation.world import DAY, World

Act = Callable[[World, random.Random], None]


def _some(world: World, dice: random.Random) -> SimDevice:
    return dice.choice(world.members())


# ------------------------------------------------------------------------------------------- what people do


def say(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        world.say(device, length=dice.choice([0, 0, 0, 300, 12_000]))


def say_all(world: World, dice: random.Random) -> None:
    """Everybody at once."""
    for device in world.members():
        world.say(device)


def long_text(world: World, dice: random.Random) -> None:
    """R23: refused before sending, or one cell."""
    device = _some(world, dice)
    try:
        world.say(device, length=dice.choice([12_230, 12_288, 13_000]))
    except TextTooLong:
        world.story(device.name, "is told that the text is too long")
        text = list(world.texts.values())[-1]
        text.failed = True
        return
    if len(list(world.texts.values())[-1].body.encode()) > MAX_TEXT_BYTES:
        world.violate("too-long", f"{device.name} takes a text that is longer than a cell's share (R23)")


def flood_own(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    for _ in range(dice.randrange(10, 40)):
        world.say(device)


def online(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    world.story(device.name, "goes online")
    device.go_online()


def offline(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    world.story(device.name, "goes offline")
    device.go_offline()


def close(world: World, dice: random.Random) -> None:
    """The program is ended; nothing ticks."""
    device = _some(world, dice)
    world.story(device.name, "is closed")
    device.wants = False
    device.stop()


def restart(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    world.story(device.name, "is started anew")
    device.stop()
    device.go_online()


def update(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    world.story(device.name, "wants new keys")
    _try(world, device, e.SelfUpdate())


def update_all(world: World, dice: random.Random) -> None:
    """Simultaneous commits (R13)."""
    world.story("everybody", "wants new keys at once")
    for device in world.members():
        _try(world, device, e.SelfUpdate())


def receipts(world: World, dice: random.Random) -> None:
    _try(world, _some(world, dice), e.FlushReceipts())


def add_device(world: World, dice: random.Random) -> None:
    owner = _some(world, dice)
    if owner.primary and len(world.members()) < 4 and len(world.devices) < 7:
        world.add_device(owner, f"{owner.name}-{len(world.devices) + 1}")


def remove_device(world: World, dice: random.Random) -> None:
    """A person removes a lost device; the lost device keeps what it has."""
    secondary = [device for device in world.members() if not device.primary]
    if not secondary:
        return
    lost = dice.choice(secondary)
    owner = next(d for d in world.members() if d.primary and d.own.identity_key == lost.own.identity_key)
    world.story(owner.name, f"removes {lost.name}")
    world.ghosts.append(malice.Ghost(lost, lost.vault.snapshot()))
    world.sent_away.add(lost.name)
    _try(world, owner, e.RemoveDevice(device_id=lost.own.device_id))


def end_line(world: World, dice: random.Random) -> None:
    """R22, rarely."""
    if dice.random() < 0.1:
        device = _some(world, dice)
        block = dice.random() < 0.3
        world.story(device.name, f"ends the line{' and blocks' if block else ''}")
        world.note("end")
        _try(world, device, e.EndLine(block=block, keep_texts=True))


def _try(world: World, device: SimDevice, intent: e.Event) -> None:
    try:
        device.intent(intent)
    except StateError:
        world.story(device.name, "is told that this is not possible now")


# ------------------------------------------------------------------------- faults of networks and machines


def cut(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    if device.line is not None:
        world.story(device.name, "loses its connection")
        device.line.cut("cut")


def slow(world: World, dice: random.Random) -> None:
    """From now on everything takes longer, or less long."""
    world.delays = dice.choice([(0.01, 0.02), (0.02, 0.2), (0.5, 3.0), (5.0, 40.0)])
    world.story("network", f"takes up to {world.delays[1]} s")


def device_dies(world: World, dice: random.Random) -> None:
    """R19: at the n-th event from now, before the commit or after some effects."""
    device = _some(world, dice)
    device.plan = CrashPlan(events=dice.randrange(1, 12), effects=dice.choice([-1, 0, 0, 1, 2, 3]))
    world.story(device.name, f"will die at event {device.plan.events}, point {device.plan.effects}")


def relay_dies(world: World, dice: random.Random) -> None:
    """R4 to R6: at the n-th call of the store from now, before or after it; or at once."""
    if dice.random() < 0.3:
        world.story("relay", "dies")
        world.relay.crash()
    else:
        world.relay.crash_in = (dice.randrange(1, 12), dice.choice(["before", "after"]))
        world.story("relay", f"will die {world.relay.crash_in[1]} call {world.relay.crash_in[0]}")


def relay_starts(world: World, dice: random.Random) -> None:
    if not world.relay.up:
        world.story("relay", "starts")
        world.relay.start()


def slow_disk(world: World, dice: random.Random) -> None:
    world.relay.commit_seconds = dice.choice([0.0, 0.05, 1.0])
    world.story("relay", f"its disk takes up to {world.relay.commit_seconds} s")


def clock(world: World, dice: random.Random) -> None:
    """A device's clock is wrong by days."""
    device = _some(world, dice)
    device.skew = dice.choice([0.0, -2 * DAY, 2 * DAY, -400.0, 5_000.0, 20 * DAY])
    world.note("clock")
    world.story(device.name, f"its clock is {device.skew:+.0f} s wrong")
    device.schedule_tick()


def absent(world: World, dice: random.Random) -> None:
    """A device is closed for longer than messages, or than closing cells and channels, are kept."""
    device = _some(world, dice)
    days = dice.choice([5, 31, 40, 95, 120])
    world.story(device.name, f"is away for {days} days")
    world.note("absent-90" if days > 90 else "absent")
    device.wants = False
    device.stop()
    if not world.relay.up:
        world.relay.start()
    world.run_until(world.now + days * DAY)
    device.go_online()


# --------------------------------------------------------------------------------------- the relay's disk


def lose_disk(world: World, dice: random.Random) -> None:
    world.story("relay", "loses its disk")
    world.note("lost-store")
    world.relay.crash()
    world.relay.lose_disk()
    world.relay.start()


def back_up(world: World, dice: random.Random) -> None:
    world.backup = world.relay.copy_disk()
    world.story("relay", "its disk is copied")


def roll_back(world: World, dice: random.Random) -> None:
    """The store is an earlier one again; done in the middle of everything it is a clone of it."""
    if world.backup is not None:
        world.story("relay", "gets an old copy of its disk")
        world.note("old-store")
        world.relay.crash()
        world.relay.restore_disk(world.backup)
        world.relay.start()


def lie(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    kind = dice.choice(LIES)
    world.mischief.lies.append(Lie(kind, device.name, dice.choice([1, 1, 2, 5])))
    world.note("lie")
    world.note(f"lie:{kind}")


# -------------------------------------------------------------------------------------- two stores at once


def clone_store(world: World, dice: random.Random) -> None:
    """A copy of the store serves beside the first; each connection comes to one of them by chance."""
    if world.two_stores.second is None and world.relay.up:
        world.story("relay", "a copy of its disk serves beside it")
        world.note("two-stores")
        world.two_stores.begin(apart=frozenset(), crosses=0.0, slowest=0.0)


def equivocate(world: World, dice: random.Random) -> None:
    """Some devices are shown another log than the others (R10)."""
    names = [device.name for device in world.members()]
    if world.two_stores.second is None and world.relay.up and len(names) > 1:
        apart = frozenset(dice.sample(names, dice.randrange(1, len(names))))
        crosses, slowest = dice.choice([0.0, 0.2, 0.6, 1.0]), dice.choice([0.5, 10.0, 300.0])
        world.story("relay", f"keeps {', '.join(sorted(apart))} on a second store ({crosses:.0%} cross)")
        world.note("two-stores")
        world.two_stores.begin(apart=apart, crosses=crosses, slowest=slowest)


def one_store(world: World, dice: random.Random) -> None:
    """One of the two stores is given up."""
    if world.two_stores.second is not None:
        survives = dice.random() < 0.5
        world.story("relay", f"has one store again, the {'second' if survives else 'first'}")
        world.two_stores.end(second_survives=survives)


# ------------------------------------------------------------------------------------------- old vaults


def copy_vault(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    device.saved = device.vault.snapshot()
    device.saved_texts = len(world.texts)
    world.story(device.name, "its vault is copied")


def old_vault(world: World, dice: random.Random) -> None:
    """An old copy of a vault is put back (R9)."""
    device = dice.choice([d for d in world.members() if d.saved is not None] or world.members())
    if device.saved is None:
        return
    world.story(device.name, "gets an old copy of its vault")
    world.note("old-vault")
    world.watch.single_use = False
    device.rolled_back = True
    for text in world.texts.values():
        if text.sender is device:
            text.excused = True
    device.stop("vault replaced")
    device.vault.restore(device.saved)
    device.go_online()


def twin(world: World, dice: random.Random) -> None:
    """A copy of the vault runs on another machine, beside the first one (R9)."""
    device = dice.choice([d for d in world.members() if d.saved is not None] or world.members())
    if device.saved is None or device.twin_of is not None:
        return
    world.story(device.name, "a copy of its vault is started elsewhere")
    world.note("twin")
    world.watch.single_use = False
    # A name of its own: from it comes its randomness, which no two copies of a vault share.
    marks = "'" * (1 + sum(known.twin_of is device for known in world.twins))
    other = SimDevice(world, f"{device.name}{marks}", device.own, primary=device.primary, vault=MemoryVault())
    other.vault.restore(device.saved)
    other.joined = True
    other.twin_of = device
    device.rolled_back = other.rolled_back = True
    for text in world.texts.values():
        if text.sender is device:
            text.excused = True
    world.twins.append(other)
    other.go_online()


USUAL: Final[dict[str, tuple[int, Act]]] = {
    "say": (30, say),
    "say-all": (3, say_all),
    "online": (8, online),
    "offline": (4, offline),
    "close": (2, close),
    "restart": (4, restart),
    "receipts": (3, receipts),
    "relay-starts": (6, relay_starts),
}
"""In every run."""

SWITCHED: Final[dict[str, tuple[int, Act]]] = {
    "update": (4, update),
    "update-all": (3, update_all),
    "long-text": (1, long_text),
    "flood-own": (1, flood_own),
    "add-device": (2, add_device),
    "remove-device": (2, remove_device),
    "end": (1, end_line),
    "cut": (8, cut),
    "slow": (3, slow),
    "device-dies": (10, device_dies),
    "relay-dies": (6, relay_dies),
    "slow-disk": (2, slow_disk),
    "clock": (1, clock),
    "absent": (1, absent),
}
"""Each by the seed, one in two."""

STORE: Final[dict[str, tuple[int, Act]]] = {
    "back-up": (3, back_up),
    "lose-disk": (2, lose_disk),
    "roll-back": (3, roll_back),
}
CLONE: Final[dict[str, tuple[int, Act]]] = {"clone-store": (5, clone_store), "one-store": (3, one_store)}
EQUIVOCATION: Final[dict[str, tuple[int, Act]]] = {
    "equivocate": (6, equivocate),
    "one-store": (3, one_store),
}
LYING: Final[dict[str, tuple[int, Act]]] = {"lie": (25, lie)}
VAULTS: Final[dict[str, tuple[int, Act]]] = {
    "copy-vault": (4, copy_vault),
    "old-vault": (2, old_vault),
    "twin": (1, twin),
}


# ------------------------------------------------------------------------------------- dishonest members


def crime(world: World, dice: random.Random) -> None:
    device = _some(world, dice)
    if device.running:
        world.note("malice")
        dice.choice(malice.CRIMES)(world, device, dice)
        device.schedule_tick()


def trick(world: World, dice: random.Random) -> None:
    """A member whose keys some cannot follow, or a new device that gets no Welcome."""
    dice.choice(split.TRICKS)(world, _some(world, dice), dice)


def haunt(world: World, dice: random.Random) -> None:
    removed = [ghost for ghost in world.ghosts if ghost.device in world.removed]
    if removed:
        dice.choice(removed).haunt(world, dice)
        world.note("ghost")


MALICE: Final[dict[str, tuple[int, Act]]] = {"crime": (6, crime)}
SPLIT: Final[dict[str, tuple[int, Act]]] = {"trick": (8, trick)}
GHOSTS: Final[dict[str, tuple[int, Act]]] = {
    "add-device": (4, add_device),
    "remove-device": (4, remove_device),
    "haunt": (4, haunt),
}
SESSIONS: Final[dict[str, tuple[int, Act]]] = {
    "session": (12, sessions.begin),
    "session-say": (30, sessions.say),
    "session-end": (3, sessions.end),
    "session-breaks": (6, sessions.breaks),
    "minutes": (12, sessions.minutes),
}
