"""R10 for a session: the hash chain of the channel's log, one per incarnation (S6), holes included.

Each side chains every cell that the relay numbers. Each message carries its sender's last sure point
(incarnation, n, H_n) in authenticated_data, and the receiver compares it with its own history. After
`EXPIRED` the own chain is unsure: digests are collected from the end of the hole on, the last sure point
before it is what is claimed, and the next claim of the peer that lies behind the hole becomes the baseline.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from typing import Final

from clients.sdk.line.payloads import Anchor
from crypto.channel import log_next, log_start
from crypto.errors import ValidationError

HISTORY: Final = 4_096
"""Points kept for comparison (R7)."""


class ForkError(ValidationError):
    """R10: the relay showed the two sides different logs, or one that cannot be."""


class LogChain:
    """Position n in the present incarnation, and H_n where it is sure."""

    def __init__(self, channel_id: bytes) -> None:
        self._channel_id = channel_id
        self._incarnation: bytes | None = None
        self._history: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self._since_hole: deque[bytes] | None = None
        self._hole_end = 0

    @property
    def incarnation(self) -> bytes | None:
        """The incarnation that the chain runs in; None before the first attach."""
        return self._incarnation

    @property
    def position(self) -> int:
        """n: number of the last cell read, or expired."""
        return self._position

    def attach(self, incarnation: bytes, head: int) -> None:
        """The relay answered the attach: go on, or (new incarnation, S6) begin anew at 0.

        Raises:
            ForkError: the same incarnation is shorter than what was read of it.
        """
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._history = OrderedDict({0: log_start(self._channel_id, incarnation)})
            self._position = 0
            self._since_hole = None
        elif head < self._position:
            raise ForkError("R10-head")

    def cell(self, seq: int, digest: bytes) -> None:
        """Cell number `seq` with this SHA-256 was read.

        Raises:
            ForkError: it is not the next one, and no hole was announced.
        """
        if seq != self._position + 1:
            raise ForkError("R10-gap")
        self._position = seq
        if self._since_hole is None:
            self._note(seq, log_next(self._history[seq - 1], seq, False, digest))
        else:
            self._since_hole.append(digest)
            if len(self._since_hole) > HISTORY:
                self._since_hole.popleft()
                self._hole_end += 1

    def expired(self, first: int, last: int) -> None:
        """The relay announced a hole.

        Raises:
            ForkError: it does not begin behind what was read.
        """
        if first != self._position + 1 or last < first:
            raise ForkError("R10-gap")
        self._position = self._hole_end = last
        self._since_hole = deque()

    def claim(self) -> Anchor:
        """The last sure point, for the next message."""
        n = next(reversed(self._history))
        return Anchor(incarnation=self._incarnation or b"", n=n, log_hash=self._history[n])

    def check(self, claimed: Anchor, seq: int) -> None:
        """Compare the claim of the peer's authenticated message, which is cell number `seq`.

        Raises:
            ForkError: it contradicts what this side saw.
        """
        if claimed.incarnation != self._incarnation or claimed.n >= seq:
            raise ForkError("R10-claim")
        known = self._history.get(claimed.n)
        if known is not None:
            if known != claimed.log_hash:
                raise ForkError("R10-hash")
        elif self._since_hole is not None and claimed.n >= self._hole_end:
            self._adopt(claimed)

    def wipe(self) -> None:
        """Forget everything."""
        self._history.clear()
        self._since_hole = None

    def _adopt(self, baseline: Anchor) -> None:
        """Chain on from the peer's point to the own position."""
        digests = list(self._since_hole or ())[baseline.n - self._hole_end :]
        self._since_hole = None
        self._history.clear()
        self._note(baseline.n, baseline.log_hash)
        for n, digest in enumerate(digests, baseline.n + 1):
            self._note(n, log_next(self._history[n - 1], n, False, digest))

    def _note(self, n: int, log_hash: bytes) -> None:
        self._history[n] = log_hash
        if len(self._history) > HISTORY:
            self._history.popitem(last=False)


def cell_digest(body: bytes) -> bytes:
    """SHA-256 of a cell."""
    return hashlib.sha256(body).digest()
