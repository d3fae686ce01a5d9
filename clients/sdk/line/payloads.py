"""What is inside an MLS application message of a line: one struct, and a number per kind (R11, R12, R23).

    struct {
        uint8  version;                    /* of the body; the fields here never change */
        uint64 utc_seconds;                /* the sender's claim, R23 */
        Ack    acks<V>;                    /* opaque device_id[16]; uint64 counter; R12 */
        uint16 kind;
        uint64 counter;                    /* 0: none; else R11 */
        opaque body<V>;
    } Payload;

    struct {
        opaque incarnation[16];
        uint64 n;
        opaque log_hash[32];
        optional<Anchor of the previous channel's closing cell>;
    } LogClaim;                            /* authenticated_data of every MLS message, R10 */

Kinds with a counter are *content*: they are queued, receipted, repeated and shown in the order of their
counters. Kinds without are *control*: receipts, requests, and what S1 exchanges before a session. A kind or a
version that this program does not know is content if it has a counter: it is shown as "needs a newer
version", receipted, and kept as it came (R23).

Deliberately not here: what a session says inside itself (S5), and the bodies of later versions, whose numbers
alone are reserved so that they can never mean something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from crypto.codec import Reader, Writer, decode, encode
from crypto.sensitive import Plaintext, Secret

PAYLOAD_VERSION: Final = 1
MAX_TEXT_BYTES: Final = 12_288
"""Longest text of a line, in bytes of UTF-8 (R23)."""
MAX_BODY_BYTES: Final = 15_360
"""Longest body accepted in decoding; a cell of class stored holds less than this."""
MAX_ACKS: Final = 16
"""Entries of `acks`: at most 4 leaves live in a group; some room for leaves just removed."""
MAX_RANGES: Final = 64
DEVICE_ID_BYTES: Final = 16
HASH_BYTES: Final = 32
INCARNATION_BYTES: Final = 16
MAX_SETTINGS_BYTES: Final = 1_024


class PayloadKind(IntEnum):
    """Registry of kinds. Numbers are never used again for something else."""

    # content of version 1 (with counter)
    TEXT = 1
    LINE_INFO = 2
    NEW_R = 3
    END = 4
    OFFER_SCHEDULED = 5
    OFFER_CANCEL = 6
    OFFER_DECLINE = 7
    # content of later versions: reserved
    QUOTE = 32
    DISAPPEARING_TIMER = 33
    FORM = 34
    FORM_ANSWER = 35
    SETTINGS = 36
    REACTION = 37
    ATTACHMENT = 38
    DEVICE_LIST = 39
    # control (counter 0)
    RECEIPT = 0x4001
    REQUEST = 0x4002
    UNAVAILABLE = 0x4003
    OFFER = 0x4010
    JOIN = 0x4011
    WELCOME = 0x4012


KNOWN_CONTENT: Final = frozenset(
    {
        PayloadKind.TEXT,
        PayloadKind.LINE_INFO,
        PayloadKind.NEW_R,
        PayloadKind.END,
        PayloadKind.OFFER_SCHEDULED,
        PayloadKind.OFFER_CANCEL,
        PayloadKind.OFFER_DECLINE,
    }
)
"""What this version understands. Other content is kept and shown as "needs a newer version" (R23)."""

INTERNAL_CONTENT: Final = frozenset({PayloadKind.LINE_INFO, PayloadKind.NEW_R, PayloadKind.END})
"""Content for the machine itself: counted and receipted, not shown as a message."""

SESSION_CONTROL: Final = frozenset({PayloadKind.OFFER, PayloadKind.JOIN, PayloadKind.WELCOME})
"""S1: sealed once, in memory only at the receiver."""

SENDABLE_CONTENT: Final = frozenset(
    {PayloadKind.OFFER_SCHEDULED, PayloadKind.OFFER_CANCEL, PayloadKind.OFFER_DECLINE}
)
"""What an application may queue besides texts in this version."""


class TextTooLong(Exception):
    """The text is longer than one cell may carry (R23); nothing was queued and nothing was cut.

    Attributes:
        bytes_over: By how many bytes of UTF-8.
    """

    def __init__(self, bytes_over: int) -> None:
        super().__init__(
            f"This text is {bytes_over} bytes too long (at most {MAX_TEXT_BYTES} bytes of UTF-8); "
            "shorten it or send it in parts."
        )
        self.bytes_over = bytes_over


def check_text(text: Plaintext) -> None:
    """Refuse what R23 refuses, before anything is queued.

    Raises:
        TextTooLong: More than :data:`MAX_TEXT_BYTES` bytes.
        UnicodeDecodeError: The bytes are not UTF-8 (cannot happen to a Plaintext made from str).
    """
    over = len(text) - MAX_TEXT_BYTES
    if over > 0:
        raise TextTooLong(over)
    text.reveal_text()


# --------------------------------------------------------------------------------------------- the payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Says: of this device I have everything up to this counter (R12)."""

    device_id: bytes
    counter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One decoded payload. ``kind`` is a plain int, because it may be of a later version."""

    version: int = PAYLOAD_VERSION
    utc_seconds: int
    acks: tuple[Ack, ...] = ()
    kind: int
    counter: int = 0
    body: Plaintext

    @property
    def known_kind(self) -> PayloadKind | None:
        """The kind, if this program understands it in this version."""
        if self.version != PAYLOAD_VERSION:
            return None
        try:
            return PayloadKind(self.kind)
        except ValueError:
            return None


def write_payload(writer: Writer, payload: Payload) -> None:
    """Write a payload in the order above."""
    writer.u8(payload.version).u64(payload.utc_seconds)
    writer.vector(payload.acks, _write_ack)
    writer.u16(payload.kind).u64(payload.counter).opaque(payload.body.reveal())


def read_payload(reader: Reader) -> Payload:
    """Read a payload of any version.

    Raises:
        CodecError: Malformed, version 0, or over a limit.
    """
    version = reader.u8()
    if version == 0:
        raise reader.error("payload version 0")
    utc_seconds = reader.u64()
    acks = tuple(reader.vector(_read_ack, MAX_ACKS * (DEVICE_ID_BYTES + 8)))
    kind = reader.u16()
    counter = reader.u64()
    body = Plaintext(reader.opaque(MAX_BODY_BYTES))
    return Payload(version=version, utc_seconds=utc_seconds, acks=acks, kind=kind, counter=counter, body=body)


def encode_payload(payload: Payload) -> bytes:
    """The plaintext of an MLS application message."""
    return encode(payload, write_payload)


def decode_payload(data: bytes) -> Payload:
    """Inverse of :func:`encode_payload`.

    Raises:
        CodecError: As :func:`read_payload`, or trailing bytes.
    """
    return decode(data, read_payload)


def _write_ack(writer: Writer, ack: Ack) -> None:
    writer.raw(ack.device_id).u64(ack.counter)


def _read_ack(reader: Reader) -> Ack:
    return Ack(device_id=reader.bytes_(DEVICE_ID_BYTES), counter=reader.u64())


# ------------------------------------------------------------------------- authenticated data (R10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A point of a channel's log: ``log_hash`` is H_n of R10 in this incarnation."""

    incarnation: bytes
    n: int
    log_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogClaim:
    """What a sender says it has read: here, and (in its first message of an epoch) the channel before."""

    anchor: Anchor
    previous: Anchor | None = None


def _write_anchor(writer: Writer, anchor: Anchor) -> None:
    writer.raw(anchor.incarnation).u64(anchor.n).raw(anchor.log_hash)


def _read_anchor(reader: Reader) -> Anchor:
    return Anchor(
        incarnation=reader.bytes_(INCARNATION_BYTES), n=reader.u64(), log_hash=reader.bytes_(HASH_BYTES)
    )


def encode_claim(claim: LogClaim) -> bytes:
    """The authenticated_data of an MLS message: 57 or 113 bytes."""
    writer = Writer()
    _write_anchor(writer, claim.anchor)
    writer.optional(claim.previous, _write_anchor)
    return writer.to_bytes()


def decode_claim(data: bytes) -> LogClaim:
    """Inverse of :func:`encode_claim`.

    Raises:
        CodecError: Malformed.
    """
    return decode(
        data, lambda reader: LogClaim(anchor=_read_anchor(reader), previous=reader.optional(_read_anchor))
    )


# ---------------------------------------------------------------------------------- bodies of version 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterBaseline:
    """Says what the next counter of a device will be (R16)."""

    device_id: bytes
    next_counter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineInfo:
    """First message of a committer after a commit that adds (R16).

    Attributes:
        secret: R, 32 bytes.
        settings: The line's settings, opaque to this version.
    """

    baselines: tuple[CounterBaseline, ...]
    secret: Secret
    settings: bytes = b""


def encode_line_info(info: LineInfo) -> Plaintext:
    """Body of LINE_INFO: ``Baseline baselines<V>; opaque R[32]; opaque settings<V>``."""
    writer = Writer()
    writer.vector(info.baselines, lambda w, b: w.raw(b.device_id).u64(b.next_counter))
    writer.raw(info.secret.reveal()).opaque(info.settings)
    return Plaintext(writer.to_bytes())


def decode_line_info(body: Plaintext) -> LineInfo:
    """Inverse of :func:`encode_line_info`.

    Raises:
        CodecError: Malformed, or a next counter of 0.
    """

    def read(reader: Reader) -> LineInfo:
        baselines = tuple(reader.vector(_read_baseline, MAX_ACKS * (DEVICE_ID_BYTES + 8)))
        secret = Secret(reader.bytes_(32))
        return LineInfo(baselines=baselines, secret=secret, settings=reader.opaque(MAX_SETTINGS_BYTES))

    return decode(body.reveal(), read)


def _read_baseline(reader: Reader) -> CounterBaseline:
    device_id, next_counter = reader.bytes_(DEVICE_ID_BYTES), reader.u64()
    if next_counter == 0:
        raise reader.error("counters begin at 1")
    return CounterBaseline(device_id=device_id, next_counter=next_counter)


def encode_new_r(secret: Secret) -> Plaintext:
    """Body of NEW_R (R18): ``opaque R[32]``."""
    return Plaintext(secret.reveal())


def decode_new_r(body: Plaintext) -> Secret:
    """Inverse of :func:`encode_new_r`.

    Raises:
        CodecError: Not 32 bytes.
    """
    return decode(body.reveal(), lambda reader: Secret(reader.bytes_(32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRange:
    """Counters ``first`` to ``last`` of one device."""

    device_id: bytes
    first: int
    last: int


def encode_ranges(ranges: tuple[CounterRange, ...]) -> Plaintext:
    """Body of REQUEST ("send these again") and UNAVAILABLE ("I have these no more"): ``Range ranges<V>``."""
    writer = Writer()
    writer.vector(ranges, lambda w, r: w.raw(r.device_id).u64(r.first).u64(r.last))
    return Plaintext(writer.to_bytes())


def decode_ranges(body: Plaintext) -> tuple[CounterRange, ...]:
    """Inverse of :func:`encode_ranges`.

    Raises:
        CodecError: Malformed, out of order, or over a limit.
    """
    return decode(body.reveal(), lambda reader: tuple(reader.vector(_read_range, MAX_RANGES * 32)))


def _read_range(reader: Reader) -> CounterRange:
    found = CounterRange(device_id=reader.bytes_(DEVICE_ID_BYTES), first=reader.u64(), last=reader.u64())
    if not 1 <= found.first <= found.last:
        raise reader.error("range is out of order")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledOffer:
    """Body of OFFER_SCHEDULED: "let us meet then". OFFER_CANCEL, OFFER_DECLINE hold only ``offer_id``.

    Attributes:
        offer_id: 16 random bytes.
        start_utc_seconds: When.
        minutes: How long it is meant to take.
        note: At most 1,024 bytes of UTF-8.
    """

    offer_id: bytes
    start_utc_seconds: int
    minutes: int
    note: Plaintext


def encode_scheduled_offer(offer: ScheduledOffer) -> Plaintext:
    """``opaque offer_id[16]; uint64 start; uint16 minutes; opaque note<V>``."""
    writer = Writer().raw(offer.offer_id).u64(offer.start_utc_seconds).u16(offer.minutes)
    return Plaintext(writer.opaque(offer.note.reveal()).to_bytes())


def decode_scheduled_offer(body: Plaintext) -> ScheduledOffer:
    """Inverse of :func:`encode_scheduled_offer`.

    Raises:
        CodecError: Malformed.
    """

    def read(reader: Reader) -> ScheduledOffer:
        offer_id, start, minutes = reader.bytes_(16), reader.u64(), reader.u16()
        note = Plaintext(reader.opaque(1_024))
        try:
            note.reveal_text()
        except UnicodeDecodeError:
            raise reader.error("note is not UTF-8") from None
        return ScheduledOffer(offer_id=offer_id, start_utc_seconds=start, minutes=minutes, note=note)

    return decode(body.reveal(), read)


def decode_offer_id(body: Plaintext) -> bytes:
    """Body of OFFER_CANCEL and OFFER_DECLINE.

    Raises:
        CodecError: Not 16 bytes.
    """
    return decode(body.reveal(), lambda reader: reader.bytes_(16))
