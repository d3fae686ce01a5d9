"""One device of the live checks, in a process of its own: orders come and answers go as lines of JSON.

    {"open": {"home": ..., "role": ..., "relay": ...}}   {"invite": true}   {"connect": link}
    {"send": text}   {"arrived": count}   {"settle": true}   {"session": {"front": ..., "options": {...}}}
    {"end": true}   {"values": true}   {"close": true}

Each is answered by one line, `{"failed": kind}` where it could not be carried out. In a live session this
process must never hold a text: those go between the session's own process and the audit, over a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from pathlib import Path
from typing import Any, Final

from clients.replay import recorder
from clients.replay.parties import Party
from clients.sdk.device import Device
from clients.sdk.errors import AmanatError
from clients.sdk.hardening import harden
from clients.sdk.model import Role
from clients.sdk.session.handle import SessionHandle
from keys.passphrase import TEST_COST

TIME_SCALE: Final = 20.0
ESTABLISH_SECONDS: Final = 240.0
END_SECONDS: Final = 240.0
ARRIVED_SECONDS: Final = 240.0
SETTLE_SECONDS: Final = 240.0
"""Less than the audit waits for an answer. What these are for takes seconds on a quiet machine."""


class Actor:
    """A device and what it is ordered to do."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._party: Party | None = None
        self._handle: SessionHandle | None = None
        self._listening: asyncio.Task[None] | None = None
        self._recorder = recorder.install()

    @property
    def party(self) -> Party:
        """The device, once it is open."""
        if self._party is None:
            raise RuntimeError("not open")
        return self._party

    async def open(self, told: dict[str, Any]) -> dict[str, Any]:
        """Make the device and go online."""
        device = Device.create(
            Path(told["home"]),
            role=Role(told["role"]),
            relay_url=told["relay"],
            passphrase=secrets.token_hex(16),
            time_scale=TIME_SCALE,
            cost=TEST_COST,  # the passphrase is random; a slow guess protects nothing here
        )
        self._stack.callback(device.close)
        await self._stack.enter_async_context(device.online())
        self._party = Party(role=device.role, device=device)
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._listening = group.create_task(self._party.listen())
        return {}

    async def invite(self, _: object) -> dict[str, Any]:
        """Make an invitation."""
        return {"link": (await self.party.device.invite()).link}

    async def connect(self, link: str) -> dict[str, Any]:
        """Follow an invitation."""
        name = f"canary-{secrets.token_hex(8)}"
        self.party.line = (await self.party.device.connect(link, name=name)).name
        return {"name": self.party.line}

    async def line(self, _: object) -> dict[str, Any]:
        """Wait for the line, and give it a name that can be searched for."""
        await self.party.wait_line()
        name = f"canary-{secrets.token_hex(8)}"
        self.party.line = self.party.device.rename_line(self.party.line, name)
        return {"name": name}

    async def send(self, text: str) -> dict[str, Any]:
        """Send a text over the line."""
        self.party.device.send_text(self.party.line, text)
        return {}

    async def arrived(self, count: int) -> dict[str, Any]:
        """Wait for texts."""
        await self.party.wait_arrived(count, ARRIVED_SECONDS)
        return {"texts": self.party.arrived}

    async def settle(self, _: object) -> dict[str, Any]:
        """Until nothing waits to be sent."""
        await self.party.device.settle(SETTLE_SECONDS)
        return {}

    async def session(self, told: dict[str, Any]) -> dict[str, Any]:
        """Bring a live session about; its process is told of by the front end."""
        self._handle = await self._stack.enter_async_context(self.party.device.session(self.party.line))
        await self._handle.start(
            front=told["front"], options=told["options"], timeout_seconds=ESTABLISH_SECONDS
        )
        return {}

    async def end(self, _: object) -> dict[str, Any]:
        """Wait until the session has ended."""
        if self._handle is not None:
            result = await self._handle.wait(END_SECONDS)
            return {"reason": result.reason.value}
        return {}

    async def values(self, _: object) -> dict[str, Any]:
        """Secrets and identifiers made in this process."""
        return {
            "secrets": sorted(value.hex() for value in self._recorder.secrets),
            "identifiers": sorted(value.hex() for value in self._recorder.identifiers),
        }

    async def close(self) -> None:
        """Go offline and end."""
        if self._listening is not None:
            self._listening.cancel()
        await self._stack.aclose()


async def obey() -> None:
    """Read orders until there are no more."""
    actor = Actor()
    orders = {
        name: getattr(actor, name)
        for name in (
            "open", "invite", "connect", "line", "send", "arrived", "settle", "session", "end", "values",
        )
    }  # fmt: skip
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            ((name, told),) = json.loads(line).items()
            if name == "close":
                break
            try:
                answer = await orders[name](told)
            except (AmanatError, TimeoutError) as error:
                answer = {"failed": type(error).__name__}
            print(json.dumps(answer), flush=True)
    finally:
        await actor.close()


def main() -> int:
    """Entry point of the process."""
    harden()
    asyncio.run(obey())
    return 0


if __name__ == "__main__":
    sys.exit(main())
