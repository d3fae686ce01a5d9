"""The simulated world: virtual time, people with devices, one relay, and everything that was said.

One seed is one run. Every source of randomness is a generator of its own, named after what it serves (a
device, a link, a step), so that leaving a step out does not change what the others do: that is what makes a
failing run small. All that happens goes into a trace; its digest is what two runs are compared by.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from chatserver.store.protocol import StoreSettings
from chatserver.wire import frames as f
from clients.sdk.line import company
from clients.sdk.line import events as e
from clients.sdk.line import messages as line_messages
from clients.sdk.line.events import LinePhase
from clients.sdk.line.machine import LineMachine
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.line.state import LineState
from clients.sdk.line.step import OwnDevice
from clients.sdk.line.view import LineMessage
from clients.sdk.line_driver import PeopleEffect
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, CodecError, StateError, ValidationError
from crypto.key_package import KeyPackageBundle, generate_key_package
from crypto.leaf_node import Lifetime
from crypto.policy import product_capabilities
from crypto.sensitive import Plaintext, Secret
from crypto.suites import X25519_AES128, CipherSuite
from keys import signing
from keys.certificates import DeviceId, DeviceRole, Identity
from keys.memory_vault import MemoryVault
from simulation.device import LINE, SimDevice
from simulation.malice import Ghost
from simulation.mischief import Mischief
from simulation.relay_host import RelayHost
from simulation.sessions import Segment, Side
from simulation.theft import Thief
from simulation.two_stores import TwoStores
from simulation.watch import AeadWatch

DAY: Final = 86_400.0
START: Final = 20_000 * DAY + 36_000
MARK: Final = "~marked plaintext~"
"""In every text; whoever finds it outside a vault has found a leak."""


class Violation(Exception):
    """An invariant is broken."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kind = kind
        self.what = what


@dataclass
class Text:
    """One content message as a person wrote it."""

    number: int
    item_id: e.ItemId
    sender: SimDevice
    body: str
    written_at: float
    got: dict[str, None] = field(default_factory=dict)
    """Names of the devices that told their person of it."""
    claimed: bool = False
    """The sender's device has shown it as delivered."""
    failed: bool = False
    excused: bool = False
    """Its vault was replaced by an older copy, which may not have it."""


class World:
    """See the module."""

    def __init__(
        self,
        seed: int,
        *,
        watch: AeadWatch,
        suite: CipherSuite = X25519_AES128,
        store: Path | None = None,
        settings: StoreSettings | None = None,
    ) -> None:
        self.seed = seed
        self.suite = suite
        self.now = self.began = START
        self.trace: list[str] = []
        self.dice = random.Random(f"{seed}/world")
        self.watch = watch
        self.thief = Thief(self)
        self.relay = RelayHost(self, random.Random(f"{seed}/relay"), store, settings=settings)
        self.relay.on_down = partial(self.relay_down, self.relay)
        self.two_stores = TwoStores(self)
        self.mischief = Mischief(random.Random(f"{seed}/mischief"), self.story)
        self.people: dict[str, Identity] = {}
        self.devices: list[SimDevice] = []
        self.texts: dict[bytes, Text] = {}
        self.by_body: dict[str, Text] = {}
        self.happened: dict[str, int] = {}
        """Kinds of faults that were really committed; what is promised depends on them (see oracle)."""
        self.delays = (0.02, 0.2)
        self.groups_seen: dict[str, set[bytes]] = {}
        self.removed: list[SimDevice] = []
        self.left: list[SimDevice] = []
        """Told to be in the line no more, by another device of their person that came back."""
        self.sent_away: set[str] = set()
        """Devices that their person wants removed, whether or not anybody could follow it."""
        self.twins: list[SimDevice] = []
        self.strangers: list[SimDevice] = []
        self.certificate_day = 21_000
        """The last day of a device's certificate."""
        self.at_each_step: Callable[[World], None] = lambda world: None
        self.at_the_end: Callable[[World], None] = lambda world: None
        self.ghosts: list[Ghost] = []
        self.backup: dict[str, Any] | None = None
        self.lost_welcomes = 0
        """How many of the next Welcomes of new devices are lost on the linking channel."""
        self.states_checked = 0
        self.events = 0
        self.sides: list[Side] = []
        self.segments: dict[bytes, Segment] = {}
        self.session_secrets: list[bytes] = []
        self.clean_values: dict[tuple[str, str, bytes], tuple[bytes, int]] = {}
        """By device, space and key: a vault's value without the first so many secrets of sessions."""
        self.session_claims: dict[bytes, object] = {}
        """What each cell of a session says of the log, by its bytes (see `session_watch`)."""
        self._needles: dict[bytes, str] = {MARK.encode(): "a text"}
        self._events_digest = hashlib.sha256()
        self._bytes_digest = hashlib.sha256()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    # -- time

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, what))

    def run_until(self, end: float, *, limit: int = 400_000) -> None:
        """Let everything happen that is due until then."""
        while self._queue and self._queue[0][0] <= end:
            self.now, _, what = heapq.heappop(self._queue)
            self.events += 1
            if self.events > limit:
                raise Violation("endless", "the run does not come to rest")
            self._sweep()
            what()
            if self.relay.loop.faults:
                raise Violation("relay-fault", str(self.relay.loop.faults[0]))
        self.now = max(self.now, end)
        self._sweep()

    def _sweep(self) -> None:
        self.relay.sweep()
        second = self.two_stores.second
        if second is not None:
            second.sweep()
            if second.loop.faults:
                raise Violation("relay-fault", str(second.loop.faults[0]))

    def delay(self, dice: random.Random) -> float:
        low, high = self.delays
        return low + (high - low) * dice.random()

    # -- telling

    def story(self, who: str, what: str) -> None:
        """A line of the trace."""
        line = f"{self._clock()} {who}: {what}"
        self.trace.append(line)
        self._events_digest.update(line.encode() + b"\n")

    def _clock(self) -> str:
        day, rest = divmod(self.now - START + 36_000, DAY)
        hours, rest = divmod(rest, 3600)
        return f"day {day:.0f} {hours:02.0f}:{rest // 60:02.0f}:{rest % 60:06.3f}"

    def bytes_moved(self, link: str, *, up: bool, data: bytes) -> None:
        self._bytes_digest.update(f"{self.now!r} {link} {up} ".encode() + data)

    def digests(self) -> tuple[str, str]:
        """(of the events, of all bytes on all wires)."""
        return self._events_digest.hexdigest(), self._bytes_digest.hexdigest()

    def violate(self, kind: str, what: str) -> None:
        """An invariant is broken: the run ends here.

        Raises:
            Violation: Always.
        """
        self.story("!!", f"{kind}: {what}")
        raise Violation(kind, what)

    def note(self, fault: str) -> None:
        """A fault was really committed."""
        self.happened[fault] = self.happened.get(fault, 0) + 1

    # -- making people and devices

    def make_device(self, person: str, name: str, *, primary: bool) -> SimDevice:
        dice = random.Random(f"{self.seed}/identity/{name}")
        identity = self.people.get(person)
        if identity is None:
            identity = Identity.generate(random.Random(f"{self.seed}/person/{person}").randbytes)
            self.people[person] = identity
            self._needles[identity.public_key] = f"the identity key of {person}"
        seed = dice.randbytes(32)
        certificate = identity.certify(
            device_key=signing.public_key(seed),
            device_id=DeviceId(dice.randbytes(16)),
            role=DeviceRole.PRIMARY if primary else DeviceRole.SECONDARY,
            not_before_day=19_990,
            not_after_day=self.certificate_day,
        )
        own = OwnDevice(
            signature_private=Secret(seed),
            certificate=certificate.encode(),
            device_id=certificate.device_id,
            identity_key=certificate.identity_key,
        )
        self._needles[own.device_id] = f"the device id of {name}"
        self._needles[certificate.device_key] = f"the device key of {name}"
        device = SimDevice(self, name, own, primary=primary)
        self.devices.append(device)
        return device

    def key_package(self, device: SimDevice) -> KeyPackageBundle:
        """A fresh KeyPackage, valid 3 days, that the device keeps the private keys of."""
        day = int(device.now // DAY * DAY)
        bundle = generate_key_package(
            suite=self.suite,
            signature_private=device.own.signature_private,
            credential=Credential.basic(device.own.certificate),
            capabilities=product_capabilities(self.suite),
            lifetime=Lifetime(not_before=day, not_after=day + 3 * 86_400),
            rng=device.dice.randbytes,
        )
        device.bundles.append(bundle)
        return bundle

    def found(self, leaves: int) -> None:
        """First contact; with 3 or 4 leaves second devices follow at once."""
        self.relay.start()
        client = self.make_device("client", "client", primary=True)
        therapist = self.make_device("therapist", "therapist", primary=True)
        therapists = [therapist]
        if leaves >= 4 or (leaves == 3 and self.dice.random() < 0.5):
            therapists.append(self.make_device("therapist", "therapist-2", primary=False))
        bundles = [self.key_package(device) for device in therapists]
        _, founding = LineMachine.create_as_client(
            client.vault,
            LINE,
            client.own,
            client.dice.randbytes,
            now=self.now,
            key_packages=[bundle.key_package for bundle in bundles],
            suite=self.suite,
        )
        client.joined = True
        self.story("client", f"opens a line with {', '.join(device.name for device in therapists)}")
        client.intent(e.WelcomeDelivered(welcome_id=founding.welcome_id))
        for device in therapists:
            self.join(device, founding.welcome)
        for device in self.devices:
            device.go_online()
        self.run_until(self.now + 30)
        if leaves - len(therapists) > 1:
            self.add_device(client, "client-2")
            self.run_until(self.now + 60)
        for device in self.devices:
            device.founder = device.joined

    def close(self) -> None:
        """The run is over; every task ends."""
        for device in [*self.devices, *self.twins]:
            device.wants = False
        for side in self.sides:
            side.over = True
        self.two_stores.end(second_survives=False)
        self.relay.crash()
        self.relay.close_store()

    def add_device(self, owner: SimDevice, name: str) -> SimDevice:
        """A person links another device (R14 P2)."""
        person = next(
            person
            for person, identity in self.people.items()
            if identity.public_key == owner.own.identity_key
        )
        device = self.make_device(person, name, primary=False)
        self.story(owner.name, f"adds {name}")
        with contextlib.suppress(StateError):  # the line is over, and its person is told
            owner.intent(e.AddDevice(key_package=self.key_package(device).key_package.to_bytes()))
        return device

    def join(self, device: SimDevice, welcome: bytes) -> None:
        """A Welcome reaches its device. Twice must be once (R16)."""
        known = self.groups_seen.setdefault(device.name, set())
        for bundle in device.bundles:
            try:
                _, joined = LineMachine.create_from_welcome(
                    device.vault,
                    LINE,
                    device.own,
                    device.dice.randbytes,
                    now=device.now,
                    welcome=welcome,
                    bundle=bundle,
                    known_group=known.__contains__,
                    suite=self.suite,
                )
            except (ValidationError, AuthenticationError, StateError, CodecError) as error:
                self.story(device.name, f"refuses a Welcome: {type(error).__name__}")
                continue
            known.add(joined.group_id)
            device.joined = True
            self._needles.setdefault(joined.group_id, "the group id")
            self.story(device.name, "joins the line")
            device.go_online()
            return

    # -- people

    def say(self, device: SimDevice, length: int = 0) -> None:
        """A person writes; if the program dies before it has the text, *send* is pressed again."""
        number = len(self.texts)
        item_id = e.ItemId(random.Random(f"{self.seed}/item/{number}").randbytes(16))
        body = f"{MARK} {device.name} {number}" + "." * length
        text = Text(number=number, item_id=item_id, sender=device, body=body, written_at=self.now)
        self.texts[item_id] = self.by_body[body] = text
        self.story(device.name, f"writes text {number}")
        for _ in range(2):
            try:
                device.intent(e.SendText(item_id=item_id, text=Plaintext(body)))
            except StateError:
                text.failed = True  # the person is told at once: the line has ended
                return

    def told(self, device: SimDevice, effect: PeopleEffect) -> None:
        """What a device tells its person, or the layer above."""
        match effect:
            case e.MessageReceived():
                self._received(device, effect)
            case e.MessageStateChanged():
                self._state_changed(device, effect)
            case e.Notify():
                device.told_alarms.append(effect.kind)
                about = self._named(effect.device_id)
                self.story(device.name, f"alarm {effect.kind.name}{about and ' about ' + about}")
                self._members_changed(device, effect)
            case e.LineChanged():
                device.strandings += effect.phase is LinePhase.STRANDED
                self.story(device.name, f"line is {effect.phase.name}")
            case e.MessagesMissing():
                self.story(device.name, f"misses counters {effect.first} to {effect.last}")
            case e.WelcomeReady():
                self._carry(device, effect)
            case _:
                for side in self.sides:
                    if side.device is device:
                        side.on_control(effect)

    def _named(self, device_id: bytes) -> str:
        return next((d.name for d in self.devices if d.own.device_id == device_id), "") if device_id else ""

    def _members_changed(self, device: SimDevice, effect: e.Notify) -> None:
        for other in self.devices:
            if other.own.device_id == effect.device_id:
                name = company.short_name(effect.device_id)
                if effect.sentence in {company.LEFT.format(name), company.THEIRS_LEFT.format(name)}:
                    self.left.append(other)
                elif effect.kind is e.AlarmKind.DEVICE_REMOVED and other not in self.removed:
                    self.removed.append(other)
                if effect.kind is e.AlarmKind.REJOINED:
                    other.came_back = True

    def _carry(self, device: SimDevice, effect: e.WelcomeReady) -> None:
        """The linking channel: brings a Welcome to a device that waits for it."""
        for other in self.devices:
            if other.own.device_id == effect.device_id and not other.joined:
                if self.lost_welcomes:
                    self.lost_welcomes -= 1
                    self.story("network", f"loses the Welcome of {other.name}")
                    continue
                self.at(self.now + 1 + 9 * self.dice.random(), partial(self._deliver, other, effect.welcome))
        self.at(
            self.now + 15,
            lambda: device.intent(e.WelcomeDelivered(welcome_id=effect.welcome_id)),
        )

    def _deliver(self, other: SimDevice, welcome: bytes) -> None:
        if not other.joined:
            self.join(other, welcome)

    def _received(self, device: SimDevice, effect: e.MessageReceived) -> None:
        if effect.kind != PayloadKind.TEXT:
            return
        with device.machine._look() as step:
            row = line_messages.by_counter(step, effect.sender_device, effect.counter)
        if row is None or row.missing:
            self.violate("told-nothing", f"{device.name} tells of a message that is not in its list")
            return
        body = row.body.decode()
        text = self.by_body.get(body)
        if text is None or text.sender.own.device_id != effect.sender_device:
            self.violate("forged", f"{device.name} shows a text that nobody wrote")
            return
        self.story(device.name, f"receives text {text.number}")
        if device.name in text.got and not text.excused and not device.rolled_back:
            self.violate("twice", f"{device.name} was told twice of text {text.number}")
        text.got[device.name] = None

    def reread(self, device: SimDevice) -> None:
        """A program that starts shows what its vault holds, also what it died before telling."""
        for row in self.rows(device):
            if not row.missing and row.kind == PayloadKind.TEXT:
                text = self.by_body.get(row.body.reveal_text())
                if text is not None:
                    text.got.setdefault(device.name)

    def _state_changed(self, device: SimDevice, effect: e.MessageStateChanged) -> None:
        text = self.texts.get(effect.item_id)
        if text is None:
            return
        if effect.state is e.DeliveryState.FAILED:
            text.failed = True
            self.story(device.name, f"shows text {text.number} as not delivered")
        if effect.state is e.DeliveryState.DELIVERED:
            self.story(device.name, f"shows text {text.number} as delivered")
            text.claimed = True
            everybody = [*self.devices, *self.twins]
            others = [d for d in everybody if d.own.identity_key != device.own.identity_key and d.joined]
            if not any(other.name in text.got for other in others):
                for other in others:
                    self.reread(other)
            # Two copies of one vault number on from one place; others have counted the other one's (R9).
            both_run = device.rolled_back and any(t.own.device_id == device.own.device_id for t in self.twins)
            warned = both_run and e.AlarmKind.CLONE in device.told_alarms
            if not warned and not any(other.name in text.got for other in others):
                self.violate("false-delivered", f"text {text.number} is shown as delivered; nobody has it")

    # -- what the relay gets

    def relay_receives(self, device: SimDevice, frame: f.ClientFrame, message: bytes) -> None:
        """Nothing that a relay ever held may contain a text, a name or a key."""
        for needle, what in self._needles.items():
            if needle in message:
                self.violate("leak", f"{what} went to the relay ({type(frame).__name__})")
        if isinstance(frame, f.Deposit):
            self._look_for_keys(device, frame)

    def program_sends(self, device: SimDevice, frame: f.ClientFrame) -> None:
        """R10: what the program sends by itself; a dishonest member sends past it (`malice`)."""
        if not isinstance(frame, f.Deposit):
            return
        state = self.state(device)
        if state.phase is LinePhase.UNDECIDED and frame.k == state.addresses[state.turn]:
            self.violate("sends-on", f"{device.name} fears a fork, and sends all the same (R10)")

    def _look_for_keys(self, device: SimDevice, frame: f.Deposit) -> None:
        state = self.state(device)
        self.thief.hears_of(state)
        for secret in (state.secret, state.cell_key):
            if secret and secret in frame.body:
                self.violate("leak", "a key went to the relay")
        for ghost in self.ghosts:
            knows = state.group_id != b"" and state.member(ghost.device.own.device_id) is None
            read = ghost.sees(frame, sender_knows=knows)
            if read:
                self.violate("removed-reads", f"{read} ({device.name} wrote, {ghost.device.name} reads)")

    def relay_down(self, host: RelayHost) -> None:
        """A relay's process died: whoever was connected to it is cut off."""
        owners: list[SimDevice | Side] = [*self.devices, *self.sides]
        for owner in owners:
            if owner.line is not None and owner.line.relay is host:
                owner.line.cut("the relay is gone")

    # -- looking

    def state(self, device: SimDevice) -> LineState:
        """A device's row."""
        with device.machine._look() as step:
            return step.state

    def rows(self, device: SimDevice) -> list[LineMessage]:
        """A device's list of messages."""
        return device.machine.messages()

    def members(self) -> list[SimDevice]:
        """Devices that are in the line, or think so."""
        return [device for device in self.devices if device.joined and device not in self.removed]

    def restore(self, device: SimDevice, vault: MemoryVault) -> None:
        """Another vault under this device's program."""
        device.stop("vault replaced")
        device.vault = vault
