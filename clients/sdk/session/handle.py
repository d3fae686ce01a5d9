"""The parent's side of a live session: it starts the child, carries S1's bodies over the line, and waits.

    async with device.session("sara") as session:
        await session.start(front="clients.terminal.session_view:run")
        result = await session.wait()

The parent never sees the session's texts or keys (S7): a `SessionResult` holds counts, and texts only where
the front end itself reported them (`scripted` when asked, `pipe` always).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from clients.sdk.session.front import EndReason

SCRIPTED: Final = "clients.sdk.session.scripted:run"
PIPE: Final = "clients.sdk.session.pipe:run"
TERMINAL: Final = "clients.terminal.session_view:run"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """How a session went."""

    reason: EndReason
    sent: int
    """Texts of ours that the peer's device acknowledged."""
    received: int
    seconds: float
    """From the first attach to the end."""
    cells_sent: int
    cells_received: int
    reports: tuple[tuple[str, str], ...] = field(repr=False)
    """(kind, value) pairs that the front end reported, in order; empty for a terminal."""


class SessionHandle:
    """One live session. Use as an async context manager: leaving it ends a session that still runs."""

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def start(
        self,
        *,
        front: str = TERMINAL,
        options: Mapping[str, str] | None = None,
        script: str | None = None,
        timeout_seconds: float = 600.0,
    ) -> None:
        """Bring the session about: OFFER, JOIN, WELCOME (S1); returns when both sides hold the group.

        As therapist the peer is offered "now" and waited for; as client the offer is waited for. From then
        on the front end runs in the child, on the terminal that this process owns.

        Args:
            front: Front end as `module:function`.
            options: Strings for the front end.
            script: Content of a script file for `SCRIPTED` (`options["script"]`).
            timeout_seconds: Seconds to wait for the other side.

        Raises:
            TimedOut: the other side did not come.
            SessionFailed: joined on another device, or the child did not start.
            RelayUnreachable.
        """
        raise NotImplementedError

    async def wait(self, timeout_seconds: float | None = None) -> SessionResult:
        """Wait until the session is over.

        Raises:
            TimedOut: `timeout_seconds` seconds went by; the session goes on.
            SessionFailed: the child died.
        """
        raise NotImplementedError

    def command(self, kind: str, value: str) -> None:
        """Hand something to the front end (`SessionPort.commands`); `pipe` takes "text" and "end"."""
        raise NotImplementedError

    def reports(self) -> AsyncIterator[tuple[str, str]]:
        """What the front end reports, as it comes, until the session is over. One consumer."""
        raise NotImplementedError

    async def end(self) -> None:
        """Ask the child for the END handshake, as the front end's `end()`."""
        raise NotImplementedError

    def panic(self) -> None:
        """Kill the child at once: everything of the session is gone when this returns."""
        raise NotImplementedError
