"""The parent's side of a live session: it starts the child, carries S1's bodies over the line, and waits.

    async with device.session("sara") as session:
        await session.start(front="clients.terminal.session_view:run")
        result = await session.wait()

The parent never sees the session's texts or keys (S7): a `SessionResult` holds counts, and texts only where
the front end itself reported them (`scripted` when asked, `pipe` always). What both people agreed to keep the
child hands over after END, whole or not at all, and it goes straight into the line's conversation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

from clients.sdk.errors import AmanatError, SessionFailed, TimedOut
from clients.sdk.line.events import KeptText
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.model import Role
from clients.sdk.session.broker import (
    Action,
    Broker,
    ClientBroker,
    ControlEffect,
    JoinedElsewhere,
    SendOverLine,
    TherapistBroker,
    ToChild,
)
from clients.sdk.session.control import Kind, Message, ResultInfo, StartInfo, message
from clients.sdk.session.front import SESSION_SECONDS, EndReason
from clients.sdk.session.process import ChildProcess, start_child
from clients.sdk.session.rendezvous import SESSION_ID_BYTES, OfferBook
from crypto.codec import CodecError
from crypto.errors import StateError
from crypto.sensitive import Plaintext
from crypto.suites import PRODUCT

SCRIPTED: Final = "clients.sdk.session.scripted:run"
PIPE: Final = "clients.sdk.session.pipe:run"
TERMINAL: Final = "clients.terminal.session_view:run"

BROKER_SECONDS: Final = 0.5
CHILD_START_SECONDS: Final = 120.0
"""A slow phone that starts a dozen other things; a child that fails is noticed at once."""
CHILD_END_SECONDS: Final = 5.0
MAX_EFFECTS: Final = 1_024


class SessionLine(Protocol):
    """The line of a session, as `clients.sdk.session_line.EngineSessionLine` gives it."""

    @property
    def role(self) -> Role:
        """Own role."""
        ...

    @property
    def relay_url(self) -> str:
        """The relay."""
        ...

    @property
    def peer_name(self) -> str:
        """How this device names the peer."""
        ...

    @property
    def peer_identity(self) -> bytes:
        """The peer's identity key."""
        ...

    @property
    def offers(self) -> OfferBook:
        """What the therapist has offered."""
        ...

    @property
    def scale(self) -> float:
        """How much faster than real time `now` goes."""
        ...

    def now(self) -> float:
        """UTC seconds of the line's payloads."""
        ...

    def send(self, kind: PayloadKind, body: bytes) -> bytes:
        """Send a control payload; returns its item id."""
        ...

    def keep(self, session_id: bytes, texts: Sequence[KeptText]) -> None:
        """Put the texts of a session that has ended, and that both agreed to keep, into the conversation."""
        ...

    def hearing(self, ear: Callable[[ControlEffect], None]) -> AbstractContextManager[None]:
        """Hear control payloads for the length of the block."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """How a session went."""

    reason: EndReason
    sent: int
    """Texts of ours that the peer's device acknowledged."""
    received: int
    seconds: float
    """From the moment when the peer was first heard to the end."""
    cells_sent: int
    cells_received: int
    kept: int = 0
    """Texts that stand in the line's conversation now, because both people agreed to keep them (S7)."""
    reports: tuple[tuple[str, str], ...] = field(repr=False)
    """(kind, value) pairs that the front end reported, in order; empty for a terminal."""


class SessionHandle:
    """One live session. Use as an async context manager: leaving it ends a session that still runs."""

    def __init__(self, line: SessionLine) -> None:
        self._line = line
        self._stack = contextlib.AsyncExitStack()
        self._tasks: asyncio.TaskGroup | None = None
        self._child: ChildProcess | None = None
        self._broker: Broker | None = None
        self._effects: asyncio.Queue[ControlEffect] = asyncio.Queue(MAX_EFFECTS)
        self._reports: list[tuple[str, str]] = []
        self._unread: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
        self._ready = asyncio.Event()
        self._begun = asyncio.Event()
        self._over = asyncio.Event()
        self._changed = asyncio.Event()
        self._result: ResultInfo | None = None
        self._handed_over: list[KeptText] = []
        self._kept = 0
        self._failure: AmanatError | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await self._stack.enter_async_context(_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._child is not None and self._child.running:
                if kind is None:
                    await self.end()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(CHILD_END_SECONDS):
                            await self._over.wait()
                self.panic()
                await self._over.wait()
        finally:
            await self._stack.__aexit__(kind, error, trace)

    @property
    def pid(self) -> int | None:
        """Of the child; None before it was started."""
        return None if self._child is None else self._child.pid

    @property
    def begun(self) -> bool:
        """Whether both sides have been heard in the session."""
        return self._begun.is_set()

    async def start(
        self,
        *,
        front: str = TERMINAL,
        options: Mapping[str, str] | None = None,
        script: str | None = None,
        session_seconds: int = SESSION_SECONDS,
        timeout_seconds: float = 600.0,
    ) -> None:
        """Bring the session about: OFFER, JOIN, WELCOME (S1); returns when both sides hold the group.

        As therapist the peer is offered "now" and waited for; as client the offer is waited for. From then
        on the front end runs in the child, on the terminal that this process owns.

        Args:
            front: Front end as `module:function`.
            options: Strings for the front end.
            script: Content of a script file for `SCRIPTED` (`options["script"]`).
            session_seconds: Planned length.
            timeout_seconds: Seconds to wait for the other side.

        Raises:
            TimedOut: the other side did not come.
            SessionFailed: joined on another device, or the child did not start.
            StateError: started twice, or outside the context.
        """
        if self._tasks is None or self._child is not None:
            raise StateError("a session handle is started once, inside its context")
        session_id = os.urandom(SESSION_ID_BYTES) if self._line.role is Role.THERAPIST else b""
        given = dict(options or {})
        if script is not None:
            given["script"] = script
        info = StartInfo(
            role=self._line.role,
            relay_url=self._line.relay_url,
            peer_name=self._line.peer_name,
            session_id=session_id,
            session_seconds=session_seconds,
            suite=PRODUCT.code,
            front=front,
            options=given,
        )
        self._stack.enter_context(self._line.hearing(self._hear))
        self._child = await start_child(on_terminal=front not in {SCRIPTED, PIPE})
        self._child.send(info.to_message())
        self._tasks.create_task(self._listen(self._child))
        await self._await(self._ready, CHILD_START_SECONDS, "The session's process did not start in time.")
        self._broker = self._make_broker(session_id)
        brokering = self._tasks.create_task(self._broke(self._broker))
        self._stack.callback(brokering.cancel)
        whose = "client" if self._line.role is Role.THERAPIST else "therapist"
        await self._await(self._begun, timeout_seconds, f"The {whose} did not come into the session in time.")

    async def wait(self, timeout_seconds: float | None = None) -> SessionResult:
        """Wait until the session is over.

        Raises:
            TimedOut: `timeout_seconds` seconds went by; the session goes on.
            SessionFailed: the child died.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._over.wait()
        except TimeoutError:
            raise TimedOut("The session is still going on.") from None
        if self._failure is not None:
            raise self._failure
        result = self._result or ResultInfo(reason=EndReason.PANIC)
        return SessionResult(
            reason=result.reason,
            sent=result.texts_delivered,
            received=result.texts_received,
            seconds=result.milliseconds / 1_000,
            cells_sent=result.cells_sent,
            cells_received=result.cells_received,
            kept=self._kept,
            reports=tuple(self._reports),
        )

    def command(self, kind: str, value: str) -> None:
        """Hand something to the front end (`SessionPort.commands`); `pipe` takes "text" and "end"."""
        if self._child is not None:
            self._child.send(message(Kind.COMMAND, kind, value))

    async def reports(self) -> AsyncIterator[tuple[str, str]]:
        """What the front end reports, as it comes, until the session is over. One consumer."""
        while (report := await self._unread.get()) is not None:
            yield report

    async def end(self) -> None:
        """Ask the child for the END handshake, as the front end's `end()`."""
        if self._child is not None:
            self._child.send(message(Kind.END))

    def panic(self) -> None:
        """Kill the child at once: with its process everything of the session is gone."""
        if self._child is not None:
            self._child.kill()

    # -- inside

    async def _await(self, event: asyncio.Event, seconds: float, sentence: str) -> None:
        """Wait for one of the two: the event, or the end of the session.

        Raises:
            TimedOut: neither came in time; the child is killed.
            SessionFailed: the session was over first.
        """
        try:
            async with asyncio.timeout(seconds):
                while not event.is_set() and not self._over.is_set():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self.panic()
            raise TimedOut(sentence) from None
        if not event.is_set():
            raise self._failure or SessionFailed("The session ended before it had begun.")

    def _hear(self, effect: ControlEffect) -> None:
        """Keep an effect for the broker. Beyond the bound it is dropped: S1 repeats what matters."""
        if not self._effects.full():
            self._effects.put_nowait(effect)

    def _make_broker(self, session_id: bytes) -> Broker:
        peer_identity = self._line.peer_identity
        if self._line.role is Role.THERAPIST:
            return TherapistBroker(
                session_id=session_id,
                peer_identity=peer_identity,
                now=self._line.now(),
                scale=self._line.scale,
            )
        return ClientBroker(offers=self._line.offers, peer_identity=peer_identity, scale=self._line.scale)

    async def _broke(self, broker: Broker) -> None:
        """Run the broker on the line's effects and on the clock."""
        while not self._over.is_set():
            self._carry_out(broker, broker.on_tick(self._line.now()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BROKER_SECONDS):
                    effect = await self._effects.get()
                    self._carry_out(broker, broker.on_control(effect, self._line.now()))

    def _carry_out(self, broker: Broker, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendOverLine():
                    broker.sent(action, self._line.send(action.kind, action.body))
                case ToChild():
                    if self._child is not None:
                        self._child.send(action.message)
                case JoinedElsewhere():
                    self._failure = SessionFailed("This session was joined on another of your devices.")
                    self.panic()

    async def _listen(self, child: ChildProcess) -> None:
        """Hear the child until it is gone."""
        try:
            while (content := await child.read()) is not None:
                self._on_child(content)
        except CodecError:
            self._failure = SessionFailed("The session's process spoke nonsense and was stopped.")
            child.kill()
        await child.wait()
        if self._result is None and self._failure is None and not self._begun.is_set():
            self._failure = SessionFailed("The session's process ended before the session had begun.")
        self._unread.put_nowait(None)
        self._over.set()
        self._changed.set()

    def _keep(self, session_id: bytes, count: int) -> None:
        texts, self._handed_over = self._handed_over, []
        if len(texts) != count:
            raise CodecError(0, "not all that was to be kept has come")
        self._line.keep(session_id, texts)
        self._kept = count

    def _on_child(self, content: Message) -> None:
        match content.kind:
            case Kind.READY:
                self._ready.set()
                self._changed.set()
            case Kind.REPORT:
                report = (content.text(0), content.text(1))
                self._reports.append(report)
                self._unread.put_nowait(report)
            case Kind.KEPT:
                self._handed_over.append(
                    KeptText(
                        mine=content.number(0) == 1,
                        utc_seconds=content.number(1),
                        text=Plaintext(content.text(2)),
                    )
                )
            case Kind.ALL_KEPT:
                self._keep(content.part(0), content.number(1))
            case Kind.RESULT:
                self._result = ResultInfo.from_message(content)
            case Kind.FAILED:
                self._failure = SessionFailed(content.text(0))
            case _:
                if content.kind is Kind.HEARD:
                    self._begun.set()
                    self._changed.set()
                if self._broker is not None:
                    self._carry_out(self._broker, self._broker.on_child(content, self._line.now()))


@contextlib.asynccontextmanager
async def _task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A TaskGroup whose block's own error comes out as it is."""
    failure: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        try:
            yield group
        except BaseException as error:  # noqa: BLE001 - raised again below, without a group around it
            failure = error
    if failure is not None:
        raise failure
