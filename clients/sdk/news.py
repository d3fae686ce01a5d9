"""Telling the application each received message once (also over a restart), and passing events on.

A message is *told* once the application came back for the next one (`events`) or said so (`mark_told`); that
is noted in the vault. A crash in between tells it again: nothing is lost. Events other than messages are
only for whoever listens at that moment; the vault holds what they are about.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from clients.sdk.line.view import LineMessage as MachineMessage
from clients.sdk.model import DeviceEvent, LineChanged, LineMessage, LineName, MessageArrived
from clients.sdk.records import TOLD
from clients.sdk.summaries import is_new, item_id_of, show_message
from keys.vault import VaultStore

MAX_WAITING_EVENTS: Final = 10_000
RECENT_MESSAGES: Final = 64
"""How far back is looked when a message arrives; more only if it is not among these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What `News` needs of a line."""

    line_id: bytes
    name: Callable[[], LineName]
    messages: Callable[[int | None], list[MachineMessage]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrival:
    """One message that arrived; it is looked up when it is told."""

    line: Line
    key: bytes


def _key(line_id: bytes, sender_device: bytes, counter: int) -> bytes:
    return line_id + sender_device + counter.to_bytes(8, "big")


def _key_of(line: Line, message: MachineMessage) -> bytes:
    return _key(line.line_id, message.sender_device, message.counter)


class News:
    """Events of one device for one listener.

    Args:
        vault: The device's.
        lines: All lines at this moment.
    """

    def __init__(self, vault: VaultStore, lines: Callable[[], Iterable[Line]]) -> None:
        self._vault = vault
        self._lines = lines
        self._events: deque[DeviceEvent | _Arrival] = deque(maxlen=MAX_WAITING_EVENTS)
        self._arrived = asyncio.Event()
        self._listening = False

    def post(self, event: DeviceEvent) -> None:
        """Something happened; forgotten if nobody listens."""
        if self._listening:
            self._events.append(event)
            self._arrived.set()

    def post_message(self, line: Line, *, sender_device: bytes, counter: int) -> None:
        """A message arrived on a line: whoever listens will look."""
        if self._listening:
            self._events.append(_Arrival(line=line, key=_key(line.line_id, sender_device, counter)))
            self._arrived.set()

    def untold(self, line: Line, *, limit: int | None = None) -> list[MachineMessage]:
        """Received messages of a line (of its newest `limit`) that the application has not taken over."""
        messages = [message for message in line.messages(limit) if is_new(message)]
        with self._vault.transaction() as tx:
            return [message for message in messages if tx.get(TOLD, _key_of(line, message)) is None]

    def new_messages(self) -> list[tuple[LineName, LineMessage]]:
        """See `Device.new_messages`."""
        return [
            (line.name(), show_message(message)) for line in self._lines() for message in self.untold(line)
        ]

    def mark(self, line: Line, messages: Iterable[MachineMessage]) -> None:
        """The application has these."""
        with self._vault.transaction() as tx:
            for message in messages:
                tx.put(TOLD, _key_of(line, message), b"")

    def mark_ids(self, line: Line, item_ids: Iterable[str]) -> None:
        """See `Device.mark_told`."""
        wanted = set(item_ids)
        self.mark(line, [message for message in self.untold(line) if item_id_of(message) in wanted])

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """See `Device.events`."""
        self._listening = True
        self._arrived = asyncio.Event()
        self._events.clear()
        try:
            for line in list(self._lines()):
                for message in self.untold(line):
                    async for event in self._tell(line, message):
                        yield event
            while True:
                while self._events:
                    found = self._events.popleft()
                    if not isinstance(found, _Arrival):
                        yield found
                    elif (arrived := self._look_up(found)) is not None:
                        async for event in self._tell(found.line, arrived):
                            yield event
                    elif not self._is_told(found):
                        # Written on another device of this person: nothing to tell, something to show.
                        yield LineChanged(line=found.line.name())
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._listening = False

    def _is_told(self, arrival: _Arrival) -> bool:
        with self._vault.transaction() as tx:
            return tx.get(TOLD, arrival.key) is not None

    def _look_up(self, arrival: _Arrival) -> MachineMessage | None:
        if self._is_told(arrival):
            return None
        for limit in (RECENT_MESSAGES, None):
            for message in arrival.line.messages(limit):
                if is_new(message) and _key_of(arrival.line, message) == arrival.key:
                    return message
        return None

    async def _tell(self, line: Line, message: MachineMessage) -> AsyncIterator[DeviceEvent]:
        yield MessageArrived(line=line.name(), message=show_message(message))
        # Whoever comes back for more, or ends the iteration in order, has taken this one over.
        self.mark(line, [message])
