"""What goes into a session machine and what comes out (S5 to S7): no socket, no clock, no screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from clients.sdk.line.events import KeptText
from clients.sdk.session.front import EndReason, SessionEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """There is a connection to the relay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The connection is gone; what was not answered is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The relay's answer to `AttachLive`."""

    incarnation: bytes
    head: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachRefused:
    """The relay refused `AttachLive` for good (both slots belong to others)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellArrived:
    """A cell of the channel, whoever deposited it."""

    seq: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCellArrived:
    """A cell that this connection deposited, as SHA-256 of its body."""

    seq: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositAnswered:
    """The relay answered a deposit, by whatever: one cell fewer is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """Cells `first` to `last` fell out of the relay's ring before they were read; normal here (R6)."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time went on. Due at `SessionMachine.next_wakeup`."""


NetworkEvent: TypeAlias = (
    Connected
    | Disconnected
    | Attached
    | AttachRefused
    | CellArrived
    | OwnCellArrived
    | DepositAnswered
    | Expired
    | Tick
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachLive:
    """Attach to the session's channel."""

    k: bytes = field(repr=False)
    readers: int
    token: bytes = field(repr=False)
    incarnation: bytes
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositLive:
    """Deposit a cell. To be sent at once or never: a cell whose moment has passed is dropped (S5)."""

    k: bytes = field(repr=False)
    readers: int
    deposit_id: bytes
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """Tell the front end."""

    event: SessionEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """Both agreed to keep the text and both ENDs are read: these texts may leave the process (S7)."""

    session_id: bytes
    texts: tuple[KeptText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """The machine has wiped itself; the process that holds it shall end. The last effect."""

    reason: EndReason


Effect: TypeAlias = AttachLive | DepositLive | Emit | HandOver | Over
