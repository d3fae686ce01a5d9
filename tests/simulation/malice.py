"""What a dishonest member does with keys that are really its own, and a removed device with those it kept.

A member can seal whatever it likes under the epoch's keys, open channels of other classes and sizes, and take
slots. A removed device keeps everything it ever had: it tries to follow the line, to read what is said after
it has gone, and to be let in again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatserver.wire import frames as f
from chatserver.wire.limits import BODY_BYTES, ChannelClass
from clients.sdk.line import cells, log, rejoin_wire, sealing
from clients.sdk.line.events import RejoinReason
from clients.sdk.line.payloads import encode_claim
from clients.sdk.line.step import Step
from clients.sdk.line.tables import Tables
from crypto.channel import return_address, return_key
from crypto.errors import AuthenticationError, CodecError, StateError, ValidationError
from crypto.group import Group
from crypto.key_package import KeyPackage
from crypto.policy import ProcessingError, evaluate_predicate
from crypto.tree_math import LeafIndex
from keys.certificates import DeviceCertificate
from keys.memory_vault import MemoryVault, VaultSnapshot
from simulation.device import LINE, SimDevice

if TYPE_CHECKING:
    from simulation.world import World

FORGED_ORDER = 1
"""Of no row and no commit: the device knows the cell as its own, and knows nothing good of it."""
Closed = (CodecError, ValidationError, AuthenticationError, StateError, ProcessingError)


def _forge(device: SimDevice, make: Callable[[Step], bytes]) -> bytes | None:
    """A cell that this member makes of its own keys."""
    with device.machine._step(device.now) as step:
        if step.group is None or not step.state.addresses:
            return None
        try:
            message = make(step)
        except Closed:
            return None
        step.group_changed = True
        return sealing.seal_message(step, message, order=FORGED_ORDER).cell


def _deposit(device: SimDevice, body: bytes, *, close: bool, dice: random.Random) -> None:
    """Straight into the current channel, past the device's own rules."""
    if device.line is None:
        return
    state = device.world.state(device)
    if not state.addresses:
        return
    device.line.send(
        f.Deposit(
            request=device.next_request(),
            cls=ChannelClass.STORED,
            readers=state.readers,
            k=state.addresses[state.turn],
            deposit_id=dice.randbytes(16),
            close=close,
            body=body,
        )
    )


def garbage(world: World, device: SimDevice, dice: random.Random) -> None:
    """Cells that do not open, a few or very many; the worst of them closes the channel."""
    count = dice.choice([1, 3, 60])
    close = count == 1 and dice.random() < 0.3
    world.story(
        device.name, f"puts {count} cells of garbage into the channel{', closing it' if close else ''}"
    )
    for _ in range(count):
        _deposit(device, dice.randbytes(BODY_BYTES[ChannelClass.STORED]), close=close, dice=dice)


def _commit(step: Step, adds: list[KeyPackage], removes: list[LeafIndex]) -> bytes:
    claim = encode_claim(log.own_claim(step))
    return step.mls.commit(adds=adds, removes=removes, rng=step.rng, authenticated_data=claim).message


def third_person(world: World, device: SimDevice, dice: random.Random) -> None:
    """P2: a leaf of somebody who is no part of this line."""
    stranger = world.make_device("stranger", f"stranger-{len(world.strangers)}", primary=True)
    world.devices.remove(stranger)
    world.strangers.append(stranger)
    bundle = world.key_package(stranger)
    _close_with(world, device, "adds a stranger", lambda step: _commit(step, [bundle.key_package], []), dice)


def throws_out(world: World, device: SimDevice, dice: random.Random) -> None:
    """P3 and P4: another person's leaf, or a primary one."""

    def make(step: Step) -> bytes:
        others = [m for m in step.state.members if m.device_id != device.own.device_id]
        return _commit(step, [], [LeafIndex(dice.choice(others).leaf_index)])

    _close_with(world, device, "throws somebody out", make, dice)


def unflagged(world: World, device: SimDevice, dice: random.Random) -> None:
    """R13: a commit that does not close its channel."""
    cell = _forge(device, lambda step: _commit(step, [], []))
    if cell is not None:
        world.story(device.name, "commits without closing the channel")
        _deposit(device, cell, close=False, dice=dice)


def closes_with_text(world: World, device: SimDevice, dice: random.Random) -> None:
    """P1: a closing cell that is no commit."""
    _close_with(
        world,
        device,
        "closes the channel with something that is no commit",
        lambda step: step.mls.protect(
            b"x", authenticated_data=encode_claim(log.own_claim(step)), rng=step.rng
        ),
        dice,
    )


def _close_with(
    world: World, device: SimDevice, what: str, make: Callable[[Step], bytes], dice: random.Random
) -> None:
    cell = _forge(device, make)
    if cell is not None:
        world.story(device.name, what)
        _deposit(device, cell, close=True, dice=dice)


def other_classes(world: World, device: SimDevice, dice: random.Random) -> None:
    """R2: the same address with another class or number of readers is another channel."""
    state = world.state(device)
    if device.line is None or not state.addresses:
        return
    world.story(device.name, "opens channels of other classes and sizes at the same address")
    for cls, readers in ((ChannelClass.LIVE, state.readers), (ChannelClass.STORED, 1 + state.readers % 4)):
        device.line.send(
            f.Attach(
                request=device.next_request(),
                cls=cls,
                readers=readers,
                k=state.addresses[state.turn],
                token=dice.randbytes(32),
                incarnation=bytes(16),
                position=0,
            )
        )
    device.line.send(
        f.Deposit(
            request=device.next_request(),
            cls=ChannelClass.STORED,
            readers=1 + state.readers % 4,
            k=state.addresses[state.turn],
            deposit_id=dice.randbytes(16),
            close=True,
            body=dice.randbytes(BODY_BYTES[ChannelClass.STORED]),
        )
    )


def squats(world: World, device: SimDevice, dice: random.Random) -> None:
    """R8: takes free slots of this turn and the next ones."""
    state = world.state(device)
    if device.line is None or not state.addresses:
        return
    world.story(device.name, "takes the others' slots")
    for turn in (state.turn, min(3, state.turn + 1)):
        for _ in range(state.readers):
            device.line.send(
                f.Attach(
                    request=device.next_request(),
                    cls=ChannelClass.STORED,
                    readers=state.readers,
                    k=state.addresses[turn],
                    token=dice.randbytes(32),
                    incarnation=bytes(16),
                    position=0,
                )
            )


CRIMES = (garbage, third_person, throws_out, unflagged, closes_with_text, other_classes, squats)


# ------------------------------------------------------------------------------------------ removed devices


@dataclass
class Ghost:
    """A removed device with everything that it ever held."""

    device: SimDevice
    snapshot: VaultSnapshot
    groups: list[Group] = field(default_factory=list)
    keys: dict[bytes, None] = field(default_factory=dict)
    """Cell keys that it knows."""
    secrets: list[bytes] = field(default_factory=list)
    """R, old and newest."""

    def __post_init__(self) -> None:
        vault = MemoryVault(self.snapshot)
        with vault.transaction() as tx:
            blob = Tables(tx, LINE).group.get()
        if blob is not None:
            self.groups.append(Group.from_bytes(blob))
        state = self.device.world.state(self.device)
        if state.cell_key:
            self.keys[state.cell_key] = None
        self.secrets += [state.secret, *(old.secret for old in state.old_secrets)]

    def sees(self, frame: f.Deposit, *, sender_knows: bool) -> str:
        """What it makes of a cell that the relay hands it; not empty if it reads what it must not."""
        if frame.cls is not ChannelClass.STORED:
            return ""
        for key in list(self.keys):
            try:
                message = cells.open_(key, cells.stored_ref(frame.readers, frame.k), frame.body)
            except Closed:
                continue
            if sender_knows:
                return "a removed device opens a cell of a sender who had processed its removal"
            if frame.close:
                self._follow(message)
        return ""

    def _follow(self, message: bytes) -> None:
        for group in list(self.groups):
            try:
                received = evaluate_predicate(group, message, DeviceCertificate.decode)
                if received.staged is None:
                    continue
                merged = group.merge(received.staged)
                _, cell_key = cells.epoch_keys(Group.from_bytes(merged.to_bytes()))
            except Closed:
                continue
            self.groups = [*self.groups[-3:], merged]
            self.keys[cell_key] = None

    def haunt(self, world: World, dice: random.Random) -> None:
        """It asks to be let in again, by the R that it kept."""
        via = next((d for d in world.members() if d.line is not None), None)
        state = world.state(self.device)
        if via is None or via.line is None or not self.secrets[0]:
            return
        world.story(self.device.name, "was removed, and asks to be let in again")
        request = rejoin_wire.RejoinRequest(
            group_id=state.group_id or self.groups[0].group_id,
            epoch=state.epoch,
            reason=RejoinReason.FAULT,
            device_id=self.device.own.device_id,
            key_package=world.key_package(self.device).key_package.to_bytes(),
        )
        message = rejoin_wire.encode_request(request, self.device.own.signature_private)
        for secret in self.secrets:
            for other in world.members():
                k = return_address(secret, other.own.device_id)
                ref = cells.stored_ref(1, k)
                via.line.send(
                    f.Deposit(
                        request=via.next_request(),
                        cls=ChannelClass.STORED,
                        readers=1,
                        k=k,
                        deposit_id=dice.randbytes(16),
                        close=False,
                        body=cells.seal(return_key(secret), ref, message, dice.randbytes),
                    )
                )
