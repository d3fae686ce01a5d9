"""Front end that plays one side of a script: it sends its own turns and waits for those of the peer.

Options: `script`, the JSON `{"turns": [["client", "text"], ["therapist", "text"], ...]}` (both sides get the
same); `keep`, "1" if this side wants the session's text kept (S7); `report_texts`, "1" if the peer's texts
shall be reported to the parent ("text"), as a test does; `typing_seconds`, how long to show the typing sign
before each own turn (default 0). A turn is sent when everything before it has been received or sent. When
all turns are through, the side that spoke last ends the session, the other side waits for that. Reports
"sent" and "received" with the number of the turn, "mismatch" where a text differs from the script,
"unexpected" for each text that the script does not hold, and "ended" with the reason. `unfinished` judges
from them whether the script was played whole.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from typing import Final

from clients.sdk.errors import MAX_TEXT_BYTES, UsageError
from clients.sdk.model import Role
from clients.sdk.session.front import Ended, PeerReturned, SessionPort, TextDelivered, TextReceived
from clients.sdk.session.stream import MAX_WAITING_BYTES
from crypto.errors import StateError

MAX_SCRIPT_BYTES: Final = 1_000_000
"""A script is handed to the session's process in one message (`control.MAX_MESSAGE_BYTES`)."""


def parse_script(content: str) -> list[tuple[Role, str]]:
    """The turns of a script.

    Raises:
        UsageError: it is none, or one of its texts could not be sent.
    """
    if len(content.encode("utf-8", "surrogatepass")) > MAX_SCRIPT_BYTES:
        raise UsageError(f"This script has more than {MAX_SCRIPT_BYTES:,} bytes; split it.")
    roles = {role.value: role for role in Role}
    try:
        turns = json.loads(content)["turns"]
        found = [(roles[who], text) for who, text in turns]
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            'A script looks like {"turns": [["client", "text"], ["therapist", "text"]]}.'
        ) from None
    for number, (_, text) in enumerate(found, 1):
        _check_text(number, text)
    return found


def _check_text(number: int, text: object) -> None:
    """What `SessionPort.send` would refuse is refused before anybody waits for it.

    Raises:
        UsageError: no text, no valid Unicode, or more than 12,288 bytes of UTF-8.
    """
    if not isinstance(text, str) or not text:
        raise UsageError(f"Turn {number} of the script needs a text; nothing was sent.")
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise UsageError(f"Turn {number} of the script is no valid Unicode; nothing was sent.") from None
    if size > MAX_TEXT_BYTES:
        raise UsageError(
            f"Turn {number} of the script has {size:,} bytes of UTF-8, which is {size - MAX_TEXT_BYTES:,} "
            f"over the {MAX_TEXT_BYTES:,} that a text may have; nothing was sent."
        )


def sizes_sentence(turns: Sequence[tuple[Role, str]], role: Role) -> str:
    """What one side of a script sends, for whoever is about to start it."""
    sizes = [len(text.encode("utf-8")) for who, text in turns if who is role]
    return (
        f"Texts of this side: {len(sizes)}, {sum(sizes):,} bytes of UTF-8 in all, the longest "
        f"{max(sizes, default=0):,} (a text has at most {MAX_TEXT_BYTES:,})."
    )


def unfinished(
    turns: Sequence[tuple[Role, str]],
    role: Role,
    reports: Sequence[tuple[str, str]],
    *,
    delivered: int,
) -> str:
    """Why a session did not play this side of a script whole; empty if it did.

    Args:
        turns: Of the script.
        role: This side.
        reports: What the front end reported.
        delivered: Own texts that the peer's device acknowledged.
    """
    kinds = [kind for kind, _ in reports]
    if wrong := [number for kind, number in reports if kind == "mismatch"]:
        return f"What came in turn {', '.join(wrong)} is not what the script says."
    mine = sum(who is role for who, _ in turns)
    if (never := mine - kinds.count("sent")) > 0:
        return f"{never} text(s) of the script were never sent."
    if extra := kinds.count("unexpected"):
        return f"The other side sent {extra} text(s) that the script does not hold."
    if (missing := len(turns) - mine - kinds.count("received")) > 0:
        return f"{missing} text(s) of the script never came."
    if (lost := mine - delivered) > 0:
        return f"{lost} text(s) were sent, but the other side's device did not confirm them."
    return ""


class _Listener:
    """The session's events, as a script needs them: texts in order, and room for the next one."""

    def __init__(self, session: SessionPort) -> None:
        self._session = session
        self._events = session.events()
        self._texts: deque[str] = deque()
        self._waiting: dict[int, int] = {}
        self.over = False

    async def _step(self) -> None:
        async for event in self._events:
            match event:
                case TextReceived():
                    self._texts.append(event.text)
                case TextDelivered():
                    self._waiting.pop(event.text_id, None)
                case PeerReturned():
                    self._waiting.clear()
                case Ended():
                    self.over = True
                    self._session.report("ended", event.reason.value)
                case _:
                    pass
            return
        self.over = True

    async def text(self) -> str | None:
        """The peer's next text; None if the session is over before one comes."""
        while not self._texts and not self.over:
            await self._step()
        return self._texts.popleft() if self._texts else None

    async def send(self, text: str) -> bool:
        """Send once there is room; False if the session does not take it any more."""
        while sum(self._waiting.values()) > MAX_WAITING_BYTES // 2 and not self.over:
            await self._step()
        try:
            number = self._session.send(text)
        except StateError:
            return False
        self._waiting[number] = len(text.encode("utf-8"))
        return True


async def run(session: SessionPort) -> None:
    """See `front`."""
    turns = parse_script(session.options.get("script", '{"turns": []}'))
    listener = _Listener(session)
    if session.options.get("keep") == "1":
        session.keep(True)
    typing_seconds = float(session.options.get("typing_seconds", "0"))
    for number, (who, text) in enumerate(turns, 1):
        if who is session.role:
            if typing_seconds:
                session.set_typing(True)
                await asyncio.sleep(typing_seconds)
                session.set_typing(False)
            if not await listener.send(text):
                break
            session.report("sent", str(number))
        else:
            got = await listener.text()
            if got is None:
                return
            session.report("received" if got == text else "mismatch", str(number))
            if session.options.get("report_texts") == "1":
                session.report("text", got)
    last_speaker = turns[-1][0] if turns else Role.THERAPIST
    if session.role is last_speaker:
        session.end()
    while await listener.text() is not None:
        session.report("unexpected", "")
