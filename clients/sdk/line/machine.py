"""The line machine: one event in, one vault transaction, effects out (R7).

Theory of operation::

            handle(event, now)
               │
               ▼
      ┌─ transaction ──────────────────────────────────────────────┐
      │ load (row, group; cached) ─▶ the event's rule ─▶ pump ─▶ save │
      └─────────────────────────────────────────────────────────────┘
               │ committed                         │ anything raised
               ▼                                   ▼
        effects, next wake-up          vault and memory as before; the error goes up

The *pump* runs after every event and does whatever is due and possible, in a fixed order: time-outs,
commits, outbox, requests, receipts, rejoin, end. Everything in it is idempotent: it looks at state, never at
the event.

What is only true while a connection stands is kept in memory (:class:`~clients.sdk.line.step.Connection`); a
process that starts anew begins disconnected, as the vault expects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import assert_never

from clients.sdk.line import (
    commits,
    delivery,
    ending,
    exporting,
    log,
    messages,
    network,
    outbox,
    receipts,
    returns,
    timers,
    whereabouts,
    wishes,
)
from clients.sdk.line.events import (
    AckConfirmed,
    AckRefused,
    Attached,
    AttachRefused,
    CellArrived,
    Connected,
    DepositRefused,
    Disconnected,
    Effect,
    Event,
    Expired,
    OwnCellArrived,
    Stored,
    Superseded,
    Tick,
)
from clients.sdk.line.founding import Founding, Joined, found_line, join_line
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.line.state import LineState, decode_row, encode_row
from clients.sdk.line.step import Connection, OwnDevice, Rng, Step
from clients.sdk.line.tables import ItemClass, Tables
from clients.sdk.line.view import Alarm, LineMessage, LineView, MemberView
from crypto.errors import StateError
from crypto.group import Group
from crypto.key_package import KeyPackage, KeyPackageBundle
from crypto.suites import PRODUCT, CipherSuite
from keys.vault import VaultStore, VaultTransaction

__all__ = ["LineMachine", "OwnDevice"]


class LineMachine:
    """One line of one device. See the module and :mod:`clients.sdk.line.events`.

    Args:
        vault: Shared by all lines of the device.
        line_id: 16 bytes, local.
        own: This device.
        rng: ``os.urandom``, or a test's.
        suite: ``PRODUCT``.
    """

    def __init__(
        self, vault: VaultStore, line_id: bytes, own: OwnDevice, rng: Rng, *, suite: CipherSuite = PRODUCT
    ) -> None:
        self._vault = vault
        self._line_id = line_id
        self._own = own
        self._rng = rng
        self._suite = suite
        self._conn = Connection()
        self._wakeup: float | None = 0.0
        self._cache: tuple[LineState, bytes, Group | None] | None = None

    # -- beginning

    @classmethod
    def create_as_client(
        cls,
        vault: VaultStore,
        line_id: bytes,
        own: OwnDevice,
        rng: Rng,
        *,
        now: float,
        key_packages: Sequence[KeyPackage],
        suite: CipherSuite = PRODUCT,
    ) -> tuple[LineMachine, Founding]:
        """Found a line in a transaction of its own; see :func:`clients.sdk.line.founding.found_line`."""
        with vault.transaction() as tx:
            founded = found_line(tx, line_id, own, rng, now=now, key_packages=key_packages, suite=suite)
        return cls(vault, line_id, own, rng, suite=suite), founded

    @classmethod
    def create_from_welcome(
        cls,
        vault: VaultStore,
        line_id: bytes,
        own: OwnDevice,
        rng: Rng,
        *,
        now: float,
        welcome: bytes,
        bundle: KeyPackageBundle,
        known_group: Callable[[bytes], bool],
        signer_identity: bytes | None = None,
        suite: CipherSuite = PRODUCT,
    ) -> tuple[LineMachine, Joined]:
        """Join a line in a transaction of its own; see :func:`clients.sdk.line.founding.join_line`."""
        with vault.transaction() as tx:
            joined = join_line(
                tx,
                line_id,
                own,
                rng,
                now=now,
                welcome=welcome,
                bundle=bundle,
                known_group=known_group,
                signer_identity=signer_identity,
                suite=suite,
            )
        return cls(vault, line_id, own, rng, suite=suite), joined

    # -- running

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event.

        Args:
            event: What happened, or what a person wants.
            now: UTC seconds.

        Returns:
            What the device shall do now, in this order.

        Raises:
            TextTooLong: The text of a SendText (R23); nothing was queued.
            StateError: The intent does not fit the line's phase; nothing changed.
            CodecError: The vault's records are damaged.
        """
        with self._step(now) as step:
            whereabouts.wait(step, max(0.0, now - step.conn.seen_at) if step.conn.seen_at else 0.0)
            network.count_connected_time(step)
            step.conn.seen_at = now
            _apply(step, event)
            _pump(step)
        return step.effects

    @contextmanager
    def _step(self, now: float) -> Iterator[Step]:
        """Load, let the caller work, save; on any exception forget everything that was touched."""
        conn = self._conn.copy()
        try:
            with self._vault.transaction() as tx:
                step = self._load(tx, conn, now)
                yield step
                saved = self._save(step)
                wakeup = timers.next_wakeup(step)
        except BaseException:
            self._cache = None
            raise
        self._cache = saved
        self._conn = step.conn
        self._wakeup = wakeup

    def _load(self, tx: VaultTransaction, conn: Connection, now: float) -> Step:
        tables = Tables(tx, self._line_id)
        if self._cache is None:
            row = tables.row.get()
            if row is None:
                raise StateError("there is no such line in this vault")
            blob = tables.group.get()
            self._cache = (decode_row(row), row, None if blob is None else Group.from_bytes(blob))
        state, _, group = self._cache
        return Step(
            tables=tables,
            state=state,
            conn=conn,
            group=group,
            own=self._own,
            suite=self._suite,
            rng=self._rng,
            now=now,
        )

    def _save(self, step: Step) -> tuple[LineState, bytes, Group | None]:
        row = encode_row(step.state)
        if self._cache is None or row != self._cache[1]:
            step.tables.row.put(row)
        if step.group_changed:
            if step.group is None:
                step.tables.group.delete()
            else:
                step.tables.group.put(step.group.to_bytes())
        return step.state, row, step.group

    def next_wakeup(self) -> float | None:
        """UTC seconds at which a Tick is wanted; 0 before the first event; None if never."""
        return self._wakeup

    def take_certificate(self, own: OwnDevice) -> None:
        """This device's certificate was renewed; the next commit brings it into the line (P5 of R14)."""
        self._own = own

    # -- looking

    @contextmanager
    def _look(self) -> Iterator[Step]:
        with self._vault.transaction() as tx:
            yield self._load(tx, self._conn, self._conn.seen_at)

    def view(self) -> LineView:
        """Where the line stands."""
        with self._look() as step:
            state = step.state
            waiting, undelivered = outbox.waiting(step)
            return LineView(
                phase=state.phase,
                epoch=state.epoch,
                turn=state.turn,
                group_id=state.group_id,
                members=tuple(
                    MemberView(
                        device_id=member.device_id,
                        identity_key=member.identity_key,
                        mine=member.identity_key == self._own.identity_key,
                        heard_at=int(member.heard_at),
                    )
                    for member in state.members
                ),
                changing=commits.changing(step),
                attached=log.read_to_head(step),
                waiting_to_send=waiting,
                undelivered=undelivered,
                unread=state.unread,
                receipt_due=bool(state.receipt_due_at),
                self_update_due=state.update_first,
                last_activity_utc=int(state.last_activity),
                alarms=tuple(
                    Alarm(
                        kind=row.kind,
                        sentence=row.sentence,
                        device_id=row.device_id,
                        utc_seconds=int(row.utc_seconds),
                    )
                    for row in step.tables.alarms.rows()
                ),
            )

    def messages(self, limit: int | None = None) -> list[LineMessage]:
        """The newest ``limit`` messages in the order in which they are shown (R11)."""
        with self._look() as step:
            rows = list(step.tables.messages.rows(reverse=True, limit=limit))
        return [messages.show(row) for row in messages.in_order(rows[::-1])]

    def founding_welcome(self) -> tuple[bytes, bytes] | None:
        """(welcome id, Welcome) of first contact, until :class:`WelcomeDelivered` named it."""
        with self._look() as step:
            for row in step.tables.welcomes.rows():
                if row.founding:
                    return row.welcome_id, row.welcome
        return None

    def export(self) -> bytes:
        """The line's record for an export (R9): no ratchet, no key of an epoch."""
        with self._look() as step:
            return exporting.export_line(step)


def _pump(step: Step) -> None:
    """Everything that is due and possible, in this order. Idempotent."""
    if step.state.phase in ending.OVER:
        return
    network.unblocked(step)
    network.watch_closing(step)
    network.touch_channels(step)
    outbox.requeue_early(step)
    returns.housekeeping(step)
    commits.pump(step)
    outbox.pump(step)
    delivery.pump_requests(step)
    if receipts.due(step) and outbox.may_send(step):
        outbox.add(step, item_class=ItemClass.RECEIPT, kind=PayloadKind.RECEIPT)
    outbox.pump(step)
    returns.pump(step)
    whereabouts.pump(step)
    ending.pump(step)


def _apply(step: Step, event: Event) -> None:
    """One event, by kind."""
    match event:
        case Tick():
            pass
        case Connected():
            network.connected(step)
        case Disconnected():
            network.disconnected(step)
        case Attached():
            network.attached(step, event)
        case AttachRefused():
            network.attach_refused(step, event)
        case Superseded():
            network.superseded(step, event)
        case CellArrived() | OwnCellArrived() | Expired():
            _cells(step, event)
        case Stored() | DepositRefused() | AckConfirmed() | AckRefused():
            _answers(step, event)
        case _:
            wishes.apply(step, event)


def _cells(step: Step, event: CellArrived | OwnCellArrived | Expired) -> None:
    match event:
        case CellArrived():
            network.cell(step, event)
        case OwnCellArrived():
            network.own_cell(step, event)
        case Expired():
            network.expired(step, event)
        case _:
            assert_never(event)


def _answers(step: Step, event: Stored | DepositRefused | AckConfirmed | AckRefused) -> None:
    match event:
        case Stored():
            network.stored(step, event)
        case DepositRefused():
            network.deposit_refused(step, event)
        case AckConfirmed():
            network.ack_confirmed(step, event)
        case AckRefused():
            network.ack_refused(step, event)
        case _:
            assert_never(event)
