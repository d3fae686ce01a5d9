"""Up to four devices of two people, the fake relay, virtual time: linking without network or waiting."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from clients.sdk.client_contact import own_device
from clients.sdk.line import events as e
from clients.sdk.line.machine import LineMachine
from clients.sdk.line.view import LineView
from clients.sdk.line_driver import Machine
from clients.sdk.linking.desk import LinkDesk
from clients.sdk.linking.first_device import CodeUsed
from clients.sdk.linking.linked_device import new_linked_record
from clients.sdk.linking.siblings import Sibling, SiblingLine, load_sibling_lines, load_siblings
from clients.sdk.model import Role
from clients.sdk.records import (
    DeviceKeys,
    DeviceRecord,
    LineRecord,
    load_device,
    load_lines,
    save_device,
    save_line,
)
from clients.sdk.upkeep import therapist_of
from crypto.sensitive import Plaintext
from keys.linking import LinkingCode, parse_code
from keys.memory_vault import MemoryVault
from support.contact_world import RELAY, ContactWorld
from support.fake_relay import Connection, FakeRelay


class DirectDriver:
    """`ChannelDriver` over the fake relay."""

    def __init__(self, host: Host, machine: Machine) -> None:
        self._host = host
        self._machine = machine
        self.busy = False

    def handle(self, event: e.Event, now: float) -> None:
        for effect in self._machine.handle(event, now):
            self._host.do(effect)

    def connect(self, now: float) -> None:
        self.handle(e.Connected(), now)

    def disconnect(self, now: float) -> None:
        self.handle(e.Disconnected(), now)

    def next_wakeup(self) -> float | None:
        return self._machine.next_wakeup()


class Host:
    """One device: what `clients.sdk.engine.Engine` is to linking."""

    def __init__(self, world: LinkWorld, name: str, vault: MemoryVault) -> None:
        self.world = world
        self.name = name
        self.vault = vault
        self.connection: Connection | None = None
        self.effects: list[e.Effect] = []
        self.start()

    def start(self) -> None:
        """The process begins: everything comes out of the vault."""
        self.rng: Callable[[int], bytes] = random.Random(self.world.random.randbytes(8)).randbytes
        with self.vault.transaction() as tx:
            record = load_device(tx)
            lines = load_lines(tx)
        assert record is not None
        self.device: DeviceRecord = record
        self.line_records: dict[bytes, LineRecord] = {line.line_id: line for line in lines}
        self.drivers: dict[bytes, DirectDriver] = {}
        self.machines: dict[bytes, LineMachine] = {}
        for line in lines:
            self._drive(line)
        self.desk = LinkDesk(self, lambda box_id, box: DirectDriver(self, box))  # type: ignore[arg-type, return-value]  # in its place

    def _drive(self, line: LineRecord) -> None:
        machine = LineMachine(self.vault, line.line_id, own_device(self.keys_of(line.line_id)), self.rng)
        self.machines[line.line_id] = machine
        self.drivers[line.line_id] = DirectDriver(self, machine)

    # -- LinkHost

    def keys_of(self, line_id: bytes) -> DeviceKeys:
        return self.line_records[line_id].keys or therapist_of(self.device).keys

    def view(self, line_id: bytes) -> LineView:
        return self.machines[line_id].view()

    def handle(self, line_id: bytes, event: e.Event) -> None:
        self.drivers[line_id].handle(event, self.world.now)

    def line_opened(self, record: LineRecord) -> None:
        self.line_records[record.line_id] = record
        self._drive(record)
        if self.connection is not None:
            self.drivers[record.line_id].connect(self.world.now)

    def change_line(self, record: LineRecord) -> None:
        with self.vault.transaction() as tx:
            save_line(tx, record)
        self.line_records[record.line_id] = record

    def renewed(self, line_id: bytes, keys: DeviceKeys) -> None:
        if self.line_records[line_id].keys is not None:
            self.change_line(replace(self.line_records[line_id], keys=keys))
        self.machines[line_id].take_certificate(own_device(keys))
        self.handle(line_id, e.SelfUpdate())

    def became(self, record: DeviceRecord) -> None:
        self.device = record

    # -- running

    def do(self, effect: e.Effect) -> None:
        self.effects.append(effect)
        relay, connection = self.world.relay, self.connection
        if isinstance(effect, e.WelcomeReady):
            line_id = next(line for line, machine in self.machines.items() if _has(machine, effect))
            self.desk.first.take_welcome(line_id, effect)
            self.desk.sync(self.world.now)
        elif isinstance(effect, e.Notify | e.LineChanged):
            self.desk.touch()
        if connection is None:
            return
        match effect:
            case e.Attach():
                relay.attach(connection, effect)
            case e.DepositCell():
                relay.deposit(connection, effect)
            case e.AckCell():
                relay.ack(connection, effect)
            case e.DetachChannel():
                relay.detach(connection, effect.ref)
            case _:
                pass

    def connect(self) -> None:
        self.connection = self.world.relay.connect(self.name)
        for driver in list(self.drivers.values()):
            driver.connect(self.world.now)
        self.desk.connect(self.world.now)

    def disconnect(self) -> None:
        if self.connection is not None:
            self.world.relay.disconnect(self.connection)
            self.connection = None
        for driver in list(self.drivers.values()):
            driver.disconnect(self.world.now)
        self.desk.disconnect(self.world.now)

    def crash(self) -> None:
        """The process dies; what is in memory is lost."""
        if self.connection is not None:
            self.world.relay.disconnect(self.connection)
            self.connection = None
        self.start()

    def step(self) -> bool:
        """Take one event that waits."""
        if self.connection is None or not self.connection.queue:
            return False
        event = self.connection.queue.popleft()
        for driver in list(self.drivers.values()):
            driver.handle(event, self.world.now)
        for box in list(self.desk.boxes.values()):
            box.handle(event, self.world.now)
        self.desk.work(self.world.now)
        return True

    def tick(self) -> None:
        for driver in list(self.drivers.values()):
            driver.handle(e.Tick(), self.world.now)
        self.desk.tick(self.world.now)

    # -- looking

    @property
    def siblings(self) -> list[Sibling]:
        with self.vault.transaction() as tx:
            return load_siblings(tx)

    @property
    def line_id(self) -> bytes:
        (line_id,) = self.line_records
        return line_id

    def lines_of(self, name: str) -> list[SiblingLine]:
        """What is known of a linked device's place in the lines."""
        sibling = next(sibling for sibling in self.siblings if sibling.name == name)
        with self.vault.transaction() as tx:
            return load_sibling_lines(tx, sibling.sibling_id)

    @property
    def leaves(self) -> int:
        return len(self.view(self.line_id).members)

    def texts(self, *, mine: bool) -> list[str]:
        rows = self.machines[self.line_id].messages()
        return [row.body.reveal_text() for row in rows if row.mine is mine and not row.missing]

    def say(self, text: str) -> None:
        item_id = e.ItemId(self.rng(16))
        self.handle(self.line_id, e.SendText(item_id=item_id, text=Plaintext(text)))


def _has(machine: LineMachine, effect: e.WelcomeReady) -> bool:
    with machine._look() as step:
        return any(row.welcome_id == effect.welcome_id for row in step.tables.welcomes.rows())


@dataclass
class LinkWorld:
    """A therapist and a client with a line; more devices come by `new_device` and `link`."""

    seed: int = 1
    hosts: list[Host] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.relay = FakeRelay(self.random.randbytes)
        contact = ContactWorld(seed=self.seed)
        self.now = contact.now
        vault = MemoryVault()
        with vault.transaction() as tx:
            record = DeviceRecord(role=Role.CLIENT, relay_url=RELAY, display_name="", therapist=None)
            save_device(tx, record)
        opened = contact.open(contact.invite(), vault=vault)
        contact.accept(opened.drop.body)
        self.therapist = self._host("therapist", contact.therapist)
        self.client = self._host("client", vault)
        self.client.connect()
        self.therapist.connect()
        self.settle()

    def _host(self, name: str, vault: MemoryVault) -> Host:
        host = Host(self, name, vault)
        self.hosts.append(host)
        return host

    def new_device(self, name: str, *, relay: str = RELAY) -> Host:
        """An empty device, offline, that waits to be linked."""
        vault = MemoryVault()
        with vault.transaction() as tx:
            save_device(tx, new_linked_record(relay))
        return self._host(name, vault)

    def code(self, new: Host) -> LinkingCode:
        """Let a device show a (new) code."""
        with new.vault.transaction() as tx:
            record = new.desk.linked.show_code(tx, new.device, self.now)
        new.became(record)
        new.desk.touch()
        assert record.linked is not None
        return parse_code(record.linked.code)

    def read(self, first: Host, code: LinkingCode, *, name: str = "phone") -> bool:
        """Let a device read a code; False if it says that the code was used."""
        try:
            with first.vault.transaction() as tx:
                first.desk.first.begin(tx, code, name=name)
        except CodeUsed:
            return False
        first.desk.touch()
        first.desk.work(self.now)
        return True

    def link(self, first: Host, name: str) -> Host:
        """A second device of a person, in the line and settled."""
        new = self.new_device(name)
        new.connect()
        self.read(first, self.code(new), name=name)
        self.settle()
        return new

    def remove(self, first: Host, name: str) -> None:
        """A person removes a device."""
        sibling = next(sibling for sibling in first.siblings if sibling.name == name)
        with first.vault.transaction() as tx:
            first.desk.first.remove(tx, sibling)
        first.desk.touch()
        first.desk.work(self.now)

    def run(self, seconds: float = 0.0) -> None:
        """Hand over everything that waits, and let time pass second by second."""
        end = self.now + seconds
        while True:
            while any(host.step() for host in self.hosts):
                pass
            if self.now >= end:
                return
            self.now = min(end, self.now + max(1.0, seconds / 20))
            self.relay.expire(int(self.now // 86_400))
            for host in self.hosts:
                host.tick()

    def settle(self) -> None:
        """Everybody who is online sends what is due and reads what waits."""
        for _ in range(3):
            self.run(5)
            for host in self.hosts:
                if host.connection is not None:
                    for line_id in list(host.line_records):
                        host.handle(line_id, e.FlushReceipts())
        self.run(5)
