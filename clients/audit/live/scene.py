"""Two devices, a line, a live session, and everything that can be seen of them from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chatserver.wire.frames import Deposit, decode_client
from chatserver.wire.limits import ChannelClass
from clients.audit.live import canaries
from clients.audit.live.memory import MemoryClosed, read
from clients.audit.live.patience import Patience, busy
from clients.audit.live.relays import AuditedRelay
from clients.audit.live.rhythm import Rhythm, rhythm, settled
from clients.audit.store.randomness import entropy
from clients.audit.target import Target
from clients.replay.capture import Capture, MessageReader, Part, RecordingFront
from clients.replay.leaks import LeakSearch
from clients.replay.live import Seat, Stage
from clients.replay.relay_process import RelayFailed
from clients.sdk.model import Role
from crypto.codec import CodecError

ANSWER_SECONDS: Final = 300.0
CONNECTED_SECONDS: Final = 240.0
"""What comes within seconds on a quiet machine: nobody waits so long where nothing is wrong."""
CHILDREN_SECONDS: Final = 5.0
"""In which the processes of a session that has ended must be gone."""
SEED_BYTES: Final = 32
LINE_BYTES: Final = 1 << 24
QUIET_SECONDS: Final = 8.0
"""Of a session, without and with writing: a side whose rhythm follows the typing differs by half."""
COUNTED_AT_MOST: Final = 3
"""Times, where the machine was too busy for the rhythm to be told."""
HELD_UP_SECONDS: Final = 0.5
"""By which the audit itself was late: so may the devices have been."""
BUSY: Final = 1.5
"""Times more work than processors, from which on a rhythm is not believed to be the devices' own."""
ERASED_SECONDS: Final = 15.0
"""In which the relay must have erased what was fetched: H1 says 5. Longer where the machine is busy."""
LENGTHS: Final = (60, 1_500, 60)
"""Letters of what is said in the session, by both."""
LOOK_SECONDS: Final = 0.5
SAMPLE_SECONDS: Final = 0.5
PIECE: Final = slice(1_000, 1_032)
"""Of a sealed cell: enough to know it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the claims asked for need."""

    session: bool = True
    strace: bool = True
    memory: bool = True
    rate: bool = True
    deletion: bool = True


@dataclass(slots=True)
class Observed:
    """What was seen."""

    capture: Capture = field(default_factory=Capture, repr=False)
    live_cells: dict[int, list[float]] = field(default_factory=dict)
    """Connection → seconds at which it sent a cell of a live session."""
    line_cells: list[float] = field(default_factory=list)
    """Seconds at which a cell of a line was sent, by either."""
    line_words: list[float] = field(default_factory=list)
    """Seconds at which somebody wrote over the line."""
    stored_pieces: list[bytes] = field(default_factory=list, repr=False)
    entropies: dict[int, Counter[float]] = field(default_factory=dict)
    """Size of a sealed cell → bits of entropy per byte → cells, of all that passed."""
    quiet: tuple[float, float] = (0.0, 0.0)
    writing: tuple[float, float] = (0.0, 0.0)
    rhythms: list[Rhythm] = field(default_factory=list)
    """What was counted over these two spans, and before, where the machine was too busy."""
    disturbed: bool = False
    """Whether something else kept the processors from the devices while cells were counted."""
    line_texts: list[str] = field(default_factory=list, repr=False)
    session_texts: list[str] = field(default_factory=list, repr=False)
    names: list[str] = field(default_factory=list, repr=False)
    secrets: set[bytes] = field(default_factory=set, repr=False)
    identifiers: set[bytes] = field(default_factory=set, repr=False)
    session_secrets: set[bytes] = field(default_factory=set, repr=False)
    written: dict[str, bytes] | None = field(default=None, repr=False)
    """By the relay to files; None where strace could not be used."""
    written_in_session: dict[str, bytes] | None = field(default=None, repr=False)
    log: bytes = field(default=b"", repr=False)
    """The relay's log and its standard output."""
    relay_memory: bytes | None = field(default=None, repr=False)
    parents_memory: list[bytes | None] = field(default_factory=list, repr=False)
    children_left: int = 0
    homes: dict[str, bytes] = field(default_factory=dict, repr=False)
    files_after: dict[str, bytes] | None = field(default=None, repr=False)
    """The relay's files after the last acknowledgement and erasure."""
    erased_after: float = 0.0
    """Seconds from the last acknowledgement until no piece was found, or until the audit stopped waiting."""
    growth: list[tuple[float, float]] = field(default_factory=list)
    search: LeakSearch | None = field(default=None, repr=False)


class WatchingFront(RecordingFront):
    """A recording front that also notes when each connection sends a cell of a live session."""

    def __init__(self, relay_url: str, observed: Observed) -> None:
        super().__init__(relay_url)
        self.capture = observed.capture
        self._observed = observed

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; its cancellation at the end is no error that asyncio should print."""
        with contextlib.suppress(asyncio.CancelledError):
            await super()._connection(reader, writer)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, from_device: bool
    ) -> None:
        messages = MessageReader()
        try:
            while data := await source.read(1 << 18):
                for part, content in messages.feed(data):
                    if part is Part.MESSAGE and from_device:
                        self.capture.to_relay(content)
                        self._look(id(source), content)
                    else:
                        self.capture.data += content
                target.write(data)
                await target.drain()
        finally:
            target.close()

    def _look(self, connection: int, message: bytes) -> None:
        with contextlib.suppress(CodecError):
            frame = decode_client(message)
            if not isinstance(frame, Deposit):
                return
            seen = self._observed
            seen.entropies.setdefault(len(frame.body), Counter())[round(entropy(frame.body), 3)] += 1
            if frame.cls is ChannelClass.LIVE:
                seen.live_cells.setdefault(connection, []).append(time.monotonic())
            else:
                seen.line_cells.append(time.monotonic())
                seen.stored_pieces.append(frame.body[PIECE])


class PartyProcess:
    """A device in a process of its own: `await party.do(order=value)`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The device's main process."""
        return self._process.pid

    async def do(self, name: str, told: object = None) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            RelayFailed: the device could not do it, or its process has ended.
            TimeoutError: no answer.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RelayFailed("A device of the audit did not start.")
        self._process.stdin.write(json.dumps({name: told}).encode() + b"\n")
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            raise RelayFailed(f"A device of the audit ended at the order {name}.")
        answer: dict[str, Any] = json.loads(line)
        if (failed := answer.get("failed")) is not None:
            raise RelayFailed(f"A device of the audit could not carry out the order {name} ({failed}).")
        return answer

    async def close(self) -> None:
        """Let it end in order; kill it after a while. A second call does nothing."""
        if self._process.returncode is not None:
            return
        if self._process.stdin is not None:
            self._process.stdin.write(b'{"close": true}\n')
            self._process.stdin.close()
        try:
            async with asyncio.timeout(15.0):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def two_devices(target: Target, folder: Path) -> AsyncIterator[dict[Role, PartyProcess]]:
    """Start both devices' processes for the length of the block."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    before = os.environ.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = f"{target.tree}{os.pathsep}{before}" if before else str(target.tree)
    parties: dict[Role, PartyProcess] = {}
    try:
        for role in (Role.THERAPIST, Role.CLIENT):
            with (folder / "devices.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *target.party,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    cwd=folder,
                    limit=LINE_BYTES,
                )
            parties[role] = PartyProcess(process)
        yield parties
    finally:
        await asyncio.gather(*(one.close() for one in parties.values()))


async def play(
    target: Target, folder: Path, relay: AuditedRelay, needs: Needs, say: Callable[[str], None]
) -> Observed:
    """Hold a line and a live session and note all that can be seen.

    Args:
        target: how relay and devices are started.
        folder: for the devices' homes.
        relay: a fresh one, not started yet.
        needs: what may be left out.
        say: progress.
    """
    seen = Observed()
    async with contextlib.AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage(folder))
        stack.push_async_callback(relay.stop)
        parties = await stack.enter_async_context(two_devices(target, folder))
        await asyncio.to_thread(relay.prepare)
        await relay.start()
        front = await stack.enter_async_context(WatchingFront(relay.url, seen))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        growing = group.create_task(_grow(relay, seen))
        stack.callback(growing.cancel)
        await _line(parties, folder, front.url, seen, say)
        if needs.session:
            await _session(target, relay, parties, stage, needs, seen, say)
        for _ in range(3 if needs.deletion else 1):  # receipts of one may bring the other to answer
            for one in parties.values():
                await one.do("settle")
        if needs.memory:
            seen.relay_memory = _memory(relay.relay_pid)
        if needs.deletion:
            say("live: waiting for the relay to erase what was fetched")
            await _erasure(relay, seen)
        for one in parties.values():
            told = await one.do("values")
            seen.secrets |= {bytes.fromhex(value) for value in told["secrets"]}
            seen.identifiers |= {bytes.fromhex(value) for value in told["identifiers"]}
        seen.session_secrets = {
            value
            for value in stage.secrets - seen.secrets
            if not _signs_for(value, stage.identifiers)  # these pass through the main process (S1, S3)
        }
        seen.secrets |= stage.secrets
        seen.identifiers |= stage.identifiers
        growing.cancel()
        await asyncio.gather(*(one.close() for one in parties.values()))
    seen.log = relay.log.read_bytes() + relay.output.read_bytes()
    if needs.strace:
        seen.written = relay.written()
    seen.homes = {
        f"{role.value}/{path.name}": path.read_bytes()
        for role in Role
        for path in sorted((folder / role.value).rglob("*"))
        if path.is_file()
    }
    return seen


async def _erasure(relay: AuditedRelay, seen: Observed) -> None:
    """Look into the relay's files until nothing of any cell is in them, or the time is over."""
    patience = Patience(ERASED_SECONDS)
    while True:
        seen.files_after = {path.name: path.read_bytes() for path in relay.files()}
        seen.erased_after = patience.waited
        left = any(piece in content for content in seen.files_after.values() for piece in seen.stored_pieces)
        if not left or patience.over:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _line(
    parties: dict[Role, PartyProcess], folder: Path, url: str, seen: Observed, say: Callable[[str], None]
) -> None:
    say("live: two devices open a line")
    opening = (
        one.do("open", {"home": str(folder / role.value), "role": role.value, "relay": url})
        for role, one in parties.items()
    )
    await asyncio.gather(*opening)
    link = (await parties[Role.THERAPIST].do("invite"))["link"]
    seen.names.append((await parties[Role.CLIENT].do("connect", link))["name"])
    seen.names.append((await parties[Role.THERAPIST].do("line"))["name"])
    say("live: they write to each other over the line")
    for count in (1, 2):
        for role, one in parties.items():
            text = canaries.text()
            seen.line_texts.append(text)
            seen.line_words.append(time.monotonic())
            await one.do("send", text)
            await parties[role.other].do("arrived", count)
    for one in parties.values():
        await one.do("settle")


async def _session(
    target: Target,
    relay: AuditedRelay,
    parties: dict[Role, PartyProcess],
    stage: Stage,
    needs: Needs,
    seen: Observed,
    say: Callable[[str], None],
) -> None:
    say("live: they begin a live session")
    seats: dict[Role, Seat] = {role: stage.seat(role.value) for role in Role}
    async with asyncio.TaskGroup() as group:
        for role, one in parties.items():
            told = {"front": target.session_front, "options": stage.options(role.value)}
            group.create_task(one.do("session", told))
    for seat in seats.values():
        await seat.wait(connected=True, seconds=CONNECTED_SECONDS)
    for one in parties.values():
        await one.do("settle")
    start = await _quiet(relay, needs, seen, say)
    await _writing(seats, needs, seen, say)
    while needs.rate and not settled(seen.rhythms, disturbed=seen.disturbed):
        if len(seen.rhythms) == COUNTED_AT_MOST:
            break
        say("live: the machine is busy with something else; the cells are counted once more")
        await _quiet(relay, needs, seen, say)
        await _writing(seats, needs, seen, say)
    if needs.strace:
        seen.written_in_session = relay.written(start, relay.record_bytes())
    seats[Role.THERAPIST].say(end=True)
    for seat in seats.values():
        await seat.wait(ended=True, seconds=CONNECTED_SECONDS)
    for one in parties.values():
        await one.do("end")
    seen.children_left = await _children_left([seat.pid for seat in seats.values()])
    if needs.memory:
        seen.parents_memory = [_memory(one.pid) for one in parties.values()]


async def _quiet(relay: AuditedRelay, needs: Needs, seen: Observed, say: Callable[[str], None]) -> int:
    """Seconds in which nobody writes; returns how long strace's record is at their end."""
    begun = time.monotonic()
    seen.disturbed = False
    if needs.rate or needs.strace:
        say("live: seconds without a word")
        async with _watched(seen):
            waiting = [asyncio.sleep(QUIET_SECONDS)] if needs.rate else []
            erased = [relay.wait_erased(Patience(ERASED_SECONDS))] if needs.strace else []
            await asyncio.gather(*waiting, *erased)
    seen.quiet = begun, time.monotonic()
    return relay.record_bytes()


async def _writing(seats: dict[Role, Seat], needs: Needs, seen: Observed, say: Callable[[str], None]) -> None:
    """Seconds in which both write."""
    say("live: seconds of writing")
    begun = time.monotonic()
    async with _watched(seen):
        await _speak(seats, seen, much=needs.rate)
        if needs.rate and (left := QUIET_SECONDS - (time.monotonic() - begun)) > 0:
            await asyncio.sleep(left)
    seen.writing = begun, time.monotonic()
    seen.rhythms.append(rhythm(seen.live_cells.values(), seen.quiet, seen.writing))


@asynccontextmanager
async def _watched(seen: Observed) -> AsyncIterator[None]:
    """Note whether the machine is busy with something else during the block."""

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)
            late = time.monotonic() - before - LOOK_SECONDS
            if late > HELD_UP_SECONDS or busy() > BUSY:
                seen.disturbed = True

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


async def _speak(seats: dict[Role, Seat], seen: Observed, *, much: bool) -> None:
    due = {role: len(seats[role].arrived) for role in Role}
    for letters in LENGTHS if much else LENGTHS[:1]:
        for role in Role:
            text = canaries.text(letters)
            seen.session_texts.append(text)
            seats[role].say(send=text)
            due[role.other] += 1
        for role in Role:
            await seats[role].wait(arrived=due[role], seconds=CONNECTED_SECONDS)


def _signs_for(value: bytes, public_keys: set[bytes]) -> bool:
    """Whether a secret is the seed of a signature key of the session, which both sides share by design."""
    if len(value) != SEED_BYTES:
        return False
    return Ed25519PrivateKey.from_private_bytes(value).public_key().public_bytes_raw() in public_keys


async def _children_left(pids: list[int]) -> int:
    """How many of a session's processes are there when its end has been waited for."""
    patience = Patience(CHILDREN_SECONDS)
    while True:
        left = sum(_is_there(pid) for pid in pids)
        if not left or patience.over:
            return left
        await asyncio.sleep(LOOK_SECONDS)


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _memory(pid: int) -> bytes | None:
    try:
        return read(pid)
    except MemoryClosed:
        return None


async def _grow(relay: AuditedRelay, seen: Observed) -> None:
    """How large the relay's files are, twice a second."""
    begun = time.monotonic()
    while True:
        size = 0
        for path in relay.files():
            with contextlib.suppress(OSError):
                size += path.stat().st_size
        seen.growth.append((round(time.monotonic() - begun, 1), size / 1024))
        await asyncio.sleep(SAMPLE_SECONDS)
