"""A bare client of the relay's wire: only frames. It asks what a dishonest device would ask."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from chatserver.wire import frames as f
from chatserver.wire.limits import (
    BODY_BYTES,
    NO_INCARNATION,
    PROTOCOL_VERSION,
    SUBPROTOCOL,
    WEBSOCKET_PATH,
    ChannelClass,
)
from clients.audit.live.patience import Patience

LOOK_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 120.0
"""An answer takes milliseconds; so long only where the relay hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A channel of the audit's own: class, number of readers, address."""

    cls: ChannelClass = ChannelClass.STORED
    readers: int = 2
    k: bytes = field(default_factory=lambda: os.urandom(32), repr=False)


class WireClient:
    """One connection that has said HELLO: `with WireClient(url) as client`."""

    def __init__(self, url: str) -> None:
        self._url = f"ws://{urlsplit(url).netloc}{WEBSOCKET_PATH}"
        self._stack = contextlib.ExitStack()
        self._socket: ClientConnection | None = None
        self._numbers = itertools.count(1)
        self._heard: list[f.ServerFrame] = []

    def __enter__(self) -> Self:
        connecting = connect(
            self._url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            open_timeout=ANSWER_SECONDS,
            close_timeout=1,
        )
        self._socket = self._stack.enter_context(connecting)
        self._send(f.Hello(version=PROTOCOL_VERSION))
        self.wait_for(lambda frame: isinstance(frame, f.ServerHello))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def attach(self, place: Place, token: bytes) -> f.ServerFrame:
        """Ask for a slot from the first cell on; the answer is ATTACHED or REFUSED."""
        return self._ask(
            lambda number: f.Attach(
                request=number,
                cls=place.cls,
                readers=place.readers,
                k=place.k,
                token=token,
                incarnation=NO_INCARNATION,
                position=0,
            )
        )

    def deposit(self, place: Place, body: bytes | None = None, *, close: bool = False) -> f.ServerFrame:
        """Deposit random bytes of the right size; the answer is STORED or REFUSED."""
        return self._ask(
            lambda number: f.Deposit(
                request=number,
                cls=place.cls,
                readers=place.readers,
                k=place.k,
                deposit_id=os.urandom(16),
                close=close,
                body=body or os.urandom(BODY_BYTES[place.cls]),
            )
        )

    def ack(self, handle: int, seq: int) -> f.ServerFrame:
        """Acknowledge for one's own slot; the answer is ACKED or REFUSED."""
        return self._ask(lambda number: f.Ack(request=number, handle=handle, seq=seq))

    def wait_for(
        self, wanted: Callable[[f.ServerFrame], bool], seconds: float = ANSWER_SECONDS
    ) -> f.ServerFrame:
        """The first frame, heard already or to come, that is wanted.

        Raises:
            TimeoutError: it did not come.
        """
        until = time.monotonic() + seconds
        while True:
            for number, frame in enumerate(self._heard):
                if wanted(frame):
                    return self._heard.pop(number)
            if self._socket is None:
                raise TimeoutError
            message = self._socket.recv(timeout=max(0.01, until - time.monotonic()))
            if isinstance(message, bytes):
                self._heard.append(f.decode_server(message))

    def hears_cell(self, handle: int, seq: int, patience: Patience) -> bool:
        """Whether a cell comes in time."""
        while True:
            with contextlib.suppress(TimeoutError):
                self.wait_for(
                    lambda frame: isinstance(frame, f.Cell) and frame.handle == handle and frame.seq == seq,
                    LOOK_SECONDS,
                )
                return True
            if patience.over:
                return False

    def _send(self, frame: f.ClientFrame) -> None:
        if self._socket is not None:
            self._socket.send(f.encode(frame))

    def _ask(self, make: Callable[[int], f.ClientFrame]) -> f.ServerFrame:
        number = next(self._numbers)
        self._send(make(number))
        return self.wait_for(lambda frame: getattr(frame, "request", None) == number)
