"""Two to four line machines, a fake relay, and virtual time. Nothing here sleeps, everything is seeded."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from clients.sdk.line import log, sealing
from clients.sdk.line.events import (
    AckCell,
    AddDevice,
    AlarmKind,
    Attach,
    Connected,
    ControlReceived,
    DepositCell,
    DetachChannel,
    Disconnected,
    Effect,
    Event,
    FlushReceipts,
    ItemId,
    Notify,
    Reconnect,
    SendText,
    Tick,
    WelcomeDelivered,
    WelcomeReady,
)
from clients.sdk.line.machine import LineMachine
from clients.sdk.line.payloads import encode_claim
from clients.sdk.line.state import LineState
from clients.sdk.line.step import OwnDevice, Step
from clients.sdk.line.view import LineMessage, LineView
from crypto.credentials import Credential
from crypto.key_package import KeyPackageBundle, generate_key_package
from crypto.leaf_node import Lifetime
from crypto.policy import product_capabilities
from crypto.sensitive import Plaintext, Secret
from crypto.suites import PRODUCT
from crypto.tree_math import LeafIndex
from keys import signing
from keys.certificates import DeviceId, DeviceRole, Identity
from keys.memory_vault import MemoryVault, VaultSnapshot
from support.fake_relay import Connection, FakeRelay

START = 20_000 * 86_400.0 + 36_000
DAY = 86_400.0
LINE = b"line-id-16-bytes"
FORGED_ORDER = 1
"""Of no row and no commit: the device knows the cell as its own, and knows nothing good of it."""
E = TypeVar("E")


class Crash(Exception):
    """The process died in the middle of a step."""


@dataclass
class Sim:
    """One simulated device with its vault, and what it told its person."""

    name: str
    own: OwnDevice
    vault: MemoryVault
    machine: LineMachine
    rng: random.Random
    bundle: KeyPackageBundle | None = None
    connection: Connection | None = None
    effects: list[Effect] = field(default_factory=list)
    online: bool = False

    def told(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def alarms(self) -> list[AlarmKind]:
        return [effect.kind for effect in self.told(Notify)]

    def controls(self) -> list[ControlReceived]:
        return self.told(ControlReceived)

    def view(self) -> LineView:
        return self.machine.view()

    def rows(self) -> list[LineMessage]:
        return self.machine.messages()

    def received(self) -> list[str]:
        """Texts of the other person, as shown."""
        return ["(missing)" if row.missing else row.body.reveal_text() for row in self.rows() if not row.mine]

    def states(self) -> list[str]:
        return [row.state.name for row in self.rows() if row.state is not None]


class World:
    """See the module. ``client`` and ``therapist`` have a line; more devices come by :meth:`add_device`."""

    def __init__(self, seed: int = 1, *, start: bool = True) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.relay = FakeRelay(self.random.randbytes)
        self.people: dict[str, Identity] = {}
        self.sims: list[Sim] = []
        self.client = self._device("client", DeviceRole.PRIMARY)
        self.therapist = self._device("therapist", DeviceRole.PRIMARY)
        self.on_effect: Callable[[Sim, Effect], bool] = lambda sim, effect: True
        if start:
            self.open_line()

    # -- making devices

    def _device(self, person: str, role: DeviceRole, name: str = "") -> Sim:
        rng = random.Random(self.random.randbytes(8))
        identity = self.people.setdefault(person, Identity.generate(self.random.randbytes))
        seed = rng.randbytes(32)
        certificate = identity.certify(
            device_key=signing.public_key(seed),
            device_id=DeviceId(rng.randbytes(16)),
            role=role,
            not_before_day=19_990,
            not_after_day=20_500,
        )
        own = OwnDevice(
            signature_private=Secret(seed),
            certificate=certificate.encode(),
            device_id=certificate.device_id,
            identity_key=certificate.identity_key,
        )
        vault = MemoryVault()
        sim = Sim(
            name=name or person,
            own=own,
            vault=vault,
            machine=LineMachine(vault, LINE, own, rng.randbytes),
            rng=rng,
        )
        self.sims.append(sim)
        return sim

    def key_package(self, sim: Sim) -> KeyPackageBundle:
        day = int(self.now // DAY * DAY)
        sim.bundle = generate_key_package(
            suite=PRODUCT,
            signature_private=sim.own.signature_private,
            credential=Credential.basic(sim.own.certificate),
            capabilities=product_capabilities(),
            lifetime=Lifetime(not_before=day, not_after=day + 3 * 86_400),
            rng=sim.rng.randbytes,
        )
        return sim.bundle

    def open_line(self) -> None:
        """First contact: the client founds, the therapist joins."""
        bundle = self.key_package(self.therapist)
        client = self.client
        client.machine, founding = LineMachine.create_as_client(
            client.vault,
            LINE,
            client.own,
            client.rng.randbytes,
            now=self.now,
            key_packages=[bundle.key_package],
        )
        self.join(self.therapist, founding.welcome)
        self.handle(client, WelcomeDelivered(welcome_id=founding.welcome_id))

    def join(self, sim: Sim, welcome: bytes) -> None:
        assert sim.bundle is not None
        sim.machine, _ = LineMachine.create_from_welcome(
            sim.vault,
            LINE,
            sim.own,
            sim.rng.randbytes,
            now=self.now,
            welcome=welcome,
            bundle=sim.bundle,
            known_group=lambda group_id: False,
        )

    def add_device(self, owner: Sim, name: str) -> Sim:
        """A second device of a person joins the line; everybody online must follow."""
        person = next(who for who, key in self.people.items() if key.public_key == owner.own.identity_key)
        sim = self._device(person, DeviceRole.SECONDARY, name)
        bundle = self.key_package(sim)
        self.settle()
        self.handle(owner, AddDevice(key_package=bundle.key_package.to_bytes()))
        self.run(30)
        ready = owner.told(WelcomeReady)[-1]
        assert ready.device_id == sim.own.device_id
        self.join(sim, ready.welcome)
        self.handle(owner, WelcomeDelivered(welcome_id=ready.welcome_id))
        return sim

    # -- running

    def handle(self, sim: Sim, event: Event) -> list[Effect]:
        effects = sim.machine.handle(event, self.now)
        sim.effects += effects
        for effect in effects:
            if self.on_effect(sim, effect):
                self._do(sim, effect)
        return effects

    def _do(self, sim: Sim, effect: Effect) -> None:
        if isinstance(effect, Reconnect):
            self.disconnect(sim)
            self.connect(sim)
            return
        if sim.connection is None:
            return
        match effect:
            case Attach():
                self.relay.attach(sim.connection, effect)
            case DepositCell():
                self.relay.deposit(sim.connection, effect)
            case AckCell():
                self.relay.ack(sim.connection, effect)
            case DetachChannel():
                self.relay.detach(sim.connection, effect.ref)
            case _:
                pass

    def connect(self, *sims: Sim) -> None:
        for sim in sims:
            sim.connection = self.relay.connect(sim.name)
            sim.online = True
            self.handle(sim, Connected())

    def disconnect(self, *sims: Sim) -> None:
        for sim in sims:
            if sim.connection is not None:
                self.relay.disconnect(sim.connection)
                sim.connection = None
            sim.online = False
            self.handle(sim, Disconnected())

    def online(self, *sims: Sim, seconds: float = 30) -> None:
        """Connect and let things settle."""
        self.connect(*sims)
        self.run(seconds)

    def deliver(self) -> None:
        """Hand over everything that waits, until nothing does."""
        busy = True
        while busy:
            busy = False
            for sim in self.sims:
                while sim.connection is not None and sim.connection.queue:
                    busy = True
                    self.handle(sim, sim.connection.queue.popleft())

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, Tick by Tick."""
        end = self.now + seconds
        self.deliver()
        while True:
            wanted = [
                wakeup
                for sim in self.sims
                if (wakeup := sim.machine.next_wakeup()) is not None and self.now < wakeup <= end
            ]
            if not wanted:
                break
            self.now = min(wanted)
            self.relay.expire(int(self.now // DAY))
            for sim in self.sims:
                wakeup = sim.machine.next_wakeup()
                if wakeup is not None and 0 < wakeup <= self.now:
                    self.handle(sim, Tick())
            self.deliver()
        self.now = end
        self.relay.expire(int(self.now // DAY))

    # -- people and accidents

    def text(self, sim: Sim, text: str) -> ItemId:
        item_id = ItemId(sim.rng.randbytes(16))
        self.handle(sim, SendText(item_id=item_id, text=Plaintext(text)))
        return item_id

    def say(self, sim: Sim, *texts: str) -> None:
        for text in texts:
            self.text(sim, text)
        self.deliver()

    def settle(self) -> None:
        """Everybody sends the receipts that are due, now."""
        for _ in range(3):
            for sim in self.sims:
                if sim.online:
                    self.handle(sim, FlushReceipts())
            self.run(5)

    def restart(self, sim: Sim) -> None:
        """The process ends and begins anew: memory is lost, the vault stays."""
        if sim.connection is not None:
            self.relay.disconnect(sim.connection)
            sim.connection = None
        sim.online = False
        sim.machine = LineMachine(sim.vault, LINE, sim.own, sim.rng.randbytes)

    def put_back(self, sim: Sim, snapshot: VaultSnapshot) -> None:
        """An old copy of the vault is put back."""
        self.restart(sim)
        sim.vault.restore(snapshot)
        sim.machine = LineMachine(sim.vault, LINE, sim.own, sim.rng.randbytes)

    def ref(self, sim: Sim) -> bytes:
        """The current channel of a device."""
        with sim.machine._look() as step:
            return step.ref

    def state(self, sim: Sim) -> LineState:
        """A device's row, to look at."""
        with sim.machine._look() as step:
            return step.state

    def forge(self, sim: Sim, change: Callable[[Step], bytes]) -> bytes:
        """A cell that a dishonest device makes of its own keys: ``change`` returns an MLS message."""
        with sim.machine._step(self.now) as step:
            message = change(step)
            step.group_changed = True
            return sealing.seal_message(step, message, order=FORGED_ORDER).cell

    def bad_commit(self, sim: Sim, victim: Sim) -> bytes:
        """A commit that removes another person's leaf: valid MLS, against P3 of R14."""

        def change(step: Step) -> bytes:
            member = step.state.member(victim.own.device_id)
            assert member is not None
            claim = encode_claim(log.own_claim(step))
            return step.mls.commit(
                adds=(),
                removes=[LeafIndex(member.leaf_index)],
                rng=sim.rng.randbytes,
                authenticated_data=claim,
            ).message

        return self.forge(sim, change)

    def forget(self, sim: Sim) -> None:
        """What the person was told so far."""
        sim.effects.clear()


def opened(seed: int = 1) -> World:
    """A line that both sides have settled, with nothing told yet."""
    world = World(seed)
    world.online(world.client, world.therapist)
    world.settle()
    world.forget(world.client)
    world.forget(world.therapist)
    return world
