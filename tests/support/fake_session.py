"""A session without a relay, for tests of the session view."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from clients.sdk.errors import MAX_TEXT_BYTES, TextTooLong
from clients.sdk.model import Role
from clients.sdk.session.front import Ended, EndReason, Link, SessionEvent


class FakeSession:
    """`SessionPort`: a test puts events in, and reads what the front end did."""

    def __init__(self, *, role: Role = Role.CLIENT, peer_name: str = "Dr Sara Malik") -> None:
        self.role = role
        self.peer_name = peer_name
        self.session_seconds = 50 * 60
        self.elapsed_seconds = 0.0
        self.link = Link.CONNECTED
        self.options: Mapping[str, str] = {}
        self.sent: list[str] = []
        self.typing: list[bool] = []
        self.done: list[str] = []
        self.wishes: list[bool] = []
        self.queue: asyncio.Queue[SessionEvent] = asyncio.Queue()
        self.from_parent: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def events(self) -> AsyncIterator[SessionEvent]:
        while True:
            event = await self.queue.get()
            yield event
            if isinstance(event, Ended):
                return

    def send(self, text: str) -> int:
        if (over := len(text.encode()) - MAX_TEXT_BYTES) > 0:
            raise TextTooLong(over)
        self.sent.append(text)
        return len(self.sent)

    def set_typing(self, typing: bool) -> None:
        self.typing.append(typing)

    def keep(self, wish: bool) -> None:
        self.wishes.append(wish)

    def end(self) -> None:
        self.done.append("end")
        self.queue.put_nowait(Ended(reason=EndReason.ENDED))

    def panic(self) -> None:
        self.done.append("panic")
        self.queue.put_nowait(Ended(reason=EndReason.PANIC))

    async def commands(self) -> AsyncIterator[tuple[str, str]]:
        while True:
            yield await self.from_parent.get()

    def report(self, kind: str, value: str) -> None:
        self.done.append(f"report {kind} {value}")
