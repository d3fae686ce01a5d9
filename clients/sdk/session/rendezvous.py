"""S1: what passes over the line before a session, and who may take what for valid.

    struct { opaque session_id[16]; uint64 time; } Offer;                  /* time: UTC seconds */
    struct {
        opaque session_id[16];
        opaque key_package<V>;
        opaque seed[32];               /* private Ed25519 seed of the client's session leaf (S3) */
        uint64 valid_until;            /* UTC seconds of the therapist's clock, estimated from OFFER */
    } Join;
    struct { opaque session_id[16]; opaque welcome<V>; opaque seed[32]; } Welcome;

They are bodies of the line payloads OFFER, JOIN and WELCOME, which have no counter and are never sealed
twice. The two classes below hold the rules of order; they run in the parent process, which sees seeds, but
never the KeyPackage's private keys (S7). The checks of S4 on groups and KeyPackages are in `establish`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from clients.sdk.line.events import LineOrder
from crypto.codec import Reader, Writer, decode

SESSION_ID_BYTES: Final = 16
SEED_BYTES: Final = 32
JOIN_VALID_SECONDS: Final = 120
"""A JOIN that was not answered by then is stale; the client makes a new one."""
OFFER_FRESH_SECONDS: Final = 600
"""An OFFER not said again for so long, by its sender's clock as far as it is known, is not joined."""
MAX_OFFERS: Final = 64
"""That a client keeps; those not said for longest go first."""
HEARD_LATELY_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferBody:
    """The therapist is there."""

    session_id: bytes
    time: int

    def encode(self) -> bytes:
        """As above."""
        return Writer().raw(self.session_id).u64(self.time).to_bytes()

    @staticmethod
    def decode(data: bytes) -> OfferBody:
        """Inverse of `encode`.

        Raises:
            CodecError: malformed.
        """
        return decode(
            data, lambda reader: OfferBody(session_id=reader.bytes_(SESSION_ID_BYTES), time=reader.u64())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinBody:
    """The client is there."""

    session_id: bytes
    key_package: bytes
    seed: bytes = field(repr=False)
    valid_until: int

    def encode(self) -> bytes:
        """As above."""
        writer = Writer().raw(self.session_id).opaque(self.key_package).raw(self.seed)
        return writer.u64(self.valid_until).to_bytes()

    @staticmethod
    def decode(data: bytes) -> JoinBody:
        """Inverse of `encode`.

        Raises:
            CodecError: malformed.
        """

        def read(reader: Reader) -> JoinBody:
            return JoinBody(
                session_id=reader.bytes_(SESSION_ID_BYTES),
                key_package=reader.opaque(),
                seed=reader.bytes_(SEED_BYTES),
                valid_until=reader.u64(),
            )

        return decode(data, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class WelcomeBody:
    """The way into the session's group."""

    session_id: bytes
    welcome: bytes
    seed: bytes = field(repr=False)

    def encode(self) -> bytes:
        """As above."""
        return Writer().raw(self.session_id).opaque(self.welcome).raw(self.seed).to_bytes()

    @staticmethod
    def decode(data: bytes) -> WelcomeBody:
        """Inverse of `encode`.

        Raises:
            CodecError: malformed.
        """

        def read(reader: Reader) -> WelcomeBody:
            return WelcomeBody(
                session_id=reader.bytes_(SESSION_ID_BYTES),
                welcome=reader.opaque(),
                seed=reader.bytes_(SEED_BYTES),
            )

        return decode(data, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardOffer:
    """An OFFER as it was read from the line."""

    session_id: bytes
    time: int
    order: LineOrder
    sender_device: bytes
    clock_difference: int
    """Sender's clock minus ours when it was read, in seconds; too small by the time it lay in the channel."""
    said_at: int
    """UTC seconds of its sender's clock when it was last made anew: later than `time`, if somebody waits."""


class OfferBook:
    """The client's side: which OFFER is the one to join.

    For each time the first in line order wins, of those that are still made anew; of several times the newest
    OFFER counts, because a therapist who comes back after a crash offers anew (S2).
    """

    def __init__(self, scale: float = 1.0) -> None:
        self._fresh_seconds = OFFER_FRESH_SECONDS * scale
        self._lately_seconds = HEARD_LATELY_SECONDS * scale
        self._heard: dict[tuple[int, bytes], HeardOffer] = {}
        """By time and session id."""
        self._heard_at = 0.0

    def hear(
        self, body: OfferBody, *, order: LineOrder, sender_device: bytes, utc_seconds: int, now: float
    ) -> HeardOffer:
        """Note an OFFER of the therapist; returns what is known of it now.

        Args:
            body: The OFFER.
            order: Its place in the line.
            sender_device: Device of the leaf that sent it.
            utc_seconds: Its payload's time (R23).
            now: Own UTC seconds.
        """
        heard = HeardOffer(
            session_id=body.session_id,
            time=body.time,
            order=order,
            sender_device=sender_device,
            clock_difference=utc_seconds - int(now),
            said_at=utc_seconds,
        )
        self._heard_at = now
        key = (body.time, body.session_id)
        known = self._heard.get(key)
        if known is None or heard.order < known.order:
            self._heard[key] = heard
        elif known.sender_device == heard.sender_device:
            # The same OFFER made anew: the therapist is still there, and its clock is known better.
            self._heard[key] = replace(
                known,
                clock_difference=max(known.clock_difference, heard.clock_difference),
                said_at=max(known.said_at, heard.said_at),
            )
        while len(self._heard) > MAX_OFFERS:
            del self._heard[min(self._heard, key=lambda key: self._heard[key].said_at)]
        return self._heard.get(key, heard)

    def current(self, now: float) -> HeardOffer | None:
        """The OFFER to join: the newest one whose sender still waits, by its own clock.

        A therapist says an OFFER again until the client is there, also in the middle of a session whose
        client was lost (S2). So its age is that of its last repetition, and one that nobody repeats hides
        no other, not even one of the same second.
        """
        waiting = (
            offer
            for offer in self._heard.values()
            if now + offer.clock_difference - offer.said_at <= self._fresh_seconds
        )
        return min(waiting, key=lambda offer: (-offer.time, offer.order), default=None)

    def heard_lately(self, now: float) -> bool:
        """Whether an OFFER was read within the last minute: a waiting therapist repeats it more often."""
        return self.current(now) is not None and now - self._heard_at <= self._lately_seconds

    def accepts_welcome(self, body: WelcomeBody, *, sender_device: bytes, session_id: bytes) -> bool:
        """S4: a WELCOME counts only from the device of the winning OFFER, for the session that was joined."""
        offer = next((o for o in self._heard.values() if o.session_id == session_id), None)
        return offer is not None and offer.sender_device == sender_device and body.session_id == session_id


def join_is_timely(body: JoinBody, *, session_id: bytes, now: float) -> bool:
    """The therapist's side of S1: a JOIN of another session, or too late, is stale and ignored."""
    return body.session_id == session_id and now <= body.valid_until
