"""A connection to the relay that comes back by itself.

`RelayLink.run` opens connections one after the other until it is cancelled. Between two attempts it waits a
random time (full jitter) whose bound doubles from half a second to a minute, and falls back to the lower end
once a connection has lasted; after DRAINING the relay is expected back soon. The owner hears of each
connection by two calls, `connected` and `disconnected`, strictly in turns, and of every frame in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from chatserver.wire import frames as f
from clients.sdk.connection import Connection, ConnectionLost, how_it_ended, open_connection
from clients.sdk.errors import NotARelay, RelayUnreachable

FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 60.0
LASTED_SECONDS: Final = 30.0
"""A connection that stood so long counts as good: the next pause is short again."""


class LinkOwner(Protocol):
    """Who uses the connection. All calls come from the link's task and must not block."""

    async def connected(self, connection: Connection) -> None:
        """There is a new connection. Runs beside the reading of it, and is cancelled when it ends."""
        ...

    def frame(self, frame: f.ServerFrame, asked: f.ClientFrame | None) -> None:
        """A frame came that nobody awaited with `Connection.ask`."""
        ...

    def disconnected(self, why: RelayUnreachable | NotARelay) -> None:
        """The connection is gone, or an attempt to open one failed."""
        ...


def pause_bound(failures: int) -> float:
    """Upper bound of the pause after so many failures in a row, in seconds; the pause is random below it."""
    return min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10))


def random_fraction(rng: Callable[[int], bytes]) -> float:
    """A number in [0, 1) from the random source."""
    return int.from_bytes(rng(6), "big") / 2**48


class RelayLink:
    """Keeps one connection to `relay_url` for its owner.

    Args:
        relay_url: As `keys.invitations.normalise_relay_url` gives it.
        owner: Hears of everything.
        rng: For the jitter.
    """

    def __init__(self, relay_url: str, owner: LinkOwner, *, rng: Callable[[int], bytes]) -> None:
        self._relay_url = relay_url
        self._owner = owner
        self._rng = rng
        self._retry = asyncio.Event()
        self.connection: Connection | None = None

    def reconnect(self) -> None:
        """Drop the present connection, or cut the present pause short."""
        self._retry.set()

    async def run(self) -> None:
        """Connect and reconnect until cancelled."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            self._retry.clear()
            begun = loop.time()
            why = await self._one_connection()
            failures = 1 if loop.time() - begun >= LASTED_SECONDS else failures + 1
            self._owner.disconnected(why)
            pause = pause_bound(failures - 1) * random_fraction(self._rng)
            try:
                async with asyncio.timeout(pause):
                    await self._retry.wait()
            except TimeoutError:
                pass

    async def _one_connection(self) -> RelayUnreachable | NotARelay:
        """One attempt, and the life of the connection if it succeeds; returns why it is over."""
        try:
            async with open_connection(self._relay_url) as connection:
                self.connection = connection
                try:
                    await self._serve(connection)
                finally:
                    self.connection = None
        except (RelayUnreachable, NotARelay) as error:
            return error
        except ConnectionLost as lost:
            return RelayUnreachable(self._relay_url, lost.code.sentence if lost.code else "connection lost")
        return RelayUnreachable(self._relay_url, "connection lost")

    async def _serve(self, connection: Connection) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.run(self._owner.frame))
                group.create_task(self._owner.connected(connection))
                group.create_task(self._dropped_on_request())
        except BaseExceptionGroup as group_of_ends:
            error = how_it_ended(group_of_ends)
            raise NotARelay(self._relay_url) if isinstance(error, NotARelay) else error from None

    async def _dropped_on_request(self) -> None:
        await self._retry.wait()
        raise ConnectionLost
