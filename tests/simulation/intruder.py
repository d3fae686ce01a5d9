"""Somebody without an invitation at the therapist's door: what R21 shuts out, by its real frames.

The profile `intruder` is `contact` with one person more, who has no program of the product's: it speaks the
wire itself, says what no honest client says, and looks at what the relay answers. Each promise is checked at
the moment of the deed, since garbage in an inbox hurts nobody's line: it takes a therapist's places.
"""

from __future__ import annotations

import itertools
import random
from typing import Final

from chatserver.config import Config, FirstContact, Limits, Therapists, Times
from chatserver.wire import frames as f
from chatserver.wire.ids import inbox_challenge_content
from chatserver.wire.limits import PROTOCOL_VERSION, AdmissionKind
from clients.sdk.records import DeviceRecord, load_device
from keys import signing
from keys.certificates import DeviceCertificate
from simulation import contact
from simulation.contact import Act, ContactWorld
from simulation.wire import Assembler, framed
from simulation.world import DAY, World

ANSWER_SECONDS: Final = 5.0
BODY: Final = bytes(16_384)


class IntruderWorld(ContactWorld):
    """A relay that lets in by invitation alone; after the therapist is known, it registers by token alone."""

    def found(self, leaves: int) -> None:
        super().found(leaves)
        self.relay.config = Config(
            times=Times(idle_seconds=1e12),
            limits=Limits(creations_per_minute=600),
            first_contact=FirstContact(admission="invite"),
            therapists=Therapists(admission="token"),
        )
        self.relay.crash()
        self.relay.start()
        self.run_until(self.now + 60)


class Stranger:
    """A connection of its own to the relay."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._assembler = Assembler()
        self._numbers = itertools.count(1)
        self._answers: dict[int, f.ServerFrame] = {}
        self.socket = world.relay.accept(self._hear)
        self._send(f.Hello(version=PROTOCOL_VERSION).encode())

    def _hear(self, data: bytes) -> None:
        for message in self._assembler.feed(data):
            frame = f.decode_server(message)
            self._answers[getattr(frame, "request", 0)] = frame

    def _send(self, message: bytes) -> None:
        self.socket.arrive(framed(message))
        self.world.relay.turn()

    def number(self) -> int:
        return next(self._numbers)

    def ask(self, request: int, message: bytes) -> f.ServerFrame | None:
        """The answer, if one comes."""
        self._send(message)
        self.world.run_until(self.world.now + ANSWER_SECONDS)
        return self._answers.get(request)

    def challenge(self) -> bytes:
        request = self.number()
        answer = self.ask(request, f.InboxChallenge(request=request).encode())
        return answer.nonce if isinstance(answer, f.Challenge) else b""

    def open(self, nonce: bytes, identity_key: bytes, seed: bytes) -> bool:
        """Whether the inbox of an identity opens for a signature by a seed."""
        request = self.number()
        signature = signing.sign(seed, signing.Label.INBOX_OPEN, inbox_challenge_content(nonce, identity_key))
        frame = f.InboxOpen(request=request, identity_key=identity_key, signature=signature, token=b"")
        return isinstance(self.ask(request, frame.encode()), f.InboxOpened)

    def drop(
        self, inbox_id: bytes, drop_id: bytes, admission: AdmissionKind, value: bytes, *, more: bytes = b""
    ) -> bool:
        """Whether a first contact is taken; ``more`` is added to its end."""
        request = self.number()
        frame = f.Drop(
            request=request,
            inbox_id=inbox_id,
            admission=admission,
            admission_value=value,
            drop_id=drop_id,
            body=BODY,
        ).encode()
        return isinstance(self.ask(request, frame + more), f.Done)

    def leave(self) -> None:
        self.world.relay.forget(self.socket)
        if not self.socket.dead:
            self.socket.hang_up()
            self.world.relay.turn()


def _stranger(world: World, deed: str) -> Stranger | None:
    if not world.relay.up:
        return None
    world.note("intruder")
    world.story("a stranger", deed)
    return Stranger(world)


def _therapist(world: World) -> DeviceRecord:
    with contact._of(world).therapist.disk.transaction() as tx:
        record = load_device(tx)
    if record is None:
        raise RuntimeError("the therapist has no record")
    return record


def _target(world: World) -> tuple[bytes, bytes]:
    """The therapist's identity key and inbox."""
    state = _therapist(world).therapist
    if state is None:
        raise RuntimeError("no therapist")
    return DeviceCertificate.decode(state.keys.certificate).identity_key, state.inbox_id


def uninvited(world: World, dice: random.Random) -> None:
    """Drops without an invitation, or with one that the therapist never made."""
    stranger = _stranger(world, "drops a first contact without an invitation")
    if stranger is None:
        return
    _, inbox_id = _target(world)
    kind, value = dice.choice(
        [(AdmissionKind.OPEN, b""), (AdmissionKind.INVITE, dice.randbytes(32)), (AdmissionKind.POW, bytes(8))]
    )
    if inbox_id and stranger.drop(inbox_id, dice.randbytes(16), kind, value):
        world.violate("uninvited", "a first contact without an invitation was taken (R21)")
    stranger.leave()


def wrong_size(world: World, dice: random.Random) -> None:
    """Drops more than a drop, with an invitation that leaked (less does not even parse)."""
    value = _leaked(world, dice)
    stranger = _stranger(world, "drops a first contact of another size") if value else None
    if stranger is None:
        return
    _, inbox_id = _target(world)
    more = bytes(dice.randrange(1, 150))
    if stranger.drop(inbox_id, dice.randbytes(16), AdmissionKind.INVITE, value, more=more):
        world.violate("odd-drop", "a first contact of another size was taken (R21)")
    stranger.leave()


def admitted_twice(world: World, dice: random.Random) -> None:
    """Two first contacts with one invitation that leaked."""
    value = _leaked(world, dice)
    stranger = _stranger(world, "uses an invitation that leaked, twice") if value else None
    if stranger is None:
        return
    _, inbox_id = _target(world)
    taken = [stranger.drop(inbox_id, dice.randbytes(16), AdmissionKind.INVITE, value) for _ in range(2)]
    if all(taken):
        world.violate("admitted-twice", "one invitation let two first contacts in (R21)")
    stranger.leave()


def too_late(world: World, dice: random.Random) -> None:
    """Uses an invitation that leaked after the last day that it may have."""
    value = _leaked(world, dice)
    if not value:
        return
    world.note("absent")
    for party in contact._of(world).parties:
        party.stop()
    world.run_until(world.now + 400 * DAY)
    for party in contact._of(world).parties:
        party.start()
    stranger = _stranger(world, "uses an invitation of more than a year ago")
    if stranger is None:
        return
    _, inbox_id = _target(world)
    if stranger.drop(inbox_id, dice.randbytes(16), AdmissionKind.INVITE, value):
        world.violate("too-late", "an invitation lets in after its last day (R21)")
    stranger.leave()


def wrong_signature(world: World, dice: random.Random) -> None:
    """Opens the therapist's inbox with another key's signature."""
    stranger = _stranger(world, "opens the therapist's inbox with a signature of its own")
    if stranger is None:
        return
    identity_key, _ = _target(world)
    nonce = stranger.challenge()
    if nonce and stranger.open(nonce, identity_key, dice.randbytes(32)):
        world.violate("inbox-opened", "the therapist's inbox opened for a wrong signature (R21)")
    stranger.leave()


def nonce_again(world: World, dice: random.Random) -> None:
    """Answers one challenge twice, the second time as the therapist, whose answer it overheard."""
    stranger = _stranger(world, "answers one challenge twice")
    if stranger is None:
        return
    state = _therapist(world).therapist
    nonce = stranger.challenge()
    if state is None or state.keys.identity_seed is None or not nonce:
        return
    identity_key, _ = _target(world)
    stranger.open(nonce, identity_key, dice.randbytes(32))
    if stranger.open(nonce, identity_key, state.keys.identity_seed.reveal()):
        world.violate("nonce-again", "a challenge was answered a second time (R21)")
    stranger.leave()


def unregistered(world: World, dice: random.Random) -> None:
    """Registers an inbox of its own without the token that this relay wants."""
    stranger = _stranger(world, "registers as a therapist without a token")
    if stranger is None:
        return
    seed = dice.randbytes(32)
    nonce = stranger.challenge()
    if nonce and stranger.open(nonce, signing.public_key(seed), seed):
        world.violate("unregistered", "somebody registered without a token (R21)")
    stranger.leave()


def _leaked(world: World, dice: random.Random) -> bytes:
    """The value of a fresh invitation, which no honest client will use."""
    here = contact._of(world)
    before = len(here.invitations)
    contact.invite(world, dice)
    if len(here.invitations) == before or not world.relay.up:
        return b""
    here.invitations.pop()
    return here.admit_values.pop()


KINDS: Final[tuple[tuple[str, int, Act], ...]] = (
    ("uninvited", 8, uninvited),
    ("wrong-size", 4, wrong_size),
    ("admitted-twice", 4, admitted_twice),
    ("too-late", 1, too_late),
    ("wrong-signature", 4, wrong_signature),
    ("nonce-again", 4, nonce_again),
    ("unregistered", 4, unregistered),
)


def kinds_of(seed: int) -> tuple[tuple[str, int, Act], ...]:
    """What people do and what honest hardware does, and the stranger; lies would hide its deeds."""
    dice = random.Random(f"{seed}/intruder/kinds")
    return (
        *contact.ALWAYS,
        *(kind for kind in contact.SWITCHED if kind[0] != "old-bundle" and dice.random() < 0.4),
        *KINDS,
    )
