"""What applications see: roles, summaries, messages, and the events of a device. Data only, no behaviour.

Texts stand here in the clear, because showing them is the application's work; the types that hold one keep
it out of their repr. Times are UTC seconds since 1970, and a time of a message is its sender's claim (R23).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, TypeAlias

LineName = NewType("LineName", str)
"""The local name of a line; unique on its device, never sent."""


class Role(Enum):
    """Which side of the conversation a device is on."""

    CLIENT = "client"
    THERAPIST = "therapist"

    @property
    def other(self) -> Role:
        """The role of the peer."""
        return Role.THERAPIST if self is Role.CLIENT else Role.CLIENT


class LinePhase(Enum):
    """What can be done with a line."""

    OPENING = "opening"
    """The first contact has not been answered yet; texts can be written and wait in the channel."""
    OPEN = "open"
    RETURNING = "returning"
    """This device lost its place and asked its peer to take it back (R18); texts wait in the outbox."""
    STOPPED = "stopped"
    """A person must decide: compare safety numbers, then `resolve` (R10, R18)."""
    ENDED = "ended"


class MessageState(Enum):
    """Honest states of R12, and those of received messages."""

    QUEUED = "queued"
    SEALED = "sealed"
    STORED = "stored"
    """The relay has it on disk; the other person's device has not receipted it."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """Will never be delivered (the line ended before)."""
    RECEIVED = "received"
    MISSING = "missing"
    """A gap in the sender's counters (R11); `text` is empty. The late message takes its place."""


class MessageKind(Enum):
    """What a line message is."""

    TEXT = "text"
    OFFER = "offer"
    """An appointment; `text` is empty, see `Device.offers`."""
    NOTICE = "notice"
    """About the line itself (ended, peer returned); `text` is the sentence to show."""
    NEWER_VERSION = "newer-version"
    """Sent by a later version of the program (R23); kept until an upgrade can read it."""
    MISSING = "missing"
    SESSION = "session"
    """A text of a live session that both people agreed to keep (S7); it was never sent over the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineMessage:
    """One entry of a line's conversation, in the order in which it is to be shown."""

    item_id: str
    """Stable on this device; the same before and after a change of state."""
    sender: str
    """"me" or "them"."""
    text: str = field(repr=False)
    utc_seconds: int
    counter: int
    """Of the sender's content messages on this line (R11); 0 where there is none."""
    state: MessageState
    kind: MessageKind
    session_id: str = ""
    """Hexadecimal, of a text of the kind SESSION; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSession:
    """A live session whose texts both people agreed to keep, as it stands in one line's conversation."""

    session_id: str
    texts: int
    first_utc_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSummary:
    """One row of the list of lines."""

    name: LineName
    peer_name: str
    """What the peer calls itself in its contact bundle; a client has none and is shown by `name`."""
    phase: LinePhase
    unread: int
    last_activity: int | None
    """UTC seconds of the newest message, None before the first."""
    waiting_to_send: int
    """Own items that the relay does not yet hold."""
    undelivered: int
    """Own items that the peer's device has not receipted (includes `waiting_to_send`)."""
    alarms: tuple[str, ...]
    """Sentences that the person has to see."""
    safety_number_confirmed: bool
    offered_now: bool
    """Client: the therapist is waiting in a live session right now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineAlarm:
    """Something about a line that its person has to know."""

    line: LineName
    kind: str
    """Name of `clients.sdk.line.events.AlarmKind` in small letters, with hyphens; at most one of a kind."""
    sentence: str
    since: int
    """UTC seconds by this device's clock."""
    decision_needed: bool
    """The line is stopped for it until `Device.resolve`; it cannot be acknowledged away."""


class DeviceState(Enum):
    """Where one of a person's devices stands."""

    PRIMARY = "primary"
    """The first one: it alone opens lines, invites, links and removes devices."""
    LINKING = "linking"
    """A code was read or is shown; the two devices have not found each other yet."""
    LINKED = "linked"
    REMOVED = "removed"
    """Its removal is under way; or, of this device, done: it sends and receives nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDeviceSummary:
    """One of this person's devices."""

    name: str
    state: DeviceState
    this_device: bool
    short_id: str
    """The first 8 hexadecimal digits of its id, as the other side of a line sees it; a client's device has
    another id in every line, so it is empty there."""
    lines_joined: int
    lines: int
    """How many lines it should be in."""
    linked_at: int | None
    """UTC seconds."""
    heard_at: int | None
    """When the primary last heard of it, UTC seconds."""


class OfferState(Enum):
    """What became of an appointment."""

    OFFERED = "offered"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    PAST = "past"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An appointment for a live session (`offer --at`)."""

    offer_id: str
    """Hexadecimal; the session id."""
    at: int
    """UTC seconds."""
    sender: str
    """"me" or "them"."""
    state: OfferState


class ConnectionState(Enum):
    """The device's connection to its relay."""

    OFFLINE = "offline"
    """`online()` has not been entered."""
    CONNECTING = "connecting"
    ONLINE = "online"
    WAITING = "waiting"
    """The last attempt failed; another follows after a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionChanged:
    """The connection to the relay came or went; `sentence` says why where there is something to say."""

    state: ConnectionState
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageArrived:
    """A message entered the vault. Told once for each; in the order in which they came."""

    line: LineName
    message: LineMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageStateChanged:
    """An own message moved on (stored, delivered, failed), or a missing one was filled or given up."""

    line: LineName
    item_id: str
    state: MessageState


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOpened:
    """A line came to be on this device: a first contact arrived, or one's own `connect` was done."""

    line: LineName


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChanged:
    """Phase, alarms, offers or settings of a line changed; read `Device.lines()` again."""

    line: LineName
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOffered:
    """The therapist is waiting in a live session now (S1)."""

    line: LineName
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesChanged:
    """A device of this person was linked or removed, or this one was; read `Device.devices()` again."""


DeviceEvent: TypeAlias = (
    ConnectionChanged
    | MessageArrived
    | MessageStateChanged
    | LineOpened
    | LineChanged
    | SessionOffered
    | DevicesChanged
)
