"""What the relay asks of its store: one protocol, several implementations, one test suite for all of them.

The store keeps channels of the class `stored` (R3 to R6 of CHANNELS.md), inboxes (R21), contact bundles and
admissions (DESIGN section 6). It judges nothing else: no rates, no signatures, no frames. Invariants of every
implementation:

* A result of a call that changed something exists only after the change is on disk (R4), together with
  everything asked before it. Results of one store resolve in the order in which the calls were made.
* A refusal is a result (`Refused`), because it is the peer's business; an exception means that nothing was
  done: `StoreError` when the store failed, `StoreUsageError` when we did.
* Cancelling the wait for a call does not undo the call.
* No time finer than a day: the caller says which day it is, in whole UTC days since 1970.
* Secrets come in hashed (`hash_token`), so that the store never sees a token.
* A cell, drop, admission or channel is kept through its expiry day and goes on the day after (`expire`).

Deliberately not here: the class `live`, which lives in the relay's memory only (R6) and is refused; who is
attached to what at the moment; fan-out.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from typing import NewType, Protocol

ChannelId = NewType("ChannelId", bytes)
"""32 bytes, computed by the relay from (class, readers, k) as R2 says."""

TokenHash = NewType("TokenHash", bytes)
"""32 bytes: SHA-256 of a slot token, an admission value or a therapist's one-use token."""

InboxId = NewType("InboxId", bytes)
"""16 random bytes, chosen by the store when a therapist registers."""

Day = NewType("Day", int)
"""Whole UTC days since 1970-01-01."""

STORED_CLASS = 1
"""The only class of channel that a store takes (R2)."""

MAX_READERS = 4
"""A group has at most 4 leaves (R2)."""

CHANNEL_ID_BYTES = 32
HASH_BYTES = 32
INCARNATION_BYTES = 16
DEPOSIT_ID_BYTES = 16
INBOX_ID_BYTES = 16
IDENTITY_KEY_BYTES = 32
CELL_BYTES = 16_384


def hash_token(token: bytes) -> TokenHash:
    """SHA-256 of a slot token (R3), an admission value or a therapist's token: how a store keeps it."""
    return TokenHash(hashlib.sha256(token).digest())


def day_of(utc_seconds: float) -> Day:
    """The UTC day that contains an instant, in days since 1970."""
    return Day(int(utc_seconds // 86_400))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Limits and times of a store; the relay's config.toml sets the ones an operator may change.

    Attributes:
        message_days: days that a cell is kept unread (R6).
        closing_days: days that a closing cell is kept unread (R6).
        tombstone_days: days for which a finished channel answers GONE (R6).
        untouched_days: days without ATTACH, DEPOSIT or acknowledgement after which a channel goes (R6).
        inbox_days: days that a first contact waits (R21).
        max_cells_per_channel: cells waiting in one channel; one closing cell more is taken (R5).
        admission_days: the longest time that an invitation may be admitted for.
        inbox_max_waiting: first contacts waiting in one inbox (R21).
        max_therapists: inboxes that may be registered (R21).
        max_queued: calls waiting for the writer; more raise `StoreOverloaded`. 4,096 cells are 64 MiB.
        max_batch: calls in one transaction, so that no caller waits for an endless one.
        patience_seconds: so long an acknowledgement may wait for another request, to share its transaction.
        erase_seconds: the longest time that deleted bytes stay in the write-ahead log (H1).
        wal_limit_bytes: size of the write-ahead log beyond which deposits wait until it is erased (H1).
        reserve_bytes: free space of the disk that cells may not take, so that acknowledgement, deletion and
            erasure go on when the disk is full; cells that need no new space may take half of it.
        check_at_open: read every page when opening, so that damage is found before anybody depends on it.
    """

    message_days: int = 30
    closing_days: int = 90
    tombstone_days: int = 90
    untouched_days: int = 90
    inbox_days: int = 30
    admission_days: int = 31
    max_cells_per_channel: int = 1_024
    inbox_max_waiting: int = 256
    max_therapists: int = 255
    max_queued: int = 4_096
    max_batch: int = 512
    patience_seconds: float = 0.0
    erase_seconds: float = 5.0
    wal_limit_bytes: int = 64 * 1024 * 1024
    reserve_bytes: int = 128 * 1024 * 1024
    check_at_open: bool = True


class Refusal(enum.Enum):
    """Why a store says no to a peer. The relay maps each onto the wire's error code of the same name."""

    FULL = "all slots of the channel belong to others (R3)"
    GONE = "the channel was finished; a tombstone remains (R6)"
    CLOSED = "the channel has its closing cell (R5)"
    QUOTA = "too many cells wait in the channel"
    NOT_ATTACHED = "no such channel, or the token has no slot in it"
    ACK_BEYOND_HEAD = "the cell acknowledged does not exist yet"
    CREATION_LIMIT = "the channel is unknown and the caller said that none may be created now (R4)"
    NOT_REGISTERED = "no inbox of this identity key or id"
    TOKEN_REQUIRED = "registering needs a one-use token (R21)"  # noqa: S105 (a sentence, no password)
    TOKEN_INVALID = "the one-use token is unknown, used or expired (R21)"  # noqa: S105 (likewise)
    THERAPISTS_FULL = "as many inboxes are registered as may be (R21)"
    INBOX_FULL = "too many first contacts wait (R21)"
    ADMISSION_UNKNOWN = "the invitation is unknown to this inbox, or expired"
    ADMISSION_USED = "the invitation was used by another first contact"
    BUNDLE_OLD = "a bundle with this or a higher serial is published"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing was changed, for this reason."""

    reason: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRef:
    """A channel as a request names it (R2). The id already binds class and readers."""

    channel_id: ChannelId
    channel_class: int
    readers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """Answer of `attach` (R3).

    Attributes:
        incarnation: 16 random bytes, drawn when the channel was created.
        head: number of the newest cell ever deposited; 0 if none.
        acked: the highest number that this slot has acknowledged; 0 if none.
        closed_seq: number of the closing cell; 0 while the channel is open.
        created: this call created the channel (it counts against the creation limit, R4).
        new_slot: this call took a free slot.
    """

    incarnation: bytes
    head: int
    acked: int
    closed_seq: int
    created: bool
    new_slot: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposited:
    """Answer of `deposit` (R4): the cell is on disk as number `seq`.

    Attributes:
        seq: the cell's number, from 1.
        duplicate: the deposit id was known and its cell still exists; nothing was written, nothing is to be
        fanned out.
        created: this call created the channel.
        incarnation: the channel's incarnation.
    """

    seq: int
    duplicate: bool
    created: bool
    incarnation: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """Answer of `ack` (R3, R6).

    Attributes:
        acked: the slot's acknowledgement as it now stands (it never goes back).
        deleted_cells: cells that were deleted because every slot has acknowledged past them.
        finished: every slot has acknowledged the closing cell: the channel is gone, its tombstone stands.
    """

    acked: int
    deleted_cells: int
    finished: bool


@dataclass(slots=True, kw_only=True)
class StoredCell:
    """One cell of a channel, body of exactly `CELL_BYTES`. Not frozen: that costs for every cell."""

    seq: int
    close: bool
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredRange:
    """Cells `first` to `last` (both included) existed once and exist no more (R6: announced as EXPIRED)."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPage:
    """A consecutive piece of a channel's log: cells and expired ranges, in order, without a gap.

    Attributes:
        items: what follows the position asked for.
        position: number of the last cell or range covered; ask again from here while it is below `head`.
        head: number of the newest cell ever deposited.
        incarnation: the channel's incarnation.
    """

    items: tuple[StoredCell | ExpiredRange, ...]
    position: int
    head: int
    incarnation: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxOpened:
    """Answer of `open_inbox` (R21): the inbox and how many first contacts wait in it."""

    inbox_id: InboxId
    waiting: int
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedCell:
    """One first contact, body of exactly `CELL_BYTES`. Inboxes keep no order of arrival."""

    drop_id: bytes
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It was done, or had been done before (`repeated`)."""

    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryReport:
    """What one call of `expire` removed, in numbers."""

    cells: int
    closed_channels: int
    untouched_channels: int
    tombstones: int
    drops: int
    admissions: int
    tokens: int
    bundles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCounts:
    """How much the store holds, for the demonstration, for tests and for rounded metrics."""

    channels: int
    slots: int
    cells: int
    tombstones: int
    inboxes: int
    drops: int
    admissions: int
    tokens: int
    bundles: int


class Store(Protocol):
    """The relay's store.

    Every method may raise `StoreError` (nothing done) and `StoreUsageError` (our mistake).
    """

    async def attach(
        self, channel: ChannelRef, token_hash: TokenHash, *, today: Day, may_create: bool = True
    ) -> Attached | Refused:
        """Find or create the channel and the slot (R3).

        Refusals: GONE, CREATION_LIMIT, FULL. Touches the channel.
        """
        ...

    async def deposit(
        self,
        channel: ChannelRef,
        *,
        deposit_id: bytes,
        close: bool,
        body: bytes,
        today: Day,
        may_create: bool = True,
    ) -> Deposited | Refused:
        """Append a cell (R4, R5).

        Refusals in this order: GONE, CREATION_LIMIT, CLOSED, QUOTA. Touches the channel.
        """
        ...

    async def ack(
        self, channel_id: ChannelId, token_hash: TokenHash, seq: int, *, today: Day
    ) -> Acknowledged | Refused:
        """Acknowledge all cells up to `seq` for one's own slot (R3).

        What all slots have acknowledged is deleted in the same transaction (R6). An acknowledgement below the
        present one changes nothing. Refusals: GONE, NOT_ATTACHED, ACK_BEYOND_HEAD.
        """
        ...

    async def read(self, channel_id: ChannelId, position: int, *, max_cells: int = 64) -> CellPage | Refused:
        """Cells after `position`, holes as ranges, at most `max_cells` items.

        A position beyond the head gives an empty page whose `position` is the head. Refusals: GONE,
        NOT_ATTACHED (no such channel).
        """
        ...

    async def open_inbox(
        self, identity_key: bytes, *, token_hash: TokenHash | None, admit_all: bool, today: Day
    ) -> InboxOpened | Refused:
        """The inbox of an identity key whose signature the relay has verified (R21).

        An unknown key is registered: that needs `admit_all`, or a one-use token, which is consumed in the
        same transaction; an inbox that exists consumes nothing. Nor does a refusal.

        Refusals: THERAPISTS_FULL, TOKEN_REQUIRED, TOKEN_INVALID.
        """
        ...

    async def drop(
        self, inbox_id: InboxId, *, drop_id: bytes, body: bytes, admit_hash: TokenHash | None, today: Day
    ) -> Done | Refused:
        """Put a first contact into an inbox (R21).

        `admit_hash=None` means that the relay has judged admission itself. An admission is used up in the
        same transaction; the same drop id with the same admission is `repeated`, even after the drop was
        acknowledged. Refusals: NOT_REGISTERED, ADMISSION_UNKNOWN, ADMISSION_USED, INBOX_FULL.
        """
        ...

    async def list_drops(
        self, inbox_id: InboxId, *, after: bytes = b"", limit: int = 16
    ) -> tuple[DroppedCell, ...]:
        """Waiting first contacts in the order of their ids, those whose id is greater than `after`."""
        ...

    async def ack_drop(self, inbox_id: InboxId, drop_id: bytes) -> Done:
        """Delete a first contact that the therapist's device has kept; `repeated` if there was none."""
        ...

    async def admit(
        self, inbox_id: InboxId, admit_hash: TokenHash, *, expires_day: Day, today: Day
    ) -> Done | Refused:
        """Let one first contact with this admission value into the inbox.

        It holds through `expires_day`, at most `admission_days` from today. Refusal: NOT_REGISTERED. The
        store keeps SHA-256(inbox id ‖ admit hash), so that it holds no list of invitations per therapist.
        """
        ...

    async def publish_bundle(
        self, identity_key: bytes, *, bundle: bytes, serial: int, not_after_day: Day
    ) -> Done | Refused:
        """Replace a registered therapist's bundle by one of a higher serial.

        Refusals: NOT_REGISTERED, BUNDLE_OLD.
        """
        ...

    async def bundles(self, *, bits: int, prefix: int) -> tuple[bytes, ...]:
        """All bundles whose SHA-256(identity key) begins with the `bits` bits `prefix`, in its order."""
        ...

    async def add_therapist_token(self, token_hash: TokenHash, *, expires_day: Day) -> Done:
        """Allow one registration (R21)."""
        ...

    async def expire(self, *, today: Day) -> ExpiryReport:
        """Remove everything whose last day has passed (R6, R21).

        Call once at start and whenever the day changes.
        """
        ...

    async def counts(self) -> StoreCounts:
        """How much there is of everything."""
        ...

    async def erase(self) -> bool:
        """Erase now what was deleted (H1); False if a stranger keeps the files busy."""
        ...

    async def close(self) -> None:
        """Finish what was asked, erase, let go. Later calls raise `StoreClosed`."""
        ...
