"""The real relay in a simulated process: it can crash at any call, and lose its disk.

The store stands behind a gate. Each call of R3 to R6 is a point at which a crash can be armed: *before* (the
call never happened), *after* (it is on disk, and nobody was told). The gate also makes calls take time, in
their order, as the group commit of a disk does.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from chatserver.config import Config, Limits, Times
from chatserver.events import Log
from chatserver.relay import Relay
from chatserver.store.memory import MemoryStore
from chatserver.store.protocol import Day, Store, StoreSettings
from chatserver.store.sqlite import SqliteStore, init_store
from simulation.loop import SimLoop
from simulation.wire import RelaySocket

T = TypeVar("T")

_DISK = ("_channels", "_tombstones", "_drops", "_therapists", "_admissions", "_tokens")
"""What of `MemoryStore` stands for the disk."""


class RelayWorld(Protocol):
    """The world, as far as the relay's host needs it."""

    now: float

    def at(self, when: float, what: Callable[[], None]) -> None: ...

    def story(self, who: str, what: str) -> None: ...


class WorldClock:
    """`chatserver.clock.Clock` of the virtual time."""

    def __init__(self, world: RelayWorld) -> None:
        self._world = world
        self.skew = 0.0

    def monotonic(self) -> float:
        return self._world.now

    def utc_seconds(self) -> float:
        return self._world.now + self.skew


class Gate:
    """Everything of `Store`, with a turnstile before it."""

    def __init__(self, host: RelayHost, inner: Store) -> None:
        self._host = host
        self._inner = inner
        self._lock = asyncio.Lock()
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            async with self._lock:
                await self._host.before_call(self, name)
                self._host.loop.outside += self._host.threaded
                try:
                    answer = await method(*args, **kwargs)
                finally:
                    self._host.loop.outside -= self._host.threaded
                await self._host.after_call(self, name)
                return answer

        return call


class RelayHost:
    """One relay, its process and its disk.

    Attributes:
        up: The process runs.
        crash_in: (calls to go, "before" or "after"): an armed crash; None if there is none.
        commit_seconds: How long a call of the store takes.
    """

    def __init__(
        self,
        world: RelayWorld,
        dice: random.Random,
        directory: Path | None = None,
        *,
        settings: StoreSettings | None = None,
    ) -> None:
        self._world = world
        self._dice = dice
        self.clock = WorldClock(world)
        self.loop: SimLoop = cast("Any", SimLoop)(lambda: world.now)  # abstract to a type checker only
        self.threaded = int(directory is not None)
        self._settings = settings or StoreSettings()
        self.store: Store = MemoryStore(self._settings, rng=dice.randbytes)
        if directory is not None:
            self.store = self._sqlite(directory)
        self.config = Config(times=Times(idle_seconds=1e12), limits=Limits(creations_per_minute=600))
        self.up = False
        self.crash_in: tuple[int, str] | None = None
        self.commit_seconds = 0.0
        self.log: list[str] = []
        self.on_down: Callable[[], None] = lambda: None
        self._gate: Gate | None = None
        self._relay: Relay | None = None
        self._sockets: list[RelaySocket] = []
        self._swept = 0.0
        self._crashing = False
        self._never: list[asyncio.Future[None]] = []

    def _sqlite(self, directory: Path) -> Store:
        """The store of the product, on a temporary disk; its thread is waited for."""
        init_store(directory)
        self.loop.outside = 1
        task = self.loop.create_task(
            SqliteStore.open(
                directory, self._settings, rng=self._dice.randbytes, monotonic=self.clock.monotonic
            )
        )
        task.add_done_callback(lambda _: setattr(self.loop, "outside", 0))
        self.loop.run_ready()
        return cast("Store", task.result())

    def close_store(self) -> None:
        """The run is over."""
        self._bury()
        if self.threaded:
            self.loop.outside = 1
            task = self.loop.create_task(self.store.close())
            task.add_done_callback(lambda _: setattr(self.loop, "outside", 0))
            self.loop.run_ready()

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        """A call of the store itself, past the gate."""
        self.loop.outside += self.threaded
        task: asyncio.Task[T] = self.loop.create_task(work)
        if self.threaded:
            task.add_done_callback(lambda _: setattr(self.loop, "outside", self.loop.outside - 1))
        self.loop.run_ready()
        return task.result()

    # -- the process

    def start(self) -> None:
        """Start the process on whatever the disk holds."""
        self._gate = Gate(self, self.store)
        relay = Relay(
            self.config,
            cast("Store", self._gate),
            clock=self.clock,
            rng=self._dice.randbytes,
            log=Log(self._logged),
        )
        self._relay = relay
        self.up = True
        self.loop.run(relay.__aenter__())

    def _logged(self, line: str) -> None:
        self.log.append(line)
        if line.startswith("fault"):
            self.loop.faults.append(line)

    def crash(self) -> None:
        """The process dies at once; what is on the disk stays."""
        if not self.up:
            return
        self.up = False
        self.crash_in = None
        if self._gate is not None:
            self._gate.dead = True
        for socket in self._sockets:
            socket.dead = True
        self._sockets.clear()
        self.loop.cancel_all()
        self._bury()
        self._relay = None
        self.on_down()

    def _bury(self) -> None:
        """Requests to the store that no task runs (`chatserver.eager`) end with their process, in order."""
        while self._never:
            for callback, _ in getattr(self._never.pop(), "_callbacks", None) or ():
                work = getattr(getattr(callback, "__self__", None), "_work", None)
                if work is not None:
                    work.close()
            self.loop.run_ready()

    def turn(self) -> None:
        """Let the process work until it waits; notice an armed crash."""
        self.loop.run_ready()
        if self._crashing:
            self._crashing = False
            self.crash()

    def sweep(self) -> None:
        """What the server calls every second; here when time has gone on by a minute or more."""
        if self._relay is not None and self.up and self._world.now - self._swept >= 60:
            self._swept = self._world.now
            self.loop.create_task(self._relay.sweep())
            self.turn()

    def accept(self, send: Callable[[bytes], None]) -> RelaySocket:
        """A connection comes in."""
        if self._relay is None:
            raise ConnectionError
        socket = RelaySocket(self.loop, send)
        self._sockets.append(socket)
        socket.peer = self._relay.enter(socket, None, onion=False)
        self.turn()
        return socket

    def forget(self, socket: RelaySocket) -> None:
        if socket in self._sockets:
            self._sockets.remove(socket)

    # -- the gate

    async def before_call(self, gate: Gate, name: str) -> None:
        await self._point(gate, name, "before")
        if self.commit_seconds and name in {"attach", "deposit", "ack"}:
            done = self.loop.create_future()
            seconds = self.commit_seconds * self._dice.random()
            self._world.at(self._world.now + seconds, lambda: self._committed(done))
            await done
            if gate.dead:
                await self._forever()  # a process that died writes nothing any more

    def _committed(self, done: asyncio.Future[None]) -> None:
        if not done.done():
            done.set_result(None)
        self.turn()

    async def after_call(self, gate: Gate, name: str) -> None:
        await self._point(gate, name, "after")

    async def _point(self, gate: Gate, name: str, where: str) -> None:
        if self.crash_in is not None and not gate.dead and name in {"attach", "deposit", "ack"}:
            left, at = self.crash_in
            if at == where:
                self.crash_in = (left - 1, at)
                if left <= 1:
                    self.crash_in = None
                    self._crashing = True
                    gate.dead = True
                    self._world.story("relay", f"dies {where} a call of its store ({name})")
        if gate.dead:
            await self._forever()  # this process says nothing more

    async def _forever(self) -> None:
        never: asyncio.Future[None] = self.loop.create_future()
        self._never.append(never)
        await never

    # -- the disk

    def copy_disk(self) -> dict[str, Any]:
        """A backup of the store."""
        if not isinstance(self.store, MemoryStore):
            return {}
        return copy.deepcopy({name: getattr(self.store, name) for name in _DISK})

    def restore_disk(self, saved: dict[str, Any]) -> None:
        """The backup is put back."""
        for name, value in copy.deepcopy(saved).items():
            setattr(self.store, name, value)

    def lose_disk(self) -> None:
        """Everything is gone."""
        for name in _DISK:
            getattr(self.store, name).clear()

    def bodies(self) -> list[bytes]:
        """Everything that the disk holds of cells."""
        channels = getattr(self.store, "_channels", {})
        return [cell.body for channel in channels.values() for cell in channel.cells]

    def expire(self, day: int) -> None:
        """The day's end, asked of the store itself."""
        self._ask(self.store.expire(today=Day(day)))

    def is_empty(self) -> bool:
        """Nothing of anybody is left: no cell, channel, slot, tombstone or drop."""
        counts = self._ask(self.store.counts())
        return not any(getattr(counts, name) for name in counts.__dataclass_fields__)
