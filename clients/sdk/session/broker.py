"""S1 as two small machines without I/O: how a session comes about over the line, on either side.

Both take what the line and the child process did, and the time, and say what to do: send a control payload
over the line, or pass a message to the child. Times are UTC seconds of the line's clock.

The therapist's side makes its OFFER anew until the client is heard in the session, and again when it falls
silent. Of JOINs it takes the first valid one (`_Race`); while that device's JOIN is judged, answered or
heard, no other device's is, and it may itself join again (it lost its session, S2), but not while it is
heard. Once it has fallen silent, or has let its JOIN's validity pass unheard, the next valid JOIN wins, of
whatever device of the client (S2). The client's side joins the OFFER that counts (`OfferBook`), has a new
JOIN made until a WELCOME is entered, and takes a WELCOME only from the device of the winning OFFER (S4). It
stays in a group that falls silent, unless the therapist is seen to have left it for another one.
What the line lost is made anew, never sealed again; what it could not take just then, and so never sealed,
is offered to it again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from clients.sdk.line.events import ControlLost, ControlNotSent, ControlPlaced, ControlReceived
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.session.control import Kind, Message, message
from clients.sdk.session.rendezvous import (
    JOIN_VALID_SECONDS,
    HeardOffer,
    JoinBody,
    OfferBody,
    OfferBook,
    WelcomeBody,
    join_is_timely,
)
from crypto.codec import CodecError

OFFER_AGAIN_SECONDS: Final = 15.0
U64_MAX: Final = 2**64 - 1
JOIN_AGAIN_SECONDS: Final = 20.0
LEFT_AFTER_SECONDS: Final = 30.0
"""A therapist who offers the session for so long does not hear the client in the group that it waits in."""
SEND_AGAIN_SECONDS: Final = 0.5
"""After the line could not take a control payload just then (reading, a commit, offline)."""
MAX_SEND_AGAIN: Final = 8
MAX_WAITING_JOINS: Final = 4
"""Devices of one person whose JOIN waits while another's is judged; a line has at most 4 leaves (R2)."""

ControlEffect: TypeAlias = ControlReceived | ControlPlaced | ControlNotSent | ControlLost


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOverLine:
    """Seal and deposit this control payload; its item id goes to `Outbox.sent`."""

    kind: PayloadKind
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToChild:
    """Pass this to the child."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedElsewhere:
    """Another device of this person is in the session; this one shows it and gives up."""


Action: TypeAlias = SendOverLine | ToChild | JoinedElsewhere


class Broker(Protocol):
    """Either side."""

    def on_control(self, effect: ControlEffect, now: float) -> list[Action]:
        """Something happened to a control payload on the line."""
        ...

    def on_child(self, content: Message, now: float) -> list[Action]:
        """The child said something about the session's coming about."""
        ...

    def on_tick(self, now: float) -> list[Action]:
        """Time went on; wanted about twice a second."""
        ...

    def sent(self, action: SendOverLine, item_id: bytes) -> None:
        """The line took the payload under this id."""
        ...


class Outbox:
    """What was given to the line, and what it did not take."""

    def __init__(self, scale: float) -> None:
        self._send_again = SEND_AGAIN_SECONDS * scale
        self._on_line: dict[bytes, SendOverLine] = {}
        self._outdated: set[bytes] = set()
        self._again: deque[tuple[float, SendOverLine]] = deque(maxlen=MAX_SEND_AGAIN)

    def sent(self, action: SendOverLine, item_id: bytes) -> None:
        """See `Broker.sent`."""
        self._on_line[item_id] = action

    def fate(self, effect: ControlPlaced | ControlNotSent | ControlLost, now: float) -> SendOverLine | None:
        """Note what became of a payload; returns it if it was lost and has to be made anew.

        What a newer one has taken the place of is neither offered again nor made anew: each would be tried
        twice a second, with a vault transaction each time, for as long as the line takes nothing.
        """
        action = self._on_line.pop(effect.item_id, None)
        outdated = effect.item_id in self._outdated
        self._outdated.discard(effect.item_id)
        if action is None or outdated:
            return None
        if isinstance(effect, ControlNotSent):
            self._again.append((now + self._send_again, action))
        return action if isinstance(effect, ControlLost) else None

    def holds(self, item_id: bytes, kind: PayloadKind) -> bool:
        """Whether the line has a payload of this kind under this id."""
        action = self._on_line.get(item_id)
        return action is not None and action.kind is kind

    def due(self, now: float) -> list[Action]:
        """What to offer to the line again."""
        found: list[Action] = []
        while self._again and self._again[0][0] <= now:
            found.append(self._again.popleft()[1])
        return found

    def drop(self, kind: PayloadKind) -> None:
        """Forget payloads of a kind that were not taken, or will not be: a newer one is on its way."""
        self._outdated |= {item_id for item_id, action in self._on_line.items() if action.kind is kind}
        kept = [entry for entry in self._again if entry[1].kind is not kind]
        self._again = deque(kept, maxlen=MAX_SEND_AGAIN)


class _Race:
    """Which device's JOIN counts (S1). A person may have several devices, and press *join* on more than one.

    A JOIN is *judged* while the child looks at it; those of other devices wait meanwhile, one of each, in the
    order of the line, and are judged in turn if it turns out invalid. The first valid one wins and holds the
    session until `free`.
    """

    def __init__(self) -> None:
        self._judged: deque[tuple[bytes, JoinBody]] = deque()
        self._waiting: dict[bytes, JoinBody] = {}
        self._winner: bytes | None = None
        self._held_until = 0

    def enter(self, device: bytes, body: JoinBody, now: float) -> bool:
        """Whether this JOIN is to be judged now; the caller passes it to the child then."""
        if self._winner is not None and now > self._held_until:
            self._winner = None
        first = self._winner or (self._judged[0][0] if self._judged else device)
        if device == first:
            self._judged.append((device, body))
            return True
        if self._winner is None and len(self._waiting) < MAX_WAITING_JOINS:
            self._waiting[device] = body
        return False

    def won_by(self, device: bytes) -> bool:
        """Whether the session is this device's."""
        return device == self._winner

    def valid(self) -> None:
        """The oldest JOIN judged is valid: it wins, and the others were joined elsewhere."""
        if self._judged:
            device, body = self._judged.popleft()
            self._winner, self._held_until = device, body.valid_until
        self._waiting.clear()

    def invalid(self) -> tuple[bytes, JoinBody] | None:
        """The oldest JOIN judged is not valid; returns the next one that waited, to be entered again."""
        if self._judged:
            self._judged.popleft()
        if self._judged or not self._waiting:
            return None
        device = next(iter(self._waiting))
        return device, self._waiting.pop(device)

    def heard(self) -> None:
        """The winner is in the session, and holds it as long as it is heard."""
        self._held_until = U64_MAX

    def free(self) -> None:
        """The winner has fallen silent: whoever joins next may win (S2)."""
        self._winner = None


class TherapistBroker:
    """The side that offers.

    Args:
        session_id: 16 fresh random bytes.
        peer_identity: The client's identity key.
        now: UTC seconds; becomes the OFFER's time.
        scale: How much faster than real time `now` goes (`Clock.scale`); repeats keep to real time.
    """

    def __init__(self, *, session_id: bytes, peer_identity: bytes, now: float, scale: float = 1.0) -> None:
        self._offer_again = OFFER_AGAIN_SECONDS * scale
        self._offer = OfferBody(session_id=session_id, time=int(now))
        self._peer_identity = peer_identity
        self._outbox = Outbox(scale)
        self._offer_due = now
        self._heard = False
        self._race = _Race()
        self._held: tuple[JoinBody, bytes] | None = None

    def sent(self, action: SendOverLine, item_id: bytes) -> None:
        """See `Broker`."""
        self._outbox.sent(action, item_id)

    def on_tick(self, now: float) -> list[Action]:
        """See `Broker`."""
        actions: list[Action] = []
        if not self._heard and now >= self._offer_due:
            self._offer_due = now + self._offer_again
            self._outbox.drop(PayloadKind.OFFER)
            actions.append(SendOverLine(kind=PayloadKind.OFFER, body=self._offer.encode()))
        return [*self._outbox.due(now), *actions]

    def on_control(self, effect: ControlEffect, now: float) -> list[Action]:
        """See `Broker`."""
        if not isinstance(effect, ControlReceived):
            lost = self._outbox.fate(effect, now)
            if lost is not None and lost.kind is PayloadKind.OFFER:
                self._offer_due = now
            return []
        if effect.kind is not PayloadKind.JOIN or effect.sender_identity != self._peer_identity:
            return []
        try:
            body = JoinBody.decode(effect.body.reveal())
        except CodecError:
            return []
        return self._on_join(body, effect.sender_device, now)

    def on_child(self, content: Message, now: float) -> list[Action]:
        """See `Broker`."""
        match content.kind:
            case Kind.WELCOME_MADE:
                self._race.valid()
                self._outbox.drop(PayloadKind.WELCOME)
                return [SendOverLine(kind=PayloadKind.WELCOME, body=content.part(0))]
            case Kind.REFUSED:
                following = self._race.invalid()
                if following is not None:
                    return self._on_join(following[1], following[0], now)
            case Kind.HEARD:
                self._heard, self._held = True, None
                self._race.heard()
            case Kind.QUIET:
                self._heard, self._offer_due = False, now + self._offer_again
                self._race.free()
                held, self._held = self._held, None
                if held is not None:
                    return self._on_join(*held, now)
            case _:
                pass
        return []

    def _on_join(self, body: JoinBody, device: bytes, now: float) -> list[Action]:
        if not join_is_timely(body, session_id=self._offer.session_id, now=now):
            return []  # stale: ignored, the client repeats it (S1)
        if self._heard:
            if self._race.won_by(device):
                # A JOIN that was overtaken by the session it asked for; or the device lost it a moment ago.
                self._held = (body, device)
            return []  # else joined elsewhere (S1)
        if not self._race.enter(device, body, now):
            return []  # joined elsewhere (S1)
        return [ToChild(message=message(Kind.JOIN, body.encode()))]


class ClientBroker:
    """The side that joins.

    Args:
        offers: What was heard on the line; kept up to date by its owner before `on_control` is called.
        peer_identity: The therapist's identity key.
        scale: As for `TherapistBroker`.
    """

    def __init__(self, *, offers: OfferBook, peer_identity: bytes, scale: float = 1.0) -> None:
        self._join_again = JOIN_AGAIN_SECONDS * scale
        self._join_valid = int(JOIN_VALID_SECONDS * scale)
        self._left_after = LEFT_AFTER_SECONDS * scale
        self._offers = offers
        self._peer_identity = peer_identity
        self._outbox = Outbox(scale)
        self._heard = False
        self._joined: HeardOffer | None = None
        self._join_due = 0.0
        self._entered: bytes | None = None
        self._heard_there = False
        self._unheard_until = 0.0
        self._welcomed_away = False
        """The therapist has answered another JOIN since: it has left the group in which it was heard."""
        self._offered_since: float | None = None
        self._joins_placed = False
        """A JOIN of this device for the present offer stands in the line."""

    def sent(self, action: SendOverLine, item_id: bytes) -> None:
        """See `Broker`."""
        self._outbox.sent(action, item_id)

    def on_tick(self, now: float) -> list[Action]:
        """See `Broker`."""
        offer = self._offers.current(now)
        if self._heard or offer is None or self._stays(offer, now):
            return self._outbox.due(now)
        actions: list[Action] = []
        if self._joined is None or offer.session_id != self._joined.session_id or now >= self._join_due:
            if self._joined is None or offer.session_id != self._joined.session_id:
                self._joins_placed = False
            self._joined = offer
            self._join_due = now + self._join_again
            self._outbox.drop(PayloadKind.JOIN)
            # The clock is the peer's claim (R23): an absurd one makes no JOIN that overflows.
            therapist_now = min(max(int(now) + offer.clock_difference, 0), U64_MAX - self._join_valid)
            valid_until = therapist_now + self._join_valid
            actions.append(
                ToChild(message=message(Kind.MAKE_JOIN, offer.session_id, therapist_now, valid_until))
            )
        return [*self._outbox.due(now), *actions]

    def on_control(self, effect: ControlEffect, now: float) -> list[Action]:
        """See `Broker`."""
        if not isinstance(effect, ControlReceived):
            if isinstance(effect, ControlPlaced) and self._outbox.holds(effect.item_id, PayloadKind.JOIN):
                self._joins_placed = True
            lost = self._outbox.fate(effect, now)
            if lost is not None and lost.kind is PayloadKind.JOIN:
                self._join_due = now
            return []
        if effect.sender_identity != self._peer_identity:
            return [JoinedElsewhere()] if self._joined_elsewhere(effect) else []
        if effect.kind is PayloadKind.OFFER:
            self._note_offer(effect, now)
            return self.on_tick(now)
        if effect.kind is PayloadKind.WELCOME and self._joined is not None:
            return self._on_welcome(effect)
        return []

    def on_child(self, content: Message, now: float) -> list[Action]:
        """See `Broker`."""
        match content.kind:
            case Kind.JOIN_MADE:
                return [SendOverLine(kind=PayloadKind.JOIN, body=content.part(0))]
            case Kind.ENTERED if self._joined is not None:
                self._entered = self._joined.session_id
                self._heard_there, self._unheard_until = False, now + self._join_valid
                self._welcomed_away = False
                self._outbox.drop(PayloadKind.JOIN)
            case Kind.HEARD:
                self._heard = self._heard_there = True
            case Kind.REFUSED if not self._heard:
                # The therapist is in a group that this device has no JOIN for any more.
                self._entered = None
            case Kind.QUIET:
                self._heard, self._join_due, self._offered_since = False, now, None
                if self._welcomed_away:
                    self._entered = None
            case _:
                pass
        return []

    def _note_offer(self, effect: ControlReceived, now: float) -> None:
        """An OFFER of the session in which the therapist has fallen silent: it does not hear this device.

        One that comes at once may be older than the silence, or both lines were cut; who offers on and on
        sits in a group whose WELCOME was lost.
        """
        if self._heard or self._entered is None or not self._heard_there:
            return
        try:
            body = OfferBody.decode(effect.body.reveal())
        except CodecError:
            return
        if body.session_id != self._entered:
            return
        if self._offered_since is None:
            self._offered_since = now
        elif now - self._offered_since >= self._left_after:
            self._entered = self._offered_since = None

    def _stays(self, offer: HeardOffer, now: float) -> bool:
        """Whether this device is in the session offered, or may still come to be heard there.

        An answer to a JOIN that was repeated meanwhile leads into a group that the therapist has left; if the
        answer to the later one was lost, nobody is ever heard there.
        """
        return offer.session_id == self._entered and (self._heard_there or now < self._unheard_until)

    def _joined_elsewhere(self, effect: ControlReceived) -> bool:
        """Whether another device of this person has joined first (S1: in line order, the same for all)."""
        if effect.kind is not PayloadKind.JOIN or self._entered is not None or self._joins_placed:
            return False
        try:
            session_id = JoinBody.decode(effect.body.reveal()).session_id
        except CodecError:
            return False
        return self._joined is None or session_id == self._joined.session_id

    def _on_welcome(self, effect: ControlReceived) -> list[Action]:
        if self._joined is None:
            return []
        try:
            body = WelcomeBody.decode(effect.body.reveal())
        except CodecError:
            return []
        if not self._offers.accepts_welcome(
            body, sender_device=effect.sender_device, session_id=self._joined.session_id
        ):
            return []
        if self._heard:
            # A JOIN that the therapist read late has led it into another group, and this one falls silent.
            self._welcomed_away = True
            return []
        return [ToChild(message=message(Kind.WELCOME, body.encode()))]
