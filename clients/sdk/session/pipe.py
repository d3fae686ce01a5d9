"""Front end for a program: every text goes to the parent, and every text of the parent goes out.

Commands: "text" (value: the text), "typing" ("1" or "0"), "keep" ("1" or "0", S7), "end". Reports: "text"
(value: the peer's text), "delivered" (number), "typing", "keep" (own wish and the peer's), "link", "ending",
"returned" (numbers of texts not delivered), "refused" (sentence), "ended". Whoever uses it holds the texts in
the parent, which S7 does for no person's session.
"""

from __future__ import annotations

import asyncio

from clients.sdk.errors import AmanatError
from clients.sdk.session.front import (
    Ended,
    KeepChanged,
    LinkChanged,
    PeerEnding,
    PeerReturned,
    PeerTyping,
    SessionPort,
    TextDelivered,
    TextReceived,
)
from crypto.errors import StateError


async def run(session: SessionPort) -> None:
    """See `front`."""
    async with asyncio.TaskGroup() as group:
        obeying = group.create_task(_obey(session))
        await _tell(session)
        obeying.cancel()


async def _obey(session: SessionPort) -> None:
    async for kind, value in session.commands():
        try:
            match kind:
                case "text":
                    session.report("sent", str(session.send(value)))
                case "typing":
                    session.set_typing(value == "1")
                case "keep":
                    session.keep(value == "1")
                case "end":
                    session.end()
                case _:
                    session.report("refused", "unknown command")
        except (AmanatError, StateError) as error:
            session.report("refused", str(error))


async def _tell(session: SessionPort) -> None:
    async for event in session.events():
        match event:
            case TextReceived():
                session.report("text", event.text)
            case TextDelivered():
                session.report("delivered", str(event.text_id))
            case PeerTyping():
                session.report("typing", "1" if event.typing else "0")
            case LinkChanged():
                session.report("link", event.link.value)
            case PeerReturned():
                session.report("returned", " ".join(map(str, event.undelivered)))
            case PeerEnding():
                session.report("ending", "")
            case KeepChanged():
                session.report("keep", f"{event.mine:d} {event.theirs:d}")
            case Ended():
                session.report("ended", event.reason.value)
