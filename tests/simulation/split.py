"""Changes of keys that some can follow and others not: R15, and what R17 does with a leaf that never came.

A dishonest member commits as its own program does, but what it encrypts to some of the others is garbage, or
a secret that is not the path's. P cannot see that (it reads neither), so those who got it are alone, and must
come back by R18. The same trick on a Welcome, or a linking channel that loses it, makes a leaf whose device
never came: its own person's devices remove it after 7 days (R17), and it can be added anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import crypto.treekem
import crypto.welcome
from clients.sdk.line import events as e
from crypto.errors import StateError
from simulation.device import SimDevice

if TYPE_CHECKING:
    from simulation.world import World

Encrypt = Callable[..., tuple[bytes, bytes]]


class _Garbler:
    """`encrypt_with_label`, which does not always encrypt what it was asked to."""

    def __init__(self, real: Encrypt, dice: random.Random, spared: float) -> None:
        self._real = real
        self._dice = dice
        self._spared = spared
        self.garbled = 0

    def __call__(self, suite: Any, public: bytes, label: str, context: bytes, secret: bytes, rng: Any) -> Any:
        if self._dice.random() < self._spared:
            return self._real(suite, public, label, context, secret, rng)
        self.garbled += 1
        if self._dice.random() < 0.5:  # opens, and is not the secret of this path
            return self._real(suite, public, label, context, self._dice.randbytes(len(secret)), rng)
        kem_output, ciphertext = self._real(suite, public, label, context, secret, rng)
        return kem_output, self._dice.randbytes(len(ciphertext))


@contextmanager
def _garbling(module: Any, dice: random.Random, spared: float) -> Iterator[_Garbler]:
    real = module.encrypt_with_label
    garbler = _Garbler(real, dice, spared)
    module.encrypt_with_label = garbler
    try:
        yield garbler
    finally:
        module.encrypt_with_label = real


def _ready(world: World, device: SimDevice) -> bool:
    """Whether a wish for new keys may become a commit at once."""
    if device.driver is not None and device.machine.view().phase is not e.LinePhase.ACTIVE:
        return False
    return device.running and device.line is not None and device.driver is not None and device.plan is None


def splits(world: World, device: SimDevice, dice: random.Random) -> None:
    """New keys that some of the others cannot follow to (R15)."""
    if not _ready(world, device):
        return
    with _garbling(crypto.treekem, dice, dice.choice([0.0, 0.4, 0.7])) as garbler:
        try:
            device.intent(e.SelfUpdate())
        except StateError:
            return
    if garbler.garbled:
        world.note("split")
        world.story(device.name, f"changes keys, with garbage for {garbler.garbled} of the others")


def splits_by_removal(world: World, device: SimDevice, dice: random.Random) -> None:
    """The same with a commit that also removes a device of its own person."""
    own = [
        other
        for other in world.members()
        if other is not device and not other.primary and other.own.identity_key == device.own.identity_key
    ]
    if not own or not _ready(world, device):
        return
    lost = dice.choice(own)
    with _garbling(crypto.treekem, dice, 0.5) as garbler:
        try:
            device.intent(e.RemoveDevice(device_id=lost.own.device_id))
        except StateError:
            return
    world.story(device.name, f"removes {lost.name}, with garbage for {garbler.garbled} of the others")
    if garbler.garbled:
        world.note("split")


def empty_promise(world: World, device: SimDevice, dice: random.Random) -> None:
    """A device is added whose Welcome does not open."""
    if device.primary and len(world.members()) < 4 and len(world.devices) < 7 and _ready(world, device):
        with _garbling(crypto.welcome, dice, 0.0) as garbler:
            world.add_device(device, f"{device.name}-{len(world.devices) + 1}")
        if garbler.garbled:
            world.note("unwelcome")
            world.story(device.name, "has sent a Welcome that does not open")


def lost_welcome(world: World, device: SimDevice, dice: random.Random) -> None:
    """The next Welcome for a device of this person is lost on its way (R16, R17)."""
    world.lost_welcomes += 1
    world.note("unwelcome")
    world.story("network", "will lose the next Welcome of a new device")
    if device.primary and len(world.members()) < 4 and len(world.devices) < 7:
        world.add_device(device, f"{device.name}-{len(world.devices) + 1}")


TRICKS = (splits, splits, splits, splits_by_removal, empty_promise, lost_welcome)
