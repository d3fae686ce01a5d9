"""The connection state machine of wire protocol v1, sans-I/O, the same for both ends.

Theory of operation. A connection is a stream of frames in both directions over one WebSocket; whoever owns
the socket hands each received message to `receive` and writes what `send` returns. Both ends see the same
frames (one as sent, the other as received), so one table describes both: `TRANSITIONS` maps (state, class of
frame) to the next state, and a pair that is not in it is a fault of whoever sent the frame.

    START ──HELLO──▶ GREETED ──SERVER_HELLO──▶ OPEN ──DRAINING──▶ DRAINING
      │                 │                       │                    │
      └──────────────── FAILED ─────────────────┴────────────────────┴──▶ CLOSED

Requests and answers are a second table: `ANSWERS` says which frames may answer which request. The client's
end
remembers what it asked and holds the relay to it: an answer to nothing, an answer of a wrong kind, a cell
under a handle that is not attached are each an `OrderError`. The relay's end remembers nothing: a client that
confuses its own request numbers harms itself only.

Deliberately not here: time-outs, buffering, the order of cell numbers (the line checks it, R10), WebSocket.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from chatserver.wire import frames as f
from chatserver.wire.client_frames import DEPOSIT_BYTES
from chatserver.wire.errors import ErrorCode, OrderError, SizeError, VersionError
from chatserver.wire.limits import PROTOCOL_VERSION
from crypto.codec import CodecError


class State(Enum):
    """Where a connection stands."""

    START = "nothing was sent yet"
    GREETED = "the client has said HELLO"
    OPEN = "both have said hello"
    DRAINING = "the relay has announced its end; answers still come"
    CLOSED = "the relay has said FAILED, or one end has closed"


REQUESTS: Final = (
    f.Attach,
    f.Deposit,
    f.Ack,
    f.Detach,
    f.InboxChallenge,
    f.InboxOpen,
    f.InboxAck,
    f.Admit,
    f.Publish,
    f.Drop,
)
"""Frames of the client that carry a request number and get exactly one answer."""


def _either(*kinds: type[f.Frame]) -> frozenset[type[f.Frame]]:
    return frozenset(kinds)


ANSWERS: Final[Mapping[type[f.Frame], frozenset[type[f.Frame]]]] = MappingProxyType(
    {
        f.Attach: _either(f.Attached, f.Refused),
        f.Deposit: _either(f.Stored, f.Refused),
        f.Ack: _either(f.Acked, f.Refused),
        f.Detach: _either(f.Done, f.Refused),
        f.InboxChallenge: _either(f.Challenge, f.Refused),
        f.InboxOpen: _either(f.InboxOpened, f.Refused),
        f.InboxAck: _either(f.Done, f.Refused),
        f.Admit: _either(f.Done, f.Refused),
        f.Publish: _either(f.Done, f.Refused),
        f.Drop: _either(f.Done, f.Refused),
    }
)

PUSHES: Final = (f.Cell, f.OwnCell, f.Expired, f.Superseded, f.InboxCell)
"""Frames of the relay that answer nothing."""

_REPLIES: Final = (f.Attached, f.Stored, f.Acked, f.Refused, f.Challenge, f.InboxOpened, f.Done)

TRANSITIONS: Final[Mapping[tuple[State, type[f.Frame]], State]] = MappingProxyType(
    {
        (State.START, f.Hello): State.GREETED,
        (State.GREETED, f.ServerHello): State.OPEN,
        **{(State.OPEN, frame): State.OPEN for frame in (*REQUESTS, *_REPLIES, *PUSHES)},
        **{(State.DRAINING, frame): State.DRAINING for frame in (*REQUESTS, *_REPLIES, *PUSHES)},
        (State.OPEN, f.Draining): State.DRAINING,
        (State.DRAINING, f.Draining): State.DRAINING,
        (State.START, f.Failed): State.CLOSED,
        (State.GREETED, f.Failed): State.CLOSED,
        (State.OPEN, f.Failed): State.CLOSED,
        (State.DRAINING, f.Failed): State.CLOSED,
    }
)
"""Every legal step. A missing pair is illegal, whoever sends it."""

_FROM: Final[dict[str, dict[type[f.Frame], State]]] = {
    state.name: {kind: following for (start, kind), following in TRANSITIONS.items() if start is state}
    for state in State
}
"""The same table by state, because the relay walks it for every frame and hashing an Enum is slow."""


def _step(state: State, frame: f.Frame) -> State:
    following = _FROM[state._name_].get(type(frame))
    if following is None:
        raise OrderError("a frame that is not allowed in this state")
    return following


def code_of(error: CodecError | OrderError | VersionError) -> ErrorCode:
    """The code with which the relay ends a connection for a fault of its peer."""
    match error:
        case SizeError():
            return ErrorCode.BAD_SIZE
        case CodecError():
            return ErrorCode.BAD_FRAME
        case OrderError():
            return ErrorCode.BAD_ORDER
        case VersionError():
            return ErrorCode.BAD_VERSION


class RelayConnection:
    """The relay's end: receives what clients send, sends what the relay says.

    Args:
        deposit_bytes: length of a whole DEPOSIT by class; others than the protocol's only where speed is
            measured.
    """

    __slots__ = ("_deposit_bytes", "state")

    def __init__(self, deposit_bytes: Mapping[int, int] = DEPOSIT_BYTES) -> None:
        self.state = State.START
        self._deposit_bytes = deposit_bytes

    def receive(self, message: bytes | memoryview) -> f.ClientFrame:
        """Take one binary message; the caller acts on the frame, which keeps nothing of a view.

        Raises:
            CodecError: it does not parse (`SizeError`: a wrong size).
            OrderError: it is not allowed now.
            VersionError: HELLO names another version. In each case the caller sends FAILED with
                `code_of` and closes.
        """
        if message and message[0] == f.Deposit.TYPE:
            frame: f.ClientFrame = f.Deposit.decode(message, self._deposit_bytes)
        else:
            frame = f.decode_client(bytes(message))
        self.state = _step(self.state, frame)
        if type(frame) is f.Hello and frame.version != PROTOCOL_VERSION:
            raise VersionError(frame.version)
        return frame

    def send(self, frame: f.ServerFrame) -> bytes:
        """Say something; returns the message to write.

        Raises:
            OrderError: the frame is not allowed in this state (our caller's fault).
        """
        self.state = _step(self.state, frame)
        return frame.encode()


class ClientConnection:
    """The client's end: sends requests, and holds the relay to its answers.

    Attributes:
        state: where the connection stands.
        hello: the relay's SERVER_HELLO once it came.
        asked: the request that the frame last received answers, None if it answers nothing.
    """

    __slots__ = ("_attached", "_pending", "asked", "hello", "state")

    def __init__(self) -> None:
        self.state = State.START
        self.hello: f.ServerHello | None = None
        self.asked: f.ClientFrame | None = None
        self._pending: dict[int, f.ClientFrame] = {}
        self._attached: set[int] = set()

    @property
    def outstanding(self) -> int:
        """Requests that wait for their answer."""
        return len(self._pending)

    def hello_message(self) -> bytes:
        """The first message to write."""
        return self.send(f.Hello(version=PROTOCOL_VERSION))

    def send(self, frame: f.ClientFrame) -> bytes:
        """Ask something; returns the message to write.

        Raises:
            OrderError: the frame is not allowed in this state, or its request number is still unanswered
                (our caller's fault).
            ValueError: a field has a wrong length.
        """
        message = frame.encode()
        following = _step(self.state, frame)
        if not isinstance(frame, f.Hello):
            if frame.request in self._pending:
                raise OrderError("the request number is still unanswered")
            self._pending[frame.request] = frame
        self.state = following
        return message

    def receive(self, message: bytes) -> f.ServerFrame:
        """Take one binary message; the caller acts on the frame.

        Raises:
            CodecError: it does not parse.
            OrderError: it is not allowed now, or answers nothing that was asked.
            VersionError: the relay speaks another version.
            In each case the caller closes the connection and drops what this message might have said.
        """
        frame = f.decode_server(message)
        following = _step(self.state, frame)
        self.asked = None
        match frame:
            case f.ServerHello():
                if frame.version != PROTOCOL_VERSION:
                    raise VersionError(frame.version)
                self.hello = frame
            case f.Cell() | f.OwnCell() | f.Expired():
                if frame.handle not in self._attached:
                    raise OrderError("a cell under a handle that is not attached")
            case f.Superseded():
                self._attached.discard(frame.handle)
            case (
                f.Attached()
                | f.Stored()
                | f.Acked()
                | f.Refused()
                | f.Challenge()
                | f.InboxOpened()
                | f.Done()
            ):
                self._answered(frame)
            case f.InboxCell() | f.Draining() | f.Failed():
                pass
        self.state = following
        return frame

    def close(self) -> list[f.ClientFrame]:
        """The socket is gone; returns the requests that were never answered, in the order of asking."""
        self.state = State.CLOSED
        self._attached.clear()
        unanswered = list(self._pending.values())
        self._pending.clear()
        return unanswered

    def _answered(
        self,
        answer: f.Attached | f.Stored | f.Acked | f.Refused | f.Challenge | f.InboxOpened | f.Done,
    ) -> None:
        asked = self._pending.get(answer.request)
        if asked is None:
            raise OrderError("an answer to nothing that was asked")
        if type(answer) not in ANSWERS[type(asked)]:
            raise OrderError("an answer of a wrong kind")
        del self._pending[answer.request]
        self.asked = asked
        if isinstance(answer, f.Attached):
            self._attached.add(answer.handle)
        elif isinstance(asked, f.Detach) and isinstance(answer, f.Done):
            self._attached.discard(asked.handle)
