"""Front end that plays one side of a script: it sends its own turns and waits for those of the peer.

Options: `script`, the JSON `{"turns": [["client", "text"], ["therapist", "text"], ...]}` (both sides get the
same); `report_texts`, "1" if the peer's texts shall be reported to the parent ("text"), as a test does;
`typing_seconds`, how long to show the typing sign before each own turn (default 0). A turn is sent when
everything before it has been received or sent. When all turns are through, the side that spoke last ends the
session, the other side waits for that. Reports "sent" and "received" with the number of the turn, "mismatch"
where a text differs from the script, and "ended" with the reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from clients.sdk.errors import UsageError
from clients.sdk.model import Role
from clients.sdk.session.front import Ended, SessionEvent, SessionPort, TextReceived


def parse_script(content: str) -> list[tuple[Role, str]]:
    """The turns of a script.

    Raises:
        UsageError: it is none.
    """
    roles = {role.value: role for role in Role}
    try:
        turns = json.loads(content)["turns"]
        found = [(roles[who], text) for who, text in turns]
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            'A script looks like {"turns": [["client", "text"], ["therapist", "text"]]}.'
        ) from None
    if not all(isinstance(text, str) and text for _, text in found):
        raise UsageError("Each turn of a script needs a text.")
    return found


async def run(session: SessionPort) -> None:
    """See `front`."""
    turns = parse_script(session.options.get("script", '{"turns": []}'))
    events = session.events()
    typing_seconds = float(session.options.get("typing_seconds", "0"))
    for number, (who, text) in enumerate(turns, 1):
        if who is session.role:
            if typing_seconds:
                session.set_typing(True)
                await asyncio.sleep(typing_seconds)
                session.set_typing(False)
            session.send(text)
            session.report("sent", str(number))
        else:
            got = await _next_text(events, session)
            if got is None:
                return
            session.report("received" if got == text else "mismatch", str(number))
            if session.options.get("report_texts") == "1":
                session.report("text", got)
    last_speaker = turns[-1][0] if turns else Role.THERAPIST
    if session.role is last_speaker:
        session.end()
    async for event in events:
        if isinstance(event, Ended):
            session.report("ended", event.reason.value)


async def _next_text(events: AsyncIterator[SessionEvent], session: SessionPort) -> str | None:
    async for event in events:
        match event:
            case TextReceived():
                return event.text
            case Ended():
                session.report("ended", event.reason.value)
            case _:
                pass
    return None
