"""A device is stolen, with all that its vault holds, by somebody who has every cell that was ever sent.

The thief takes the vault as it is at that moment and tries everything on what the device has read before.
What is queued or kept for its person is in the vault anyway, and the present epoch's keys open the outer
layer of the present channel. What must be gone is what the rules erase:

* the exporter secret of an epoch whose channel keys were derived (R1);
* the key of every message that this device has read: none opens again (R7, R11; RFC 9420 section 9.2);
* the cell keys of epochs that it has left (R1, R19);
* after the end of the line: its R, its cell key and its group (R22).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from clients.sdk.line.events import LinePhase
from clients.sdk.line.state import LineState
from clients.sdk.line.tables import Tables
from crypto.errors import AuthenticationError, CodecError, StateError, ValidationError
from crypto.group import Group
from keys.memory_vault import MemoryVault, VaultSnapshot
from simulation.device import LINE, SimDevice

if TYPE_CHECKING:
    from simulation.world import World

OVER = (LinePhase.ENDED, LinePhase.FAULTED)
Shut = (CodecError, ValidationError, AuthenticationError, StateError)


class Thief:
    """See the module. It needs no dice but its own, so what it looks at changes nothing else."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = random.Random(f"{world.seed}/thief")
        self._line_secrets: dict[bytes, None] = {}

    def hears_of(self, state: LineState) -> None:
        """What to look for once the line is over."""
        if state.secret:
            self._line_secrets.setdefault(state.secret)

    def steals_one(self) -> None:
        """One device, whichever."""
        devices = self._world.members()
        if devices:
            self.steals(self._dice.choice(devices))

    def steals(self, device: SimDevice) -> None:
        """Take the vault, and try everything.

        Raises:
            Violation: Something opens that must not.
        """
        if device.rolled_back:
            return
        vault = device.vault.snapshot()
        state = self._world.state(device)
        self._looks_for_keys(device, vault, state)
        group = _group_in(vault)
        if group is not None:
            self._tries_ratchets(device, group)

    def _looks_for_keys(self, device: SimDevice, vault: VaultSnapshot, state: LineState) -> None:
        """Keys that must be gone, as bytes anywhere among the small spaces of the vault."""
        over = state.phase in OVER
        values = [
            value
            for name, space in vault.spaces.items()
            if name not in {"line.message", "line.outbox", "line.stored", "line.own", "line.history"}
            for value in space.values()
        ]
        everything = b"|".join(values)
        for key in self._world.watch.cell_keys:
            if key in everything and (over or key != state.cell_key):
                self._finds(device, "the cell key of an epoch that it has left")
        for secret in self._line_secrets if over else ():
            if secret in everything:
                self._finds(device, "R of a line that is over")
        if over and any(vault.spaces.get("line.mls", {}).values()):
            self._finds(device, "the group of a line that is over")

    def _finds(self, device: SimDevice, what: str) -> None:
        self._world.violate("key-kept", f"the thief of {device.name} finds {what}")

    def _tries_ratchets(self, device: SimDevice, group: Group) -> None:
        if group._state.exporter_secret is not None:
            self._finds(device, "the exporter secret")
        for message in self._world.watch.read_by(device.vault):
            try:
                group.unprotect(message)
            except Shut:
                continue
            self._world.violate("opens-again", f"the thief of {device.name} opens what it had read before")


def _group_in(snapshot: VaultSnapshot) -> Group | None:
    with MemoryVault(snapshot).transaction() as tx:
        blob = Tables(tx, LINE).group.get()
    return None if blob is None else Group.from_bytes(blob)
