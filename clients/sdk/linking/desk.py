"""Linking on a running device: its mailboxes with their drivers, and whichever of the two sides it is on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from clients.sdk.line.events import Tick
from clients.sdk.line_driver import ChannelDriver
from clients.sdk.linking import mailbox
from clients.sdk.linking.first_device import FirstDevice
from clients.sdk.linking.host import LinkHost
from clients.sdk.linking.linked_device import LinkedDevice
from clients.sdk.linking.siblings import load_siblings
from clients.sdk.records import LinkPhase
from keys.vault import VaultTransaction

LOOK_SECONDS: Final = 3_600.0
"""How often is looked whether anything is missing, when nothing happens."""

MakeDriver = Callable[[bytes, mailbox.Mailbox], ChannelDriver]


class LinkDesk:
    """See the module.

    Args:
        host: The device.
        make_driver: Makes a driver for a mailbox.
    """

    def __init__(self, host: LinkHost, make_driver: MakeDriver) -> None:
        self.first = FirstDevice(host)
        self.linked = LinkedDevice(host)
        self.boxes: dict[bytes, ChannelDriver] = {}
        self._host = host
        self._make_driver = make_driver
        self._mailboxes: dict[bytes, mailbox.Mailbox] = {}
        self._due = True
        self._look_at = 0.0
        self._online = False

    def touch(self) -> None:
        """Something happened that may ask for work."""
        self._due = True

    def work(self, now: float) -> None:
        """Do what is due; call it after every event. Cheap when nothing is."""
        if not self._due and now < self._look_at:
            return
        self._due, self._look_at = False, now + LOOK_SECONDS
        host = self._host
        if host.device.primary:
            self.first.work(now)
        else:
            self.linked.work(now)
            if self._online:
                with host.vault.transaction() as tx:
                    record = self.linked.report(tx, host.device, now)
                if record != host.device:
                    host.became(record)
        self.sync(now)

    def sync(self, now: float) -> None:
        """Drive exactly the mailboxes that are in the vault, and hand over what was posted."""
        with self._host.vault.transaction() as tx:
            wanted = {
                box_id: take for box_id, take in self._takes(tx) if mailbox.load_box(tx, box_id) is not None
            }
        for box_id in list(self.boxes):
            if box_id not in wanted:
                del self.boxes[box_id], self._mailboxes[box_id]
        for box_id, take in wanted.items():
            if box_id not in self.boxes:
                box = mailbox.Mailbox(self._host.vault, box_id, self._touching(take), stored=self.touch)
                self._mailboxes[box_id] = box
                self.boxes[box_id] = self._make_driver(box_id, box)
                if self._online:
                    self.boxes[box_id].connect(now)
            else:
                self.boxes[box_id].handle(Tick(), now)

    def connect(self, now: float) -> None:
        """There is a connection."""
        self._online, self._due = True, True
        for driver in list(self.boxes.values()):
            driver.connect(now)
        self.work(now)

    def disconnect(self, now: float) -> None:
        """The connection is gone."""
        self._online = False
        for driver in list(self.boxes.values()):
            driver.disconnect(now)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be handed over or read."""
        with self._host.vault.transaction() as tx:
            full = {box_id for box_id in self.boxes if _is_full(tx, box_id)}
            mail = any(mailbox.waiting(tx, box_id) for box_id in self.boxes)
        attached = all(box.idle or box_id in full for box_id, box in self._mailboxes.items())
        return not self._due and not mail and attached and not any(d.busy for d in self.boxes.values())

    def next_due(self) -> Iterator[float]:
        """When something wants a Tick or work, UTC seconds."""
        yield 0.0 if self._due else self._look_at
        for driver in self.boxes.values():
            wakeup = driver.next_wakeup()
            if wakeup is not None:
                yield wakeup

    def tick(self, now: float) -> None:
        """Time has passed."""
        for driver in list(self.boxes.values()):
            wakeup = driver.next_wakeup()
            if wakeup is not None and wakeup <= now:
                driver.handle(Tick(), now)
        self.work(now)

    def _takes(self, tx: VaultTransaction) -> Iterator[tuple[bytes, mailbox.Take]]:
        state = self._host.device.linked
        if state is None:
            for sibling in load_siblings(tx):
                if sibling.opening_box:
                    yield sibling.opening_box, self.first.take_opening(sibling.sibling_id)
                if sibling.link_box:
                    yield sibling.link_box, self.first.take_link(sibling.sibling_id)
        elif state.box_id:
            waiting = state.phase is LinkPhase.WAITING
            yield state.box_id, self.linked.take_opening if waiting else self.linked.take_link

    def _touching(self, take: mailbox.Take) -> mailbox.Take:
        def touched(tx: VaultTransaction, message: bytes, now: float) -> None:
            self._due = True
            take(tx, message, now)

        return touched


def _is_full(tx: VaultTransaction, box_id: bytes) -> bool:
    row = mailbox.load_box(tx, box_id)
    return row is not None and row.full
