"""What goes into a line machine and what comes out: the whole interface between R7 to R23 and the world.

The machine (:mod:`clients.sdk.line.machine`) is sans-I/O. An *event* is something that the network, the clock
or a person did; an *effect* is something that the device shall do. Effects are handed out only after the
transaction that decided on them was committed (R7), each is idempotent, and whatever is still owed is handed
out again after the next :class:`Connected`. Losing an effect therefore never loses anything else.

Contract for the device layer:

* A channel is named by its :data:`ChannelRef`, which is its id (R2). Answers carry the ref of the question.
* After a connection stands: ``Connected``; when it is gone: ``Disconnected``. In between every frame about a
  ref of this line is handed in, in the order in which it came.
* ``Attached`` is handed in before the first ``CellArrived`` of that attachment.
* ``Tick`` is handed in at (or soon after) ``LineMachine.next_wakeup()``, connected or not.
* What an effect named ``...Changed`` or ``...Received`` tells is in the vault already; it only says "look".
  The exception is :class:`ControlReceived` (S1): it exists in this effect alone and never again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NewType

from chatserver.wire.errors import ErrorCode
from clients.sdk.line.payloads import PayloadKind
from crypto.channel import ChannelClass
from crypto.sensitive import Plaintext, Secret

ChannelRef = NewType("ChannelRef", bytes)
"""The 32-byte id of a channel (R2)."""

ItemId = NewType("ItemId", bytes)
"""16 random bytes that name one thing a person sent, chosen by the caller; makes an intent idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOrder:
    """A place in the line's log, the same on every device; compares in log order (S1: "in line order")."""

    epoch: int
    turn: int
    seq: int

    def __lt__(self, other: LineOrder) -> bool:
        return (self.epoch, self.turn, self.seq) < (other.epoch, other.turn, other.seq)


# ------------------------------------------------------------------------------------ events: the network


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A connection to the relay stands. Every attachment, deposit and acknowledgement owed is asked anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The connection is gone, and with it every attachment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """Answer to :class:`Attach` (frame ATTACHED, R3).

    Attributes:
        head: Number of the last cell, 0 if there is none.
        acked: What this slot has acknowledged.
        closed_seq: Number of the closing cell, 0 while the channel is open.
    """

    ref: ChannelRef
    incarnation: bytes
    head: int
    acked: int
    closed_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachRefused:
    """REFUSED as an answer to :class:`Attach`: FULL, GONE or a limit."""

    ref: ChannelRef
    code: ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class CellArrived:
    """Frame CELL: somebody's cell, or an own one deposited on an earlier connection."""

    ref: ChannelRef
    seq: int
    close: bool
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCellArrived:
    """Frame OWN_CELL: a cell that this connection deposited, as its SHA-256."""

    ref: ChannelRef
    seq: int
    close: bool
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Frame STORED: a deposit is on the relay's disk as cell ``seq`` (R4)."""

    ref: ChannelRef
    deposit_id: bytes
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositRefused:
    """REFUSED as an answer to :class:`DepositCell`: CLOSED, GONE, QUOTA, RATE and so on."""

    ref: ChannelRef
    deposit_id: bytes
    code: ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """Frame EXPIRED: the cells ``first`` to ``last`` are no more (R6)."""

    ref: ChannelRef
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AckConfirmed:
    """Frame ACKED: the relay has noted the acknowledgement of ``seq``."""

    ref: ChannelRef
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AckRefused:
    """REFUSED as an answer to :class:`AckCell`."""

    ref: ChannelRef
    seq: int
    code: ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """Another connection took this slot over (R3)."""

    ref: ChannelRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed."""


# ----------------------------------------------------------------------------------- events: what people want


@dataclass(frozen=True, slots=True, kw_only=True)
class SendText:
    """Queue one text. Raises :class:`clients.sdk.line.payloads.TextTooLong` beyond R23."""

    item_id: ItemId
    text: Plaintext


@dataclass(frozen=True, slots=True, kw_only=True)
class SendContent:
    """Queue another payload with a counter: OFFER_SCHEDULED, OFFER_CANCEL, OFFER_DECLINE."""

    item_id: ItemId
    kind: PayloadKind
    body: Plaintext


@dataclass(frozen=True, slots=True, kw_only=True)
class SendControl:
    """Seal and deposit OFFER, JOIN or WELCOME of S1 now; answered by :class:`ControlNotSent` if impossible.

    The body is never written to the vault; if its cell is lost, :class:`ControlLost` says so and the session
    makes a new one.
    """

    item_id: ItemId
    kind: PayloadKind
    body: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushReceipts:
    """Send a due receipt now instead of after a random 0 to 10 minutes (R12; one-shot commands)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRead:
    """The person has seen everything delivered so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DismissAlarm:
    """The person has read this alarm; it leaves :attr:`LineView.alarms`. It changes nothing else."""

    kind: AlarmKind


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptText:
    """One text of a live session that both people agreed to keep (S7): words and a claimed time, no more."""

    mine: bool
    utc_seconds: int
    text: Plaintext


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSession:
    """Put the texts of a live session that has ended into the conversation (S7); nothing is sent.

    Attributes:
        session_id: 16 bytes. The same session twice is kept once.
    """

    session_id: bytes
    texts: tuple[KeptText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetSession:
    """Delete the kept texts of a live session from this device."""

    session_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfUpdate:
    """Ask for a self-update commit at the next opportunity (R17)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddDevice:
    """Ask for a commit that adds a device of this person (R14 P2).

    Attributes:
        key_package: Encoded KeyPackage of the new device.
    """

    key_package: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDevice:
    """Ask for a commit that removes another device of this person (R14 P3)."""

    device_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedByOwner:
    """The own person has removed this device: destroy the line's keys here, and tell nobody (R14 P3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WelcomeDelivered:
    """The Welcome named by :class:`WelcomeReady` has reached its inbox or linking channel; forget it."""

    welcome_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRejoin:
    """Declare this device stranded (after an import, or because the device layer found an old vault)."""

    reason: RejoinReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """Outcome of the comparison of safety numbers after a fork or two branches (R18)."""

    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLine:
    """End the line (R22): destroy keys after the receipt of END, or at once if ``block``."""

    block: bool
    keep_texts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTexts:
    """Delete the texts of a line that has ended."""


# ------------------------------------------------------------------------------------ effects: the network


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Attach to a channel (frame ATTACH). Twice for the same ref on one connection means: again."""

    ref: ChannelRef
    channel_class: ChannelClass
    readers: int
    k: Secret
    token: Secret
    incarnation: bytes
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositCell:
    """Deposit a cell (frame DEPOSIT); order among effects is order on the wire."""

    ref: ChannelRef
    channel_class: ChannelClass
    readers: int
    k: Secret
    deposit_id: bytes
    close: bool
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AckCell:
    """Acknowledge everything up to ``seq`` (frame ACK)."""

    ref: ChannelRef
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachChannel:
    """Detach (frame DETACH); the ref is not used again on this connection unless attached anew."""

    ref: ChannelRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """Drop the connection and make a new one (R13: CLOSED, and no closing cell within 60 s)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WelcomeReady:
    """A commit that adds has been stored and merged: bring this Welcome to the joiner (R16).

    Attributes:
        welcome_id: 16 bytes; answer :class:`WelcomeDelivered` with it. Repeated at every Connected.
        welcome: Encoded MLSMessage.
        device_id: The joiner.
    """

    welcome_id: bytes
    device_id: bytes
    welcome: bytes


# ------------------------------------------------------------------------------------ effects: people


class DeliveryState(Enum):
    """How far an own message got (R12). The value is what the vault stores."""

    QUEUED = 1
    SEALED = 2
    STORED = 3
    DELIVERED = 4
    FAILED = 5
    """Not delivered, and never will be: the line ended first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """A content message of another device stands in the list (delivered exactly once)."""

    sender_device: bytes
    counter: int
    kind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageStateChanged:
    """An own item has got further, or back to queued."""

    item_id: ItemId
    state: DeliveryState


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesMissing:
    """The counters ``first`` to ``last`` of a sender are shown as "missing" and were asked for (R11)."""

    sender_device: bytes
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlReceived:
    """An OFFER, JOIN or WELCOME of another leaf (S1); in memory only, told once.

    Attributes:
        sender_identity: The 32-byte identity key of the leaf's certificate.
        sender_device: Its device id.
        utc_seconds: The sender's claim (R23).
    """

    order: LineOrder
    sender_identity: bytes
    sender_device: bytes
    kind: PayloadKind
    utc_seconds: int
    body: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaced:
    """An own control payload stands in the log, at this place."""

    item_id: ItemId
    order: LineOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlNotSent:
    """It could not be sealed now (offline, reading, a commit or self-update due): try later."""

    item_id: ItemId


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlLost:
    """Its cell was lost; it is never sealed again (S1). Make a new one."""

    item_id: ItemId


class AlarmKind(Enum):
    """What a person must know. The value is what the vault stores."""

    CLONE = 1  # R9: old or cloned vault
    RELAY_LOST_STATE = 2  # R9
    FORK = 3  # R10
    CHANNEL_FULL = 4  # R8
    CHANNEL_GONE = 5  # R8
    NO_CLOSING_CELL = 6  # R13
    UNFLAGGED_COMMIT = 7  # R13
    COMMIT_REFUSED = 8  # R14: P failed, next turn
    LINE_FAULT = 9  # R14: after turn 3
    DEVICE_FAULT = 10  # R15
    UNREADABLE = 11  # R20
    TWO_BRANCHES = 12  # R18
    STRANDED = 13  # R18: waiting for an answer
    REJOINED = 14  # R18: a leaf came back
    EXPIRY_NEAR = 15  # R12: told before the loss
    ENDED_BY_PEER = 16  # R22
    DEVICE_ADDED = 17
    DEVICE_REMOVED = 18
    CERTIFICATE_EXPIRED = 19  # R15: warn only
    RELAY_REFUSES = 20  # QUOTA, RATE, STORE_FAILED …
    MESSAGES_LOST = 21  # R11: the sender has them no more
    WRONG_WELCOME = 22  # R16, R18: a Welcome that was refused
    EXPIRED_UNREAD = 23  # R6, R7: the relay has deleted what this device had not read
    REMOVED_IS_BACK = 24  # R14, R18: a removal was undone by an old store


class RejoinReason(Enum):
    """Why a device is stranded (R18); the value is on the wire."""

    FULL = 1
    GONE = 2
    CLONE = 3
    RELAY_LOST_STATE = 4
    FORK = 5
    FAULT = 6
    IMPORTED = 7
    TWO_BRANCHES = 8
    """Two Welcomes, or one more, lead to different continuations: as FORK, and whoever is asked asks too."""


class LinePhase(Enum):
    """Where a line stands. The value is what the vault stores."""

    ACTIVE = 1
    STRANDED = 2
    """Reads nothing and sends nothing but rejoin requests (R18)."""
    UNDECIDED = 3
    """A fork or two branches: the people compare safety numbers, then :class:`Resolve`."""
    ENDING = 4
    """END is queued and waits for its receipt (R22)."""
    ENDED = 5
    """Keys are destroyed."""
    FAULTED = 6
    """Four commits were refused (R14); only a new line helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Tell the person. The sentence holds no text, no name and no key.

    Attributes:
        device_id: The device concerned, empty if none.
    """

    kind: AlarmKind
    sentence: str
    device_id: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChanged:
    """Phase, members or alarms changed: read :meth:`LineMachine.view` again."""

    phase: LinePhase


NetworkEvent = (
    Connected
    | Disconnected
    | Attached
    | AttachRefused
    | CellArrived
    | OwnCellArrived
    | Stored
    | DepositRefused
    | Expired
    | AckConfirmed
    | AckRefused
    | Superseded
    | Tick
)
Intent = (
    SendText
    | SendContent
    | SendControl
    | FlushReceipts
    | MarkRead
    | DismissAlarm
    | KeepSession
    | ForgetSession
    | SelfUpdate
    | AddDevice
    | RemoveDevice
    | RemovedByOwner
    | WelcomeDelivered
    | RequestRejoin
    | Resolve
    | EndLine
    | DeleteTexts
)
Event = NetworkEvent | Intent
Effect = (
    Attach
    | DepositCell
    | AckCell
    | DetachChannel
    | Reconnect
    | WelcomeReady
    | MessageReceived
    | MessageStateChanged
    | MessagesMissing
    | ControlReceived
    | ControlPlaced
    | ControlNotSent
    | ControlLost
    | Notify
    | LineChanged
)
