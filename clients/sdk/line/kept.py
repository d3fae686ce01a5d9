"""S7's last sentence on this side of the screen: texts of a live session that both people agreed to keep.

They are rows of the conversation like any other, so they are shown in their place, go into an export, and go
with the texts when a line is ended with deletion. They never were payloads: they have no counter, no device,
no signature, nothing that the line's machine could send, request or receipt. What marks them is the version
0, which no payload of a peer can have.
"""

from __future__ import annotations

from typing import Final

from clients.sdk.line import messages
from clients.sdk.line.events import KeepSession
from clients.sdk.line.step import Step
from clients.sdk.line.tables import MessageRow
from crypto.errors import StateError

SESSION_ID_BYTES: Final = 16


def keep(step: Step, event: KeepSession) -> None:
    """Put them into the conversation, unless the line's texts are to be deleted anyway.

    Raises:
        StateError: The session id has not 16 bytes.
    """
    if len(event.session_id) != SESSION_ID_BYTES:
        raise StateError("a session id has 16 bytes")
    if not step.state.end_keep_texts or messages.by_item(step, _item_id(event.session_id, 0)) is not None:
        return
    for number, text in enumerate(event.texts):
        messages.append(
            step,
            MessageRow(
                place=step.state.next_place,
                mine=text.mine,
                device_id=bytes(16),
                counter=0,
                item_id=_item_id(event.session_id, number),
                kind=0,
                version=messages.KEPT_VERSION,
                utc_seconds=text.utc_seconds,
                body=text.text.reveal(),
                state=0,
            ),
        )
    if event.texts:
        step.state.last_activity = step.now


def forget(step: Step, session_id: bytes) -> None:
    """Delete them."""
    number = 0
    while (row := messages.by_item(step, _item_id(session_id, number))) is not None:
        messages.remove(step, row)
        number += 1


def _item_id(session_id: bytes, number: int) -> bytes:
    return session_id + number.to_bytes(4, "big")
