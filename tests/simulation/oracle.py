"""What must be true: after every step, and at the end, once faults stop and people have done their part.

How strict the end is depends on what was really done to the run:

* nothing but slow networks, cuts, crashes, absences: nobody notices more than a delay. No alarm of a fork, a
  clone, a loss; every text on every device that was there.
* the relay's disk was lost or put back, or the relay lied: alarms are right then, and people may have to
  compare safety numbers; after that everything arrives all the same.
* an old vault was put back: what only the newer vault knew may be gone, which its person was told (CLONE);
  everybody else's texts are as before.
"""

from __future__ import annotations

import random
from typing import Final

from clients.sdk.line import events as e
from clients.sdk.line import removals, resolving, returns
from clients.sdk.line.events import AlarmKind, LinePhase
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.line.rejoin_wire import Stay
from crypto.errors import StateError
from simulation import sessions
from simulation.device import SimDevice
from simulation.world import DAY, Text, World

OVER: Final = (LinePhase.ENDED, LinePhase.FAULTED)
NEVER_HONESTLY: Final = frozenset(
    {
        AlarmKind.CLONE,
        AlarmKind.RELAY_LOST_STATE,
        AlarmKind.FORK,
        AlarmKind.CHANNEL_FULL,
        AlarmKind.NO_CLOSING_CELL,
        AlarmKind.UNFLAGGED_COMMIT,
        AlarmKind.COMMIT_REFUSED,
        AlarmKind.LINE_FAULT,
        AlarmKind.DEVICE_FAULT,
        AlarmKind.UNREADABLE,
        AlarmKind.TWO_BRANCHES,
        AlarmKind.MESSAGES_LOST,
        AlarmKind.WRONG_WELCOME,
    }
)
"""What no person may be told when nobody lied and no disk was lost."""

MANY_STRANDINGS: Final = 12
"""How often a device may lose its place after faults stopped: a few times, until all have one branch."""
STILL_DAYS: Final = 9
"""Whoever is stranded asks every day, and no other clock that could help runs longer than a week (R17)..."""
SILENCE_DAYS: Final = 70
"""...but where all are stranded, and wait for a leaf that is given up after 60 days."""

_STORE: Final = frozenset({"lost-store", "old-store", "two-stores"})
_BAD: Final = frozenset({*_STORE, "lie", "old-vault", "twin", "malice", "split", "squat", "crime"})


def strict(world: World) -> bool:
    """Only machines and networks failed."""
    return not _BAD & set(world.happened)


def old_vaults(world: World) -> bool:
    return bool({"old-vault", "twin"} & set(world.happened))


def looks_old(world: World) -> bool:
    """Whether a vault may seem to be an old one: it is, or a relay has said what makes it look so (R9)."""
    return old_vaults(world) or "lie" in world.happened


# ---------------------------------------------------------------------------------------- after every step


def check_step(world: World, *, thorough: bool) -> None:
    """What holds at every moment."""
    for device in [*world.members(), *world.twins]:
        if strict(world) and "absent-90" not in world.happened:
            bad = NEVER_HONESTLY & set(device.told_alarms)
            if "ghost" in world.happened:
                bad -= {AlarmKind.UNREADABLE}  # the request of a removed device is told of, and ignored
            if "absent" in world.happened and world.removed:
                bad -= {AlarmKind.MESSAGES_LOST}  # expired unread, and its writer is not there to be asked
            if bad:
                names = ", ".join(sorted(kind.name for kind in bad))
                world.violate("false-alarm", f"{device.name} alarms without cause: {names}")
        if thorough:
            _check_rows(world, device)
    world.at_each_step(world)
    if thorough:
        world.thief.steals_one()


def _check_rows(world: World, device: SimDevice) -> None:
    """Each text once, and those of a sender in the order in which they were written."""
    last: dict[bytes, int] = {}
    seen: set[int] = set()
    for row in world.rows(device):
        if row.missing or row.kind != PayloadKind.TEXT:
            continue
        text = world.by_body.get(row.body.reveal_text())
        if text is None:
            world.violate("forged", f"{device.name} shows a text that nobody wrote")
            return
        if text.sender.rolled_back or device.rolled_back:
            continue
        if text.number in seen:
            world.violate("twice", f"{device.name} shows text {text.number} twice")
        seen.add(text.number)
        if last.get(row.sender_device, -1) > text.number:
            world.violate("order", f"{device.name} shows text {text.number} after a later one")
        last[row.sender_device] = text.number


# ------------------------------------------------------------------------------------------------ the end


def calm_down(world: World) -> None:
    """Faults stop; people do what they are asked to; time passes until everything has settled, or 25 days."""
    world.story("everybody", "faults stop here")
    world.mischief.stop()
    faults_end = random.Random(f"{world.seed}/one-store").random()
    world.two_stores.end(second_survives=faults_end < 0.5)
    sessions.close(world)
    world.delays = (0.02, 0.2)
    world.relay.commit_seconds = 0.0
    world.relay.crash_in = None
    if not world.relay.up:
        world.relay.start()
    for twin in world.twins:
        twin.wants = False
        twin.stop()
    for device in world.devices:
        device.plan = None
        device.skew = 0.0
        if device.joined:
            device.stop()
            device.go_online()
    world.run_until(world.now + 60)
    for device in world.members():
        if device.machine.view().phase is LinePhase.ACTIVE:
            world.say(device)  # who was lied to finds out by the next message (R10)
    end = world.now + 25 * DAY
    pause = 120.0
    before = {device.name: device.strandings for device in world.devices}
    still_since, standing = world.now, _standing(world)
    silence_ends = world.now + SILENCE_DAYS * DAY
    while world.now < end:
        world.run_until(world.now + pause)
        if _waits_for_silence(world) and world.now < silence_ends:
            end = max(end, world.now + (STILL_DAYS + 1) * DAY)
            still_since = world.now
        pause = min(pause * 2, DAY / 4)
        _people_decide(world)
        check_step(world, thorough=False)
        if _settled(world):
            return
        for device in world.members():
            if device.strandings - before.get(device.name, 0) > MANY_STRANDINGS:
                world.violate("unsettled", f"{device.name} loses its place again and again")
        if standing != (standing := _standing(world)):
            still_since = world.now
        elif world.now > still_since + STILL_DAYS * DAY and _waits(world):
            return


def _standing(world: World) -> tuple[object, ...]:
    """Where everybody stands: what does not change while nothing gets better."""
    seen = []
    for device in world.members():
        view, state = device.machine.view(), world.state(device)
        seen.append((view.phase, view.epoch, view.turn, view.attached, view.undelivered, state.awaits_info))
    return tuple(seen)


def _waits(world: World) -> bool:
    """Whether somebody waits for a way back, which is asked for every day."""
    phases = {device.machine.view().phase for device in world.members()}
    return bool(phases & {LinePhase.STRANDED, LinePhase.UNDECIDED})


def _waits_for_silence(world: World) -> bool:
    """Whether all are stranded, and one may go on when who will not ask is given up (R17, 60 days)."""
    if not looks_old(world):
        return False
    here = [device for device in world.members() if device.machine.view().phase not in OVER]
    stranded = all(device.machine.view().phase is LinePhase.STRANDED for device in here)
    return stranded and any(_may_stay(device) for device in here)


def _may_stay(device: SimDevice) -> bool:
    with device.machine._look() as step:
        return resolving.may_stay(step) is not Stay.NEVER


def _people_decide(world: World) -> None:
    """After a fork the two people compare safety numbers, which are the same here (R18)."""
    undecided = [d for d in world.members() if d.machine.view().phase is LinePhase.UNDECIDED]
    if undecided and (strict(world) and "absent-90" not in world.happened):
        world.violate("false-alarm", f"{undecided[0].name} fears a fork without cause")
    for device in undecided:
        world.story(device.name, "its person has compared safety numbers: the same")
        try:
            device.intent(e.Resolve(same=True))
        except StateError:
            continue


def _settled(world: World) -> bool:
    for device in world.members():
        view = device.machine.view()
        if view.phase in OVER or left_alone(world, device):
            continue
        if view.phase is not LinePhase.ACTIVE or not view.attached or view.undelivered or view.receipt_due:
            return False
        state = world.state(device)
        if state.request_due_at > world.now or state.awaits_info or state.update_first:
            return False
    return _agreed(world) is None and not _dead_leaf(world)


def _dead_leaf(world: World) -> str:
    """R17: a device whose Welcome never reached it does not stay in the line."""
    absent = {device.own.device_id: device.name for device in world.devices if not device.joined}
    for device in world.members() if "unwelcome" in world.happened else ():
        for member in world.state(device).members:
            if member.device_id in absent and device.machine.view().phase is LinePhase.ACTIVE:
                return f"{device.name} still counts {absent[member.device_id]}, which never came (R17)"
    return ""


def _agreed(world: World) -> str | None:
    """Whether the devices of the line are in one epoch of one group; else what is wrong."""
    found: dict[tuple[int, bytes], str] = {}
    for device in world.members():
        with device.machine._look() as step:
            if step.state.phase in OVER or step.group is None or left_alone(world, device):
                continue
            found[step.group.epoch, step.group.epoch_authenticator] = device.name
    if len(found) > 1:
        return f"{', '.join(found.values())} are in different epochs or groups"
    return _same_record(world)


def _same_record(world: World) -> str | None:
    """R10: whoever has read equally far in one channel has read the same."""
    hashes: dict[tuple[bytes, int], bytes] = {}
    for device in world.members():
        channel = world.state(device).channel
        if not channel.log_hash or device.machine.view().phase is not LinePhase.ACTIVE:
            continue
        known = hashes.setdefault((channel.incarnation, channel.position), channel.log_hash)
        if known != channel.log_hash:
            return f"{device.name} has read another record than the others, and does not know it"
    return None


def judge(world: World) -> None:
    """The end: nothing lost, doubled, forked; then the relay forgets."""
    check_step(world, thorough=True)
    world.at_the_end(world)
    sessions.check_vaults(world)
    for device in world.members():
        world.thief.steals(device)
    over = [d for d in world.members() if d.machine.view().phase in OVER and d.name not in world.sent_away]
    if over and not {"end", "malice"} & set(world.happened):
        world.violate("ended", f"{over[0].name}: the line is over, and nobody ended it")
    for device in world.members():
        _judge_device(world, device, ended=bool(over))
    wrong = _agreed(world)
    stranded = any(d.machine.view().phase is LinePhase.STRANDED for d in world.members())
    if wrong is not None and not over and not stranded:
        world.violate("disagreement", wrong)
    dead = _dead_leaf(world)
    if dead and not over and not stranded:
        world.violate("dead-leaf", dead)
    for text in world.texts.values():
        _judge_text(world, text)
    _forget(world)


def _judge_device(world: World, device: SimDevice, *, ended: bool) -> None:
    view = device.machine.view()
    if view.phase in OVER or ended or left_alone(world, device):
        return
    if view.phase is LinePhase.STRANDED and "malice" in world.happened:
        return  # it says why: a member of the line can stop it, by taking all slots for instance (R8)
    if view.phase is LinePhase.STRANDED and _says_that_it_asks_in_vain(world, device):
        return
    if _says_that_it_was_not_told(world, device):
        return
    if view.phase is not LinePhase.ACTIVE:
        world.violate("stranded", f"{device.name} is {view.phase.name} and does not come back")
    if not view.attached:
        world.violate("not-attached", f"{device.name} does not read its channel")
    if _kept_out(world, device):
        return
    if view.undelivered and not _nobody_comes_back(world, device):
        world.violate("undelivered", f"{device.name} still has {view.undelivered} texts to deliver")
    for row in world.rows(device):
        if row.missing and not row.lost and not old_vaults(world):
            world.violate("missing", f"{device.name} still misses counter {row.counter}")


def left_alone(world: World, device: SimDevice) -> bool:
    """A device in nobody else's tree: its branch was given up, and its person was told on another device."""
    if device not in world.left:
        return False
    others = [other for other in world.members() if other is not device]
    return not any(world.state(other).member(device.own.device_id) for other in others)


def _says_that_it_asks_in_vain(world: World, device: SimDevice) -> bool:
    """A device that nobody can let in; its person is told what to do (R18).

    No other that has it in its tree hears what it asks with: there is none, or R was renewed over 90 days
    ago while it was away. Or those that hear it are stranded too, and none of them and it may stay where it
    is, because the vaults are old ones, or a relay has made it look so (R9).
    """
    if not any(alarm.sentence == returns.IN_VAIN for alarm in device.machine.view().alarms):
        return False
    hear = [
        other
        for other in world.members()
        if other is not device
        and world.state(other).member(device.own.device_id)
        and _secrets(world, device) & _secrets(world, other)
    ]
    stranded = all(other.machine.view().phase is LinePhase.STRANDED for other in hear)
    return not hear or (looks_old(world) and stranded and not any(_may_stay(one) for one in [device, *hear]))


def _nobody_comes_back(world: World, device: SimDevice) -> bool:
    """All devices of the other person ask in vain, and say so; here the texts are shown as not delivered."""
    theirs = [other for other in world.members() if other.own.identity_key != device.own.identity_key]
    stranded = all(other.machine.view().phase is LinePhase.STRANDED for other in theirs)
    return bool(theirs) and stranded and all(_says_that_it_asks_in_vain(world, other) for other in theirs)


def _kept_out(world: World, device: SimDevice) -> bool:
    """A crooked device threw this one out, a disaster brought it back: the others believe nothing it says.

    They say so to their person, until its own person's first device removes it or writes beside it (R14).
    """
    theirs = [other for other in world.members() if other.own.identity_key != device.own.identity_key]
    return "malice" in world.happened and all(_keeps_out(other, device) for other in theirs)


def _keeps_out(other: SimDevice, device: SimDevice) -> bool:
    with other.machine._look() as step:
        refused = removals.refused(step, device.own.device_id)
    kinds = {alarm.kind for alarm in other.machine.view().alarms}
    return refused and e.AlarmKind.REMOVED_IS_BACK in kinds


def _says_that_it_was_not_told(world: World, device: SimDevice) -> bool:
    """A device that was added, and waits for R; its person is told (R16, R18).

    All others are stranded and none may stay, because their vaults are old ones, or seem so (R9).
    """
    others = [other for other in world.members() if other is not device]
    return (
        looks_old(world)
        and not world.state(device).secret
        and any(alarm.kind is e.AlarmKind.STRANDED for alarm in device.machine.view().alarms)
        and all(other.machine.view().phase is LinePhase.STRANDED for other in others)
        and not any(_may_stay(other) for other in others)
    )


def _secrets(world: World, device: SimDevice) -> set[bytes]:
    state = world.state(device)
    return {state.secret, *(old.secret for old in state.old_secrets)}


def _judge_text(world: World, text: Text) -> None:
    sender = text.sender
    if text.failed or text.excused or sender in world.removed or sender.rolled_back:
        return
    if sender in world.members() and _kept_out(world, sender):
        return  # shown as not delivered
    if sender.machine.view().phase in OVER:
        shown = [row for row in world.rows(sender) if row.item_id == text.item_id]
        if shown and shown[0].state not in {e.DeliveryState.DELIVERED, e.DeliveryState.FAILED}:
            world.violate("silent-loss", f"text {text.number} hangs in a line that is over")
        return
    # A copy of a vault is a device of its person too (R9, R12).
    everybody = [*world.devices, *world.twins]
    others = [device for device in everybody if device.own.identity_key != sender.own.identity_key]
    arrived = any(device.name in text.got for device in others)
    if not arrived and _in_line(world, [sender]) and _in_line(world, others):
        world.violate("lost", f"text {text.number} of {sender.name} reached nobody")
    over = any(device.machine.view().phase in OVER for device in world.members())
    if over or not strict(world) or "absent-90" in world.happened:
        return
    for device in others:
        there = device.founder and device not in world.removed and not device.came_back
        if there and device.name not in text.got:
            world.violate("lost", f"text {text.number} of {sender.name} did not reach {device.name}")


def _in_line(world: World, devices: list[SimDevice]) -> bool:
    """Whether one of them has its place; else texts are seen to be undelivered, beside an alarm."""
    stopped = (*OVER, LinePhase.STRANDED)
    members = [device for device in world.members() if device in devices and not left_alone(world, device)]
    return any(device.machine.view().phase not in stopped for device in members)


def _forget(world: World) -> None:
    """After the last day of every limit the relay's disk is empty."""
    for device in [*world.devices, *world.twins]:
        device.wants = False
        device.stop()
    day = int(world.now // DAY)
    for later in (31, 62, 93, 124, 155, 186, 280):
        world.relay.expire(day + later)
    if not world.relay.is_empty():
        world.violate("remains", "something is left on the relay's disk after the last day of every limit")
