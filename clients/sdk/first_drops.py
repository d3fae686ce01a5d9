"""A client's first contacts on a running device: each is dropped until the relay has answered for it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.limits import AdmissionKind
from clients.sdk.clock import Clock
from clients.sdk.connection import ConnectionLost, RequestRefused, ask_once
from clients.sdk.errors import InboxFull, InvitationUsed, NotARelay, Refused, RelayUnreachable
from clients.sdk.first_contact import admit_hash
from clients.sdk.line import events as e
from clients.sdk.line_driver import LineDriver
from clients.sdk.records import CONNECTED, DROPS, DeviceRecord, DropRecord, LineRecord
from clients.sdk.upkeep import LOOK_SECONDS
from crypto.errors import StateError
from keys.vault import VaultStore


class DropsHost(Protocol):
    """What first contacts need of the device that they start from; `clients.sdk.engine.Engine` is one."""

    vault: VaultStore
    clock: Clock
    record: DeviceRecord
    drivers: dict[bytes, LineDriver]

    @property
    def line_records(self) -> Mapping[bytes, LineRecord]:
        """All lines, by id."""
        ...

    def handle(self, line_id: bytes, event: e.Event) -> None:
        """Hand a wish to a line's machine."""
        ...

    def say_of(self, line_id: bytes, sentence: str) -> None:
        """Tell the person something about a line."""
        ...

    def wake(self) -> None:
        """Lines may be ready to be attached."""
        ...


class FirstDrops:
    """See the module.

    Args:
        host: The device.
    """

    def __init__(self, host: DropsHost) -> None:
        self._host = host

    def line_of(self, admit_value: bytes) -> bytes | None:
        """The line that an earlier `connect` with this invitation made, whether it was finished or not."""
        with self._host.vault.transaction() as tx:
            line_id = tx.get(CONNECTED, admit_hash(admit_value))
        return line_id if line_id in self._host.line_records else None

    def waits(self, line_id: bytes) -> bool:
        """Whether the first contact of a line was not confirmed by the relay."""
        with self._host.vault.transaction() as tx:
            return tx.get(DROPS, line_id) is not None

    def waiting(self) -> frozenset[bytes]:
        """Lines whose first contact the relay has not confirmed: they are not attached yet."""
        with self._host.vault.transaction() as tx:
            return frozenset(line_id for line_id, _ in tx.items(DROPS))

    async def deliver(self, line_id: bytes) -> None:
        """Drop a first contact over a connection of its own.

        Raises:
            InvitationUsed, InboxFull, Refused: the relay does not take it.
            RelayUnreachable, NotARelay: it stays in the vault for later.
        """
        host = self._host
        with host.vault.transaction() as tx:
            data = tx.get(DROPS, line_id)
        if data is None:
            return
        try:
            await self._drop(DropRecord.decode(data))
        except ConnectionLost:
            raise RelayUnreachable(host.record.relay_url, "connection lost") from None
        except RequestRefused as refused:
            raise _refusal(refused) from None
        driver = host.drivers.get(line_id)
        welcome = None if driver is None else driver.machine.founding_welcome()
        self._forget(line_id)
        if welcome is not None:
            host.handle(line_id, e.WelcomeDelivered(welcome_id=welcome[0]))

    async def keep_delivering(self) -> None:
        """What the relay did not answer is tried again with every connection, and while one lasts."""
        while True:
            await self._deliver_left_over()
            await self._host.clock.sleep(LOOK_SECONDS)

    async def _drop(self, drop: DropRecord) -> None:
        frame = f.Drop(
            request=1,
            inbox_id=drop.inbox_id,
            admission=AdmissionKind.INVITE,
            admission_value=drop.admit_value,
            drop_id=drop.drop_id,
            body=drop.body,
        )
        await ask_once(self._host.record.relay_url, lambda number: replace(frame, request=number))

    async def _deliver_left_over(self) -> None:
        """First contacts that a crash or a lost connection left behind."""
        host = self._host
        for line_id in sorted(self.waiting()):
            if line_id not in host.drivers:
                continue
            try:
                await self.deliver(line_id)
            except InboxFull as full:
                if line_id in host.line_records:
                    host.say_of(line_id, full.sentence)
            except Refused as refused:
                if line_id not in host.drivers:
                    continue  # refused to its person at the same time, and forgotten
                with contextlib.suppress(StateError):  # its person has ended it meanwhile
                    host.handle(line_id, e.EndLine(block=True, keep_texts=True))
                self._forget(line_id)
                host.say_of(line_id, refused.sentence)
            except (RelayUnreachable, NotARelay):
                return
        host.wake()

    def _forget(self, line_id: bytes) -> None:
        with self._host.vault.transaction() as tx:
            tx.delete(DROPS, line_id)


def _refusal(refused: RequestRefused) -> Refused:
    match refused.code:
        case ErrorCode.ADMISSION_UNKNOWN | ErrorCode.ADMISSION_USED | ErrorCode.ADMISSION_REQUIRED:
            return InvitationUsed()
        case ErrorCode.INBOX_FULL:
            return InboxFull()
        case ErrorCode.NOT_REGISTERED:
            return Refused(
                "The relay does not know this therapist's inbox any more; ask for a new invitation."
            )
        case _:
            return Refused("The relay did not take the first contact; try again later.")
