"""Scenes for aims (`aimed`) in sessions: R6, and S4 to S7, each with the disaster that the rule closes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from clients.sdk.line.events import ControlReceived
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.model import Role
from clients.sdk.session.broker import ControlEffect
from clients.sdk.session.control import Kind, Message
from simulation import meeting, scenes, session_malice, sessions
from simulation.mischief import Lie
from simulation.sessions import Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.world import World

BEGIN_SECONDS = 60


def _pair(world: World, dice: random.Random) -> list[Side]:
    """The two sides of a new session that hear each other; none if it does not begin."""
    sessions.close(world)
    scenes.all_online(world, 20)
    known = len(world.sides)
    sessions.begin(world, dice)
    sides = world.sides[known:]
    for _ in range(BEGIN_SECONDS):
        world.run_until(world.now + 1)
        if sides and all(side.machine is not None and side.machine.heard for side in sides):
            for side in sides:
                side.say()
            world.run_until(world.now + 5)
            return sides
    return []


def _ends(world: World, side: Side) -> None:
    side.end()
    world.run_until(world.now + meeting.ENDS_WITHIN_SECONDS)


def away(world: World, dice: random.Random) -> None:
    """One side loses its connection for longer than the ring holds, or both; then they go on (R6, S6)."""
    sides = _pair(world, dice)
    if not sides:
        return
    gone = sides if dice.random() < 0.3 else [dice.choice(sides)]
    seconds = dice.choice([80, 120, 200])
    for side in gone:
        world.story(side.name, f"has no network for {seconds} s")
        side.away_until = world.now + seconds
        if side.line is not None:
            side.line.cut("cut")
    for side in sides:
        side.say()
    world.run_until(world.now + seconds + 30)
    for side in sides:
        side.say()
    world.run_until(world.now + 30)
    _ends(world, dice.choice(sides))


def sleeps(world: World, dice: random.Random) -> None:
    """A laptop is closed for a while: the seconds without a cell are not made up (S5)."""
    sides = _pair(world, dice)
    if sides:
        side = dice.choice(sides)
        world.story(side.name, "sleeps for half a minute")
        side.sleeps_until = world.now + 30
        world.run_until(world.now + 60)
        _ends(world, side)


def _lied_to(kind: str) -> Callable[[World, random.Random], None]:
    def scene(world: World, dice: random.Random) -> None:
        sides = _pair(world, dice)
        if sides:
            world.note("lie")
            world.mischief.lies.append(Lie(kind, dice.choice(sides).name, 1))
            world.run_until(world.now + 20)
            world.mischief.stop()

    return scene


withheld = _lied_to("withhold")
shifted = _lied_to("shift")


def wishes(world: World, dice: random.Random) -> None:
    """One person wants the text kept, or both do; then the session ends in order (S7)."""
    sides = _pair(world, dice)
    if sides:
        for side in sides if dice.random() < 0.3 else [dice.choice(sides)]:
            side.wants_kept()
        world.run_until(world.now + 10)
        _ends(world, dice.choice(sides))


def crooked(world: World, dice: random.Random) -> None:
    """The winning device lets the client into what is no session, or another one answers its JOIN (S4)."""
    here = meeting.meeting_of(world)
    sessions.close(world)
    scenes.all_online(world, 20)
    therapists, clients = meeting.running(world, "therapist"), meeting.running(world, "client")
    if not therapists or not clients:
        return
    offers, joins = dice.choice(therapists), dice.choice(clients)
    crook = "usurper" if len(therapists) > 1 and dice.random() < 0.5 else "therapist"
    world.note(f"crooked-{crook}")
    world.story(offers.name, "offers a session")
    kind = session_malice.CrookedTherapist if crook == "therapist" else Side
    here.open_window(offers, Role.THERAPIST, joins, kind)
    for device in therapists if crook == "usurper" else []:
        if device is not offers:
            here.open_window(device, Role.THERAPIST, joins, session_malice.Usurper)
    world.story(joins.name, "presses join")
    here.open_window(joins, Role.CLIENT, offers)
    world.run_until(world.now + 90)
    sessions.close(world)


class FirstJoin(Side):
    """A therapist's side that knows whose JOIN stands first in the line: that one wins (S1)."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._from: dict[bytes, bytes] = {}
        """Device by JOIN, in line order."""

    def on_control(self, effect: ControlEffect) -> None:
        if isinstance(effect, ControlReceived) and effect.kind is PayloadKind.JOIN:
            self._from.setdefault(effect.body.reveal(), effect.sender_device)
        super().on_control(effect)

    def _answer(self, content: Message) -> Message:
        first = next(iter(self._from.values()), b"")
        if content.kind is Kind.JOIN and self._from.get(content.part(0)) != first:
            self.world.violate("session-taken-over", f"{self.name} answers a JOIN that came second (S1)")
        return super()._answer(content)


def two_join(world: World, dice: random.Random) -> None:
    """Both devices of a client press *join* at once; one of them is in the session, and stays (S1)."""
    here = meeting.meeting_of(world)
    sessions.close(world)
    scenes.all_online(world, 20)
    therapists, clients = meeting.running(world, "therapist"), meeting.running(world, "client")
    if not therapists or len(clients) < 2:
        return
    offers = dice.choice(therapists)
    world.story(offers.name, "offers a session")
    here.open_window(offers, Role.THERAPIST, clients[0], FirstJoin)
    world.run_until(world.now + 5)
    dice.shuffle(clients)
    for device in clients:
        world.story(device.name, "presses join")
        here.open_window(device, Role.CLIENT, offers)
        world.run_until(world.now + dice.choice([0.0, 0.1, 0.4]))
    world.run_until(world.now + 60)
    sessions.close(world)
