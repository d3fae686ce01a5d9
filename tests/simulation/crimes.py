"""Commits that P must refuse, one for each part of P (R14).

Each is made of keys that are really the member's own, or of a device that works together with it. After it
everybody is there and waits, and then nobody's tree may hold what P forbids.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from clients.sdk.line import log
from clients.sdk.line.events import AlarmKind, LinePhase
from clients.sdk.line.payloads import encode_claim
from clients.sdk.line.step import Step
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, CodecError, StateError, ValidationError
from crypto.group import Group
from crypto.key_package import KeyPackage, generate_key_package
from crypto.leaf_node import Lifetime
from crypto.policy import product_capabilities
from crypto.sensitive import Secret
from crypto.tree_math import LeafIndex
from keys import signing
from keys.certificates import DeviceCertificate, DeviceId, DeviceRole, Identity
from simulation import malice, scenes
from simulation.device import SimDevice
from simulation.world import DAY, World
from support.mls_groups import forge, opened_commit

MOST: Final = 3
"""Refused commits of a run: after turn 3 the line ends for all (R14)."""
Crime = Callable[[World, SimDevice, Step, random.Random], bytes]


def _commit(step: Step, adds: list[KeyPackage], removes: list[LeafIndex]) -> bytes:
    claim = encode_claim(log.own_claim(step))
    return step.mls.commit(adds=adds, removes=removes, rng=step.rng, authenticated_data=claim).message


def _own_identity(world: World, device: SimDevice) -> Identity:
    return next(i for i in world.people.values() if i.public_key == device.own.identity_key)


def _package(
    world: World, identity: Identity, dice: random.Random, *, spoiled: bool = False, extra: bool = False
) -> KeyPackage:
    """A KeyPackage of a new device, whose certificate or capabilities may not be what P wants."""
    seed = dice.randbytes(32)
    certificate = identity.certify(
        device_key=signing.public_key(seed),
        device_id=DeviceId(dice.randbytes(16)),
        role=DeviceRole.SECONDARY,
        not_before_day=19_990,
        not_after_day=21_000,
    )
    if spoiled:
        certificate = replace(certificate, signature=bytes(64))
    capabilities = product_capabilities(world.suite)
    if extra:
        capabilities = replace(capabilities, proposals=(8,))
    day = int(world.now // DAY * DAY)
    return generate_key_package(
        suite=world.suite,
        signature_private=Secret(seed),
        credential=Credential.basic(certificate.encode()),
        capabilities=capabilities,
        lifetime=Lifetime(not_before=day, not_after=day + 3 * 86_400),
        rng=dice.randbytes,
    ).key_package


def _stranger(dice: random.Random) -> Identity:
    return Identity.generate(dice.randbytes)


def parent_hash(world: World, device: SimDevice, step: Step, dice: random.Random) -> bytes:
    """P1: a commit whose public part contradicts the tree."""
    other = next((d for d in world.members() if d is not device), None)
    if other is None:
        raise StateError("nobody else is there")
    with other.machine._look() as look:
        if look.group is None or look.group.epoch != step.mls.epoch:
            raise StateError("the other is in another epoch")
        theirs = Group.from_bytes(look.group.to_bytes())
    commit = opened_commit(theirs, _commit(step, [], []))
    if commit.path is None:
        raise StateError("no path")
    leaf = replace(commit.path.leaf_node, parent_hash=b"another")
    return forge(step.mls, replace(commit, path=replace(commit.path, leaf_node=leaf)), step.rng)


def uncertified(world: World, device: SimDevice, step: Step, dice: random.Random) -> bytes:
    """P2: a device of the own person that the person has not certified."""
    return _commit(step, [_package(world, _own_identity(world, device), dice, spoiled=True)], [])


def other_capabilities(world: World, device: SimDevice, step: Step, dice: random.Random) -> bytes:
    """P2: a leaf that can more than the profile."""
    return _commit(step, [_package(world, _own_identity(world, device), dice, extra=True)], [])


def others_device(world: World, device: SimDevice, step: Step, dice: random.Random) -> bytes:
    """P2: a device of the other person, which that person has lost, and which works with this member."""
    identity = next(i for i in world.people.values() if i.public_key != device.own.identity_key)
    return _commit(step, [_package(world, identity, dice)], [])


def stranger(world: World, device: SimDevice, step: Step, dice: random.Random) -> bytes:
    """P2, P5: somebody who is no part of this line."""
    return _commit(step, [_package(world, _stranger(dice), dice)], [])


def throws_out(world: World, device: SimDevice, step: Step, dice: random.Random) -> bytes:
    """P3: a device of the other person is removed."""
    others = [m for m in step.state.members if m.identity_key != device.own.identity_key]
    return _commit(step, [], [LeafIndex(dice.choice(others).leaf_index)])


def dethrones(world: World, device: SimDevice, step: Step, dice: random.Random) -> bytes:
    """P4: a second device removes its person's first."""
    firsts = {d.own.device_id for d in world.members() if d.primary and d is not device}
    own = [m for m in step.state.members if m.identity_key == device.own.identity_key]
    own = [m for m in own if m.device_id in firsts]
    if not own:
        raise StateError("it is the first device itself, or alone")
    return _commit(step, [], [LeafIndex(own[0].leaf_index)])


def crowd(world: World, device: SimDevice, step: Step, dice: random.Random) -> bytes:
    """P5: more than four leaves."""
    identity = _own_identity(world, device)
    return _commit(step, [_package(world, identity, dice) for _ in range(4)], [])


def another_name(world: World, device: SimDevice, step: Step, dice: random.Random) -> bytes:
    """P5: the committer becomes somebody else."""
    seed = dice.randbytes(32)
    certificate = _stranger(dice).certify(
        device_key=signing.public_key(seed),
        device_id=DeviceId(dice.randbytes(16)),
        role=DeviceRole.PRIMARY,
        not_before_day=19_990,
        not_after_day=21_000,
    )
    claim = encode_claim(log.own_claim(step))
    return step.mls.commit(
        adds=[],
        removes=[],
        rng=step.rng,
        authenticated_data=claim,
        signature_private=Secret(seed),
        credential=Credential.basic(certificate.encode()),
    ).message


def _made(crime: Crime, world: World, device: SimDevice, dice: random.Random, step: Step) -> bytes:
    return crime(world, device, step, dice)


def scene_of(crime: Crime) -> Callable[[World, random.Random], None]:
    """A step: everybody is there, one member commits the crime, everybody waits."""

    def play(world: World, dice: random.Random) -> None:
        scenes.all_online(world, 120)
        able = [d for d in scenes.connected(world) if d.machine.view().phase is LinePhase.ACTIVE]
        if world.happened.get("crime", 0) >= MOST or len(able) < len(world.members()):
            return
        for device in dice.sample(able, len(able)):
            cell = malice._forge(device, partial(_made, crime, world, device, dice))
            if cell is not None:
                world.note("crime")
                world.story(device.name, (crime.__doc__ or "").rstrip("."))
                malice._deposit(device, cell, close=True, dice=dice)
                break
        world.run_until(world.now + 120)
        for device in world.members():
            world.say(device)
        scenes.all_online(world, 120)
        for device in world.members():
            if device.machine.view().phase is LinePhase.STRANDED:
                world.violate(
                    "place-lost", f"a refused commit cost {device.name} its place in the line (R14)"
                )

    return play


def deserts(world: World, dice: random.Random) -> None:
    """A second device breaks P1 and is never seen again: the others are not stranded, with nobody to ask."""
    scenes.all_online(world, 120)
    second = [device for device in scenes.connected(world) if not device.primary]
    if world.happened.get("crime") or not second:
        return
    rogue = dice.choice(second)
    cell = malice._forge(rogue, partial(_made, parent_hash, world, rogue, dice))
    if cell is None:
        return
    world.note("crime")
    world.story(rogue.name, "closes the channel with a commit that contradicts the tree, and is gone")
    malice._deposit(rogue, cell, close=True, dice=dice)
    world.run_until(world.now + 0.25)
    rogue.stop()
    rogue.wants = rogue.joined = False
    for text in world.texts.values():
        text.excused = text.excused or text.sender is rogue
    scenes.all_online(world, 120)


def four_times(world: World, dice: random.Random) -> None:
    """All four turns of one epoch are closed with what is no commit: the line ends, for all (R14)."""
    for _ in range(4):
        scenes.all_online(world, 60)
        devices = scenes.connected(world)
        if not devices or world.happened.get("crime", 0) >= 4:
            return
        world.note("crime")
        world.note("end")
        malice.closes_with_text(world, dice.choice(devices), dice)
        world.run_until(world.now + 30)
    for device in world.members():
        world.say(device)
        told = AlarmKind.LINE_FAULT in device.told_alarms
        if told and device.machine.view().phase is not LinePhase.FAULTED:
            world.violate(
                "untrue", f"{device.name} has told its person that the line has ended; it has not (R14)"
            )


def quiet_turn(world: World, dice: random.Random) -> None:
    """After a refused commit nobody writes for two days: all stay where they are (R14, R9)."""
    scenes.all_online(world, 120)
    devices = scenes.connected(world)
    if devices and world.happened.get("crime", 0) < MOST:
        world.note("crime")
        malice.closes_with_text(world, dice.choice(devices), dice)
        world.run_until(world.now + 120)
        scenes.all_online(world, 2 * DAY)


def nothing_forbidden(world: World) -> None:
    """R14: what P forbids is in nobody's tree."""
    persons = {device.own.identity_key for device in world.devices}
    known = {device.own.device_id for device in world.devices}
    newest = max(device.machine.view().epoch for device in world.members())
    for device in world.members():
        with device.machine._look() as step:
            if step.group is None:
                continue
            nodes = [member.leaf_node for member in step.group.members]
            behind = step.group.epoch < newest
        wrong = ""
        certificates = []
        for node in nodes:
            try:
                certificate = DeviceCertificate.decode(node.credential.identity)
                certificate.verify()
            except (CodecError, ValidationError, AuthenticationError):
                wrong = "a leaf without a genuine certificate"
                continue
            certificates.append(certificate)
            if certificate.device_key != node.signature_key:
                wrong = "a leaf with another's certificate"
            if certificate.identity_key not in persons:
                wrong = "a third person"
            if node.capabilities != product_capabilities(world.suite):
                wrong = "a leaf that can more than the profile"
        if len(nodes) > 4:
            wrong = wrong or "more than four leaves"
        if {c.device_id for c in certificates} - known:
            wrong = wrong or "a device that its person did not add"
        first = {c.identity_key for c in certificates if c.role is DeviceRole.PRIMARY}
        if first != persons:
            wrong = wrong or "a person without a first device"
        missing = {d.own.device_id for d in world.devices if d.joined} - {c.device_id for c in certificates}
        if missing and not behind:
            wrong = wrong or "no leaf for a device that nobody of its person removed"
        if wrong:
            world.violate("forbidden", f"{device.name} has {wrong} in its tree (R14)")
