"""One process of the product's own `Engine` on virtual time: a loop with timers, a disk, and sockets.

Where `device.SimDevice` simulates the shell around a line machine, here the shell is real too: `Engine`,
`Online`, `RelayLink`, `Connection`, `InboxKeeper`. What is simulated is what lies below them: the event
loop's clock, the socket that `clients.sdk.connection` opens, the answer to an HTTP request for a bucket, and
the process, which may die before or after any transaction of its vault and at any frame (R19).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from websockets.exceptions import ConnectionClosedError

from chatserver.wire import frames as f
from chatserver.wire.bundle import SignedBundle, decode_bucket
from chatserver.wire.limits import SUBPROTOCOL
from clients.sdk.bundles import MAX_BUCKET_BYTES, bucket_of
from clients.sdk.engine import Engine
from clients.sdk.errors import RelayUnreachable
from clients.sdk.online import Online, running
from crypto.codec import CodecError
from keys.memory_vault import MemoryVault
from simulation.loop import SimLoop, StuckError
from simulation.wire import Assembler, RelaySocket, Stream, framed

if TYPE_CHECKING:
    from simulation.contact import ContactWorld, Party


class Dead(BaseException):
    """The process has died here; nothing in it may catch this and go on."""


class ProcessLoop(SimLoop):
    """An event loop of one process; its timers are the world's."""

    def __init__(self, world: ContactWorld, process: Process) -> None:
        super().__init__(lambda: world.now)
        self.world = world
        self.process = process
        self.turning = False

    def call_at(  # type: ignore[override]  # typeshed's signature is generic over the arguments
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.world.at(when, partial(self._due, handle))
        return handle

    def call_later(  # type: ignore[override]  # as call_at
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled() and not self.process.dead:
            self.call_soon(handle._run)
            self.run_ready()

    def run_ready(self) -> None:
        """As `SimLoop.run_ready`; a call from inside is served by the one that runs already."""
        if self.turning:
            return
        self.turning = True
        try:
            super().run_ready()
        finally:
            self.turning = False
        self.process.after_turn()


class ProcessVault:
    """`keys.vault.VaultStore` of one process over a disk that outlives it."""

    def __init__(self, process: Process, disk: MemoryVault) -> None:
        self._process = process
        self._disk = disk

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        process = self._process
        if process.dead:
            raise Dead
        with process.world.watch.holding() as held, self._disk.transaction() as tx:
            yield tx
            process.point("before")
            held.counts = True
        process.point("after")

    def close(self) -> None:
        """Nothing: the disk stays."""


class SimClock:
    """`clients.sdk.clock.Clock` of a party: virtual, and perhaps wrong."""

    scale = 1.0

    def __init__(self, party: Party) -> None:
        self._party = party

    def now(self) -> float:
        return self._party.world.now + self._party.skew

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def real(self, seconds: float) -> float:
        return max(0.0, seconds)


class SimWebSocket:
    """What `clients.sdk.connection` uses of a WebSocket, over two simulated streams."""

    subprotocol = SUBPROTOCOL

    def __init__(self, process: Process, number: int) -> None:
        self.process = process
        world = self.world = process.world
        self.device = process.party
        self.name = f"{process.party.name}#{number}"
        dice = random.Random(f"{world.seed}/link/{self.name}")
        self.alive = True
        self._cutting = False
        self._assembler = Assembler()
        self._came: deque[bytes] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self.down = Stream(world, self.name, up=False, dice=dice, delay=lambda: world.delay(dice),
                           arrive=self._from_relay)  # fmt: skip
        self.relay = world.relay
        self.socket: RelaySocket = self.relay.accept(self._relay_says)
        self.socket.on_close = lambda: world.at(world.now + 0.05, lambda: self.cut("the relay closes"))
        self.up = Stream(world, self.name, up=True, dice=dice, delay=lambda: world.delay(dice),
                         arrive=self._to_relay)  # fmt: skip

    # -- for clients.sdk.connection

    async def send(self, message: bytes) -> None:
        self.process.point("frame")
        if not self.alive:
            raise ConnectionClosedError(None, None)
        self.world.client_says(self, message)
        self.up.write(framed(message))

    async def recv(self, decode: bool | None = None) -> bytes:
        while not self._came:
            if not self.alive:
                raise ConnectionClosedError(None, None)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._came.popleft()

    def __aiter__(self) -> SimWebSocket:
        return self

    async def __anext__(self) -> bytes:
        return await self.recv()

    async def close(self) -> None:
        self.cut("closed")

    # -- the network

    def _to_relay(self, data: bytes) -> None:
        self.socket.arrive(data)
        self.relay.turn()

    def _relay_says(self, data: bytes) -> None:
        self.down.write(self.world.mischief.rewrite(cast("Any", self), data))

    def _from_relay(self, data: bytes) -> None:
        self._came.extend(self._assembler.feed(data))
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done() and not self.process.dead:
            self._waiting.set_result(None)
            self.process.loop.run_ready()

    def cut(self, why: str) -> None:
        """The connection ends for both; of what is on its way some bytes arrive."""
        if not self.alive or self._cutting:
            return
        self._cutting = True
        self.up.cut()
        self.down.cut()
        self.alive = False
        if self in self.process.sockets:
            self.process.sockets.remove(self)
        self.relay.forget(self.socket)
        if not self.socket.dead:
            self.socket.hang_up()
            self.relay.turn()
        self._wake()


class Process:
    """One run of the program: an engine, and what the person asks of it."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.world = party.world
        self.dead = False
        self.buried = self._asked = False
        self.sockets: list[SimWebSocket] = []
        self.loop: ProcessLoop = cast("Any", ProcessLoop)(self.world, self)
        self.vault = ProcessVault(self, party.disk)
        self.engine = Engine(
            cast("Any", self.vault), rng=party.dice.randbytes, clock=cast("Any", SimClock(party))
        )
        self.online = Online(self.engine)
        self._links = 0
        self.loop.create_task(self._main())
        self.loop.run_ready()

    async def _main(self) -> None:
        try:
            async with running(self.engine):
                await asyncio.get_running_loop().create_future()
        except Dead:
            self.dead = True
        except Exception as error:  # noqa: BLE001 (whatever comes out of the product is a finding)
            if not self.dead:
                self.world.broken.append(error)

    # -- dying

    def point(self, where: str) -> None:
        """A place at which the process may die.

        Raises:
            Dead: It does.
        """
        if self.dead:
            raise Dead
        plan = self.party.crash_in
        if plan is None or plan[1] != where or not (self.loop.turning or self._asked):
            return  # also where the simulation itself looks into the vault
        self.party.crash_in = (plan[0] - 1, where)
        if plan[0] <= 1:
            self.party.crash_in = None
            self.dead = True
            self.world.story(self.party.name, f"the program dies ({where})")
            self.world.note("crash")
            self.world.at(self.world.now + 1 + 5 * self.party.dice.random(), self.party.start)
            raise Dead

    def after_turn(self) -> None:
        """A dead process leaves nothing behind but its disk."""
        if not self.dead or self.buried:
            return
        self.buried = True
        for socket in list(self.sockets):
            socket.cut("the process is gone")
        self.loop.cancel_all()

    def kill(self) -> None:
        """The program ends here and now."""
        self.dead = True
        self.after_turn()

    # -- asking

    def do(self, what: Callable[[], object]) -> None:
        """A wish of the person, at once."""
        if not self.dead:
            self._asked = True
            try:
                what()
            except Dead:
                self.dead = True
            finally:
                self._asked = False
            self.loop.run_ready()
            self.after_turn()

    def begin(self, work: Callable[[], Any]) -> None:
        """A wish that takes its time; ``work`` makes the coroutine, and reports what came of it."""
        if not self.dead:
            self.loop.create_task(self._watched(work))
            self.loop.run_ready()

    async def _watched(self, work: Callable[[], Any]) -> None:
        try:
            await work()
        except Dead:
            self.dead = True
        except Exception as error:  # noqa: BLE001 (as in _main)
            if not self.dead:
                self.world.broken.append(error)

    def open_socket(self) -> SimWebSocket:
        self._links += 1
        self.party.links += 1
        socket = SimWebSocket(self, self.party.links)
        self.sockets.append(socket)
        return socket


# ------------------------------------------------------- what takes the place of sockets and HTTP


def _here() -> Process:
    return cast("ProcessLoop", asyncio.get_running_loop()).process


async def open_socket(relay_url: str) -> SimWebSocket:
    """In the place of `clients.sdk.connection._open_socket`."""
    process = _here()
    await asyncio.sleep(process.world.delay(process.party.dice))
    if process.dead:
        raise Dead
    if not process.world.relay.up or not process.party.wants:
        raise RelayUnreachable(relay_url, "nothing listens there", refused=True)
    return process.open_socket()


async def fetch_bucket(relay_url: str, *, bits: int, fingerprint: bytes) -> list[SignedBundle]:
    """In the place of `clients.sdk.bundles.fetch_bucket`: the relay's own bucket, as a liar tells of it."""
    process = _here()
    world = process.world
    await asyncio.sleep(world.delay(process.party.dice))
    process.point("frame")
    relay = world.relay._relay
    if not world.relay.up or relay is None:
        raise RelayUnreachable(relay_url, "the contact bundles cannot be fetched")
    try:
        body = world.relay.loop.run(relay.bucket(bits, bucket_of(fingerprint, bits)))
    except StuckError:
        raise RelayUnreachable(relay_url, "the contact bundles cannot be fetched") from None
    try:
        return decode_bucket(world.directory.says(body), max_bytes=MAX_BUCKET_BYTES)
    except CodecError:
        raise RelayUnreachable(relay_url, "its contact bundles are malformed") from None


def decoded(message: bytes) -> f.ClientFrame | None:
    """A client's message, if it is one."""
    try:
        return f.decode_client(message)
    except CodecError:
        return None
