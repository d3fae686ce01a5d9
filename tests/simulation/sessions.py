"""Live sessions in the simulated world: S1 over the line, S2 to S7 over a connection of their own.

Brokers, establishment and session machine are the product's. What the child process does between them (see
`clients.sdk.session.child`) is done here in the same order, because a process cannot be simulated.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from chatserver.wire import frames as f
from chatserver.wire.limits import ChannelClass
from clients.sdk.line import events as e
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.model import Role
from clients.sdk.session import events as s
from clients.sdk.session.broker import (
    Action,
    ClientBroker,
    ControlEffect,
    SendOverLine,
    TherapistBroker,
    ToChild,
)
from clients.sdk.session.control import Kind, Message, message
from clients.sdk.session.establish import SessionJoin, prepare_join, welcome_client
from clients.sdk.session.front import EndReason, TextReceived
from clients.sdk.session.machine import SessionMachine
from clients.sdk.session.rendezvous import JoinBody, OfferBody, OfferBook, WelcomeBody
from crypto.errors import AuthenticationError, CodecError, StateError, ValidationError
from crypto.group import Group
from crypto.sensitive import Secret
from simulation.device import DyingDriver, Line, SimDevice
from simulation.session_watch import Witness

if TYPE_CHECKING:
    from simulation.world import World

TEXT = "~session text~"
RHYTHM_CELLS, RHYTHM_SECONDS = 12, 8.0
"""So many cells within so few seconds are more than one a second (S5)."""
Wrong = (AuthenticationError, CodecError, StateError, ValidationError)


class Segment:
    """One group of one session: what each side wrote into it, and what came out at the other."""

    def __init__(self) -> None:
        self.sent: dict[str, list[str]] = {}
        self.received: dict[str, list[str]] = {}
        self.wishes: set[str] = set()
        """Sides whose person wants the text kept (S7)."""


class Side:
    """One person's device in a session: broker, child and connection.

    Args:
        offers: What this device's program has heard of OFFERs; of its own if none is given.
        patience: Seconds after which the person closes the window.
        parent: The program that the child ends with; None: the child outlives it (which no product's does).
        slow: How long the child may take to answer, in seconds.
    """

    def __init__(
        self,
        device: SimDevice,
        role: Role,
        peer: SimDevice,
        session_id: bytes,
        *,
        offers: OfferBook | None = None,
        patience: float = 900.0,
        parent: DyingDriver | None = None,
        slow: float = 0.0,
    ) -> None:
        world = device.world
        self.device, self.world, self.role = device, world, role
        self.name = f"{device.name}/session"
        self.dice = random.Random(f"{world.seed}/session/{device.name}/{len(world.sides)}")
        self.session_id = session_id
        self.offers = offers or OfferBook()
        self.honest = True
        self.committed: list[SessionMachine] = []
        """Those inside which it made another epoch (`session_malice`)."""
        self.broker: TherapistBroker | ClientBroker = (
            TherapistBroker(session_id=session_id, peer_identity=peer.own.identity_key, now=device.now)
            if role is Role.THERAPIST
            else ClientBroker(offers=self.offers, peer_identity=peer.own.identity_key)
        )
        self.joins: deque[SessionJoin] = deque(maxlen=3)
        self.machine: SessionMachine | None = None
        self.segment: Segment | None = None
        self.line: Line | None = None
        self.over = False
        self._links = self._requests = 0
        self._handle = 0
        self._said = self._quiet_since = 0.0
        self._heard = False
        self._bodies: dict[bytes, None] = {}
        self._lately: deque[float] = deque(maxlen=RHYTHM_CELLS)
        self.away_until = self.sleeps_until = 0.0
        """Without a network until then; without running until then."""
        self._until = world.now + patience
        self._hears_offers = offers is None
        self._parent = parent
        self._slow, self._answers_at = slow, 0.0
        self.witness = Witness(self)
        self._tick()

    # -- time

    def _tick(self) -> None:
        if self.over:
            return
        if self.world.now > self._until:
            self.give_up()
            return
        if self._parent is not None and self.device.driver is not self._parent:
            self.world.story(self.name, "ends with its program")
            self.vanish()
            return
        self.world.at(self.world.now + 0.5, self._tick)
        if self.device.driver is None or self.world.now < self.sleeps_until:
            return
        self._act(self.broker.on_tick(self.device.now))
        if self.machine is not None:
            self._feed(s.Tick())
            self._keeps_the_rhythm()
            self.witness.ticked()
            there = self.world.relay.up and self.world.now >= self.away_until
            if self.line is None and there and self.dice.random() < 0.3:
                self._links += 1
                self.line = Line(self, self._links)
            self._tell_broker()

    def _keeps_the_rhythm(self) -> None:
        """S5: whoever is attached and has read up sends a cell every second, filled or empty."""
        machine = self.machine
        if machine is None or self.line is None or not machine._may_send():
            self._quiet_since = self.world.now
        elif self.world.now - max(self._said, self._quiet_since) > 2.6:
            self.world.violate("session-silence", f"{self.name} is connected and sends no cover traffic (S5)")

    def _tell_broker(self) -> None:
        if self.machine is None:
            return
        heard = self.machine.heard and self.machine.link.name == "CONNECTED"
        if heard != self._heard:
            self._heard = heard
            if heard:
                self.joins.clear()
            self._report(message(Kind.HEARD if heard else Kind.QUIET))

    # -- S1, over the line

    def on_control(self, effect: ControlEffect) -> None:
        if self.over:
            return
        self.witness.control(effect)
        if isinstance(effect, e.ControlReceived) and self.role is Role.CLIENT:
            if effect.kind is PayloadKind.OFFER and self._hears_offers:
                self._hear_offer(effect)
            if effect.kind is PayloadKind.WELCOME and not self._accepts(effect):
                return
        self._act(self.broker.on_control(effect, self.device.now))

    def _hear_offer(self, effect: e.ControlReceived) -> None:
        try:
            body = OfferBody.decode(effect.body.reveal())
        except CodecError:
            return
        self.offers.hear(
            body,
            order=effect.order,
            sender_device=effect.sender_device,
            utc_seconds=effect.utc_seconds,
            now=self.device.now,
        )

    def _accepts(self, effect: e.ControlReceived) -> bool:
        try:
            WelcomeBody.decode(effect.body.reveal())
        except CodecError:
            return False
        return True

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, SendOverLine):
                item_id = e.ItemId(self.dice.randbytes(16))
                self.witness.sends(action, item_id)
                self.broker.sent(action, item_id)
                intent = e.SendControl(item_id=item_id, kind=action.kind, body=Secret(action.body))
                self.world.at(self.world.now, lambda intent=intent: self._intent(intent))  # type: ignore[misc]
            elif isinstance(action, ToChild):
                self._child(action.message)
            elif self._parent is not None:  # JoinedElsewhere
                self.world.story(self.name, "sees that the session was joined elsewhere")
                self.vanish()

    def _intent(self, intent: e.SendControl) -> None:
        if self.device.driver is not None:
            self.device.intent(intent)
            check_vault(self.world, self.device)

    # -- the child

    def _child(self, content: Message) -> None:
        answer: Message
        try:
            answer = self._answer(content)
        except Wrong as error:
            answer = message(Kind.REFUSED, type(error).__name__)
        self._report(answer)

    def _report(self, content: Message) -> None:
        """What the child says reaches the broker, in order, at once or some time later."""
        if not self._slow:
            self._act(self.broker.on_child(content, self.device.now))
            return
        self._answers_at = max(self._answers_at, self.world.now + self._slow * self.dice.random())
        self.world.at(self._answers_at, lambda: self._reported(content))

    def _reported(self, content: Message) -> None:
        if not self.over:
            self._act(self.broker.on_child(content, self.device.now))

    def _answer(self, content: Message) -> Message:
        suite, rng = self.world.suite, self.dice.randbytes
        if content.kind is Kind.MAKE_JOIN:
            join = prepare_join(
                session_id=content.part(0),
                therapist_now=content.number(1),
                valid_until=content.number(2),
                suite=suite,
                rng=rng,
            )
            self.joins.append(join)
            self.world.session_secrets += [join.seed, join.bundle.init_private.reveal()]
            self.witness.made(join)
            return message(Kind.JOIN_MADE, join.body.encode())
        if content.kind is Kind.JOIN:
            body = JoinBody.decode(content.part(0))
            self.witness.answers(body)
            group, welcome = welcome_client(body, session_id=self.session_id, suite=suite, rng=rng)
            self.world.session_secrets.append(welcome.seed)
            self._begin(group)
            self.witness.entered(group, seeds=(welcome.seed, body.seed))
            return message(Kind.WELCOME_MADE, welcome.encode())
        welcome = WelcomeBody.decode(content.part(0))
        failure: Exception = ValidationError("S1-no-join")
        for join in reversed(self.joins):
            try:
                group = join.enter(welcome)
            except Wrong as error:
                failure = error
                continue
            self._begin(group)
            self.witness.entered(group, seeds=(join.seed, welcome.seed))
            return message(Kind.ENTERED)
        raise failure

    def _begin(self, group: Group) -> None:
        self.drop()
        self.segment = self.world.segments.setdefault(group.epoch_authenticator, Segment())
        self.machine = SessionMachine(group, rng=self.dice.randbytes, now=self.world.now)
        self.world.story(self.name, "enters a session")
        self._heard = False

    def give_up(self) -> None:
        """The person has waited long enough, and closes the window."""
        if self.machine is not None:
            self._carry_out(self.machine, self.machine.panic(self.world.now))
        self.over = True
        self.drop()

    def vanish(self) -> None:
        """The child is killed, without a word to anybody."""
        self.over = True
        self.joins.clear()
        self.drop()

    def drop(self) -> None:
        """The child is gone, or begins anew: what it held is lost."""
        self.machine = None
        line, self.line = self.line, None
        if line is not None:
            line.cut("session")

    # -- S2 to S7, over a connection of its own

    def frame(self, line: Line, frame: f.ServerFrame) -> None:
        if line is not self.line or self.machine is None:
            return
        asked = line.machine.asked
        match frame:
            case f.ServerHello():
                self._feed(s.Connected())
            case f.Attached():
                self._handle = frame.handle
                self.witness.attached(frame)
                self._feed(s.Attached(incarnation=frame.incarnation, head=frame.head))
            case f.Refused() if isinstance(asked, f.Attach):
                self._feed(s.AttachRefused())
            case f.Stored() | f.Refused():
                self._feed(s.DepositAnswered())
            case f.Cell() if frame.handle == self._handle:
                self._hears_cell(frame)
            case f.OwnCell() if frame.handle == self._handle:
                self.witness.own_cell(frame)
                self._feed(s.OwnCellArrived(seq=frame.seq, digest=frame.digest))
            case f.Expired() if frame.handle == self._handle:
                self.witness.expired(frame)
                self._feed(s.Expired(first=frame.first, last=frame.last))
            case f.Failed() | f.Draining():
                line.cut("told to go")
            case _:
                pass
        self.witness.goes_on()

    def _hears_cell(self, frame: f.Cell) -> None:
        machine = self.machine
        if machine is None:
            return
        self.witness.cell(frame)
        before = machine.counts.cells_received
        self._feed(s.CellArrived(seq=frame.seq, body=frame.body))
        if machine.counts.cells_received > before:
            self.witness.heard(frame.body)

    def disconnected(self, line: Line) -> None:
        if self.line is line:
            self.line = None
            self._feed(s.Disconnected())

    def _feed(self, event: s.NetworkEvent) -> None:
        if self.machine is not None:
            self._carry_out(self.machine, self.machine.handle(event, self.world.now))

    def _carry_out(self, machine: SessionMachine, effects: list[s.Effect]) -> None:
        for effect in effects:
            match effect:
                case s.AttachLive():
                    self._send(
                        lambda request, effect=effect: f.Attach(  # type: ignore[misc]  # bound at once
                            request=request,
                            cls=ChannelClass.LIVE,
                            readers=effect.readers,
                            k=effect.k,
                            token=effect.token,
                            incarnation=effect.incarnation,
                            position=effect.position,
                        )
                    )
                case s.DepositLive():
                    self._deposit(effect)
                case s.Emit(event=TextReceived() as text):
                    self._received(text.text)
                case s.HandOver():
                    if self.segment is None or len(self.segment.wishes) < 2:
                        self.world.violate("session-kept", f"{self.name} keeps text, not both want it (S7)")
                case s.Over():
                    self._ended(machine, effect.reason)
                case _:
                    pass

    def _deposit(self, effect: s.DepositLive) -> None:
        """S5: one cell a second at most, never the same twice, none while there is no connection."""
        if self.line is None:
            self.world.violate("session-offline", f"{self.name} encrypts while it is disconnected (S5)")
        if self.world.now - self._said < 0.45:
            self.world.violate("session-rhythm", f"{self.name} sends two cells within a second (S5)")
        self._lately.append(self.world.now)
        if len(self._lately) == RHYTHM_CELLS and self.world.now - self._lately[0] < RHYTHM_SECONDS:
            self.world.violate("session-rhythm", f"{self.name} makes up for seconds that it missed (S5)")
        if effect.body in self._bodies:
            self.world.violate("session-twice", f"{self.name} sends a cell twice (S5)")
        self._bodies[effect.body] = None
        self.witness.says(effect.body)
        self._said = self.world.now
        self._send(
            lambda request: f.Deposit(
                request=request,
                cls=ChannelClass.LIVE,
                readers=effect.readers,
                k=effect.k,
                deposit_id=effect.deposit_id,
                close=False,
                body=effect.body,
            )
        )

    def _send(self, make: Callable[[int], f.ClientFrame]) -> None:
        if self.line is not None:
            self._requests += 1
            self.line.send(make(self._requests))

    # -- people

    def say(self) -> None:
        if self.machine is None or self.segment is None:
            return
        sent = self.segment.sent.setdefault(self.name, [])
        text = f"{TEXT} {self.name} {len(sent)}" + "." * self.dice.choice([0, 0, 2_000])
        try:
            self.machine.send_text(text, utc_seconds=int(self.device.now))
        except StateError:
            return
        sent.append(text)
        self.world.story(self.name, f"writes session text {len(sent)}")

    def end(self) -> None:
        if self.machine is not None:
            self.world.story(self.name, "ends the session")
            self.machine.end(utc_seconds=int(self.device.now))

    def wants_kept(self) -> None:
        if self.machine is not None and self.segment is not None:
            self.world.story(self.name, "wants the text kept")
            self.segment.wishes.add(self.name)
            self._carry_out(self.machine, self.machine.keep(wish=True, utc_seconds=int(self.device.now)))

    def _received(self, text: str) -> None:
        if self.segment is None:
            return
        got = self.segment.received.setdefault(self.name, [])
        got.append(text)
        self.world.story(self.name, f"receives session text {len(got)}")
        written = next((texts for who, texts in self.segment.sent.items() if who != self.name), [])
        if got != written[: len(got)]:
            self.world.violate("session-order", f"{self.name} receives something else than was written")

    def _ended(self, machine: SessionMachine, reason: EndReason) -> None:
        self.world.story(self.name, f"the session is over: {reason.name}")
        self.over = True
        held = (machine._group, machine._cell_key, machine._k, machine._token)
        if any(held):
            self.world.violate("session-keys", f"{self.name} keeps keys of a session that is over (S7)")
        if reason is EndReason.FORK and "lie" not in self.world.happened:
            self.world.violate("false-alarm", f"{self.name} fears a fork in a session without cause")
        if reason is EndReason.ENDED and self.segment is not None:
            sent = self.segment.sent.get(self.name, [])
            others = [texts for who, texts in self.segment.received.items() if who != self.name]
            if sent and (not others or others[0] != sent):
                self.world.violate("session-lost", f"{self.name} ended in order; texts are missing")
        self.joins.clear()
        self.drop()


def begin(world: World, dice: random.Random) -> None:
    """A therapist's device offers a session, a client's device presses *join*."""
    running = [d for d in world.members() if d.running and d.line is not None]
    therapists = [d for d in running if d.name.startswith("therapist")]
    clients = [d for d in running if d.name.startswith("client")]
    if not therapists or not clients or any(not side.over for side in world.sides):
        return
    therapist, client = dice.choice(therapists), dice.choice(clients)
    session_id = dice.randbytes(16)
    world.story(therapist.name, f"offers a session to {client.name}")
    world.sides.append(Side(therapist, Role.THERAPIST, client, session_id))
    world.sides.append(Side(client, Role.CLIENT, therapist, session_id))


def say(world: World, dice: random.Random) -> None:
    for side in world.sides:
        if not side.over and dice.random() < 0.7:
            side.say()


def end(world: World, dice: random.Random) -> None:
    live = [side for side in world.sides if not side.over]
    if live:
        dice.choice(live).end()


def breaks(world: World, dice: random.Random) -> None:
    """The child dies, or its connection does."""
    live = [side for side in world.sides if not side.over]
    if not live:
        return
    side = dice.choice(live)
    if dice.random() < 0.3:
        world.story(side.name, "its process dies; the session is lost there")
        side.joins.clear()
        side.drop()
        side.broker.on_child(message(Kind.QUIET), side.device.now)
    elif side.line is not None:
        world.story(side.name, "loses its connection")
        side.line.cut("cut")


def minutes(world: World, dice: random.Random) -> None:
    world.run_until(world.now + dice.choice([5, 5, 5, 10, 10, 20, 20, 40, 650]))


def close(world: World) -> None:
    """Whatever still runs is stopped in panic."""
    for side in world.sides:
        if not side.over:
            side.give_up()


def check_vaults(world: World) -> None:
    """S7: nothing of a session is in any vault, whatever became of it."""
    for device in [*world.devices, *world.twins]:
        check_vault(world, device)


def check_vault(world: World, device: SimDevice) -> None:
    """S1 and S7: no seed, no KeyPackage's key, no text in this device's vault."""
    needles = [TEXT.encode(), *world.session_secrets]
    clean = world.clean_values
    for name, space in device.vault.snapshot().spaces.items():
        for key, value in space.items():
            place = (device.name, name, key)
            before, looked_for = clean.get(place, (b"", 0))
            first = looked_for if before is value else 0  # the same value was searched for these before
            if any(needle in value for needle in needles[first:]):
                world.violate("session-remains", f"a session left something with {device.name} (S1, S7)")
            clean[place] = (value, len(needles))
