"""Between one machine (of a line, or of a mailbox) and the frames of the connection: it decides nothing.

Frames become events, effects become frames; which request belongs to which channel, and which handle the
relay gave it on this connection, is remembered here and forgotten with the connection. Effects for people go
to the owner.

A machine's effects may come at any time (a person queues a text), the connection may be full: frames are put
on the owner's outgoing list in the order in which they were decided, and what is on it when the connection
goes is dropped, since the machine hands it out again after the next `Connected`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.limits import ChannelClass
from clients.sdk.line import events as e
from clients.sdk.line.machine import LineMachine

PeopleEffect: TypeAlias = (
    e.MessageReceived
    | e.MessageStateChanged
    | e.MessagesMissing
    | e.ControlReceived
    | e.ControlPlaced
    | e.ControlNotSent
    | e.ControlLost
    | e.Notify
    | e.LineChanged
    | e.WelcomeReady
)
"""What a machine tells that is no frame."""


class DriverOwner(Protocol):
    """The device that runs the driver."""

    def next_request(self) -> int:
        """A request number of the present connection."""
        ...

    def queue(self, driver: ChannelDriver, frame: f.ClientFrame) -> None:
        """Send a frame after all queued before; answers come back to `ChannelDriver.answer`."""
        ...

    def own_handle(self, driver: ChannelDriver, handle: int) -> None:
        """Frames under this handle belong to the driver."""
        ...

    def told(self, driver: ChannelDriver, effect: PeopleEffect) -> None:
        """Something for people or for a session."""
        ...

    def reconnect(self) -> None:
        """Drop the connection and make a new one (R13)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a request on its way was about."""

    ref: e.ChannelRef
    deposit_id: bytes = b""
    seq: int = 0


class Machine(Protocol):
    """What a driver needs of a machine."""

    def handle(self, event: e.Event, now: float) -> list[e.Effect]:
        """Take one event; see `clients.sdk.line.machine.LineMachine.handle`."""
        ...

    def next_wakeup(self) -> float | None:
        """UTC seconds at which a Tick is wanted; None if never."""
        ...


class ChannelDriver:
    """Drives one machine.

    Args:
        line_id: Of the line, or of the mailbox.
        machine: Its machine.
        owner: Who sends frames and tells people.
    """

    def __init__(self, line_id: bytes, machine: Machine, owner: DriverOwner) -> None:
        self.line_id = line_id
        self.connected = False
        self._machine = machine
        self._owner = owner
        self._asked: dict[int, _Asked] = {}
        self._handles: dict[int, e.ChannelRef] = {}
        self._handle_of: dict[e.ChannelRef, int] = {}

    @property
    def busy(self) -> bool:
        """Whether a request of this line has no answer yet."""
        return bool(self._asked)

    # -- the connection

    def connect(self, now: float) -> None:
        """There is a connection, and the line may use it."""
        self.connected = True
        self.handle(e.Connected(), now)

    def disconnect(self, now: float) -> None:
        """The connection is gone."""
        self._asked.clear()
        self._handles.clear()
        self._handle_of.clear()
        if self.connected:
            self.connected = False
            self.handle(e.Disconnected(), now)

    def answer(self, frame: f.ServerFrame, asked: f.ClientFrame, now: float) -> None:
        """The answer to one of this driver's requests."""
        if isinstance(asked, f.Hello):
            return
        about = self._asked.pop(asked.request, None)
        if about is None:
            return
        event = self._event_of_answer(frame, asked, about)
        if event is not None:
            self.handle(event, now)

    def push(self, frame: f.ServerFrame, now: float) -> None:
        """A frame under one of this driver's handles."""
        match frame:
            case f.Cell() if frame.handle in self._handles:
                self.handle(
                    e.CellArrived(
                        ref=self._handles[frame.handle], seq=frame.seq, close=frame.close, body=frame.body
                    ),
                    now,
                )
            case f.OwnCell() if frame.handle in self._handles:
                self.handle(
                    e.OwnCellArrived(
                        ref=self._handles[frame.handle],
                        seq=frame.seq,
                        close=frame.close,
                        digest=frame.digest,
                    ),
                    now,
                )
            case f.Expired() if frame.handle in self._handles:
                self.handle(
                    e.Expired(ref=self._handles[frame.handle], first=frame.first, last=frame.last), now
                )
            case f.Superseded() if frame.handle in self._handles:
                ref = self._forget(frame.handle)
                self.handle(e.Superseded(ref=ref), now)
            case _:
                pass

    # -- the machine

    def handle(self, event: e.Event, now: float) -> None:
        """Hand one event to the machine and carry out what comes of it."""
        for effect in self._machine.handle(event, now):
            self._carry_out(effect)

    def next_wakeup(self) -> float | None:
        """When the machine wants a Tick, UTC seconds; None if never."""
        return self._machine.next_wakeup()

    def _carry_out(self, effect: e.Effect) -> None:
        match effect:
            case e.Attach():
                self._attach(effect)
            case e.DepositCell():
                self._deposit(effect)
            case e.AckCell():
                self._acknowledge(effect)
            case e.DetachChannel():
                self._detach(effect.ref)
            case e.Reconnect():
                self._owner.reconnect()
            case _:
                self._owner.told(self, effect)

    def _detach(self, ref: e.ChannelRef) -> None:
        handle = self._handle_of.get(ref)
        if handle is not None:
            self._forget(handle)
            self._send(f.Detach(request=self._owner.next_request(), handle=handle), None)

    def _attach(self, effect: e.Attach) -> None:
        # The same channel again means anew: what still comes under the old handle is not listened to.
        self._detach(effect.ref)
        frame = f.Attach(
            request=self._owner.next_request(),
            cls=ChannelClass(effect.channel_class),
            readers=effect.readers,
            k=effect.k.reveal(),
            token=effect.token.reveal(),
            incarnation=effect.incarnation,
            position=effect.position,
        )
        self._send(frame, _Asked(ref=effect.ref))

    def _deposit(self, effect: e.DepositCell) -> None:
        frame = f.Deposit(
            request=self._owner.next_request(),
            cls=ChannelClass(effect.channel_class),
            readers=effect.readers,
            k=effect.k.reveal(),
            deposit_id=effect.deposit_id,
            close=effect.close,
            body=effect.body,
        )
        self._send(frame, _Asked(ref=effect.ref, deposit_id=effect.deposit_id))

    def _acknowledge(self, effect: e.AckCell) -> None:
        handle = self._handle_of.get(effect.ref)
        if handle is None:
            return  # handed out again once the channel is attached
        frame = f.Ack(request=self._owner.next_request(), handle=handle, seq=effect.seq)
        self._send(frame, _Asked(ref=effect.ref, seq=effect.seq))

    def _send(self, frame: f.ClientFrame, about: _Asked | None) -> None:
        if not self.connected:
            return
        if about is not None and not isinstance(frame, f.Hello):
            self._asked[frame.request] = about
        self._owner.queue(self, frame)

    # -- frames to events

    def _event_of_answer(
        self, frame: f.ServerFrame, asked: f.ClientFrame, about: _Asked
    ) -> e.NetworkEvent | None:
        match frame, asked:
            case f.Attached(), _:
                self._remember(frame.handle, about.ref)
                return e.Attached(
                    ref=about.ref,
                    incarnation=frame.incarnation,
                    head=frame.head,
                    acked=frame.acked,
                    closed_seq=frame.closed_seq,
                )
            case f.Stored(), _:
                return e.Stored(ref=about.ref, deposit_id=about.deposit_id, seq=frame.seq)
            case f.Acked(), _:
                return e.AckConfirmed(ref=about.ref, seq=about.seq)
            case f.Refused(), f.Attach():
                return e.AttachRefused(ref=about.ref, code=known_code(frame.code))
            case f.Refused(), f.Deposit():
                return e.DepositRefused(
                    ref=about.ref, deposit_id=about.deposit_id, code=known_code(frame.code)
                )
            case f.Refused(), f.Ack():
                return e.AckRefused(ref=about.ref, seq=about.seq, code=known_code(frame.code))
            case _:
                return None

    def _remember(self, handle: int, ref: e.ChannelRef) -> None:
        before = self._handle_of.get(ref)
        if before is not None:
            self._handles.pop(before, None)
        self._handles[handle] = ref
        self._handle_of[ref] = handle
        self._owner.own_handle(self, handle)

    def _forget(self, handle: int) -> e.ChannelRef:
        ref = self._handles.pop(handle)
        self._handle_of.pop(ref, None)
        return ref


class LineDriver(ChannelDriver):
    """Drives the machine of a line. Arguments as of `ChannelDriver`."""

    def __init__(self, line_id: bytes, machine: LineMachine, owner: DriverOwner) -> None:
        super().__init__(line_id, machine, owner)
        self.machine = machine


def known_code(code: int) -> ErrorCode:
    """A code of a later version counts as the generic one of its range (wire/errors)."""
    known = next((known for known in ErrorCode if known == code), None)
    if known is not None:
        return known
    return ErrorCode.INTERNAL if code >= 256 else ErrorCode.STORE_FAILED
