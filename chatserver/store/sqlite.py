"""The store of a relay on one machine: SQLite, one writer thread, group commit, erasure (H1).

This module only checks arguments and puts the parts together: `channels`, `inboxes` and `expiry` hold the
rules, `writer` the thread, `database` the files, `erasure` the overwriting, `schema` the tables.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from chatserver.store import checks, expiry, inboxes
from chatserver.store.channels import Channels
from chatserver.store.database import Connect, Database, connect, create_files, open_database
from chatserver.store.errand import errand
from chatserver.store.protocol import (
    CELL_BYTES,
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
    Refused,
    StoreCounts,
    StoreSettings,
    TokenHash,
)
from chatserver.store.writer import Writer

T = TypeVar("T")


def init_store(directory: Path) -> None:
    """Make an empty store (`amanat-relay init`). The directory gets mode 0700, the files 0600.

    Raises:
        StoreExists: there is one already; it was left alone.
        StoreError: the directory cannot be made or written.
    """
    create_files(directory)


def add_therapist_token(directory: Path, token_hash: TokenHash, *, expires_day: Day) -> Done:
    """Allow one registration (R21) from another process, whether a relay runs on the store or not.

    Raises:
        StoreMissing, StoreBusy, StoreDamaged, StoreTooNew, StoreError: as `SqliteStore.open`.
    """
    checks.token_hash(token_hash)
    with errand(directory) as db:
        return inboxes.add_therapist_token(db, token_hash, expires_day=expires_day)


class SqliteStore:
    """A `Store` in a directory. Make one with `open`; it belongs to the event loop that opened it."""

    def __init__(
        self,
        writer: Writer,
        channels: Channels,
        *,
        settings: StoreSettings,
        rng: Callable[[int], bytes],
        cell_bytes: int,
    ) -> None:
        self._writer = writer
        self._channels = channels
        self._settings = settings
        self._rng = rng
        self._cell_bytes = cell_bytes

    @classmethod
    async def open(
        cls,
        directory: Path,
        settings: StoreSettings | None = None,
        *,
        rng: Callable[[int], bytes] = os.urandom,
        monotonic: Callable[[], float] = time.monotonic,
        connect: Connect = connect,
        cell_bytes: int = CELL_BYTES,
    ) -> SqliteStore:
        """Open an existing store, bring it to this version, erase what a crash left (H1).

        Args:
            directory: where `init_store` made it.
            settings: limits and times.
            rng: draws incarnations and inbox ids.
            monotonic: seconds that never go back, for `erase_seconds`.
            connect: how to get a connection; for tests.
            cell_bytes: length of a cell; another than the protocol's only where speed is measured.

        Raises:
            StoreMissing: there is no store; `amanat-relay init` makes one.
            StoreBusy: another relay runs on it.
            StoreDamaged, StoreTooNew, StoreReadOnly, StoreError: see `errors`.
        """
        chosen = settings or StoreSettings()

        def opened() -> Database:
            return open_database(directory, owner=True, check=chosen.check_at_open, connect=connect)

        channels = Channels(chosen, rng)
        writer = Writer(opened, channels, settings=chosen, monotonic=monotonic)
        await writer.start()
        return cls(writer, channels, settings=chosen, rng=rng, cell_bytes=cell_bytes)

    async def attach(
        self, channel: ChannelRef, token_hash: TokenHash, *, today: Day, may_create: bool = True
    ) -> Attached | Refused:
        """See `Store.attach`."""
        checks.channel_ref(channel)
        checks.token_hash(token_hash)
        return await self._writer.submit(
            lambda db: self._channels.attach(db, channel, token_hash, today=today, may_create=may_create)
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
        checks.channel_ref(channel)
        checks.deposit_id(deposit_id)
        checks.body(body, self._cell_bytes)
        return await self._writer.submit(
            lambda db: self._channels.deposit(
                db,
                channel,
                deposit_id=deposit_id,
                close=close,
                body=body,
                today=today,
                may_create=may_create,
            ),
            brings_body=True,
        )

    async def ack(
        self, channel_id: ChannelId, token_hash: TokenHash, seq: int, *, today: Day
    ) -> Acknowledged | Refused:
        """See `Store.ack`."""
        checks.channel_id(channel_id)
        checks.token_hash(token_hash)
        checks.not_negative(seq, "a number of a cell")
        return await self._writer.submit(
            lambda db: self._channels.acknowledge(db, channel_id, token_hash, seq, today=today), may_wait=True
        )

    async def read(self, channel_id: ChannelId, position: int, *, max_cells: int = 64) -> CellPage | Refused:
        """See `Store.read`."""
        checks.channel_id(channel_id)
        checks.not_negative(position, "a position")
        checks.not_negative(max_cells, "a limit")
        return await self._writer.submit(
            lambda db: self._channels.read(db, channel_id, position, max_cells=max_cells)
        )

    async def open_inbox(
        self, identity_key: bytes, *, token_hash: TokenHash | None, admit_all: bool, today: Day
    ) -> InboxOpened | Refused:
        """See `Store.open_inbox`."""
        checks.identity_key(identity_key)
        if token_hash is not None:
            checks.token_hash(token_hash)
        return await self._writer.submit(
            lambda db: inboxes.open_inbox(
                db,
                identity_key,
                token_hash=token_hash,
                admit_all=admit_all,
                today=today,
                settings=self._settings,
                rng=self._rng,
            )
        )

    async def drop(
        self, inbox_id: InboxId, *, drop_id: bytes, body: bytes, admit_hash: TokenHash | None, today: Day
    ) -> Done | Refused:
        """See `Store.drop`."""
        checks.inbox_id(inbox_id)
        checks.deposit_id(drop_id)
        checks.body(body)
        if admit_hash is not None:
            checks.token_hash(admit_hash)
        return await self._writer.submit(
            lambda db: inboxes.drop(
                db,
                inbox_id,
                drop_id=drop_id,
                body=body,
                admit_hash=admit_hash,
                today=today,
                settings=self._settings,
            ),
            brings_body=True,
        )

    async def list_drops(
        self, inbox_id: InboxId, *, after: bytes = b"", limit: int = 16
    ) -> tuple[DroppedCell, ...]:
        """See `Store.list_drops`."""
        checks.inbox_id(inbox_id)
        checks.not_negative(limit, "a limit")
        return await self._writer.submit(
            lambda db: inboxes.list_drops(db, inbox_id, after=after, limit=limit)
        )

    async def ack_drop(self, inbox_id: InboxId, drop_id: bytes) -> Done:
        """See `Store.ack_drop`."""
        checks.inbox_id(inbox_id)
        checks.deposit_id(drop_id)
        return await self._writer.submit(lambda db: inboxes.ack_drop(db, inbox_id, drop_id))

    async def admit(
        self, inbox_id: InboxId, admit_hash: TokenHash, *, expires_day: Day, today: Day
    ) -> Done | Refused:
        """See `Store.admit`."""
        checks.inbox_id(inbox_id)
        checks.token_hash(admit_hash)
        return await self._writer.submit(
            lambda db: inboxes.admit(
                db, inbox_id, admit_hash, expires_day=expires_day, today=today, settings=self._settings
            )
        )

    async def publish_bundle(
        self, identity_key: bytes, *, bundle: bytes, serial: int, not_after_day: Day
    ) -> Done | Refused:
        """See `Store.publish_bundle`."""
        checks.identity_key(identity_key)
        checks.serial(serial)
        return await self._writer.submit(
            lambda db: inboxes.publish_bundle(
                db, identity_key, bundle=bundle, serial=serial, not_after_day=not_after_day
            )
        )

    async def bundles(self, *, bits: int, prefix: int) -> tuple[bytes, ...]:
        """See `Store.bundles`."""
        checks.bucket(bits, prefix)
        return await self._writer.submit(lambda db: inboxes.bundles(db, bits=bits, prefix=prefix))

    async def add_therapist_token(self, token_hash: TokenHash, *, expires_day: Day) -> Done:
        """See `Store.add_therapist_token`."""
        checks.token_hash(token_hash)
        return await self._writer.submit(
            lambda db: inboxes.add_therapist_token(db, token_hash, expires_day=expires_day)
        )

    async def expire(self, *, today: Day) -> ExpiryReport:
        """See `Store.expire`; done in bounded steps, between which other requests go on."""
        cells, closed = await self._expire_cells(today)
        more_cells, untouched = await self._expire_channels(today)
        simple = {
            table: await self._repeat(partial(expiry.expire_simple, table=table, today=today))
            for table in ("tombstones", "admissions", "therapist_tokens")
        }
        return ExpiryReport(
            cells=cells + more_cells,
            closed_channels=closed,
            untouched_channels=untouched,
            tombstones=simple["tombstones"],
            drops=await self._repeat(lambda db: expiry.expire_drops(db, today=today)),
            admissions=simple["admissions"],
            tokens=simple["therapist_tokens"],
            bundles=await self._writer.submit(lambda db: expiry.expire_bundles(db, today=today)),
        )

    async def _expire_cells(self, today: Day) -> tuple[int, int]:
        cells = closed = 0
        after: tuple[bytes, int] | None = (b"", 0)
        while after is not None:
            step = await self._by_table(
                partial(expiry.expire_cells, after=after, today=today, settings=self._settings)
            )
            cells += step.cells
            closed += step.closed_channels
            after = step.stopped_at
        return cells, closed

    async def _expire_channels(self, today: Day) -> tuple[int, int]:
        cells = untouched = 0
        after: bytes | None = b""
        while after is not None:
            step = await self._by_table(partial(expiry.expire_channels, after=after, today=today))
            cells += step.cells
            untouched += step.channels
            after = step.stopped_at
        return cells, untouched

    async def _by_table(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """A step that goes by what stands in the tables of channels, and may change it."""

        def alone(db: sqlite3.Connection) -> T:
            self._channels.write(db)
            self._channels.forget()
            return step(db)

        return await self._writer.submit(alone)

    async def _repeat(self, step: Callable[[sqlite3.Connection], int]) -> int:
        total = 0
        while removed := await self._writer.submit(step):
            total += removed
        return total

    async def counts(self) -> StoreCounts:
        """See `Store.counts`."""
        return await self._by_table(_counts)

    async def erase(self) -> bool:
        """See `Store.erase`."""
        erased: bool = await self._writer.submit(None)
        return erased

    async def close(self) -> None:
        """See `Store.close`."""
        await self._writer.stop()


def _counts(db: sqlite3.Connection) -> StoreCounts:
    def count(table: str) -> int:
        return int(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])  # noqa: S608 (names below only)

    return StoreCounts(
        channels=count("channels"),
        slots=count("slots"),
        cells=count("cells"),
        tombstones=count("tombstones"),
        inboxes=count("inboxes"),
        drops=count("drops"),
        admissions=count("admissions"),
        tokens=count("therapist_tokens"),
        bundles=int(db.execute("SELECT COUNT(bundle) FROM therapists").fetchone()[0]),
    )
