"""Two session machines, a virtual relay with one live channel, and virtual time. Nothing here sleeps."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from clients.sdk.model import Role
from clients.sdk.session.establish import prepare_join, welcome_client
from clients.sdk.session.events import (
    Attached,
    AttachLive,
    CellArrived,
    Connected,
    DepositAnswered,
    DepositLive,
    Disconnected,
    Effect,
    Emit,
    Expired,
    HandOver,
    NetworkEvent,
    Over,
    OwnCellArrived,
    Tick,
)
from clients.sdk.session.front import EndReason, KeepChanged, SessionEvent, TextDelivered, TextReceived
from clients.sdk.session.machine import SessionMachine
from crypto.group import Group
from crypto.suites import CipherSuite, suite

RING = 64


def seeded_rng(seed: int) -> Callable[[int], bytes]:
    """Deterministic bytes."""
    return random.Random(seed).randbytes


def session_groups(cipher_suite: CipherSuite, seed: int = 1) -> tuple[Group, Group]:
    """The two ends (client, therapist) of one session's group, through S1's bodies."""
    rng = seeded_rng(seed)
    session_id = rng(16)
    join = prepare_join(session_id=session_id, therapist_now=1_000_000, suite=cipher_suite, rng=rng)
    therapist, welcome = welcome_client(join.body, session_id=session_id, suite=cipher_suite, rng=rng)
    return join.enter(welcome), therapist


@dataclass(slots=True)
class Side:
    """One machine and what it told."""

    role: Role
    machine: SessionMachine
    events: list[SessionEvent] = field(default_factory=list)
    attach: AttachLive | None = None
    attached: bool = False
    connected: bool = False
    read: int = 0
    own: dict[int, bytes] = field(default_factory=dict)
    cells: list[tuple[float, bytes]] = field(default_factory=list)
    over: EndReason | None = None
    handed_over: HandOver | None = None

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, TextReceived)]

    @property
    def wishes(self) -> list[tuple[bool, bool]]:
        """(own, peer's) as told, in order."""
        return [(event.mine, event.theirs) for event in self.events if isinstance(event, KeepChanged)]

    @property
    def kept(self) -> list[tuple[bool, str]]:
        """What left the process: (own, text)."""
        texts = () if self.handed_over is None else self.handed_over.texts
        return [(text.mine, text.text.reveal_text()) for text in texts]

    @property
    def delivered(self) -> list[int]:
        return [event.text_id for event in self.events if isinstance(event, TextDelivered)]


class SessionWorld:
    """Relay, time and both sides. `drop(side, cell)` may swallow deposits; `hold` delays nothing else."""

    def __init__(self, *, cipher_suite: CipherSuite | None = None, seed: int = 1) -> None:
        client, therapist = session_groups(cipher_suite or suite(1), seed)
        self.now = 1_000.0
        self.incarnation = b"\1" * 16
        self.log: list[bytes] = []
        self.drop: Callable[[Side, bytes], bool] = lambda side, cell: False
        self.client = Side(Role.CLIENT, SessionMachine(client, rng=seeded_rng(seed + 1), now=self.now))
        self.therapist = Side(
            Role.THERAPIST, SessionMachine(therapist, rng=seeded_rng(seed + 2), now=self.now)
        )
        self.sides = (self.client, self.therapist)

    def start(self) -> None:
        for side in self.sides:
            self.connect(side)

    def connect(self, side: Side) -> None:
        side.connected = True
        self.feed(side, Connected())

    def disconnect(self, side: Side) -> None:
        side.connected = side.attached = False
        side.own.clear()
        self.feed(side, Disconnected())

    def restart_relay(self) -> None:
        """A live channel is memory: a new incarnation counts from 1 (R6)."""
        for side in self.sides:
            if side.connected:
                self.disconnect(side)
        self.log.clear()
        self.incarnation = hashlib.sha256(self.incarnation).digest()[:16]

    def feed(self, side: Side, event: NetworkEvent) -> None:
        self.carry_out(side, side.machine.handle(event, self.now))

    def carry_out(self, side: Side, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case AttachLive():
                    side.attach = effect
                    side.attached = True
                    side.read = effect.position if effect.incarnation == self.incarnation else 0
                    self.feed(side, Attached(incarnation=self.incarnation, head=len(self.log)))
                case DepositLive():
                    side.cells.append((self.now, effect.body))
                    if side.connected and not self.drop(side, effect.body):
                        self.log.append(effect.body)
                        side.own[len(self.log)] = effect.body
                    self.feed(side, DepositAnswered())
                case Emit():
                    side.events.append(effect.event)
                case HandOver():
                    side.handed_over = effect
                case Over():
                    side.over = effect.reason
        self.deliver()

    def deliver(self) -> None:
        for side in self.sides:
            while side.attached and side.read < len(self.log):
                oldest = max(1, len(self.log) - RING + 1)
                if side.read + 1 < oldest:
                    first, side.read = side.read + 1, oldest - 1
                    self.feed(side, Expired(first=first, last=oldest - 1))
                    continue
                side.read += 1
                body = self.log[side.read - 1]
                if side.read in side.own:
                    digest = hashlib.sha256(body).digest()
                    self.feed(side, OwnCellArrived(seq=side.read, digest=digest))
                else:
                    self.feed(side, CellArrived(seq=side.read, body=body))

    def seconds(self, count: float) -> None:
        """Let time pass in steps of a quarter second."""
        for _ in range(round(count * 4)):
            self.now += 0.25
            for side in self.sides:
                self.feed(side, Tick())

    def wish(self, side: Side, wish: bool) -> None:
        self.carry_out(side, side.machine.keep(wish=wish, utc_seconds=int(self.now)))

    def say(self, side: Side, text: str) -> int:
        return side.machine.send_text(text, utc_seconds=int(self.now))
