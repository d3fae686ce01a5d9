"""One live session, from the group on (S2 to S7), as a machine without I/O.

`handle(event, now)` takes what the network or the clock did, the methods below it what the front end wants;
each returns effects. `now` is seconds of a monotonic clock that also runs while the computer sleeps.

The life of a session is the table `TRANSITIONS`:

- OPEN: texts go both ways.
- ENDING: the record END stands in our stream, because the person ended or the peer did; what was written
  before it is still delivered.
- CLOSING: our END is acknowledged and the peer's is here. Cells now say DONE, until the peer said it too or 5
  seconds have gone by (the peer may have said it in a cell that was lost).
- OVER: everything is wiped; nothing more comes out.

Invariants: one cell each second while attached and read up, filled or empty, no cell twice, missed seconds
are not made up, nothing is encrypted while detached (S5); two leaves, one epoch, commits are refused unread
(S2); the vault is nowhere in sight (S7).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from clients.sdk.errors import MAX_TEXT_BYTES, EmptyText, TextTooLong
from clients.sdk.line.payloads import LogClaim, decode_claim, encode_claim
from clients.sdk.session.cells import (
    DATA_BYTES,
    ContentFlags,
    Record,
    RecordAssembler,
    RecordKind,
    SessionContent,
    decode_content,
    encode_content,
    encode_record,
)
from clients.sdk.session.events import (
    Attached,
    AttachLive,
    AttachRefused,
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
from clients.sdk.session.front import (
    Ended,
    EndReason,
    KeepChanged,
    Link,
    LinkChanged,
    PeerEnding,
    PeerTyping,
    TextDelivered,
    TextReceived,
)
from clients.sdk.session.keep import Keeping
from clients.sdk.session.log_chain import ForkError, LogChain, cell_digest
from clients.sdk.session.stream import MAX_WAITING_BYTES, ReceiveStream, SendStream
from crypto.channel import ChannelClass, channel_id, derive_channel_keys, open_cell, seal_cell
from crypto.codec import CodecError
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.group import ApplicationMessage, Group

TICK_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 600.0
"""Without a cell of the peer for so long, the session is over (S7)."""
QUIET_SECONDS: Final = 5.0
"""Without a cell of the peer for so long, the person is told."""
LINGER_SECONDS: Final = 5.0
MAX_IN_FLIGHT: Final = 16
"""Deposits that the relay has not answered; more are not made, so that a slow network queues nothing."""
READERS: Final = 2
_OWN_DIGESTS: Final = 256


class Phase(Enum):
    """See the module's docstring."""

    OPEN = auto()
    ENDING = auto()
    CLOSING = auto()
    OVER = auto()


class Happening(Enum):
    """What moves a session from phase to phase."""

    END_QUEUED = auto()
    BOTH_ENDED = auto()
    DONE = auto()
    STOPPED = auto()
    """Silence, panic, fork, refusal: whatever ends a session without the handshake."""


TRANSITIONS: Final[dict[tuple[Phase, Happening], Phase]] = {
    (Phase.OPEN, Happening.END_QUEUED): Phase.ENDING,
    (Phase.ENDING, Happening.BOTH_ENDED): Phase.CLOSING,
    (Phase.CLOSING, Happening.DONE): Phase.OVER,
    (Phase.OPEN, Happening.STOPPED): Phase.OVER,
    (Phase.ENDING, Happening.STOPPED): Phase.OVER,
    (Phase.CLOSING, Happening.STOPPED): Phase.OVER,
}
"""A pair that is not here cannot happen."""


@dataclass(slots=True, kw_only=True)
class SessionCounts:
    """Numbers for the result; nothing of what was said."""

    cells_sent: int = 0
    cells_received: int = 0
    texts_delivered: int = 0
    texts_received: int = 0
    unreadable: int = 0
    first_attached_at: float | None = None
    over_at: float | None = None


class SessionMachine:
    """One side of one session.

    Args:
        group: The session's group at its only epoch, two leaves (S4 was checked by `establish`). The machine
        owns
            it from now on.
        rng: Source of randomness.
        now: Seconds of the monotonic clock.

    Raises:
        StateError: the group has not exactly two leaves.
    """

    def __init__(self, group: Group, *, rng: Callable[[int], bytes], now: float) -> None:
        if len(group.members) != READERS:
            raise StateError("a session has exactly two leaves")  # S2
        keys = derive_channel_keys(group)
        self._group: Group | None = group
        self._session_id = group.group_id
        self._rng = rng
        self._k = keys.addresses[0]
        self._cell_key = keys.cell_key
        self._channel_id = channel_id(ChannelClass.LIVE, READERS, self._k)
        self._token = rng(32)
        self._phase = Phase.OPEN
        self._chain = LogChain(self._channel_id)
        self._sending = SendStream()
        self._receiving = ReceiveStream()
        self._records = RecordAssembler()
        self._keeping = Keeping()
        self._text_ends: deque[tuple[int, int]] = deque()
        self._texts = 0
        self._end_offset: int | None = None
        self._peer_ended = False
        self._typing = False
        self._peer_typing = False
        self._attached = False
        self._head = 0
        self._own_digests: deque[bytes] = deque(maxlen=_OWN_DIGESTS)
        self._in_flight = 0
        self._next_tick = now + TICK_SECONDS
        self._heard_at = now
        self._heard_once = False
        self._closing_at = 0.0
        self._said_done = False
        self._peer_done = False
        self._link = Link.CONNECTING
        self.counts = SessionCounts()

    # -- what it is

    @property
    def phase(self) -> Phase:
        """Where the session stands."""
        return self._phase

    @property
    def link(self) -> Link:
        """How it stands on the network."""
        return self._link

    @property
    def heard(self) -> bool:
        """Whether the peer was heard in this group: both sides hold it."""
        return self._heard_once

    @property
    def keeping(self) -> Keeping:
        """Who wants the text kept."""
        return self._keeping

    @property
    def undelivered(self) -> tuple[int, ...]:
        """Numbers of the own texts that the peer has not acknowledged."""
        return tuple(number for _, number in self._text_ends)

    def next_wakeup(self) -> float:
        """When the next `Tick` is due."""
        return self._next_tick

    # -- what the network and the clock do

    def handle(self, event: NetworkEvent, now: float) -> list[Effect]:
        """Process one event. After `Over` every event is without effect."""
        if self._phase is Phase.OVER:
            return []
        try:
            return self._dispatch(event, now)
        except ForkError:
            return self._stop(EndReason.FORK, now)
        except _PeerBroken:
            return self._stop(EndReason.PEER_BROKEN, now)

    def _dispatch(self, event: NetworkEvent, now: float) -> list[Effect]:
        match event:
            case Connected():
                return [self._attach()]
            case Disconnected():
                self._attached = False
                self._in_flight = 0
                return self._set_link(Link.OFFLINE)
            case Attached():
                return self._on_attached(event, now)
            case AttachRefused():
                return self._stop(EndReason.RELAY_REFUSED, now)
            case CellArrived():
                return self._on_cell(event, now)
            case OwnCellArrived():
                if event.digest not in self._own_digests:
                    raise ForkError("R9-own-cell")
                self._chain.cell(event.seq, event.digest)
                return []
            case DepositAnswered():
                self._in_flight = max(0, self._in_flight - 1)
                return []
            case Expired():
                self._chain.expired(event.first, event.last)
                return []
            case Tick():
                return self._on_tick(now)

    # -- what the front end wants

    def send_text(self, text: str, *, utc_seconds: int) -> int:
        """Put a text into the stream; returns its number.

        Raises:
            TextTooLong: more than 12,288 bytes of UTF-8.
            EmptyText: nothing to send.
            StateError: the session ends or is over, or too much waits already.
        """
        body = text.encode("utf-8")
        if len(body) > MAX_TEXT_BYTES:
            raise TextTooLong(len(body) - MAX_TEXT_BYTES)
        if not body:
            raise EmptyText
        if self._phase is not Phase.OPEN:
            raise StateError("the session is ending")
        if self._sending.waiting_bytes > MAX_WAITING_BYTES:
            raise StateError("too much waits to be sent; the peer does not answer")
        record = Record(kind=RecordKind.TEXT, utc_seconds=utc_seconds, body=body)
        self._keeping.said(text, mine=True, utc_seconds=utc_seconds)
        self._texts += 1
        self._text_ends.append((self._sending.append(encode_record(record)), self._texts))
        return self._texts

    def set_typing(self, *, typing: bool) -> None:
        """Say it with the next cell."""
        self._typing = typing

    def keep(self, *, wish: bool, utc_seconds: int) -> list[Effect]:
        """Say whether this person wants the text kept (S7). Without effect once the end has begun."""
        declines = self._keeping.theirs and not wish
        if self._phase is not Phase.OPEN or (wish is self._keeping.mine and not declines):
            return []
        changed = wish is not self._keeping.mine
        self._say_wish(wish=wish, utc_seconds=utc_seconds)
        return [self._show_wishes()] if changed else []

    def end(self, *, utc_seconds: int) -> None:
        """Begin the END handshake (S7). Twice is once."""
        if self._phase is Phase.OPEN:
            self._queue_end(utc_seconds)

    def panic(self, now: float) -> list[Effect]:
        """Wipe at once, without a word to the peer."""
        return self._stop(EndReason.PANIC, now)

    def stop(self, reason: EndReason, now: float) -> list[Effect]:
        """Wipe at once for another reason (the parent's death)."""
        return self._stop(reason, now)

    # -- attaching

    def _attach(self) -> AttachLive:
        return AttachLive(
            k=self._k,
            readers=READERS,
            token=self._token,
            incarnation=self._chain.incarnation or bytes(16),
            position=self._chain.position,
        )

    def _on_attached(self, event: Attached, now: float) -> list[Effect]:
        self._chain.attach(event.incarnation, event.head)
        self._attached = True
        self._head = event.head
        self._in_flight = 0
        if self.counts.first_attached_at is None:
            self.counts.first_attached_at = now
            self._heard_at = now
        return self._judge_link(now)

    # -- sending: one cell each second (S5)

    def _on_tick(self, now: float) -> list[Effect]:
        if now < self._next_tick:
            return []
        # Seconds that were missed are gone: the next tick is the next one of the same rhythm.
        missed = int((now - self._next_tick) // TICK_SECONDS)
        self._next_tick += (missed + 1) * TICK_SECONDS
        if now - self._heard_at >= SILENCE_SECONDS:
            return self._stop(EndReason.PEER_SILENT, now)
        if self._phase is Phase.CLOSING and self._said_done and now - self._closing_at >= LINGER_SECONDS:
            return self._finish(now)
        effects = self._judge_link(now)
        if self._may_send():
            effects.append(self._next_cell(now))
            if self._said_done and self._peer_done:
                effects += self._finish(now)
        return effects

    def _may_send(self) -> bool:
        return self._attached and self._chain.position >= self._head and self._in_flight < MAX_IN_FLIGHT

    def _next_cell(self, now: float) -> DepositLive:
        group = self._require_group()
        offset, data = self._sending.take(DATA_BYTES, now)
        flags = ContentFlags.TYPING if self._typing and self._phase is Phase.OPEN else ContentFlags(0)
        if self._phase is Phase.CLOSING:
            flags |= ContentFlags.DONE
            self._said_done = True
        content = SessionContent(flags=flags, offset=offset, ack=self._receiving.next, data=data)
        claim = encode_claim(LogClaim(anchor=self._chain.claim()))
        message = group.protect(encode_content(content), authenticated_data=claim, rng=self._rng)
        body = seal_cell(self._cell_key, self._channel_id, ChannelClass.LIVE, message, self._rng)
        self._own_digests.append(cell_digest(body))
        self._in_flight += 1
        self.counts.cells_sent += 1
        return DepositLive(k=self._k, readers=READERS, deposit_id=self._rng(16), body=body)

    # -- receiving

    def _on_cell(self, event: CellArrived, now: float) -> list[Effect]:
        digest = cell_digest(event.body)
        self._chain.cell(event.seq, digest)
        if digest in self._own_digests:
            return []
        try:
            message = open_cell(self._cell_key, self._channel_id, ChannelClass.LIVE, event.body)
            received = self._require_group().unprotect(message)
            if not isinstance(received, ApplicationMessage):
                raise ValidationError("S2-one-epoch")
            content = decode_content(received.plaintext)
            claim = decode_claim(received.authenticated_data)
        except (AuthenticationError, CodecError, ValidationError):
            # R20: counted and chained above; it changes no state and never stops the session.
            self.counts.unreadable += 1
            return []
        self._chain.check(claim.anchor, event.seq)
        self._heard_at = now
        self._heard_once = True
        self.counts.cells_received += 1
        return self._on_content(content, now)

    def _on_content(self, content: SessionContent, now: float) -> list[Effect]:
        effects = self._judge_link(now)
        effects += self._on_ack(content.ack)
        typing = bool(content.flags & ContentFlags.TYPING)
        if typing != self._peer_typing:
            self._peer_typing = typing
            effects.append(Emit(event=PeerTyping(typing=typing)))
        new = self._receiving.accept(content.offset, content.data)
        try:
            records = self._records.feed(new)
            for record in records:
                effects += self._on_record(record)
        except CodecError:
            raise _PeerBroken from None
        if self._phase is Phase.ENDING and self._peer_ended and self._end_acknowledged():
            self._move(Happening.BOTH_ENDED)
            self._closing_at = now
        self._peer_done = self._peer_done or bool(content.flags & ContentFlags.DONE)
        if self._phase is Phase.CLOSING and self._peer_done and self._said_done:
            effects += self._finish(now)
        return effects

    def _on_ack(self, ack: int) -> list[Effect]:
        try:
            self._sending.acknowledge(ack)
        except ValidationError:
            raise _PeerBroken from None
        effects: list[Effect] = []
        while self._text_ends and self._text_ends[0][0] <= ack:
            _, number = self._text_ends.popleft()
            self.counts.texts_delivered += 1
            effects.append(Emit(event=TextDelivered(text_id=number)))
        return effects

    def _on_record(self, record: Record) -> list[Effect]:
        if self._peer_ended:
            raise _PeerBroken  # nothing follows END
        if record.kind == RecordKind.TEXT:
            self.counts.texts_received += 1
            text = record.text()
            self._keeping.said(text, mine=False, utc_seconds=record.utc_seconds)
            return [Emit(event=TextReceived(text=text, utc_seconds=record.utc_seconds))]
        if record.kind == RecordKind.KEEP:
            return self._on_wish(record)
        if record.kind == RecordKind.END:
            self._peer_ended = True
            if self._phase is Phase.OPEN:
                self._queue_end(record.utc_seconds)
                return [Emit(event=PeerEnding())]
        return []  # a record of a later version

    # -- keeping the text, if both agree (S7)

    def _on_wish(self, record: Record) -> list[Effect]:
        before = (self._keeping.mine, self._keeping.theirs)
        self._keeping.theirs = record.wish()
        if not self._keeping.theirs and self._keeping.mine and self._phase is Phase.OPEN:
            self._say_wish(wish=False, utc_seconds=record.utc_seconds)  # a no is not waited out
        return [] if before == (self._keeping.mine, self._keeping.theirs) else [self._show_wishes()]

    def _say_wish(self, *, wish: bool, utc_seconds: int) -> None:
        self._keeping.mine = wish
        record = Record(kind=RecordKind.KEEP, utc_seconds=utc_seconds, body=bytes([wish]))
        self._sending.append(encode_record(record))

    def _show_wishes(self) -> Emit:
        return Emit(event=KeepChanged(mine=self._keeping.mine, theirs=self._keeping.theirs))

    def _end_acknowledged(self) -> bool:
        return self._end_offset is not None and self._sending.acked >= self._end_offset

    def _queue_end(self, utc_seconds: int) -> None:
        self._end_offset = self._sending.append(
            encode_record(Record(kind=RecordKind.END, utc_seconds=utc_seconds))
        )
        self._typing = False
        self._move(Happening.END_QUEUED)

    # -- the link as the person sees it

    def _judge_link(self, now: float) -> list[Effect]:
        if not self._attached:
            return []
        quiet = not self._heard_once or now - self._heard_at >= QUIET_SECONDS
        return self._set_link(Link.PEER_QUIET if quiet else Link.CONNECTED)

    def _set_link(self, link: Link) -> list[Effect]:
        if link is self._link:
            return []
        self._link = link
        return [Emit(event=LinkChanged(link=link))]

    # -- the end

    def _finish(self, now: float) -> list[Effect]:
        self._move(Happening.DONE)
        texts = self._keeping.hand_over()
        effects: list[Effect] = [HandOver(session_id=self._session_id, texts=texts)] if texts else []
        return effects + self._wipe(EndReason.ENDED, now, kept=bool(texts))

    def _stop(self, reason: EndReason, now: float) -> list[Effect]:
        if self._phase is Phase.OVER:
            return []
        self._move(Happening.STOPPED)
        return self._wipe(reason, now)

    def _wipe(self, reason: EndReason, now: float, *, kept: bool = False) -> list[Effect]:
        """Let go of keys and text (S7). The true erasure is the end of the process that holds this object."""
        self._group = None
        self._cell_key = self._k = self._token = b""
        self._sending.wipe()
        self._records.wipe()
        self._keeping.wipe()
        self._chain.wipe()
        self._text_ends.clear()
        self._attached = False
        self.counts.over_at = now
        return [Emit(event=Ended(reason=reason, kept=kept)), Over(reason=reason)]

    def _move(self, happening: Happening) -> None:
        self._phase = TRANSITIONS[self._phase, happening]

    def _require_group(self) -> Group:
        if self._group is None:
            raise StateError("the session is over")
        return self._group


class _PeerBroken(Exception):
    """The peer's device sent what no Amanat sends; with both keys shared nobody else can have."""
