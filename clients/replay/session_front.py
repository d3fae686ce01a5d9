"""The front end that a replay gives to a live session's child process: texts come and go over a Unix socket.

One JSON object per line. From the replay: {"send": text}, {"end": true}. To it: {"hello": side, "pid": n},
{"link": state}, {"received": text, "utc": seconds}, {"secrets": [hex, ...]}, {"identifiers": [hex, ...]},
{"ended": reason}.
Importing this module installs the recorder, so that the session's keys are searched for at the relay; a child
imports its front end before it makes any key.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Iterator
from typing import Final

from clients.replay import recorder
from clients.sdk.session.front import Ended, LinkChanged, SessionPort, TextReceived

NAME: Final = "clients.replay.session_front:run"
LINE_LIMIT_BYTES: Final = 1 << 20
VALUES_PER_LINE: Final = 1_000

_RECORDER: Final = recorder.install()


async def run(session: SessionPort) -> None:
    """Carry texts between the replay and the session until both sides have ended it."""
    reader, writer = await asyncio.open_unix_connection(session.options["socket"], limit=LINE_LIMIT_BYTES)

    def say(**fields: object) -> None:
        writer.write(json.dumps(fields).encode() + b"\n")

    async def obey() -> None:
        while line := await reader.readline():
            order = json.loads(line)
            if "send" in order:
                session.send(order["send"])
            elif "end" in order:
                session.end()

    say(hello=session.options["side"], pid=os.getpid(), link=session.link.value)
    async with asyncio.TaskGroup() as group:
        orders = group.create_task(obey())
        async for event in session.events():
            match event:
                case TextReceived(text=text, utc_seconds=utc_seconds):
                    say(received=text, utc=utc_seconds)
                case LinkChanged(link=link):
                    say(link=link.value)
                case Ended(reason=reason):
                    for values in _pieces(_RECORDER.secrets):
                        say(secrets=values)
                    for values in _pieces(_RECORDER.identifiers):
                        say(identifiers=values)
                    say(ended=reason.value)
                case _:
                    pass
        orders.cancel()
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def _pieces(values: Iterable[bytes]) -> Iterator[list[str]]:
    """Values in hexadecimal, so many to a line that no line is too long."""
    written = sorted(value.hex() for value in values)
    for start in range(0, len(written), VALUES_PER_LINE):
        yield written[start : start + VALUES_PER_LINE]
