"""What a live session needs of its line: send OFFER, JOIN and WELCOME, and hear those of the peer (S1)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from clients.sdk.engine import Engine
from clients.sdk.errors import SessionFailed
from clients.sdk.line import events as e
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.line_driver import PeopleEffect
from clients.sdk.model import Role
from clients.sdk.session.broker import ControlEffect
from clients.sdk.session.rendezvous import OfferBook
from crypto.sensitive import Secret


class EngineSessionLine:
    """`clients.sdk.session.handle.SessionLine` over an engine."""

    def __init__(self, engine: Engine, line_id: bytes) -> None:
        self._engine = engine
        self._line_id = line_id

    @property
    def role(self) -> Role:
        """Own role."""
        return self._engine.record.role

    @property
    def relay_url(self) -> str:
        """The device's relay."""
        return self._engine.record.relay_url

    @property
    def peer_name(self) -> str:
        """How this device names the peer."""
        line = self._engine.lines[self._line_id]
        return line.peer_name or line.name

    @property
    def peer_identity(self) -> bytes:
        """The peer's identity key."""
        return self._engine.lines[self._line_id].peer_identity

    @property
    def offers(self) -> OfferBook:
        """What the therapist has offered since this device came online."""
        return self._engine.offer_book(self._line_id)

    @property
    def scale(self) -> float:
        """Of the device's clock."""
        return self._engine.clock.scale

    def now(self) -> float:
        """UTC seconds, as the line's payloads have them."""
        return self._engine.clock.now()

    def send(self, kind: PayloadKind, body: bytes) -> bytes:
        """Seal and deposit a control payload; returns its item id."""
        item_id = e.ItemId(os.urandom(16))
        self._engine.handle(self._line_id, e.SendControl(item_id=item_id, kind=kind, body=Secret(body)))
        return item_id

    def keep(self, session_id: bytes, texts: Sequence[e.KeptText]) -> None:
        """Put what both agreed to keep into the conversation (S7); nothing once the device is closed."""
        if not self._engine.closed:
            self._engine.handle(self._line_id, e.KeepSession(session_id=session_id, texts=tuple(texts)))

    @contextmanager
    def hearing(self, ear: Callable[[ControlEffect], None]) -> Iterator[None]:
        """Let `ear` hear control payloads for the length of the block.

        Raises:
            SessionFailed: another session of this line is under way on this device.
        """
        ears = self._engine.session_ears
        if self._line_id in ears:
            raise SessionFailed("A session of this line is under way on this device already.")

        def hear(effect: PeopleEffect) -> None:
            if isinstance(effect, e.ControlReceived | e.ControlPlaced | e.ControlNotSent | e.ControlLost):
                ear(effect)

        ears[self._line_id] = hear
        try:
            yield
        finally:
            del ears[self._line_id]
