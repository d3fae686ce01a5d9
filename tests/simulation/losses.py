"""Scenes for aims (`aimed`): what is lost behind a device's back, here R7, R9, R13, R14, R17, R20 and R22.

As in `scenes`: what a scene did is noted by a name that excuses nothing of what the rule promises.
"""

from __future__ import annotations

import random

from clients.sdk.line.events import AlarmKind, EndLine, LinePhase
from keys.memory_vault import MemoryVault
from simulation import malice, scenes
from simulation.device import SimDevice
from simulation.mischief import Lie
from simulation.world import DAY, World

RECEIPTS_SECONDS = 700.0
"""R12: after so long nobody owes a receipt any more."""
_FORKS = frozenset({AlarmKind.FORK, AlarmKind.TWO_BRANCHES})


def _at_rest(world: World) -> bool:
    """Everybody is in the line, in one channel, and has nothing to say."""
    scenes.all_online(world, 2 * RECEIPTS_SECONDS)
    states = [world.state(device) for device in world.members()]
    phases = {state.phase for state in states}
    return phases == {LinePhase.ACTIVE} and len({(state.epoch, state.turn) for state in states}) == 1


def _away(device: SimDevice) -> None:
    device.go_offline()
    device.stop()


# ------------------------------------------------------------------------------------------ R9: old vaults


def twin_speaks(world: World, dice: random.Random) -> None:
    """A copy of a vault sends a text, and is gone before it has acknowledged anything; then the first writes.

    Only the cell itself shows the first one that its vault has a twin (R9). If it did not care, it would
    seal its own text under a generation that the others have read, and they would drop and receipt it.
    """
    if not _at_rest(world):
        return
    device = dice.choice(world.members())
    if device.rolled_back or device.saved is not None:
        return
    device.saved = device.vault.snapshot()
    _away(device)
    world.run_until(world.now + 5)
    twin = SimDevice(world, f"{device.name}'", device.own, primary=device.primary, vault=MemoryVault())
    twin.vault.restore(device.saved)
    twin.joined = True
    twin.twin_of = device
    world.note("twin")
    world.watch.single_use = False
    device.rolled_back = twin.rolled_back = True
    world.twins.append(twin)
    world.story(device.name, "a copy of its vault is started elsewhere, and writes")
    twin.go_online()
    world.run_until(world.now + 5)
    before = _stored(world)
    world.say(twin)
    for _ in range(400):
        world.run_until(world.now + 0.01)
        if _stored(world) > before:
            break
    world.story(twin.name, "is gone for good")
    if twin.line is not None:
        twin.line.cut("cut")
    twin.wants = False
    twin.stop()
    world.run_until(world.now + 30)
    device.go_online()
    world.run_until(world.now + 2)
    world.say(device)
    world.run_until(world.now + 2 * RECEIPTS_SECONDS)


def _stored(world: World) -> int:
    return sum(channel.next_seq for channel in scenes.channels(world))


# ----------------------------------------------------------------------------------------- R9: old stores


def put_back(world: World, dice: random.Random) -> None:
    """The relay's disk becomes an earlier one, and each device sees the shorter record before it grows again.

    That is a loss, which R9 makes good, and no fork: nobody has shown two records to two people.
    """
    if not _at_rest(world):
        return
    world.story("relay", "its disk is copied")
    copy = world.relay.copy_disk()
    for _ in range(2):
        for device in world.members():
            world.say(device)
        world.run_until(world.now + 20)
    if not _at_rest(world):
        return
    for device in world.members():
        _away(device)
    world.run_until(world.now + 5)
    world.story("relay", "gets an old copy of its disk")
    world.note("old-store")
    world.relay.crash()
    world.relay.restore_disk(copy)
    world.relay.start()
    for device in world.members():
        device.go_online()
        world.run_until(world.now + 10)
        _away(device)
        world.run_until(world.now + 5)
    scenes.all_online(world, 30)
    for _ in range(4):
        for device in world.members():
            world.say(device)
        world.run_until(world.now + 30)
    for device in world.members():
        if _FORKS & set(device.told_alarms):
            world.violate(
                "false-fork", f"{device.name} takes an old store, which it could see, for a fork (R9)"
            )


# ------------------------------------------------------------------------- R7: deleted before it was read


def deleted_unread(world: World, dice: random.Random) -> None:
    """A device comes back when the relay has deleted what it had not read; its person is told (R7)."""
    if not _at_rest(world):
        return
    away = dice.choice(world.members())
    before = world.state(away).channel
    world.story(away.name, "is away for more than a month")
    world.note("absent")
    away.wants = False
    away.stop()
    for _ in range(2):
        for device in world.members():
            if device is not away:
                world.say(device)
        world.run_until(world.now + 60)
    for device in world.members():
        _away(device)  # nobody is there to send it again
    world.run_until(world.now + 31 * DAY)
    ours = [c for c in scenes.channels(world) if c.incarnation == before.incarnation]
    hole = bool(ours) and before.position < ours[0].next_seq - 1 - len(ours[0].cells)
    away.go_online()
    world.run_until(world.now + 60)
    if hole and AlarmKind.EXPIRED_UNREAD not in away.told_alarms:
        world.violate("untold", f"{away.name} is not told that something was deleted unread (R7)")
    scenes.all_online(world, 60)


# --------------------------------------------------------------------------------- R14, R9: alone in a turn


def alone_in_turn(world: World, dice: random.Random) -> None:
    """The relay turns one flag for one device, which moves on alone; nobody changes keys for 60 hours.

    R9's clock runs in the next turn, as nobody is heard there: after a day the device asks to be let in.
    """
    if not _at_rest(world):
        return
    victim = dice.choice(world.members())
    world.mischief.lies.append(Lie("flag", victim.name, 1))
    world.note("lie")
    for device in world.members():
        world.say(device)
    world.run_until(world.now + 120)
    world.mischief.stop()
    scenes.all_online(world, 2.5 * DAY)
    states = [world.state(device) for device in world.members()]
    if len({(state.epoch, state.turn) for state in states}) > 1:
        world.violate(
            "apart", f"{victim.name} is alone in a turn two days later, and nobody notices (R14, R9)"
        )


# ---------------------------------------------------------------------------- R17, R22: the end of it


def falls_silent(world: World, dice: random.Random) -> None:
    """A second device is never switched on again; after 60 days its own person's program removes it (R17)."""
    if not _at_rest(world):
        return
    there = {member.device_id for member in world.state(world.members()[0]).members}
    silent = [d for d in world.members() if not d.primary and d.own.device_id in there]
    if not silent:
        return
    gone = dice.choice(silent)
    world.story(gone.name, "is never switched on again")
    world.note("absent")
    world.say(gone)  # it was heard, so that it does not count as one that never came
    world.run_until(world.now + 60)
    gone.wants = False
    gone.stop()
    others = [device for device in world.members() if device is not gone]
    for _ in range(7):
        for device in others:
            device.go_online()
            world.say(device)
        world.run_until(world.now + 9 * DAY)
    world.run_until(world.now + DAY)
    owners = [d for d in others if d.primary and d.own.identity_key == gone.own.identity_key]
    for owner in owners:
        if any(member.device_id == gone.own.device_id for member in world.state(owner).members):
            world.violate("dead-leaf", f"{gone.name} was silent for 60 days, and {owner.name} keeps it (R17)")


def blocks(world: World, dice: random.Random) -> None:
    """Somebody blocks the other person without a connection: the keys go at once (R22)."""
    if not _at_rest(world):
        return
    device = dice.choice(world.members())
    device.go_offline()
    world.run_until(world.now + 5)
    if device.driver is None:
        device.start()
    world.story(device.name, "blocks the other person, without a connection")
    world.note("end")
    device.intent(EndLine(block=True, keep_texts=True))
    if device.machine.view().phase is not LinePhase.ENDED or world.state(device).addresses:
        world.violate("keys-stay", f"{device.name} has blocked the other person, and keeps its keys (R22)")
    scenes.all_online(world, 60)


# ---------------------------------------------------------------------------------- R13, R20: kept, and apart


def read_and_gone(world: World, dice: random.Random) -> None:
    """What everybody has read is acknowledged, and the relay has it no more (R20, R6)."""
    scenes.all_online(world, 60)
    for device in world.members():
        world.say(device)
    if not _at_rest(world):
        return
    current = {world.state(device).channel.incarnation for device in world.members()}
    for channel in scenes.channels(world):
        if channel.incarnation in current and len(channel.slots) == channel.readers and channel.cells:
            world.violate("kept", "all have read what the relay still keeps, and do not say so (R20)")


def unflagged(world: World, dice: random.Random) -> None:
    """A member commits in a cell that does not close its channel; hours later all are together (R13)."""
    if not _at_rest(world):
        return
    world.note("crime")
    malice.unflagged(world, dice.choice(world.members()), dice)
    world.run_until(world.now + 60)
    for device in world.members():
        world.say(device)
    scenes.all_online(world, 3 * 3_600)
    states = [world.state(device) for device in world.members()]
    if len({(state.epoch, state.turn) for state in states}) > 1:
        world.violate("apart", "a commit that closed nothing has parted them (R13)")
