"""Between a live session and what a person (or a program) sees of it.

A *front end* runs inside the session's child process (S7) and is the only thing there that knows a screen
or a script. It is named to the child as `module:function`; the function is

    async def run(session: SessionPort) -> None

It reads `session.events()` until `Ended` has come, and returns. It may return earlier (the child then ends
the session as if `end()` had been called). Raising is a panic: all is wiped, the peer sees silence.

Front ends that exist: `clients.sdk.session.scripted:run` (turns from a list),
`clients.sdk.session.pipe:run` (a program that wants the texts itself), `clients.terminal.session_view:run`
(a person, on the terminal that the child inherits: its stdin, stdout and stderr are the parent's, so a
parent with a screen of its own must let go of it first).

A front end keeps no text after `Ended`, writes none to a file or log, and starts no process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

from clients.sdk.model import Role

SESSION_SECONDS = 50 * 60
"""A session is planned to last this long; front ends count down from it and remind at 10 and 5 minutes."""


class EndReason(Enum):
    """Why a session is over."""

    ENDED = "ended"
    """END was acknowledged by both sides; every text was delivered."""
    PEER_SILENT = "peer-silent"
    """Ten minutes without a cell (S7)."""
    PANIC = "panic"
    PARENT_GONE = "parent-gone"
    RELAY_REFUSED = "relay-refused"
    """The relay answered with something that makes going on impossible (channel full)."""
    PEER_BROKEN = "peer-broken"
    """The peer's device sent something that no Amanat sends."""
    FORK = "fork"
    """The relay showed the two sides different logs (R10), or somebody else's cells."""
    NOT_JOINED = "not-joined"
    """It never began (no OFFER, JOIN or WELCOME in time; joined on another device)."""


class Link(Enum):
    """How the session stands on the network."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    """Attached; the peer was heard within the last 5 seconds."""
    PEER_QUIET = "peer-quiet"
    """Attached, and nothing came from the peer for 5 seconds or longer."""
    OFFLINE = "offline"
    """No connection to the relay; it is tried again. Nothing is encrypted meanwhile (S5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReceived:
    """A text of the peer, whole, once, in order."""

    text: str = field(repr=False)
    utc_seconds: int
    """The sender's claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelivered:
    """The peer's device holds the text that `send` numbered so."""

    text_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTyping:
    """The peer began or ceased to type."""

    typing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChanged:
    """The network came or went."""

    link: Link


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerReturned:
    """The peer's device lost the session and came back (S2): a new group goes on under the same screen.

    What stands in `undelivered` was not acknowledged before and is lost, unless the person sends it again.
    """

    undelivered: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerEnding:
    """The peer pressed END; what was written before still arrives, then `Ended`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepChanged:
    """Somebody wants the session's text kept, or does not any more (S7). Kept it is if both do at END."""

    mine: bool
    theirs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The last event. Keys and text of the child are wiped when the front end has returned."""

    reason: EndReason
    kept: bool = False
    """Both had agreed: the texts went to the parent, which puts them into the line's conversation (S7)."""


SessionEvent: TypeAlias = (
    TextReceived | TextDelivered | PeerTyping | LinkChanged | PeerReturned | PeerEnding | KeepChanged | Ended
)


class SessionPort(Protocol):
    """What the child gives to its front end. All methods belong to the child's event loop."""

    @property
    def role(self) -> Role:
        """Own role."""
        ...

    @property
    def peer_name(self) -> str:
        """How the line names the peer."""
        ...

    @property
    def session_seconds(self) -> int:
        """Planned length (`SESSION_SECONDS` unless the parent said otherwise)."""
        ...

    @property
    def elapsed_seconds(self) -> float:
        """Since the channel was attached for the first time, by the child's monotonic clock."""
        ...

    @property
    def link(self) -> Link:
        """The newest `LinkChanged`."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """What the parent passed to the front end (`SessionHandle.start(options=...)`)."""
        ...

    def events(self) -> AsyncIterator[SessionEvent]:
        """Everything that happens, ending after `Ended`. To be read by one consumer, once."""
        ...

    def send(self, text: str) -> int:
        """Put a text into the stream; returns its number, for `TextDelivered`.

        Raises:
            TextTooLong: more than 12,288 bytes of UTF-8.
            EmptyText: nothing to send.
            StateError: the session is over, or `end` was called.
        """
        ...

    def set_typing(self, typing: bool) -> None:  # noqa: FBT001 - a flag of the protocol, set as one
        """Say whether the person is typing; goes out with the next cell."""
        ...

    def keep(self, wish: bool) -> None:  # noqa: FBT001 - a flag of the protocol, set as one
        """Say whether this person wants the session's text kept (S7); answered by `KeepChanged`.

        True asks, or agrees if the peer asked; False declines, or takes back. Nothing once the end has begun.
        """
        ...

    def end(self) -> None:
        """Begin the END handshake: texts already sent are still delivered, then both sides wipe."""
        ...

    def panic(self) -> None:
        """Wipe and leave at once, without a word to the peer. Does not return to a usable session."""
        ...

    def commands(self) -> AsyncIterator[tuple[str, str]]:
        """What the parent sends by `SessionHandle.command`, until the session is over. One consumer."""
        ...

    def report(self, kind: str, value: str) -> None:
        """Hand a line to the parent process (`SessionResult.reports`). Only `scripted` and `pipe` do."""
        ...
