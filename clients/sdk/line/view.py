"""What an application sees of a line: plain values, read in one transaction, holding no key.

Sorted by R11's meaning of "in order": messages of one sender stand in the order of their counters, whatever
order they came in; senders are interleaved by the place that their first copy took in the list.
"""

from __future__ import annotations

from dataclasses import dataclass

from clients.sdk.line.events import AlarmKind, DeliveryState, ItemId, LinePhase
from crypto.sensitive import Plaintext


@dataclass(frozen=True, slots=True, kw_only=True)
class LineMessage:
    """One row of the conversation.

    Attributes:
        mine: Written on this device or another device of the same person.
        sender_device: Device id, 16 bytes.
        counter: R11's counter; 0 for an own message that was not sealed yet.
        item_id: The caller's id for an own message of this device, else empty (but see ``kept``).
        kind: Number of :class:`clients.sdk.line.payloads.PayloadKind`, or one unknown to this version.
        version: Version of the body.
        utc_seconds: The sender's claim (R23).
        state: For own messages how far they got; None for received ones.
        missing: A gap: this counter was not received (R11); body empty.
        lost: With ``missing``: its sender does not have it any more.
        needs_newer_version: Kind or version are of a later program (R23); the body is kept as it came.
        kept: A text of a live session that both people agreed to keep (S7); ``item_id`` is the session id
            and a number of 4 bytes, ``sender_device`` and ``kind`` say nothing.
    """

    mine: bool
    sender_device: bytes
    counter: int
    item_id: ItemId
    kind: int
    version: int
    utc_seconds: int
    body: Plaintext
    state: DeliveryState | None
    missing: bool = False
    lost: bool = False
    needs_newer_version: bool = False
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One sentence that the person has not dismissed yet."""

    kind: AlarmKind
    sentence: str
    device_id: bytes
    utc_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberView:
    """One leaf of the line's group."""

    device_id: bytes
    identity_key: bytes
    mine: bool
    heard_at: int
    """When something signed by it was last read, UTC seconds; 0 never since it was added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineView:
    """Where a line stands.

    Attributes:
        changing: Devices of the own person that this device is about to add or remove.
        attached: Attached to the current channel and read to the head reported then.
        waiting_to_send: Own items that are not yet STORED.
        undelivered: Own items that no device of the other person has receipted.
        self_update_due: Content waits for a self-update (R17).
        last_activity_utc: Newest message sent or received, by this device's clock; 0 if none.
    """

    phase: LinePhase
    epoch: int
    turn: int
    group_id: bytes
    members: tuple[MemberView, ...]
    changing: frozenset[bytes]
    attached: bool
    waiting_to_send: int
    undelivered: int
    unread: int
    receipt_due: bool
    self_update_due: bool
    last_activity_utc: int
    alarms: tuple[Alarm, ...]
