"""The one writer of a SQLite store: a thread that commits in groups and erases behind itself.

Theory of operation. The event loop queues requests; the thread takes everything that waits (up to
`max_batch`), does it in one transaction, commits (SQLite syncs the log once, `synchronous=FULL`) and sends
all results back in one hop to the loop, in the order in which they were asked. While it waits for the disk
the next batch gathers: that is the group commit; no timer, no delay. Reads go the same way, so a result never
shows what is not on disk.

Fate sharing: a request that raises undoes its batch, and every request in it gets an error; the peers ask
again. Checks therefore happen before queueing, and refusals are results.

Erasure (H1): after a batch that changed anything the thread erases within `erase_seconds`, or at once when
the log exceeds CALM_LOG_BYTES, or BUSY_LOG_BYTES after a large batch. Nobody is served meanwhile, and erasing
takes 4 to 8 ms for each MiB of log: in calm times the log stays short, so that hardly anybody waits; in busy
times all wait for their batch anyway, and to erase seldom is cheaper. While a stranger reads the file and the
log exceeds `wal_limit_bytes`, requests that bring new bodies wait; acknowledgements and reads go on.

A full disk: requests that bring new bodies are refused while they would take what `reserve_bytes` keeps free.
Otherwise the last cell that fits would leave no room for the log of an acknowledgement, nor for the
checkpoint that gives the log's own room back, and only a person could free the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from chatserver.store.database import FULL, Database, is_fatal, translate
from chatserver.store.erasure import erase
from chatserver.store.errors import StoreBusy, StoreClosed, StoreError, StoreFull, StoreOverloaded
from chatserver.store.protocol import CELL_BYTES, StoreSettings

T = TypeVar("T")

Step = Callable[[sqlite3.Connection], T]
"""Part of a transaction; raises nothing but `sqlite3.Error`."""


class Behind(Protocol):
    """What steps have changed and the tables do not show yet. Belongs to the writer's thread."""

    def write(self, db: sqlite3.Connection) -> None:
        """Bring the tables up to date; called before every commit."""
        ...

    def forget(self) -> None:
        """The transaction was undone."""
        ...


ROOM_SECONDS = 1.0
"""For so long a disk with AMPLE_BYTES beyond the reserve is not asked again how much room it has."""

AMPLE_BYTES = 1 << 30

BUSY_BATCH = 8
"""After a batch of so many the next one is gathered: all that comes with pauses below PAUSE_SECONDS."""

PAUSE_SECONDS = 0.001

GATHER_SECONDS = 0.008
"""No batch is gathered longer than that."""

CALM_LOG_BYTES = 1 << 20
"""At this length the log is erased when batches are small. 64 MiB took 250 ms (docs/PERFORMANCE.md)."""

BUSY_LOG_BYTES = 16 << 20
"""The same after a batch of BUSY_BATCH requests or more."""

ERASE_RETRY_SECONDS = 0.1
"""Pause after an attempt that found the store busy."""


@dataclass(slots=True, kw_only=True)
class Request(Generic[T]):
    """A step and the future that waits for it. A request without a step asks for erasure."""

    step: Step[T] | None
    future: asyncio.Future[T]
    brings_body: bool
    result: T | None = None
    error: StoreError | None = None


@dataclass(slots=True)
class _State:
    """What the thread alone reads and writes."""

    taken: list[Request[Any]] = field(default_factory=list)
    held: list[Request[Any]] = field(default_factory=list)
    dirty_since: float | None = None
    next_attempt: float = 0.0
    overdue: bool = False
    broken: StoreError | None = None
    room_bytes: int = 0
    room_until: float = 0.0


class Writer:
    """Owns the database in a thread of its own.

    Args:
        open_database: called in the thread; what it raises, `start` raises.
        behind: what is written before each commit.
        settings: see `StoreSettings`.
        monotonic: seconds that never go back.
    """

    def __init__(
        self,
        open_database: Callable[[], Database],
        behind: Behind,
        *,
        settings: StoreSettings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_database = open_database
        self._behind = behind
        self._settings = settings
        self._monotonic = monotonic
        self._queue: queue.SimpleQueue[Request[Any] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._patient: list[Request[Any]] = []
        self._closing = False
        self._state = _State()
        self._loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="amanat-store", daemon=True)
        self._started: asyncio.Future[None] = self._loop.create_future()

    async def start(self) -> None:
        """Open the store.

        Raises:
            StoreError: as `open_database` says.
        """
        self._thread.start()
        await self._started

    def submit(
        self, step: Step[T] | None, *, brings_body: bool = False, may_wait: bool = False
    ) -> asyncio.Future[T]:
        """Queue a step; the future resolves after the commit. To be called in the loop's thread.

        Args:
            step: What is to be done.
            brings_body: It needs room on the disk.
            may_wait: It may stay `patience_seconds` for another step, to share its transaction.

        Raises:
            StoreClosed: `stop` was called.
            StoreOverloaded: too many requests wait.
        """
        if self._closing:
            raise StoreClosed("the store is closed; the relay is stopping")
        if self._waiting >= self._settings.max_queued:
            raise StoreOverloaded("the store has more requests waiting than it may queue; ask again later")
        request = Request(step=step, future=self._loop.create_future(), brings_body=brings_body)
        self._waiting += 1
        if may_wait and self._settings.patience_seconds:
            if not self._patient:
                self._loop.call_later(self._settings.patience_seconds, self._put_patient)
            self._patient.append(request)
        else:
            self._put_patient()
            self._queue.put(request)
        return request.future

    def _put_patient(self) -> None:
        """Steps that waited for another one; they come first, as they were asked first."""
        if self._patient:
            for request in self._patient:
                self._queue.put(request)
            self._patient.clear()

    async def stop(self) -> None:
        """Finish what is queued, erase, close the files, end the thread.

        A second call waits for the first.
        """
        if not self._closing:
            self._closing = True
            self._put_patient()
            self._queue.put(None)
        await asyncio.shield(self._stopped)

    # ---------------------------------------------------------------------------------- in the loop's thread

    def _resolve(self, requests: list[Request[Any]]) -> None:
        self._waiting -= len(requests)
        for request in requests:
            if request.future.done():  # the caller gave up waiting; what it asked for was done all the same
                continue
            if request.error is not None:
                request.future.set_exception(request.error)
            else:
                request.future.set_result(request.result)

    @staticmethod
    def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _hop(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop was closed without closing the store; nobody is left to be told
            self._closing = True

    # -------------------------------------------------------------------------------- in the writer's thread

    def _run(self) -> None:
        try:
            database = self._open_database()
        except Exception as error:  # noqa: BLE001 (handed to the caller of start, whatever it is)
            self._closing = True
            self._hop(self._settle, self._started, error)
            return
        failure: Exception | None = None
        try:
            self._try_erase(database)  # what a crash left behind
            self._hop(self._settle, self._started, None)
            while self._turn(database):
                pass
            self._finish(database)
        except Exception as caught:  # noqa: BLE001 (handed to the caller of stop, whatever it is)
            failure = caught
            self._closing = True
            self._give_up()
        finally:
            database.close()
            self._hop(self._settle, self._stopped, failure)

    def _give_up(self) -> None:
        """The thread ends by a fault of ours: nobody may wait for it for ever."""
        waiting = self._state.taken + self._state.held
        with contextlib.suppress(queue.Empty):
            while True:
                request = self._queue.get_nowait()
                if request is not None:
                    waiting.append(request)
        self._fail(waiting, StoreClosed("the store has ended by itself; start the relay again"))
        self._hop(self._resolve, waiting)

    def _turn(self, database: Database) -> bool:
        """Take what waits, do it, erase if it is time. False when the store is to close."""
        batch, go_on = self._collect()
        self._state.taken = batch
        if batch:
            self._do(database, batch)
        if self._erasure_due(database):
            self._try_erase(database)
            if not self._state.overdue and self._state.held:
                held, self._state.held = self._state.held, []
                self._do(database, held)
        return go_on

    def _finish(self, database: Database) -> None:
        self._try_erase(database)
        held, self._state.held = self._state.held, []
        if self._state.overdue:
            self._fail(held, StoreBusy("another program keeps the store from erasing; nothing was stored"))
            self._hop(self._resolve, held)
        elif held:
            self._do(database, held)
            self._try_erase(database)

    def _collect(self) -> tuple[list[Request[Any]], bool]:
        """What waits; where much is going on, also what comes in the next moments."""
        batch: list[Request[Any]] = []
        busy = len(self._state.taken) >= BUSY_BATCH
        try:
            first = self._queue.get(timeout=self._seconds_to_erasure())
        except queue.Empty:
            return batch, True
        go_on = self._take_waiting(batch, first)
        until = self._monotonic() + GATHER_SECONDS
        while busy and go_on and len(batch) < self._settings.max_batch and self._monotonic() < until:
            before = len(batch)
            time.sleep(PAUSE_SECONDS)
            with contextlib.suppress(queue.Empty):
                go_on = self._take_waiting(batch, self._queue.get_nowait())
            if len(batch) == before:
                break
        return batch, go_on

    def _take_waiting(self, batch: list[Request[Any]], first: Request[Any] | None) -> bool:
        """Add all that waits to a batch; False when the store is to close."""
        with contextlib.suppress(queue.Empty):
            while first is not None:
                batch.append(first)
                if len(batch) >= self._settings.max_batch:
                    return True
                first = self._queue.get_nowait()
            return False
        return True

    def _do(self, database: Database, requests: list[Request[Any]]) -> None:
        if self._state.overdue:  # H1: deposits wait while the erasure of a log too long is overdue
            self._state.held += [request for request in requests if request.brings_body]
            requests = [request for request in requests if not request.brings_body]
        steps = [request for request in requests if request.step is not None]
        bodies = [request for request in steps if request.brings_body]
        if bodies and not self._has_room(database, len(bodies)):
            self._fail(bodies, StoreFull(FULL))
            self._hop(self._resolve, bodies)
            steps = [request for request in steps if not request.brings_body]
        if steps:
            self._commit(database, steps)
            self._hop(self._resolve, steps)
        erasures = [request for request in requests if request.step is None]
        if erasures:
            erased = self._try_erase(database)
            for request in erasures:
                request.result = erased
            self._hop(self._resolve, erasures)

    def _has_room(self, database: Database, bodies: int) -> bool:
        """Whether so many bodies leave the reserve free; True where the file system does not say.

        A disk with far more room than that is asked again after ROOM_SECONDS, or when the bodies since then
        could have used up half of what there was beyond the reserve.
        """
        reserve = self._settings.reserve_bytes
        need = bodies * 2 * CELL_BYTES  # each with its share of other pages
        state = self._state
        state.room_bytes -= need
        now = self._monotonic()
        if state.room_bytes > 0 and now < state.room_until:
            return True
        try:
            free = database.disk_free_bytes() - need
            beyond = free - reserve - database.wal_bytes()
            if beyond >= 0:
                state.room_bytes = beyond // 2 if beyond > AMPLE_BYTES else 0
                state.room_until = now + ROOM_SECONDS
                return True
            state.room_bytes = 0
            free -= database.growth_bytes()
            return free >= reserve or (free >= reserve // 2 and database.unused_bytes() >= need)
        except (sqlite3.Error, OSError):
            return True

    def _commit(self, database: Database, requests: list[Request[Any]]) -> None:
        """One transaction for all; results stand in the requests only when it is on disk (R4)."""
        if self._state.broken is not None:
            self._fail(requests, self._state.broken)
            return
        db = database.connection
        try:
            database.writer_lock.acquire()
            try:
                before = db.total_changes
                db.execute("BEGIN IMMEDIATE")
                results = [request.step(db) for request in requests if request.step is not None]
                self._behind.write(db)
                db.execute("COMMIT")
            except BaseException:
                self._behind.forget()
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            finally:
                database.writer_lock.release()
        except Exception as error:  # noqa: BLE001 (each caller gets it, as one clear sentence)
            self._mark_dirty()  # pages spilled into the log before the rollback are deleted bytes too
            failure = translate(error)
            if is_fatal(failure):
                self._state.broken = failure
            self._fail(requests, failure)
            return
        for request, result in zip(requests, results, strict=True):
            request.result = result
        if db.total_changes != before:
            self._mark_dirty()

    @staticmethod
    def _fail(requests: list[Request[Any]], failure: StoreError) -> None:
        for request in requests:
            request.error = translate(failure)

    def _mark_dirty(self) -> None:
        if self._state.dirty_since is None:
            self._state.dirty_since = self._monotonic()

    def _seconds_to_erasure(self) -> float | None:
        if self._state.dirty_since is None or self._state.broken is not None:
            return None
        due = max(self._state.dirty_since + self._settings.erase_seconds, self._state.next_attempt)
        if self._state.overdue:
            due = self._state.next_attempt
        return max(0.0, due - self._monotonic())

    def _erasure_due(self, database: Database) -> bool:
        if self._state.dirty_since is None or self._state.broken is not None:
            return False
        if self._monotonic() < self._state.next_attempt:
            return False
        busy = len(self._state.taken) >= BUSY_BATCH
        length = min(BUSY_LOG_BYTES if busy else CALM_LOG_BYTES, self._settings.wal_limit_bytes)
        return self._seconds_to_erasure() == 0.0 or database.wal_bytes() > length

    def _try_erase(self, database: Database) -> bool:
        """H1. A failure here loses nothing: the log is still whole, and the next attempt comes soon."""
        erased = False
        try:
            database.writer_lock.acquire()
            try:
                erased = erase(database)
            finally:
                database.writer_lock.release()
        except Exception as error:  # noqa: BLE001 (remembered; later requests get it as one clear sentence)
            failure = translate(error)
            if is_fatal(failure):
                self._state.broken = failure
        if erased:
            self._state.dirty_since = None
            self._state.overdue = False
        else:
            self._mark_dirty()
            self._state.next_attempt = self._monotonic() + ERASE_RETRY_SECONDS
            self._state.overdue = database.wal_bytes() > self._settings.wal_limit_bytes
        return erased
