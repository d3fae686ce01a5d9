"""What a device does while it is online, seen from the application: wait, settle, invite, connect.

`Engine` does the work; here are the conditions under which an application may go on, and the sentences when
it may not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final
from weakref import WeakValueDictionary

from clients.sdk.bundles import choose_bundle, fetch_bucket
from clients.sdk.client_contact import MAX_PAUSE_SECONDS, MIN_PAUSE_SECONDS, open_line
from clients.sdk.connection import ConnectionLost
from clients.sdk.engine import Engine
from clients.sdk.errors import (
    AmanatError,
    ContactWaiting,
    InvitationExpired,
    InvitationMistyped,
    InvitationRefused,
    InvitationUsed,
    Refused,
    RelayUnreachable,
    SettleTimedOut,
    TimedOut,
    UsageError,
    WrongRole,
    from_vault_error,
)
from clients.sdk.first_contact import admit_hash
from clients.sdk.line import events as e
from clients.sdk.line.view import LineView
from clients.sdk.model import LineName, LineOpened, Role
from clients.sdk.records import CONNECTED, INVITED, InvitedRecord
from clients.sdk.relay_link import random_fraction
from clients.sdk.upkeep import therapist_of
from crypto.errors import StateError
from crypto.suites import PRODUCT
from keys.certificates import DeviceCertificate, fingerprint_of
from keys.invitations import Invitation, InvitationError, normalise_relay_url, parse_link
from keys.vault import VaultError

FIRST_CONNECTION_SECONDS: Final = 8.0
"""If nothing has answered by then, nobody waits longer for the first connection."""
REFUSED_SECONDS: Final = 1.5
"""If the relay's machine answers that nothing listens there, nobody waits longer than this (a relay that is
just starting anew gets one or two more tries). `events`, and with it the app, goes on trying."""
LOOK_AGAIN_SECONDS: Final = 0.25
SECOND_LOOK_SECONDS: Final = 0.02
QUIET_LOOKS: Final = 2
"""Settled means: found settled so often in a row, with everything run that was ready to run in between."""
WORKING_PHASES: Final = frozenset({e.LinePhase.ACTIVE, e.LinePhase.ENDING})


@contextlib.asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[None]:
    """Run the engine beside the block. What the block raises comes out as it is.

    Raises:
        AmanatError: the vault broke under the engine.
    """
    engine.prepare()
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(engine.run())
            try:
                yield
            except BaseException as error:  # noqa: BLE001 - raised again below, without a group around it
                failure = error
            finally:
                task.cancel()
    except BaseExceptionGroup as broken:
        cause = _leaf(broken)
        if engine.closed and isinstance(cause, StateError):
            # The vault was closed under the running connection, on purpose (panic).
            cause = failure
        if cause is None:
            return
        raise from_vault_error(cause) if isinstance(cause, VaultError) else cause from None
    if failure is not None:
        raise failure


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Online:
    """Waiting and asking on top of a running engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connecting: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    # -- waiting

    async def wait_online(self, timeout_seconds: float) -> None:
        """See `Device.wait_online`."""
        await self._wait_reachable(timeout_seconds)

        def attached() -> bool:
            drivers = [driver for driver in self._engine.drivers.values() if driver.connected]
            views = [driver.machine.view() for driver in drivers]
            return self._reachable() and all(view.attached for view in views if view.phase in WORKING_PHASES)

        if not await self._until(attached, timeout_seconds):
            raise self._trouble()

    async def settle(self, timeout_seconds: float, idle_seconds: float) -> None:
        """See `Device.settle`."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        await self._wait_connected(timeout_seconds)
        looks = 0

        def settled() -> bool:
            nonlocal looks
            looks = looks + 1 if self._settled(idle_seconds) else 0
            return looks >= QUIET_LOOKS

        remaining = deadline - asyncio.get_running_loop().time()
        if not await self._until(
            settled, remaining, lambda: SECOND_LOOK_SECONDS if looks else LOOK_AGAIN_SECONDS
        ):
            if self._engine.connection is None:
                raise self._trouble()
            raise SettleTimedOut(sum(view.waiting_to_send for view in self._views()))

    def _settled(self, idle_seconds: float) -> bool:
        engine = self._engine
        done = self._reachable()
        for line_id, driver in list(engine.drivers.items()):
            view = driver.machine.view()
            if view.phase not in WORKING_PHASES:
                continue
            if view.receipt_due and view.attached:
                engine.handle(line_id, e.FlushReceipts())
                done = False
            if not view.attached or view.waiting_to_send or view.receipt_due or view.self_update_due:
                done = False
        idle = engine.clock.real(engine.clock.now() - engine.last_frame_at)
        return done and engine.idle and idle >= idle_seconds

    def _reachable(self) -> bool:
        engine = self._engine
        if engine.connection is None:
            return False
        inbox_decided = engine.inbox.open or engine.inbox.trouble is not None
        return inbox_decided or not engine.keeps_inbox

    def _views(self) -> list[LineView]:
        views = [driver.machine.view() for driver in list(self._engine.drivers.values())]
        return [view for view in views if view.phase in WORKING_PHASES]

    async def _wait_reachable(self, timeout_seconds: float) -> None:
        """Wait for the connection, and a therapist's inbox.

        Raises:
            RelayUnreachable, NotARelay: there is none in time.
            Refused: the relay does not open the inbox.
        """
        await self._wait_connected(timeout_seconds)
        if not await self._until(self._reachable, timeout_seconds):
            raise self._trouble()
        if self._engine.inbox.trouble is not None:
            raise self._engine.inbox.trouble

    async def _wait_connected(self, timeout_seconds: float) -> None:
        engine, loop = self._engine, asyncio.get_running_loop()
        begun, failures_before = loop.time(), engine.attempts_failed

        def decided() -> bool:
            trouble = engine.trouble
            said_no = isinstance(trouble, RelayUnreachable) and trouble.refused
            asked = engine.attempts_failed > failures_before and loop.time() - begun >= REFUSED_SECONDS
            return engine.connection is not None or (said_no and asked)

        await self._until(decided, min(timeout_seconds, FIRST_CONNECTION_SECONDS))
        if engine.connection is None:
            raise self._trouble()

    def _trouble(self) -> AmanatError:
        engine = self._engine
        if engine.inbox.trouble is not None:
            return engine.inbox.trouble
        if engine.connection is not None:
            return TimedOut("The relay answers, but not everything could be read in time; try again.")
        return engine.trouble or RelayUnreachable(engine.record.relay_url, "no answer in time")

    async def until(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """Whether the condition came true in time; waits for a connection first.

        Raises:
            RelayUnreachable, NotARelay: there is none.
        """
        await self._wait_connected(timeout_seconds)
        return await self._until(condition, timeout_seconds)

    async def _until(
        self,
        condition: Callable[[], bool],
        timeout_seconds: float,
        pause: Callable[[], float] = lambda: LOOK_AGAIN_SECONDS,
    ) -> bool:
        """Whether the condition came true in time. Looked at after everything that happens."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while True:
            self._engine.activity.clear()
            if condition():
                return True
            remaining = deadline - loop.time()
            if remaining <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(remaining, pause())):
                    await self._engine.activity.wait()

    # -- therapist

    async def invite(self, timeout_seconds: float) -> Invitation:
        """See `Device.invite`."""
        engine = self._engine
        if engine.record.role is not Role.THERAPIST:
            raise WrongRole("therapist")
        await self._wait_reachable(timeout_seconds)
        certificate = DeviceCertificate.decode(therapist_of(engine.record).keys.certificate)
        invitation = Invitation.make(
            relay_url=engine.record.relay_url,
            fingerprint=fingerprint_of(certificate.identity_key),
            rng=engine.rng,
            now=engine.clock.now(),
        )
        key = admit_hash(invitation.admit_value)
        with engine.vault.transaction() as tx:
            tx.put(
                INVITED,
                key,
                InvitedRecord(secret=invitation.secret, expires_day=invitation.expires_day).encode(),
            )
        try:
            await engine.admit_invitations()
        except (ConnectionLost, Refused) as error:
            with engine.vault.transaction() as tx:
                tx.delete(INVITED, key)
            if isinstance(error, Refused):
                raise
            raise RelayUnreachable(engine.record.relay_url, "connection lost") from None
        return invitation

    # -- client

    async def connect(self, link: str, *, name: str | None, hurry: bool, timeout_seconds: float) -> bytes:
        """See `Device.connect`; returns the line's id. Two tries of one link go in turn."""
        if self._engine.record.role is not Role.CLIENT:
            raise WrongRole("client")
        invitation = self._read_link(link)
        async with self._connecting.setdefault(invitation.admit_value, asyncio.Lock()):
            return await self._connect(invitation, name=name, hurry=hurry, timeout_seconds=timeout_seconds)

    async def _connect(
        self, invitation: Invitation, *, name: str | None, hurry: bool, timeout_seconds: float
    ) -> bytes:
        engine = self._engine
        left_over = engine.first_drops.line_of(invitation.admit_value)
        taken = {line.name for line in engine.lines.values()}
        if left_over is None and name is not None and name in taken:
            raise UsageError(f"There is a line named {name!r} already.")
        await self._wait_reachable(timeout_seconds)
        connection = engine.connection
        if connection is None:
            raise RelayUnreachable(engine.record.relay_url, "connection lost")
        if left_over is not None:
            return await self._go_on(left_over, hurry=hurry)
        # 1. The bucket, and in it the fingerprint of the link and nothing else.
        bundles = await fetch_bucket(
            engine.record.relay_url,
            bits=connection.hello.bucket_bits,
            fingerprint=invitation.fingerprint,
        )
        now = engine.clock.now()
        contact = choose_bundle(bundles, fingerprint=invitation.fingerprint, now=now, suite=PRODUCT)
        # 2. The line, its group and the drop, in one transaction.
        pause = 0.0 if hurry else self._pause_seconds()
        with engine.vault.transaction() as tx:
            opened = open_line(
                tx,
                invitation=invitation,
                contact=contact,
                name=name or plain_name(contact.display_name),
                pause_seconds=pause,
                rng=engine.rng,
                now=now,
            )
            tx.put(CONNECTED, admit_hash(invitation.admit_value), opened.record.line_id)
        line_id = opened.record.line_id
        engine.add_line(opened.record)
        return await self._deliver(line_id, pause=pause)

    async def _go_on(self, line_id: bytes, *, hurry: bool) -> bytes:
        """The same link once more: go on with the line that it led to.

        Raises:
            InvitationUsed: that line has ended since.
            Refused, ContactWaiting: as `_deliver`.
        """
        engine = self._engine
        if engine.drivers[line_id].machine.view().phase not in WORKING_PHASES:
            raise InvitationUsed
        if not engine.first_drops.waits(line_id):
            return line_id
        return await self._deliver(line_id, pause=0.0 if hurry else self._pause_seconds())

    async def _deliver(self, line_id: bytes, *, pause: float) -> bytes:
        """Drop a first contact and let its line begin.

        Raises:
            Refused: the relay does not take it; the line is forgotten.
            ContactWaiting: the line is kept, and its drop goes out with the next connection.
        """
        engine = self._engine
        # 3. The drop, over a connection of its own. An answer that was lost is repaired by the same drop id.
        try:
            await engine.first_drops.deliver(line_id)
        except Refused:
            engine.forget_line(line_id)
            raise
        except RelayUnreachable:
            raise ContactWaiting(engine.lines[line_id].name) from None
        # 4. The pause, then the line's channel over the device's own connection.
        engine.start_line(line_id, not_before=engine.clock.now() + pause)
        await engine.clock.sleep(pause)
        engine.start_line(line_id, not_before=0)
        engine.news.post(LineOpened(line=LineName(engine.lines[line_id].name)))
        return line_id

    def _read_link(self, link: str) -> Invitation:
        engine = self._engine
        try:
            invitation = parse_link(link)
        except InvitationError as error:
            if str(error).startswith("This invitation link"):
                raise InvitationMistyped from None
            raise InvitationRefused(str(error)) from None
        try:
            invitation.check_not_expired(engine.clock.now())
        except InvitationError:
            raise InvitationExpired from None
        if normalise_relay_url(invitation.relay_url) != normalise_relay_url(engine.record.relay_url):
            raise UsageError(
                f"This invitation belongs to the relay {invitation.relay_url}; "
                f"this device was made for {engine.record.relay_url}."
            )
        return invitation

    def _pause_seconds(self) -> float:
        spread = MAX_PAUSE_SECONDS - MIN_PAUSE_SECONDS
        return MIN_PAUSE_SECONDS + spread * random_fraction(self._engine.rng)


def plain_name(display_name: str) -> str:
    """A line's name made of the therapist's: without blanks, fit to be typed."""
    words = "-".join(display_name.split())
    return words.lower() or "therapist"
