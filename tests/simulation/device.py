"""One simulated device: a vault on a disk, a process that may die at every point of R19, a person's clock.

The line machine, the line driver and the client's connection machine are the product's own. What is simulated
is the shell around them: connecting, pausing before connecting again, ticking, and carrying Welcomes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatserver.wire import frames as f
from chatserver.wire.connection import ClientConnection, State
from chatserver.wire.errors import OrderError, VersionError
from clients.sdk.line import events as e
from clients.sdk.line.machine import LineMachine
from clients.sdk.line.step import OwnDevice
from clients.sdk.line_driver import ChannelDriver, LineDriver, PeopleEffect
from crypto.codec import CodecError
from crypto.key_package import KeyPackageBundle
from keys.memory_vault import MemoryVault, VaultSnapshot
from simulation.wire import Assembler, RelaySocket, Stream, framed

if TYPE_CHECKING:
    from simulation.sessions import Side
    from simulation.world import World

LINE = b"line-id-16-bytes"


class Crash(Exception):
    """The process dies here."""


@dataclass
class CrashPlan:
    """Where the process will die: at which event from now, and how far it gets there (R19)."""

    events: int
    effects: int
    """-1: before the vault's commit; n: after it, when n effects were carried out."""


class DyingDriver(LineDriver):
    """The product's driver; between two effects the process may die."""

    plan: CrashPlan | None = None

    def _carry_out(self, effect: e.Effect) -> None:
        plan = self.plan
        if plan is not None and plan.events <= 0 and plan.effects >= 0:
            if plan.effects == 0:
                raise Crash
            plan.effects -= 1
        super()._carry_out(effect)


class Line:
    """One connection of a device: the client's machine, and the two streams below it."""

    def __init__(self, owner: SimDevice | Side, number: int) -> None:
        world, device = owner.world, owner.device
        dice = random.Random(f"{world.seed}/link/{owner.name}/{number}")
        self.name = f"{owner.name}#{number}"
        self.owner = owner
        self.machine = ClientConnection()
        self.alive = True
        self.device = device
        self._cutting = False
        self._assembler = Assembler()
        self.down = Stream(world, self.name, up=False, dice=dice, delay=lambda: world.delay(dice),
                           arrive=self._from_relay)  # fmt: skip
        self.relay = world.two_stores.host_of(device.name)
        self.socket: RelaySocket = self.relay.accept(self._relay_says)
        self.socket.on_close = self._relay_closes
        self.up = Stream(world, self.name, up=True, dice=dice, delay=lambda: world.delay(dice),
                         arrive=self._to_relay)  # fmt: skip
        self.up.write(framed(self.machine.hello_message()))

    # -- towards the relay

    def send(self, frame: f.ClientFrame) -> None:
        if not self.alive or self.machine.state not in {State.OPEN, State.DRAINING}:
            return
        message = self.machine.send(frame)
        self.device.world.relay_receives(self.device, frame, message)
        if isinstance(frame, f.Deposit):
            self.device.world.two_stores.deposited(self, frame)
        self.up.write(framed(message))

    def _to_relay(self, data: bytes) -> None:
        self.socket.arrive(data)
        self.relay.turn()

    # -- from the relay

    def _relay_says(self, data: bytes) -> None:
        self.down.write(self.device.world.mischief.rewrite(self, data))

    def _relay_closes(self) -> None:
        world = self.device.world
        world.at(world.now + 0.05, lambda: self.cut("the relay closes"))

    def _from_relay(self, data: bytes) -> None:
        for message in self._assembler.feed(data):
            if not self.alive:
                return
            try:
                frame = self.machine.receive(message)
            except (CodecError, OrderError, VersionError):
                self.device.world.story(self.device.name, "hangs up on a relay that breaks the protocol")
                self.cut("protocol")
                return
            self.owner.frame(self, frame)

    def hang(self) -> None:
        """Dead for the device, and the relay is never told (R3): it goes on sending into it."""
        if self.alive and not self._cutting:
            self._cutting = True
            self.alive = False
            self.up.fall_silent()
            self.down.fall_silent()
            self.owner.disconnected(self)

    def cut(self, why: str) -> None:
        """The connection ends for both; of what is on its way some bytes arrive."""
        if not self.alive or self._cutting:
            return
        self._cutting = True
        self.up.cut()
        self.down.cut()
        self.alive = False
        self.relay.forget(self.socket)
        if not self.socket.dead:
            self.socket.hang_up()
            self.relay.turn()
        self.owner.disconnected(self)


class SimDevice:
    """See the module.

    Attributes:
        wants: The person wants to be connected; the process then connects again whenever it is cut off.
        running: The process runs.
        skew: How far its clock is ahead, in seconds.
        delivered: Texts that it ever told its person of, by sender's device id.
        strandings: How often it has lost its place in the line.
    """

    def __init__(
        self, world: World, name: str, own: OwnDevice, *, primary: bool, vault: MemoryVault | None = None
    ) -> None:
        self.world = world
        self.name = name
        self.own = own
        self.primary = primary
        self.vault = vault or MemoryVault()
        self.dice = random.Random(f"{world.seed}/device/{name}")
        self.bundles: list[KeyPackageBundle] = []
        self.joined = False
        self.wants = False
        self.running = False
        self.skew = 0.0
        self.plan: CrashPlan | None = None
        self.driver: DyingDriver | None = None
        self.line: Line | None = None
        self.delivered: dict[bytes, list[str]] = {}
        self.told_alarms: list[e.AlarmKind] = []
        self.controls: list[e.ControlReceived] = []
        self.rolled_back = False
        self.founder = False
        self.came_back = False
        self.strandings = 0
        self.saved: VaultSnapshot | None = None
        self.saved_texts = 0
        self.twin_of: SimDevice | None = None
        self._links = self._failures = 0
        self._requests = 0
        self._tick_at: float | None = None
        self._owned: set[int] = set()

    # -- the process

    @property
    def device(self) -> SimDevice:
        """Itself: a line belongs to a device or to a session of one."""
        return self

    @property
    def now(self) -> float:
        """UTC seconds by this device's own clock."""
        return self.world.now + self.skew

    @property
    def machine(self) -> LineMachine:
        """A machine over the vault, also to look at while the process does not run."""
        if self.driver is not None:
            return self.driver.machine
        return LineMachine(self.vault, LINE, self.own, self.dice.randbytes, suite=self.world.suite)

    def start(self) -> None:
        """The program starts."""
        if self.running or not self.joined:
            return
        self.running = True
        machine = LineMachine(self.vault, LINE, self.own, self.dice.randbytes, suite=self.world.suite)
        self.driver = DyingDriver(LINE, machine, self)
        self.world.reread(self)
        self.schedule_tick()

    def stop(self, why: str = "closed") -> None:
        """The program ends, in order or not: memory is lost, the vault stays."""
        self.running = False
        self.driver = None
        line, self.line = self.line, None
        if line is not None:
            line.cut(why)
        self._tick_at = None
        self.vault.before_commit = None

    def go_online(self) -> None:
        self.wants = True
        self.start()
        if self.line is None and self.running and self.world.relay.up:
            self._links += 1
            self._requests = 0
            self._owned.clear()
            self.line = Line(self, self._links)
        elif self.line is None:
            self.again_later()

    def go_offline(self) -> None:
        self.wants = False
        if self.line is not None:
            self.line.cut("offline")

    def again_later(self) -> None:
        """A pause that grows with every failure, and is spread."""
        if self.wants:
            self._failures += 1
            longest = min(20.0 * 2 ** min(self._failures, 10), 3_600.0)
            self.world.at(self.world.now + 0.5 + longest * self.dice.random(), self._again)

    def _again(self) -> None:
        if self.wants and self.line is None and self.joined:
            self.go_online()

    def disconnected(self, line: Line) -> None:
        if self.line is line:
            self.line = None
            if self.driver is not None:
                self.guarded(lambda driver: driver.disconnect(self.now))
            self.again_later()

    # -- frames

    def frame(self, line: Line, frame: f.ServerFrame) -> None:
        if line is not self.line or self.driver is None:
            return
        asked = line.machine.asked
        match frame:
            case f.ServerHello():
                self._failures = 0
                self.guarded(lambda driver: driver.connect(self.now))
            case f.Failed() | f.Draining():
                line.cut("told to go")
            case _ if asked is not None:
                self.guarded(lambda driver: driver.answer(frame, asked, self.now))
            case _:
                self.guarded(lambda driver: driver.push(frame, self.now))

    def guarded(self, work: Callable[[DyingDriver], None]) -> None:
        """One event, with the crash that may be planned for it; what else goes wrong is a finding."""
        driver, plan = self.driver, self.plan
        if driver is None:
            return
        if plan is not None:
            plan.events -= 1
            driver.plan = plan
            if plan.events <= 0 and plan.effects < 0:
                self.vault.before_commit = _die
        try:
            self.world.watch.during(driver, work)
        except Crash:
            where = "before the commit" if plan is None or plan.effects < 0 else "after the commit"
            self.world.story(self.name, f"the program dies {where}")
            self.plan = None
            self.stop("crash")
            self.world.at(self.world.now + 1 + 5 * self.dice.random(), self._back)
            return
        finally:
            self.vault.before_commit = None
        if plan is not None and plan.events <= 0:
            if plan.effects >= 0 and self.driver is driver:
                self.world.story(self.name, "the program dies between two events")
                self.stop("crash")
                self.world.at(self.world.now + 1 + 5 * self.dice.random(), self._back)
            self.plan = None
        self.schedule_tick()

    def _back(self) -> None:
        if not self.running:
            self.start()
            if self.wants:
                self.go_online()

    def intent(self, event: e.Event) -> None:
        """Something that the person or the device layer wants."""
        self.start()
        self.guarded(lambda driver: driver.handle(event, self.now))

    # -- time

    def schedule_tick(self) -> None:
        if self.driver is None:
            return
        wanted = self.driver.machine.next_wakeup()
        if wanted is None:
            return
        at = max(self.world.now + 0.001, wanted - self.skew)
        if self._tick_at is None or at < self._tick_at or self._tick_at <= self.world.now:
            self._tick_at = at
            self.world.at(at, lambda: self._tick(at))

    def _tick(self, at: float) -> None:
        if self.driver is None or self._tick_at != at:
            return
        self._tick_at = None
        self.guarded(lambda driver: driver.handle(e.Tick(), self.now))

    # -- clients.sdk.line_driver.DriverOwner

    def next_request(self) -> int:
        self._requests += 1
        return self._requests

    def queue(self, driver: ChannelDriver, frame: f.ClientFrame) -> None:
        if self.line is not None:
            self.world.program_sends(self, frame)
            self.line.send(frame)

    def own_handle(self, driver: ChannelDriver, handle: int) -> None:
        self._owned.add(handle)

    def told(self, driver: ChannelDriver, effect: PeopleEffect) -> None:
        self.world.told(self, effect)

    def reconnect(self) -> None:
        line = self.line
        if line is not None:
            self.world.at(self.world.now, lambda: line.cut("reconnect"))


def _die() -> None:
    raise Crash
