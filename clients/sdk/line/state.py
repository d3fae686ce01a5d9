"""The line's row: what R7 says one vault holds per line, except what grows (:mod:`clients.sdk.line.tables`).

One record, small enough to be written again at every step. Everything else of R7 stands in tables of its own:
MLS state, outbox, pending commit, own-cell digests, the last 4,096 H_n, counters per device, stubs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from clients.sdk.line.events import LinePhase, RejoinReason
from clients.sdk.line.payloads import Anchor
from clients.sdk.line.record import (
    FLAG,
    OPAQUE,
    SECONDS,
    U8,
    U16,
    U64,
    FieldCodec,
    Record,
    enum_field,
    list_field,
    optional_field,
    record_field,
)
from crypto.codec import Reader, Writer
from crypto.errors import StateError

FORMAT: Final = 1
"""Version of every record of a line. Written as the row's first two bytes."""

FIRST_ORDER: Final = 1 << 32
"""Order numbers of the outbox count up from here; what must go first counts down (R16)."""


def _read_anchor(reader: Reader) -> Anchor:
    return Anchor(incarnation=reader.opaque(), n=reader.u64(), log_hash=reader.opaque())


def _write_anchor(writer: Writer, anchor: Anchor) -> None:
    writer.opaque(anchor.incarnation).u64(anchor.n).opaque(anchor.log_hash)


ANCHOR: FieldCodec[Anchor] = FieldCodec(_read_anchor, _write_anchor)


@dataclass(slots=True, kw_only=True)
class ChannelPosition(Record):
    """Where this device stands in the current channel (R9, R10).

    Attributes:
        token: Slot token, 32 random bytes, of this channel alone.
        incarnation: 16 bytes; empty until the first ATTACHED.
        position: n, number of the last cell counted.
        log_hash: H_n; empty while unknown after an announced hole (R10).
        known_n: With ``known_hash`` the newest known (n, H_n), what this device claims.
        highest: Highest position ever reached in this incarnation; acks beyond are a clone's (R9).
        old_incarnations: Those that this channel had before the relay lost its state.
        resync: The relay lost state; the next cell may begin anywhere (R9).
        lost_seconds: Connected time since then without an authenticated cell of another leaf; None if none.
        resolved_to: What was claimed in cells up to this one the people have judged (R18); 0 if nothing.
    """

    token: bytes
    incarnation: bytes = b""
    position: int = 0
    log_hash: bytes = b""
    known_n: int = 0
    known_hash: bytes = b""
    resync: bool = False
    lost_seconds: float | None = None
    highest: int = 0
    old_incarnations: list[bytes] = field(default_factory=list)
    resolved_to: int = 0

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (
        ("token", OPAQUE),
        ("incarnation", OPAQUE),
        ("position", U64),
        ("log_hash", OPAQUE),
        ("known_n", U64),
        ("known_hash", OPAQUE),
        ("resync", FLAG),
        ("lost_seconds", optional_field(SECONDS)),
        ("highest", U64),
        ("old_incarnations", list_field(OPAQUE)),
        ("resolved_to", U64),
    )


@dataclass(slots=True, kw_only=True)
class Member(Record):
    """One leaf of the current epoch.

    Attributes:
        leaf_index: Its place in the tree.
        added_epoch: Epoch that it came in with, as far as this device knows.
        added_at: When this device merged that, UTC seconds.
        heard_at: When something signed by it was last read, UTC seconds; 0 never since it was added.
    """

    device_id: bytes
    identity_key: bytes
    leaf_index: int
    added_epoch: int
    added_at: float
    heard_at: float

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (
        ("device_id", OPAQUE),
        ("identity_key", OPAQUE),
        ("leaf_index", U64),
        ("added_epoch", U64),
        ("added_at", SECONDS),
        ("heard_at", SECONDS),
    )


@dataclass(slots=True, kw_only=True)
class OldSecret(Record):
    """An R that was replaced, heard until ``until`` (UTC seconds; R18)."""

    secret: bytes = field(repr=False)
    until: float

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (("secret", OPAQUE), ("until", SECONDS))


@dataclass(slots=True, kw_only=True)
class LineState(Record):
    """The row. Mutable inside one step; the machine writes it back if its bytes changed.

    Attributes:
        addresses: The four k of the epoch (R1).
        cell_key: R1.
        previous: Closing cell of the channel before, for the first message of the epoch (R10).
        claim_previous: The own first message of this epoch was not sent yet.
        secret: R of R18; empty before LINE_INFO came.
        secret_from: Devices whose next LINE_INFO or NEW_R is believed: committers of Adds and Removes (R16).
        older_due: The first so many of them owe an R that is older than the present one.
        awaits_info: Returned by a rejoin; sends content only after LINE_INFO has told its counter (R16).
        update_first: Sends nothing before a self-update (R17).
        refused_by: Devices whose commits were refused in this epoch (R14).
        stranded_reason: Meaningful in phases STRANDED and UNDECIDED; while LINE_INFO is awaited, why it is.
        resolved_same: The people found the safety numbers equal; R18 may proceed once.
        resolved_at: When they did; 0 if never.
        stay_at: From when on a device that was offered two branches may stay on its own; 0 before it asked.
        identities: The identity keys of the line, fixed at its beginning; own one included.
        second_welcome_at: A second Welcome waits to be explained by the log since then; 0 if none.
        receipt_due_at: 0 if no receipt is owed.
        infos_outstanding: LINE_INFO and NEW_R of ours that not every device has receipted; the newest was
            queued at ``info_since``.
        requeue_at: When the oldest stored content must be queued again (R12); 0 if none.
    """

    phase: LinePhase
    suite: int
    group_id: bytes
    epoch: int
    turn: int = 0
    readers: int = 0
    addresses: list[bytes] = field(default_factory=list, repr=False)
    cell_key: bytes = field(default=b"", repr=False)
    channel: ChannelPosition
    previous: Anchor | None = None
    claim_previous: bool = False
    sealed_in_epoch: int = 0
    members: list[Member] = field(default_factory=list)
    identities: list[bytes] = field(default_factory=list)
    secret: bytes = field(default=b"", repr=False)
    old_secrets: list[OldSecret] = field(default_factory=list)
    secret_from: list[bytes] = field(default_factory=list)
    older_due: int = 0
    settings: bytes = b""
    next_counter: int = 1
    next_order: int = FIRST_ORDER
    front_order: int = FIRST_ORDER - 1
    next_place: int = 1
    awaits_info: bool = False
    update_first: bool = False
    update_due: bool = False
    updated_at: float = 0.0
    next_update_at: float = 0.0
    used_since_update: bool = False
    commit_not_before: float = 0.0
    refused_by: list[bytes] = field(default_factory=list)
    receipt_due_at: float = 0.0
    request_due_at: float = 0.0
    requeue_at: float = 0.0
    infos_outstanding: int = 0
    info_since: float = 0.0
    stranded_reason: RejoinReason | None = None
    resolved_same: bool = False
    resolved_at: float = 0.0
    stay_at: float = 0.0
    rejoin_requested_at: float = 0.0
    second_welcome_at: float = 0.0
    end_block: bool = False
    end_keep_texts: bool = True
    ended_by_peer: bool = False
    unread: int = 0
    last_activity: float = 0.0

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (
        ("phase", enum_field(LinePhase)),
        ("suite", U16),
        ("group_id", OPAQUE),
        ("epoch", U64),
        ("turn", U8),
        ("readers", U8),
        ("addresses", list_field(OPAQUE)),
        ("cell_key", OPAQUE),
        ("channel", record_field(ChannelPosition)),
        ("previous", optional_field(ANCHOR)),
        ("claim_previous", FLAG),
        ("sealed_in_epoch", U64),
        ("members", list_field(record_field(Member))),
        ("identities", list_field(OPAQUE)),
        ("secret", OPAQUE),
        ("old_secrets", list_field(record_field(OldSecret))),
        ("secret_from", list_field(OPAQUE)),
        ("older_due", U64),
        ("settings", OPAQUE),
        ("next_counter", U64),
        ("next_order", U64),
        ("front_order", U64),
        ("next_place", U64),
        ("awaits_info", FLAG),
        ("update_first", FLAG),
        ("update_due", FLAG),
        ("updated_at", SECONDS),
        ("next_update_at", SECONDS),
        ("used_since_update", FLAG),
        ("commit_not_before", SECONDS),
        ("refused_by", list_field(OPAQUE)),
        ("receipt_due_at", SECONDS),
        ("request_due_at", SECONDS),
        ("requeue_at", SECONDS),
        ("infos_outstanding", U64),
        ("info_since", SECONDS),
        ("stranded_reason", optional_field(enum_field(RejoinReason))),
        ("resolved_same", FLAG),
        ("resolved_at", SECONDS),
        ("stay_at", SECONDS),
        ("rejoin_requested_at", SECONDS),
        ("second_welcome_at", SECONDS),
        ("end_block", FLAG),
        ("end_keep_texts", FLAG),
        ("ended_by_peer", FLAG),
        ("unread", U64),
        ("last_activity", SECONDS),
    )

    def member(self, device_id: bytes) -> Member | None:
        """The leaf of a device in the current epoch, if it has one."""
        return next((member for member in self.members if member.device_id == device_id), None)

    def member_at(self, leaf_index: int) -> Member | None:
        """The member at a leaf of the current epoch."""
        return next((member for member in self.members if member.leaf_index == leaf_index), None)


def encode_row(state: LineState) -> bytes:
    """The row with its format number in front."""
    return FORMAT.to_bytes(2, "big") + state.to_bytes()


def decode_row(data: bytes) -> LineState:
    """Inverse of :func:`encode_row`.

    Raises:
        CodecError: Damaged.
        StateError: Written by a newer version of the program.
    """
    if int.from_bytes(data[:2], "big") > FORMAT:
        raise StateError("this line was written by a newer version of Amanat; update the program")
    return LineState.from_bytes(data[2:])
