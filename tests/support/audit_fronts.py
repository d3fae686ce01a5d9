"""Front ends of live sessions with one thing wrong, for the saboteurs of `amanat audit`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from clients.replay import session_front
from clients.sdk.session.front import SessionEvent, SessionPort, TextReceived

SPOKEN = [0.0]


async def telling(session: SessionPort) -> None:
    """Tells the device's main process what was said, which keeps it in its memory."""
    events = session.events

    async def heard() -> AsyncIterator[SessionEvent]:
        async for event in events():
            if isinstance(event, TextReceived):
                session.report("text", event.text)
            yield event

    session.events = heard  # type: ignore[method-assign]
    await session_front.run(session)


async def saving(session: SessionPort) -> None:
    """Sends only every second cell while nobody writes: the rate follows the typing."""
    from clients.sdk.session import machine

    may_send, send = machine.SessionMachine._may_send, session.send
    count = [0]

    def may(self: Any) -> bool:
        count[0] += 1
        silent = time.monotonic() - SPOKEN[0] > 4
        return may_send(self) and not (silent and self.heard and count[0] % 2)

    def speaking(text: str) -> int:
        SPOKEN[0] = time.monotonic()
        return send(text)

    machine.SessionMachine._may_send = may  # type: ignore[method-assign]
    session.send = speaking  # type: ignore[method-assign]
    await session_front.run(session)
