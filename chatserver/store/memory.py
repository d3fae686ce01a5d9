"""A `Store` in memory: the rules of R3 to R6 and R21 once more, in plain Python.

For simulators and as the oracle of the test suite, which runs the same histories through this and through
SQLite. It keeps its promises only as long as the process lives; a relay on one machine uses `sqlite`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from chatserver.store import checks
from chatserver.store.channels import page_items
from chatserver.store.errors import StoreClosed
from chatserver.store.inboxes import bucket_range, identity_hash
from chatserver.store.protocol import (
    INBOX_ID_BYTES,
    INCARNATION_BYTES,
    Acknowledged,
    Attached,
    CellPage,
    ChannelId,
    ChannelRef,
    Day,
    Deposited,
    Done,
    DroppedCell,
    ExpiryReport,
    InboxId,
    InboxOpened,
    Refusal,
    Refused,
    StoreCounts,
    StoredCell,
    StoreSettings,
    TokenHash,
)


@dataclass(slots=True, kw_only=True)
class _Cell:
    seq: int
    close: bool
    deposit_id: bytes
    body: bytes
    expiry_day: int


@dataclass(slots=True, kw_only=True)
class _Channel:
    readers: int
    incarnation: bytes
    expiry_day: int
    next_seq: int = 1
    closed_seq: int = 0
    slots: dict[TokenHash, int] = field(default_factory=dict)
    cells: list[_Cell] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Therapist:
    inbox_id: InboxId
    serial: int = -1
    not_after_day: int = 0
    bundle: bytes | None = None


class MemoryStore:
    """See the module. Time and randomness come in as everywhere."""

    def __init__(
        self, settings: StoreSettings | None = None, *, rng: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._settings = settings or StoreSettings()
        self._rng = rng
        self._closed = False
        self._channels: dict[ChannelId, _Channel] = {}
        self._tombstones: dict[ChannelId, int] = {}
        self._therapists: dict[bytes, _Therapist] = {}
        self._drops: dict[InboxId, dict[bytes, tuple[bytes, int]]] = {}
        self._admissions: dict[tuple[InboxId, TokenHash], tuple[int, bytes | None]] = {}
        self._tokens: dict[TokenHash, int] = {}

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store is closed; the relay is stopping")

    def _find(self, channel: ChannelRef, *, today: Day, may_create: bool) -> tuple[_Channel, bool] | Refused:
        if channel.channel_id in self._tombstones:
            return Refused(reason=Refusal.GONE)
        found = self._channels.get(channel.channel_id)
        if found is not None:
            return found, False
        if not may_create:
            return Refused(reason=Refusal.CREATION_LIMIT)
        created = _Channel(
            readers=channel.readers,
            incarnation=self._rng(INCARNATION_BYTES),
            expiry_day=today + self._settings.untouched_days,
        )
        return created, True

    def _touch(self, channel: _Channel, today: Day) -> None:
        channel.expiry_day = max(channel.expiry_day, today + self._settings.untouched_days)

    async def attach(
        self, channel: ChannelRef, token_hash: TokenHash, *, today: Day, may_create: bool = True
    ) -> Attached | Refused:
        """See `Store.attach`."""
        self._check_open()
        checks.channel_ref(channel)
        checks.token_hash(token_hash)
        found = self._find(channel, today=today, may_create=may_create)
        if isinstance(found, Refused):
            return found
        state, created = found
        new_slot = token_hash not in state.slots
        if new_slot and len(state.slots) >= state.readers:
            return Refused(reason=Refusal.FULL)
        self._channels[channel.channel_id] = state
        self._touch(state, today)
        state.slots.setdefault(token_hash, 0)
        return Attached(
            incarnation=state.incarnation,
            head=state.next_seq - 1,
            acked=state.slots[token_hash],
            closed_seq=state.closed_seq,
            created=created,
            new_slot=new_slot,
        )

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
        """See `Store.deposit`."""
        self._check_open()
        checks.channel_ref(channel)
        checks.deposit_id(deposit_id)
        checks.body(body)
        found = self._find(channel, today=today, may_create=may_create)
        if isinstance(found, Refused):
            return found
        state, created = found
        known = [cell.seq for cell in state.cells if cell.deposit_id == deposit_id]
        if known:
            self._touch(state, today)
            return Deposited(seq=known[0], duplicate=True, created=False, incarnation=state.incarnation)
        if state.closed_seq:
            return Refused(reason=Refusal.CLOSED)
        if len(state.cells) >= self._settings.max_cells_per_channel and not close:
            return Refused(reason=Refusal.QUOTA)
        self._channels[channel.channel_id] = state
        self._touch(state, today)
        seq = state.next_seq
        state.next_seq += 1
        lifetime = self._settings.closing_days if close else self._settings.message_days
        state.cells.append(
            _Cell(seq=seq, close=close, deposit_id=deposit_id, body=body, expiry_day=today + lifetime)
        )
        if close:
            state.closed_seq = seq
        return Deposited(seq=seq, duplicate=False, created=created, incarnation=state.incarnation)

    def _unknown(self, channel_id: ChannelId) -> Refused:
        gone = channel_id in self._tombstones
        return Refused(reason=Refusal.GONE if gone else Refusal.NOT_ATTACHED)

    async def ack(
        self, channel_id: ChannelId, token_hash: TokenHash, seq: int, *, today: Day
    ) -> Acknowledged | Refused:
        """See `Store.ack`."""
        self._check_open()
        checks.channel_id(channel_id)
        checks.token_hash(token_hash)
        checks.not_negative(seq, "a number of a cell")
        state = self._channels.get(channel_id)
        if state is None:
            return self._unknown(channel_id)
        if token_hash not in state.slots:
            return Refused(reason=Refusal.NOT_ATTACHED)
        if seq >= state.next_seq:
            return Refused(reason=Refusal.ACK_BEYOND_HEAD)
        self._touch(state, today)
        if seq <= state.slots[token_hash]:
            return Acknowledged(acked=state.slots[token_hash], deleted_cells=0, finished=False)
        state.slots[token_hash] = seq
        all_acked = min(state.slots.values()) if len(state.slots) == state.readers else 0
        before = len(state.cells)
        state.cells = [cell for cell in state.cells if cell.seq > all_acked]
        finished = 0 < state.closed_seq <= all_acked
        if finished:
            del self._channels[channel_id]
            self._tombstones[channel_id] = today + self._settings.tombstone_days
        return Acknowledged(acked=seq, deleted_cells=before - len(state.cells), finished=finished)

    async def read(self, channel_id: ChannelId, position: int, *, max_cells: int = 64) -> CellPage | Refused:
        """See `Store.read`."""
        self._check_open()
        checks.channel_id(channel_id)
        checks.not_negative(position, "a position")
        checks.not_negative(max_cells, "a limit")
        state = self._channels.get(channel_id)
        if state is None:
            return self._unknown(channel_id)
        head = state.next_seq - 1
        position = min(position, head)
        cells = [
            StoredCell(seq=cell.seq, close=cell.close, body=cell.body)
            for cell in state.cells
            if cell.seq > position
        ]
        items, covered = page_items(cells[:max_cells], position=position, head=head, max_items=max_cells)
        return CellPage(items=items, position=covered, head=head, incarnation=state.incarnation)

    async def open_inbox(
        self, identity_key: bytes, *, token_hash: TokenHash | None, admit_all: bool, today: Day
    ) -> InboxOpened | Refused:
        """See `Store.open_inbox`."""
        self._check_open()
        checks.identity_key(identity_key)
        known = self._therapists.get(identity_hash(identity_key))
        if known is not None:
            waiting = len(self._drops[known.inbox_id])
            return InboxOpened(inbox_id=known.inbox_id, waiting=waiting, created=False)
        if len(self._therapists) >= self._settings.max_therapists:
            return Refused(reason=Refusal.THERAPISTS_FULL)
        if not admit_all:
            if token_hash is None:
                return Refused(reason=Refusal.TOKEN_REQUIRED)
            checks.token_hash(token_hash)
            if self._tokens.get(token_hash, -1) < today:
                return Refused(reason=Refusal.TOKEN_INVALID)
            del self._tokens[token_hash]
        inbox_id = InboxId(self._rng(INBOX_ID_BYTES))
        self._therapists[identity_hash(identity_key)] = _Therapist(inbox_id=inbox_id)
        self._drops[inbox_id] = {}
        return InboxOpened(inbox_id=inbox_id, waiting=0, created=True)

    async def drop(
        self, inbox_id: InboxId, *, drop_id: bytes, body: bytes, admit_hash: TokenHash | None, today: Day
    ) -> Done | Refused:
        """See `Store.drop`."""
        self._check_open()
        checks.inbox_id(inbox_id)
        checks.deposit_id(drop_id)
        checks.body(body)
        waiting = self._drops.get(inbox_id)
        if waiting is None:
            return Refused(reason=Refusal.NOT_REGISTERED)
        if admit_hash is not None:
            checks.token_hash(admit_hash)
            expires_day, used_by = self._admissions.get((inbox_id, admit_hash), (-1, None))
            if expires_day < today:
                return Refused(reason=Refusal.ADMISSION_UNKNOWN)
            if used_by is not None:
                same = used_by == drop_id
                return Done(repeated=True) if same else Refused(reason=Refusal.ADMISSION_USED)
        if drop_id in waiting:
            return Done(repeated=True)
        if len(waiting) >= self._settings.inbox_max_waiting:
            return Refused(reason=Refusal.INBOX_FULL)
        waiting[drop_id] = (body, today + self._settings.inbox_days)
        if admit_hash is not None:
            self._admissions[inbox_id, admit_hash] = (self._admissions[inbox_id, admit_hash][0], drop_id)
        return Done(repeated=False)

    async def list_drops(
        self, inbox_id: InboxId, *, after: bytes = b"", limit: int = 16
    ) -> tuple[DroppedCell, ...]:
        """See `Store.list_drops`."""
        self._check_open()
        checks.inbox_id(inbox_id)
        checks.not_negative(limit, "a limit")
        waiting = self._drops.get(inbox_id, {})
        chosen = sorted(drop_id for drop_id in waiting if drop_id > after)[:limit]
        return tuple(DroppedCell(drop_id=drop_id, body=waiting[drop_id][0]) for drop_id in chosen)

    async def ack_drop(self, inbox_id: InboxId, drop_id: bytes) -> Done:
        """See `Store.ack_drop`."""
        self._check_open()
        checks.inbox_id(inbox_id)
        checks.deposit_id(drop_id)
        return Done(repeated=self._drops.get(inbox_id, {}).pop(drop_id, None) is None)

    async def admit(
        self, inbox_id: InboxId, admit_hash: TokenHash, *, expires_day: Day, today: Day
    ) -> Done | Refused:
        """See `Store.admit`."""
        self._check_open()
        checks.inbox_id(inbox_id)
        checks.token_hash(admit_hash)
        if inbox_id not in self._drops:
            return Refused(reason=Refusal.NOT_REGISTERED)
        repeated = (inbox_id, admit_hash) in self._admissions
        self._admissions.setdefault(
            (inbox_id, admit_hash), (min(expires_day, today + self._settings.admission_days), None)
        )
        return Done(repeated=repeated)

    async def publish_bundle(
        self, identity_key: bytes, *, bundle: bytes, serial: int, not_after_day: Day
    ) -> Done | Refused:
        """See `Store.publish_bundle`."""
        self._check_open()
        checks.identity_key(identity_key)
        checks.serial(serial)
        known = self._therapists.get(identity_hash(identity_key))
        if known is None:
            return Refused(reason=Refusal.NOT_REGISTERED)
        if serial <= known.serial:
            same = serial == known.serial and bundle == known.bundle
            return Done(repeated=True) if same else Refused(reason=Refusal.BUNDLE_OLD)
        known.serial, known.bundle, known.not_after_day = serial, bundle, not_after_day
        return Done(repeated=False)

    async def bundles(self, *, bits: int, prefix: int) -> tuple[bytes, ...]:
        """See `Store.bundles`."""
        self._check_open()
        checks.bucket(bits, prefix)
        low, high = bucket_range(bits, prefix)
        return tuple(
            therapist.bundle
            for key, therapist in sorted(self._therapists.items(), key=lambda item: item[0])
            if therapist.bundle is not None and low <= key and (high is None or key < high)
        )

    async def add_therapist_token(self, token_hash: TokenHash, *, expires_day: Day) -> Done:
        """See `Store.add_therapist_token`."""
        self._check_open()
        checks.token_hash(token_hash)
        repeated = token_hash in self._tokens
        self._tokens.setdefault(token_hash, expires_day)
        return Done(repeated=repeated)

    async def expire(self, *, today: Day) -> ExpiryReport:
        """See `Store.expire`."""
        self._check_open()
        cells = closed = untouched = 0
        for channel_id, state in list(self._channels.items()):
            before = len(state.cells)
            state.cells = [cell for cell in state.cells if cell.expiry_day >= today]
            cells += before - len(state.cells)
            if state.closed_seq and not any(cell.close for cell in state.cells):
                closed += 1
                self._tombstones[channel_id] = today + self._settings.tombstone_days
            elif state.expiry_day < today:
                untouched += 1
            else:
                continue
            cells += len(state.cells)
            del self._channels[channel_id]
        expired_tombstones = [key for key, day in self._tombstones.items() if day < today]
        expired_admissions = [key for key, (day, _) in self._admissions.items() if day < today]
        expired_tokens = [key for key, day in self._tokens.items() if day < today]
        for tombstone in expired_tombstones:
            del self._tombstones[tombstone]
        for admission in expired_admissions:
            del self._admissions[admission]
        for token in expired_tokens:
            del self._tokens[token]
        return ExpiryReport(
            cells=cells,
            closed_channels=closed,
            untouched_channels=untouched,
            tombstones=len(expired_tombstones),
            drops=self._expire_drops(today),
            admissions=len(expired_admissions),
            tokens=len(expired_tokens),
            bundles=self._expire_bundles(today),
        )

    def _expire_drops(self, today: Day) -> int:
        expired = [
            (inbox_id, drop_id)
            for inbox_id, waiting in self._drops.items()
            for drop_id, (_, day) in waiting.items()
            if day < today
        ]
        for inbox_id, drop_id in expired:
            del self._drops[inbox_id][drop_id]
        return len(expired)

    def _expire_bundles(self, today: Day) -> int:
        expired = [
            therapist
            for therapist in self._therapists.values()
            if therapist.bundle is not None and therapist.not_after_day < today
        ]
        for therapist in expired:
            therapist.bundle = None
        return len(expired)

    async def counts(self) -> StoreCounts:
        """See `Store.counts`."""
        self._check_open()
        return StoreCounts(
            channels=len(self._channels),
            slots=sum(len(state.slots) for state in self._channels.values()),
            cells=sum(len(state.cells) for state in self._channels.values()),
            tombstones=len(self._tombstones),
            inboxes=len(self._drops),
            drops=sum(len(waiting) for waiting in self._drops.values()),
            admissions=len(self._admissions),
            tokens=len(self._tokens),
            bundles=sum(therapist.bundle is not None for therapist in self._therapists.values()),
        )

    async def erase(self) -> bool:
        """Nothing was ever written down."""
        self._check_open()
        return True

    async def close(self) -> None:
        """Forget everything."""
        self._closed = True
        self._channels.clear()
        self._drops.clear()
