"""One relay that is two: its store was cloned and both serve, or it shows different people different logs.

*clone*: an honest relay whose disk was copied while it ran (a virtual machine restored beside itself, a name
that leads to two machines); each connection comes to one of the two by chance. *equivocation*: a dishonest
relay that keeps some devices on a second store, and brings chosen cells over, late and in another order, so
that each side sees a conversation that looks whole (R10). Both end: one of the two stores survives.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from chatserver.wire import frames as f
from chatserver.wire.connection import ClientConnection
from chatserver.wire.limits import ChannelClass
from simulation.relay_host import RelayHost
from simulation.wire import Assembler, framed

if TYPE_CHECKING:
    from simulation.device import Line
    from simulation.world import World


class Puppet:
    """A connection of the relay to itself: it puts a cell that it holds into its other store."""

    def __init__(self, host: RelayHost) -> None:
        self._host = host
        self._machine = ClientConnection()
        self._assembler = Assembler()
        self._requests = 0
        self._socket = host.accept(self._answer)
        self._put(self._machine.hello_message())

    def _put(self, message: bytes) -> None:
        self._socket.arrive(framed(message))
        self._host.turn()

    def _answer(self, data: bytes) -> None:
        for message in self._assembler.feed(data):
            self._machine.receive(message)

    def deposit(self, frame: f.Deposit) -> None:
        """The same cell, under the same deposit id."""
        self._requests += 1
        self._put(
            self._machine.send(
                f.Deposit(
                    request=self._requests,
                    cls=frame.cls,
                    readers=frame.readers,
                    k=frame.k,
                    deposit_id=frame.deposit_id,
                    close=frame.close,
                    body=frame.body,
                )
            )
        )

    def leave(self) -> None:
        """Hang up."""
        self._host.forget(self._socket)
        if not self._socket.dead:
            self._socket.hang_up()
            self._host.turn()


class TwoStores:
    """See the module. Attributes: ``second``, while there are two; ``apart``, who is kept on it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = random.Random(f"{world.seed}/two-stores")
        self.second: RelayHost | None = None
        self.apart: frozenset[str] = frozenset()
        self._by_chance = False
        self._crosses = 0.0
        self._slowest = 1.0
        self._count = 0

    def host_of(self, device: str) -> RelayHost:
        """Which relay a new connection of a device comes to."""
        if self.second is None or not self.second.up:
            return self._world.relay
        if self._by_chance:
            return self._dice.choice([self._world.relay, self.second])
        return self.second if device in self.apart else self._world.relay

    def begin(self, *, apart: frozenset[str], crosses: float, slowest: float) -> None:
        """From now on there are two; without names each connection comes to one of them by chance."""
        world = self._world
        self._count += 1
        self.apart, self._by_chance, self._crosses, self._slowest = apart, not apart, crosses, slowest
        self.second = RelayHost(world, random.Random(f"{world.seed}/second/{self._count}"))
        self.second.restore_disk(world.relay.copy_disk())
        self.second.on_down = partial(world.relay_down, self.second)
        self.second.start()
        for device in world.devices:
            if device.line is not None and (
                device.name in apart or (self._by_chance and self._dice.random() < 0.5)
            ):
                device.line.cut("moved")

    def end(self, *, second_survives: bool) -> None:
        """There is one again; what only the other had is gone."""
        world, second = self._world, self.second
        if second is None:
            return
        saved = second.copy_disk()
        second.crash()
        self.second = None
        self.apart = frozenset()
        if second_survives:
            world.relay.crash()
            world.relay.restore_disk(saved)
            world.relay.start()

    def deposited(self, line: Line, frame: f.Deposit) -> None:
        """A cell came to one of the two; the relay may bring it to the other, in its own time."""
        if self.second is None or self._by_chance or frame.cls is not ChannelClass.STORED:
            return
        if self._dice.random() < self._crosses:
            other = self._world.relay if line.relay is self.second else self.second
            when = self._world.now + 0.5 + self._slowest * self._dice.random()
            self._world.at(when, partial(self._bring, other, frame))

    def _bring(self, host: RelayHost, frame: f.Deposit) -> None:
        if host.up and (host is self.second or host is self._world.relay):
            puppet = Puppet(host)
            puppet.deposit(frame)
            puppet.leave()
