"""A therapist's inbox on a running device: kept open while connected; each first contact is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from chatserver.wire import frames as f
from clients.sdk.clock import Clock
from clients.sdk.connection import Connection
from clients.sdk.errors import AmanatError, Refused
from clients.sdk.records import REFUSED, DeviceRecord, LineRecord, load_device
from clients.sdk.therapist_contact import accept_drop
from clients.sdk.upkeep import LOOK_SECONDS, InboxKeeper, therapist_of
from crypto.codec import CodecError, Writer
from crypto.errors import AuthenticationError, StateError, ValidationError
from keys.certificates import utc_day
from keys.vault import VaultDamaged, VaultStore, VaultTransaction

MAX_DROPS_WAITING: Final = 256
"""First contacts read ahead; more are dropped and come again with the next connection."""


class InboxHost(Protocol):
    """What the desk needs of the device that it runs on; `clients.sdk.engine.Engine` is one."""

    vault: VaultStore
    rng: Callable[[int], bytes]
    clock: Clock
    record: DeviceRecord
    activity: asyncio.Event

    def say(self, sentence: str) -> None:
        """Tell the person something about the connection."""
        ...

    def contacted(self, record: LineRecord) -> None:
        """A first contact made a line, which stands in the vault."""
        ...


def read_device(tx: VaultTransaction) -> DeviceRecord:
    """The device's record.

    Raises:
        VaultDamaged: there is none.
    """
    record = load_device(tx)
    if record is None:
        raise VaultDamaged("it holds no device")
    return record


class InboxDesk:
    """See the module.

    Args:
        host: The device.

    Attributes:
        trouble: Why the relay does not open the inbox.
        open: Whether it is open over the present connection.
    """

    def __init__(self, host: InboxHost) -> None:
        self.trouble: AmanatError | None = None
        self.open = False
        self._host = host
        self._keeper = InboxKeeper(host.vault, load=read_device, rng=host.rng, now=host.clock.now)
        self._drops: asyncio.Queue[f.InboxCell] = asyncio.Queue(MAX_DROPS_WAITING)
        self._in_work = False

    @property
    def idle(self) -> bool:
        """Whether no first contact waits to be judged."""
        return self._drops.empty() and not self._in_work

    def prepare(self) -> None:
        """Get ready to run on the present event loop."""
        self._drops = asyncio.Queue(MAX_DROPS_WAITING)
        self.trouble = None

    def disconnect(self) -> None:
        """The connection is gone; what was read ahead comes again."""
        self.open = False
        while not self._drops.empty():
            self._drops.get_nowait()

    def take(self, cell: f.InboxCell) -> None:
        """A first contact has come."""
        if not self._drops.full():
            self._drops.put_nowait(cell)

    async def keep(self, connection: Connection) -> None:
        """Keep the inbox open while the connection lasts; ends at once where the relay refuses it.

        Raises:
            ConnectionLost: try again on the next connection.
        """
        host = self._host
        try:
            await self._keeper.open(connection)
            await self._keeper.look_after(connection)
        except Refused as refused:
            self.trouble = refused
            host.say(refused.sentence)
            host.activity.set()
            return
        self._read_again()
        self.trouble = None
        self.open = True
        host.activity.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(connection))
            group.create_task(self._look_after(connection))

    async def admit_invitations(self, connection: Connection) -> None:
        """Tell the relay of new invitations. Raises as `InboxKeeper.admit_all`."""
        await self._keeper.admit_all(connection)

    async def _look_after(self, connection: Connection) -> None:
        while True:
            await self._host.clock.sleep(LOOK_SECONDS)
            try:
                await self._keeper.look_after(connection)
            except Refused as refused:
                self._host.say(refused.sentence)
            self._read_again()

    def _read_again(self) -> None:
        """What the keeper changed in the vault."""
        with self._host.vault.transaction() as tx:
            self._host.record = read_device(tx)

    async def _receive(self, connection: Connection) -> None:
        while True:
            cell = await self._drops.get()
            self._in_work = True
            try:
                self._judge(cell)
                await self._keeper.acknowledge(connection, cell.drop_id)
            finally:
                self._in_work = False
                self._host.activity.set()

    def _judge(self, cell: f.InboxCell) -> None:
        """Let a line come to be, or note once that this first contact was no good. Both are kept first."""
        host = self._host
        now = host.clock.now()
        with host.vault.transaction() as tx:
            if tx.get(REFUSED, cell.drop_id) is not None:
                return
        try:
            with host.vault.transaction() as tx:
                record = accept_drop(
                    tx,
                    cell.body,
                    state=therapist_of(read_device(tx)),
                    relay_url=host.record.relay_url,
                    rng=host.rng,
                    now=now,
                )
        except (AuthenticationError, CodecError, StateError, ValidationError):
            with host.vault.transaction() as tx:
                tx.put(REFUSED, cell.drop_id, Writer().u32(utc_day(now)).to_bytes())
            return
        host.contacted(record)
