"""Sessions among all devices of two people, in a world that is hostile to them (S1 to S7).

Where the profile `session` lets one device of each person meet, here any of a person's devices may offer or
press *join*, at once, one after the other, or after another has died; programs die with what they hold; some
members are crooked (`session_malice`), keys change while OFFER, JOIN and WELCOME are on their way, the relay
blinks and lies inside the session, and people walk away.

Two demands stand at the end. Who still wants a session when the faults stop is in it soon
(`_still_wanted`). And when the line has settled, people meet once more (`_meet_again`): a session begins,
holds through a blink of the relay and the death of a device, carries every text, and ends in order, or by ten
minutes of silence.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, cast

from clients.sdk.line import events as e
from clients.sdk.line.events import LinePhase
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.model import Role
from clients.sdk.session.machine import SILENCE_SECONDS
from clients.sdk.session.rendezvous import OfferBody, OfferBook
from crypto.codec import CodecError
from crypto.errors import StateError
from simulation import oracle, session_malice, sessions
from simulation.device import DyingDriver, SimDevice
from simulation.mischief import Lie
from simulation.sessions import Side
from simulation.world import World

SLOW_CHILD_SECONDS: Final = 0.4
PATIENCE_SECONDS: Final = 3_000.0
BEGINS_WITHIN_SECONDS: Final = 240.0
"""A JOIN that nobody answered holds the session for 120 s (its validity), and OFFER and JOIN are repeated."""
ENDS_WITHIN_SECONDS: Final = 40.0
LONG_SECONDS: Final = 660.0


class MeetingWorld(World):
    """Each program keeps the OFFERs it has heard as long as it runs, whether a window is open or not."""

    def __init__(self, seed: int, **more: Any) -> None:
        super().__init__(seed, **more)
        self._books: dict[str, tuple[DyingDriver | None, OfferBook]] = {}
        self._offers: dict[str, list[tuple[OfferBody, e.ControlReceived, float]]] = {}
        """By device: each with the device's clock when it was read."""

    def book(self, device: SimDevice) -> OfferBook:
        driver, book = self._books.get(device.name, (None, OfferBook()))
        if driver is not device.driver or device.name not in self._books:
            book = OfferBook()
            self._books[device.name] = (device.driver, book)
            self._offers[device.name] = []
        return book

    def told(self, device: SimDevice, effect: Any) -> None:
        if isinstance(effect, e.ControlReceived) and effect.kind is PayloadKind.OFFER:
            self._hear(device, effect)
        super().told(device, effect)

    def _hear(self, device: SimDevice, effect: e.ControlReceived) -> None:
        try:
            body = OfferBody.decode(effect.body.reveal())
        except CodecError:
            return
        self.book(device).hear(
            body,
            order=effect.order,
            sender_device=effect.sender_device,
            utc_seconds=effect.utc_seconds,
            now=device.now,
        )
        self._offers[device.name].append((body, effect, device.now))

    def open_window(self, device: SimDevice, role: Role, peer: SimDevice, kind: type[Side] = Side) -> Side:
        """A person wants a session on this device: offers one, or presses *join*."""
        session_id = self.dice.randbytes(16)
        book = self.book(device)
        side = kind(
            device,
            role,
            peer,
            session_id,
            offers=book,
            patience=PATIENCE_SECONDS,
            parent=device.driver,
            slow=SLOW_CHILD_SECONDS,
        )
        for body, effect, now in self._offers[device.name]:
            side.witness.heard_offer(body, effect, now)
        self.sides.append(side)
        return side


# -------------------------------------------------------------------------------------- what people do


def meeting_of(world: World) -> MeetingWorld:
    return cast("MeetingWorld", world)


def running(world: World, person: str) -> list[SimDevice]:
    return [d for d in world.members() if d.running and d.driver is not None and d.name.startswith(person)]


def _live(world: World) -> list[Side]:
    return [side for side in world.sides if not side.over]


def meet(world: World, dice: random.Random) -> None:
    """Some devices offer, some join; some of them may be crooked."""
    here = meeting_of(world)
    therapists, clients = running(world, "therapist"), running(world, "client")
    if not therapists or not clients or len(_live(world)) > 3:
        return
    offers = therapists if dice.random() < 0.3 else [dice.choice(therapists)]
    joins = clients if dice.random() < 0.4 else [dice.choice(clients)]
    crook = dice.choice(["", "", "", "therapist", "client", "usurper", "usurper"])
    if crook:
        world.note(f"crooked-{crook}")
    for device in offers:
        kind = session_malice.CrookedTherapist if crook == "therapist" else Side
        world.story(device.name, "offers a session")
        here.open_window(device, Role.THERAPIST, joins[0], kind)
    for device in therapists if crook == "usurper" else []:
        if device not in offers:
            here.open_window(device, Role.THERAPIST, joins[0], session_malice.Usurper)
    for device in joins:
        kind = session_malice.CrookedClient if crook == "client" else Side
        world.story(device.name, "presses join")
        here.open_window(device, Role.CLIENT, offers[0], kind)


def comes_back(world: World, dice: random.Random) -> None:
    """A session's process dies; its person goes on, on the same device or on another one (S2)."""
    live = [side for side in _live(world) if side.honest]
    if not live:
        return
    side = dice.choice(live)
    world.story(side.name, "its process dies")
    side.vanish()
    devices = running(world, side.device.name.partition("-")[0])
    peers = running(world, "client" if side.role is Role.THERAPIST else "therapist")
    if devices and peers:
        device = dice.choice(devices)
        world.story(device.name, "its person opens the session again")
        meeting_of(world).open_window(device, side.role, peers[0])


def walks_away(world: World, dice: random.Random) -> None:
    """One of the two is gone without a word, and for a long time."""
    live = _live(world)
    if live:
        side = dice.choice(live)
        world.story(side.name, "is gone without a word")
        side.vanish()
        world.run_until(world.now + dice.choice([30, 300, 650]))


def blinks(world: World, dice: random.Random) -> None:
    """S6: the relay starts anew; a live channel has another incarnation."""
    world.story("relay", "starts anew")
    world.relay.crash()
    world.relay.start()
    world.run_until(world.now + dice.choice([1, 5, 20]))


def rekeys(world: World, dice: random.Random) -> None:
    """Keys change while OFFER, JOIN or WELCOME are on their way: what was sealed before is lost (S1)."""
    for device in world.members():
        if device.running and dice.random() < 0.7:
            world.story(device.name, "wants new keys")
            try:
                device.intent(e.SelfUpdate())
            except StateError:
                world.story(device.name, "is told that this is not possible now")


def lies(world: World, dice: random.Random) -> None:
    """Inside a session, to one side."""
    live = _live(world)
    if live:
        kind, side = dice.choice(session_malice.LIVE_LIES), dice.choice(live)
        world.mischief.lies.append(Lie(kind, side.name, dice.choice([1, 1, 3])))
        world.note("lie")
        world.note(f"lie:{kind}")


def commits(world: World, dice: random.Random) -> None:
    live = [side for side in _live(world) if side.machine is not None]
    if live and session_malice.commits_inside(dice.choice(live), dice):
        world.note("session-commit")


Act = Callable[[World, random.Random], None]
MEETINGS: Final[dict[str, tuple[int, Act]]] = {
    "meet": (16, meet),
    "session-say": (20, sessions.say),
    "session-end": (2, sessions.end),
    "session-breaks": (4, sessions.breaks),
    "comes-back": (5, comes_back),
    "walks-away": (2, walks_away),
    "minutes": (14, sessions.minutes),
}
"""In every run of the profile."""
SWITCHED: Final[dict[str, tuple[int, Act]]] = {
    "blinks": (6, blinks),
    "rekeys": (5, rekeys),
    "session-lies": (5, lies),
    "session-commits": (5, commits),
}
"""Each by the seed, one in two."""


def kinds_of(seed: int) -> list[tuple[str, int, Act]]:
    """What may happen besides what happens in every line; drawn by a generator of its own."""
    dice = random.Random(f"{seed}/meeting")
    kinds = [(name, weight, act) for name, (weight, act) in MEETINGS.items()]
    for name, (weight, act) in SWITCHED.items():
        if dice.random() < 0.5:
            kinds.append((name, weight, act))
    return kinds


# ------------------------------------------------------------------------------------ what must be true


def check_step(world: World, *, thorough: bool) -> None:
    oracle.check_step(world, thorough=thorough)


def calm_down(world: World) -> None:
    """Faults stop: who wants a session gets it; then the line settles, and people meet once more."""
    _still_wanted(world)
    oracle.calm_down(world)
    _meet_again(world)


def judge(world: World) -> None:
    oracle.judge(world)


def _together(world: World) -> tuple[Side, Side] | None:
    """A therapist's and a client's side that hear each other in one group."""
    heard = [side for side in _live(world) if side.machine is not None and side.machine.heard]
    for first in heard:
        for second in heard:
            of_two = first.role is Role.THERAPIST and second.role is Role.CLIENT
            if of_two and first.segment is second.segment and _connected(first) and _connected(second):
                return first, second
    return None


def _connected(side: Side) -> bool:
    return side.machine is not None and side.machine.link.name == "CONNECTED"


def _able(device: SimDevice) -> bool:
    """The line of this device carries what it is given."""
    if device.driver is None:
        return False
    view = device.machine.view()
    return view.phase is LinePhase.ACTIVE and view.attached and not device.world.state(device).awaits_info


def _wait_for_session(world: World, seconds: float) -> tuple[Side, Side] | None:
    """Until two are together; time in which a line cannot carry anything does not count."""
    waited, latest = 0.0, world.now + 20 * seconds
    while waited < seconds and world.now < latest:
        world.run_until(world.now + 1)
        found = _together(world)
        if found is not None:
            return found
        roles = {side.role for side in _live(world)}
        if len(roles) < 2:
            return None
        if all(_able(side.device) for side in _live(world)):
            waited += 1
    return None


def _still_wanted(world: World) -> None:
    """Faults stop while windows are open. Whoever waits there is in a session soon."""
    world.story("everybody", "faults stop in sessions")
    world.mischief.stop()
    world.relay.crash_in = None
    world.relay.commit_seconds = 0.0
    world.delays = (0.02, 0.2)
    if not world.relay.up:
        world.relay.start()
    for device in world.members():
        device.plan = None
        device.go_online()
    for side in _live(world):
        if not side.honest:
            side.vanish()
    world.run_until(world.now + 20)
    if {"clock", "crooked-therapist"} & set(world.happened) or not _offered(meeting_of(world)):
        return
    found = _wait_for_session(world, BEGINS_WITHIN_SECONDS + 60)
    live = _live(world)
    if found is None and len({side.role for side in live}) == 2 and all(_able(s.device) for s in live):
        names = ", ".join(sorted(side.name for side in live))
        world.violate(
            "session-begins", f"{names} want a session, nothing is in their way, and none begins (S1)"
        )


def _offered(here: MeetingWorld) -> bool:
    """Whether the OFFER that a waiting client goes by is that of somebody who still waits.

    Of two devices that offered the later one counts, also when it has died since; for 10 minutes the client
    tries that one.
    """
    live = _live(here)
    waiting = {side.session_id for side in live if side.role is Role.THERAPIST}
    for side in live:
        offer = side.offers.current(side.device.now) if side.role is Role.CLIENT else None
        if offer is not None and offer.session_id not in waiting:
            return False
    return len({side.role for side in live}) == 2


def _meet_again(world: World) -> None:
    here = meeting_of(world)
    dice = random.Random(f"{world.seed}/meet-again")
    therapists, clients = running(world, "therapist"), running(world, "client")
    if not therapists or not clients or not all(_able(d) for d in world.members()):
        return  # the line has ended, or somebody cannot come back
    offers = therapists if dice.random() < 0.5 else [dice.choice(therapists)]
    joins = clients if dice.random() < 0.6 else [dice.choice(clients)]
    dice.shuffle(joins)
    world.story("everybody", "meets again")
    for device in offers:
        here.open_window(device, Role.THERAPIST, joins[0])
    if dice.random() < 0.3:
        world.run_until(world.now + LONG_SECONDS)  # the client is late, the therapist waits
    for device in joins:
        here.open_window(device, Role.CLIENT, offers[0])
        world.run_until(world.now + dice.choice([0.0, 0.0, 0.5, 5.0]))
    therapist, client = _must_begin(world)
    _talk(world, therapist, client)
    if dice.random() < 0.5:
        if dice.random() < 0.4:
            world.run_until(world.now + LONG_SECONDS)
        client, therapist = _somebody_dies(here, therapist, client, dice)
        _talk(world, therapist, client)
    if dice.random() < 0.6:
        _parts(world, therapist, client, dice)
    else:
        _falls_silent(world, therapist, client, dice)
    sessions.close(world)
    world.run_until(world.now + 60)


def _must_begin(world: World) -> tuple[Side, Side]:
    found = _wait_for_session(world, BEGINS_WITHIN_SECONDS)
    if found is None:
        world.violate(
            "session-begins", "two people want a session, nothing is in their way, none begins (S1)"
        )
        raise AssertionError
    return found


def _talk(world: World, therapist: Side, client: Side) -> None:
    """Texts go both ways, through a blink of the relay (S6)."""
    for side in (therapist, client):
        side.say()
    dice = random.Random(f"{world.seed}/blink/{len(world.sides)}")
    if dice.random() < 0.7:
        world.run_until(world.now + dice.random())
        blinks(world, random.Random(dice.random()))
        client.say()
    if _wait_for_session(world, 60) is None:
        world.violate("session-lasts", "a session does not outlast a relay that starts anew (S6)")
    world.run_until(world.now + 30)


def _somebody_dies(
    here: MeetingWorld, therapist: Side, client: Side, dice: random.Random
) -> tuple[Side, Side]:
    """S2: another device, or a crash: new JOIN, new group."""
    lost = dice.choice([therapist, client])
    here.story(lost.name, "its process dies")
    lost.vanish()
    devices = running(here, lost.device.name.partition("-")[0])
    here.run_until(here.now + dice.choice([1.0, 10.0]))
    here.open_window(dice.choice(devices), lost.role, (client if lost is therapist else therapist).device)
    therapist, client = _must_begin(here)
    return client, therapist


def _parts(world: World, therapist: Side, client: Side, dice: random.Random) -> None:
    """END is acknowledged, and all is said (S7)."""
    first = dice.choice([therapist, client])
    first.say()
    first.end()
    world.run_until(world.now + ENDS_WITHIN_SECONDS)
    for side in (therapist, client):
        if not side.over:
            world.violate("session-hangs", f"{side.name} pressed END, or its peer did, and nothing ends (S7)")


def _falls_silent(world: World, therapist: Side, client: Side, dice: random.Random) -> None:
    gone, left = dice.choice([(therapist, client), (client, therapist)])
    for side in _live(world):
        if side is not left:
            side.vanish()
    world.story(gone.name, "is gone without a word")
    world.run_until(world.now + SILENCE_SECONDS + 10)
    if left.machine is not None:
        world.violate("session-outlives", f"{left.name} holds a session whose peer is gone (S7)")
