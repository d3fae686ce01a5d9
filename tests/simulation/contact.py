"""First contact by its real frames: invitation, bundle, drop, inbox, and the line that comes of it.

Every party is one process of the product's `Engine` (see `process`). Parties die at any transaction and
frame, are closed and away; the relay dies, loses its disk, shows old buckets, withholds, repeats and changes
what is in an inbox. What must be true stands below, from `check_step` on: an invitation makes one line or
none, whoever was told nothing has what was written, and no drop, however often it comes, makes a second line
(R16, R17, R21).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import clients.sdk.connection
import clients.sdk.engine
import clients.sdk.online
from chatserver.config import Config, Limits, Therapists, Times
from chatserver.wire.bundle import encode_bucket
from clients.sdk.client_contact import new_device_keys
from clients.sdk.errors import AmanatError, VaultTrouble
from clients.sdk.inbox_keys import new_inbox_key
from clients.sdk.line import events as e
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.model import Role
from clients.sdk.records import DROPS, DeviceRecord, TherapistState, save_device
from crypto.errors import StateError
from crypto.sensitive import Plaintext
from keys.certificates import DeviceCertificate
from keys.memory_vault import MemoryVault
from simulation import process
from simulation.mischief import Lie
from simulation.process import Process, SimWebSocket
from simulation.world import DAY, MARK, World

RELAY: Final = "https://relay.example"
WORKING: Final = (e.LinePhase.ACTIVE, e.LinePhase.ENDING)
INBOX_LIES: Final = (
    "drop-withheld",
    "drop-twice",
    "drop-renamed",
    "drop-late",
    "drop-bytes",
    "done-withheld",
    "false-refusal",
    "false-done",
)
NOT_ITS_FAULT: Final = frozenset({"lost-store", "old-store", "lie", "clock", "absent"})
"""After these a first contact may come to nothing; its client sees that nothing of it was delivered."""


@dataclass
class Attempt:
    """A person has a link, and tries it until it is told how that ended."""

    link: str
    line_id: bytes = b""
    told: str = ""


@dataclass
class Said:
    """A text as a person wrote it."""

    number: int
    party: str
    line_id: bytes
    item_id: bytes
    body: str


class Directory:
    """What the relay says lies in a bucket: the truth, or what lay there some time ago."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.kept: list[bytes] = []
        self.lies: list[str] = []

    def says(self, body: bytes) -> bytes:
        if body not in self.kept:
            self.kept.append(body)
        if not self.lies:
            return body
        match self.lies.pop():
            case "old":
                return self._dice.choice(self.kept)
            case "oldest":
                return self.kept[0]
            case "none":
                return encode_bucket(())
            case _:
                return body[: self._dice.randrange(len(body))]


class Party:
    """A person with one device: its disk, its program, its clock, its links."""

    def __init__(self, world: ContactWorld, name: str, role: Role) -> None:
        self.world = world
        self.name = name
        self.role = role
        self.disk = MemoryVault()
        self.dice = random.Random(f"{world.seed}/party/{name}")
        self.skew = 0.0
        self.wants = True
        self.links = 0
        self.crash_in: tuple[int, str] | None = None
        self.process: Process | None = None
        self.attempts: list[Attempt] = []
        state = None
        if role is Role.THERAPIST:
            keys = new_device_keys(self.dice.randbytes, now=world.now)
            state = TherapistState(keys=keys, inbox_private=new_inbox_key(self.dice.randbytes))
        record = DeviceRecord(role=role, relay_url=RELAY, display_name=name, therapist=state)
        with self.disk.transaction() as tx:
            save_device(tx, record)

    @property
    def running(self) -> bool:
        return self.process is not None and not self.process.dead

    def start(self) -> None:
        """The program starts; what had no outcome is tried again."""
        if self.running:
            return
        self.process = Process(self)
        for attempt in self.attempts:
            if not attempt.told:
                self.try_link(attempt)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()

    def cut(self) -> None:
        """The network goes; the program runs on."""
        if self.process is not None:
            for socket in list(self.process.sockets):
                socket.cut("cut")

    def try_link(self, attempt: Attempt) -> None:
        """Press *connect* with a link."""
        if self.process is None or not self.running:
            return
        online = self.process.online

        async def work() -> None:
            try:
                hurry = self.dice.random() < 0.5
                attempt.line_id = await online.connect(
                    attempt.link, name=None, hurry=hurry, timeout_seconds=60
                )
                attempt.told = "line"
            except VaultTrouble:
                raise
            except AmanatError as error:
                attempt.told = type(error).__name__
            self.world.story(self.name, f"its connect ends: {attempt.told}")

        self.process.begin(work)

    def lines(self) -> list[bytes]:
        """Of the running program; one that has died (while it started, say) shows none."""
        return list(self.process.engine.drivers) if self.process is not None and self.running else []

    def view(self, line_id: bytes) -> Any:
        if self.process is None:
            raise StateError("not running")
        return self.process.engine.drivers[line_id].machine.view()

    def rows(self, line_id: bytes) -> list[Any]:
        if self.process is None:
            raise StateError("not running")
        return list(self.process.engine.drivers[line_id].machine.messages())


class ContactWorld(World):
    """Parties instead of devices; everything else is the world's."""

    def __init__(self, seed: int, **more: Any) -> None:
        super().__init__(seed, **more)
        self.parties: list[Party] = []
        self.broken: list[BaseException] = []
        self.invitations: list[str] = []
        self.admit_values: list[bytes] = []
        self.said: list[Said] = []
        self.directory = Directory(random.Random(f"{seed}/directory"))
        self.relay.config = Config(
            times=Times(idle_seconds=1e12),
            limits=Limits(creations_per_minute=600),
            therapists=Therapists(admission="open"),
        )

    @property
    def therapist(self) -> Party:
        return self.parties[0]

    @property
    def clients(self) -> list[Party]:
        return self.parties[1:]

    def found(self, leaves: int) -> None:
        """A therapist and a few people who may come to her."""
        self.relay.start()
        self.parties.append(Party(self, "therapist", Role.THERAPIST))
        for number in range(1, max(2, leaves)):
            self.parties.append(Party(self, f"client-{number}", Role.CLIENT))
        for party in self.parties:
            party.start()
        self.run_until(self.now + 30)
        self.rethrow()

    def relay_down(self, host: Any) -> None:
        """Its process died: all are cut off, and try again every minute; so it is back within hours."""
        for party in self.parties:
            party.cut()
        self.at(self.now + 60 + 15_000 * self.dice.random(), self._relay_returns)

    def _relay_returns(self) -> None:
        if not self.relay.up:
            self.relay.start()

    def rethrow(self) -> None:
        if self.broken:
            raise self.broken[0]

    def client_says(self, socket: SimWebSocket, message: bytes) -> None:
        """Everything that the relay gets: no text, and nothing by which a client could be known."""
        self.bytes_seen(message)

    def bytes_seen(self, message: bytes) -> None:
        if MARK.encode() in message:
            self.violate("leak", "a text went to the relay")
        for party in self.clients:
            if party.process is None:
                continue
            for record in party.process.engine.lines.values():
                if record.keys is not None:
                    certificate = DeviceCertificate.decode(record.keys.certificate)
                    for needle in (certificate.identity_key, certificate.device_key, certificate.device_id):
                        if needle in message:
                            self.violate("leak", f"a key or id of {party.name} went to the relay")

    def close(self) -> None:
        for party in self.parties:
            party.stop()
        super().close()


@contextmanager
def simulated_network() -> Iterator[None]:
    """For as long as a run lasts, the product's sockets and HTTP are the simulated ones."""
    places: list[tuple[Any, str, Any]] = [
        (clients.sdk.connection, "_open_socket", process.open_socket),
        (clients.sdk.online, "fetch_bucket", process.fetch_bucket),
        (clients.sdk.engine, "LONGEST_SLEEP_SECONDS", 6 * 3_600.0),
    ]
    before = [getattr(module, name) for module, name, _ in places]
    for module, name, instead in places:
        setattr(module, name, instead)
    try:
        yield
    finally:
        for (module, name, _), value in zip(places, before, strict=True):
            setattr(module, name, value)


# ------------------------------------------------------------------------------------------- what people do


def _of(world: World) -> ContactWorld:
    return cast("ContactWorld", world)


def _some(world: World, dice: random.Random) -> Party:
    return dice.choice(_of(world).parties)


def invite(world: World, dice: random.Random) -> None:
    here = _of(world)
    party = here.therapist
    party.start()
    process = party.process
    if process is None or not process.engine.connection:
        return

    async def work() -> None:
        try:
            made = await process.online.invite(60.0)
        except AmanatError as error:
            here.story(party.name, f"cannot invite: {type(error).__name__}")
            return
        here.invitations.append(made.link)
        here.admit_values.append(made.admit_value)
        here.story(party.name, "makes an invitation")

    process.begin(work)
    world.run_until(world.now + 2)


def connect(world: World, dice: random.Random) -> None:
    here = _of(world)
    if not here.invitations:
        invite(world, dice)
    if not here.invitations:
        return
    party = dice.choice(here.clients)
    attempt = Attempt(here.invitations[-1] if dice.random() < 0.7 else dice.choice(here.invitations))
    party.attempts.append(attempt)
    here.story(party.name, "opens an invitation")
    if party.running:
        party.try_link(attempt)
    else:
        party.start()


def say(world: World, dice: random.Random) -> None:
    party = _some(world, dice)
    write(_of(world), party, dice)


def write(here: ContactWorld, party: Party, dice: random.Random) -> None:
    party.start()
    lines = [line_id for line_id in party.lines() if party.view(line_id).phase is e.LinePhase.ACTIVE]
    process = party.process
    if lines and process is not None:
        speak(here, party, dice.choice(lines))


def speak(here: ContactWorld, party: Party, line_id: bytes) -> None:
    process = party.process
    if process is None:
        return
    number = len(here.said)
    body = f"{MARK} {party.name} {number}"
    item_id = e.ItemId(random.Random(f"{here.seed}/item/{number}").randbytes(16))
    here.said.append(Said(number, party.name, line_id, item_id, body))
    here.story(party.name, f"writes text {number}")
    process.do(lambda: process.engine.handle(line_id, e.SendText(item_id=item_id, text=Plaintext(body))))


def start(world: World, dice: random.Random) -> None:
    party = _some(world, dice)
    party.wants = True
    party.start()


def stop(world: World, dice: random.Random) -> None:
    party = _some(world, dice)
    world.story(party.name, "is closed")
    party.stop()


def cut(world: World, dice: random.Random) -> None:
    party = _some(world, dice)
    world.story(party.name, "loses its connection")
    party.cut()


def dies(world: World, dice: random.Random) -> None:
    party = _some(world, dice)
    party.crash_in = (dice.randrange(1, 40), dice.choice(["before", "after", "frame"]))


def days(world: World, dice: random.Random) -> None:
    """Days go by, perhaps with somebody away."""
    party = _some(world, dice)
    away = dice.random() < 0.5
    count = dice.choice([1, 2, 4, 8, 20, 32])
    if away:
        world.story(party.name, f"is away for {count} days")
        party.stop()
        if count > 20:
            world.note("absent")
    world.run_until(world.now + count * DAY)
    party.start()


def relay_dies(world: World, dice: random.Random) -> None:
    if dice.random() < 0.5:
        world.story("relay", "dies")
        world.relay.crash()
    else:
        world.relay.crash_in = (dice.randrange(1, 8), dice.choice(["before", "after"]))


def relay_starts(world: World, dice: random.Random) -> None:
    if not world.relay.up:
        world.story("relay", "starts")
        world.relay.start()


def lose_disk(world: World, dice: random.Random) -> None:
    world.story("relay", "loses its disk")
    world.note("lost-store")
    world.relay.crash()
    world.relay.lose_disk()
    world.relay.start()


def back_up(world: World, dice: random.Random) -> None:
    world.backup = world.relay.copy_disk()


def roll_back(world: World, dice: random.Random) -> None:
    if world.backup is not None:
        world.story("relay", "gets an old copy of its disk")
        world.note("old-store")
        world.relay.crash()
        world.relay.restore_disk(world.backup)
        world.relay.start()


def old_bundle(world: World, dice: random.Random) -> None:
    """The next bucket is one of before, empty, or torn."""
    kind = dice.choice(["old", "oldest", "oldest", "none", "torn"])
    world.story("relay", f"will serve another bucket: {kind}")
    world.note("old-bundle")
    _of(world).directory.lies.append(kind)


def lie(world: World, dice: random.Random) -> None:
    party = _some(world, dice)
    kind = dice.choice(INBOX_LIES)
    world.mischief.lies.append(Lie(kind, party.name, dice.choice([1, 1, 2])))
    world.note("lie")
    world.note(f"lie:{kind}")


def clock(world: World, dice: random.Random) -> None:
    party = _some(world, dice)
    party.skew = dice.choice([0.0, -2 * DAY, 2 * DAY, 10 * DAY, -400.0])
    world.note("clock")
    world.story(party.name, f"its clock is {party.skew:+.0f} s wrong")


Act = Callable[[World, random.Random], None]
ALWAYS: Final[tuple[tuple[str, int, Act], ...]] = (
    ("invite", 6, invite),
    ("connect", 12, connect),
    ("say", 20, say),
    ("start", 6, start),
    ("stop", 3, stop),
    ("relay-starts", 8, relay_starts),
)
SWITCHED: Final[tuple[tuple[str, int, Act], ...]] = (
    ("cut", 6, cut),
    ("dies", 10, dies),
    ("days", 4, days),
    ("relay-dies", 4, relay_dies),
    ("old-bundle", 5, old_bundle),
)
DISHONEST: Final[tuple[tuple[str, int, Act], ...]] = (
    ("lie", 12, lie),
    ("lose-disk", 2, lose_disk),
    ("back-up", 2, back_up),
    ("roll-back", 2, roll_back),
    ("clock", 2, clock),
)


def kinds_of(seed: int) -> tuple[tuple[str, int, Act], ...]:
    """What may happen in a run; drawn by a generator of its own."""
    dice = random.Random(f"{seed}/contact")
    switched = tuple(kind for kind in SWITCHED if dice.random() < 0.6)
    dishonest = tuple(kind for kind in DISHONEST if dice.random() < 0.5) if dice.random() < 0.5 else ()
    return (*ALWAYS, *switched, *dishonest)


# -------------------------------------------------------------------------------- what must be true


def check_step(world: World, *, thorough: bool) -> None:
    """After every step: nothing shown that nobody wrote, nothing twice, one line for one client."""
    here = _of(world)
    here.rethrow()
    if not thorough:
        return
    by_body = {said.body: said for said in here.said}
    partners: dict[bytes, bytes] = {}
    for party in here.parties:
        if not party.running:
            continue
        for line_id in party.lines():
            _check_line(here, party, line_id, by_body, partners)
    if here.therapist.running and here.therapist.process is not None:
        peers = [record.peer_identity for record in here.therapist.process.engine.lines.values()]
        if len(set(peers)) != len(peers):
            here.violate("two-lines", "one client's first contact made two lines (R16)")


def _check_line(
    here: ContactWorld, party: Party, line_id: bytes, by_body: dict[str, Said], partners: dict[bytes, bytes]
) -> None:
    seen: set[int] = set()
    last: dict[bytes, int] = {}
    for row in party.rows(line_id):
        if row.missing or row.kind != PayloadKind.TEXT:
            continue
        said = by_body.get(row.body.reveal_text())
        if said is None or row.mine != (said.party == party.name):
            here.violate("forged", f"{party.name} shows a text that nobody wrote to it")
            return
        if said.number in seen:
            here.violate("twice", f"{party.name} shows text {said.number} twice")
        seen.add(said.number)
        if last.get(row.sender_device, -1) > said.number:
            here.violate("order", f"{party.name} shows text {said.number} after a later one")
        last[row.sender_device] = said.number
        if not row.mine and partners.setdefault(said.line_id, line_id) != line_id:
            here.violate("mixed", f"{party.name} shows texts of one line in two")


def calm_down(world: World) -> None:
    """Faults stop; everybody is there and says something; up to 25 days pass."""
    here = _of(world)
    here.story("everybody", "faults stop here")
    here.mischief.stop()
    here.directory.lies.clear()
    here.relay.crash_in = None
    if not here.relay.up:
        here.relay.start()
    for party in here.parties:
        party.crash_in, party.skew, party.wants = None, 0.0, True
        party.stop()
        party.start()
    here.run_until(here.now + 120)
    here.rethrow()
    for party in here.parties:
        for line_id in party.lines():
            if party.view(line_id).phase is e.LinePhase.ACTIVE:
                speak(here, party, line_id)
    end, pause = here.now + 25 * DAY, 300.0
    while here.now < end:
        here.run_until(here.now + pause)
        pause = min(pause * 2, DAY / 2)
        check_step(here, thorough=True)
        if _settled(here):
            return


def _settled(here: ContactWorld) -> bool:
    for party in here.parties:
        if any(not attempt.told for attempt in party.attempts) or _drops(party):
            return False
        for line_id in party.lines():
            view = party.view(line_id)
            if view.phase in WORKING and (not view.attached or view.undelivered or view.receipt_due):
                return False
    return True


def _drops(party: Party) -> int:
    with party.disk.transaction() as tx:
        return sum(1 for _ in tx.items(DROPS))


def judge(world: World) -> None:
    """The end: everybody has what was written, or was told; then the relay forgets."""
    here = _of(world)
    check_step(here, thorough=True)
    excused = bool(NOT_ITS_FAULT & set(here.happened))
    shown = {
        (row.body.reveal_text(), party.name)
        for party in here.parties
        for line_id in party.lines()
        for row in party.rows(line_id)
        if not row.missing and row.kind == PayloadKind.TEXT and not row.mine
    }
    arrived = {body for body, _ in shown}
    for party in here.parties:
        if not party.running:
            here.violate("dead", f"the program of {party.name} does not run, and nothing stopped it")
        for attempt in party.attempts:
            if not attempt.told:
                here.violate("unanswered", f"{party.name} was never told what became of its invitation")
        if _drops(party) and not excused:
            here.violate("unsent", f"{party.name} still has a first contact to deliver")
        for line_id in party.lines():
            view = party.view(line_id)
            if view.phase is e.LinePhase.ENDED and party.role is Role.CLIENT:
                continue  # its first contact was refused after all, and its person was told
            if not excused and view.phase is not e.LinePhase.ACTIVE:
                here.violate("stranded", f"{party.name}: a line is {view.phase.name}")
            if not excused and view.undelivered:
                here.violate("undelivered", f"{party.name} has {view.undelivered} texts to deliver")
            for row in party.rows(line_id):
                if (
                    row.mine
                    and row.state is e.DeliveryState.DELIVERED
                    and row.body.reveal_text() not in arrived
                ):
                    here.violate("false-delivered", f"{party.name} shows a text as delivered; nobody has it")
                if row.mine and row.state is None and row.kind == PayloadKind.TEXT:
                    here.violate("silent-loss", f"{party.name} has a text of which nothing is said")
    for said in here.said:
        party = next(party for party in here.parties if party.name == said.party)
        gone = said.line_id not in party.lines() or (
            party.role is Role.CLIENT and party.view(said.line_id).phase is e.LinePhase.ENDED
        )
        if not gone and not any(row.item_id == said.item_id for row in party.rows(said.line_id)):
            continue  # the program died before it had the text; the person sees that it is not there
        if not gone and said.body not in arrived and not excused:
            here.violate("lost", f"text {said.number} of {said.party} reached nobody")
    _replies_under_new_keys(here)
    _forget(here)


def _replies_under_new_keys(here: ContactWorld) -> None:
    """R17: a therapist's device changes its keys before its first reply."""
    therapist = here.therapist.process
    if therapist is None:
        return
    for line_id, driver in therapist.engine.drivers.items():
        replied = any(
            row.mine and row.state is e.DeliveryState.DELIVERED for row in here.therapist.rows(line_id)
        )
        with driver.machine._look() as step:
            if replied and step.state.phase is e.LinePhase.ACTIVE and not step.state.updated_at:
                here.violate("old-keys", "the therapist replied under the keys of its KeyPackage (R17)")


def _forget(here: ContactWorld) -> None:
    for party in here.parties:
        party.wants = False
        party.stop()
    day = int(here.now // DAY)
    for later in (31, 62, 93, 124, 155, 186, 280):
        here.relay.expire(day + later)
    counts = here.relay._ask(here.relay.store.counts())
    left = {name for name in counts.__dataclass_fields__ if getattr(counts, name)} - {"inboxes"}
    if left:  # the registration of a therapist stays until an operator removes it
        here.violate("remains", "something is left on the relay's disk after the last day of every limit")
