"""What a session must be, seen from outside the product: who sits in it, whose keys, which log, for how long.

A `Witness` stands beside each side of a session. It counts the cells of the relay for itself, remembers what
each sealed cell said of the log, and compares that with what the machine beside it does (S1 to S4, S6, S7).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatserver.wire import frames as f
from clients.sdk.line import events as e
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.model import Role
from clients.sdk.session.broker import ControlEffect, SendOverLine
from clients.sdk.session.establish import SessionJoin
from clients.sdk.session.machine import SILENCE_SECONDS, Phase
from clients.sdk.session.rendezvous import JoinBody, OfferBody
from crypto.channel import ChannelClass, channel_id, log_next, log_start
from crypto.codec import CodecError
from crypto.group import Group

if TYPE_CHECKING:
    from simulation.sessions import Side

NEVER_SENT_AGAIN = (PayloadKind.JOIN, PayloadKind.WELCOME)


SURELY_THERE_SECONDS = 500.0
"""After 600 an OFFER that was not made anew counts no more."""


@dataclass(slots=True)
class _Offer:
    """The first with its time and session id, and when its device said it last, by that device's clock."""

    order: e.LineOrder
    device: bytes
    ahead: float
    said_at: float


@dataclass(frozen=True, slots=True)
class _Claim:
    """The last point of the log that a side knew when it sealed a cell."""

    incarnation: bytes
    n: int
    log_hash: bytes


class Witness:
    """See the module. A side that is crooked on purpose is not judged."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._world = side.world
        self._offers: dict[int, dict[bytes, _Offer]] = {}
        """By time and session id."""
        self._times: dict[bytes, int] = {}
        self._welcome_from = b""
        self._given: dict[bytes, SendOverLine] = {}
        self._lost: set[bytes] = set()
        self._authenticator = b""
        self._channel = b""
        self._heard_at = self._world.now
        self._never_attached = True
        self._incarnation = b""
        self._log: dict[int, bytes] = {}
        self._position = 0
        self._hole = False
        self._wrong = ""

    def _violate(self, kind: str, what: str) -> None:
        if self._side.honest:
            self._world.violate(kind, f"{self._side.name} {what}")

    # -- S1, over the line

    def control(self, effect: ControlEffect) -> None:
        """Something happened to a control payload on the line."""
        if isinstance(effect, e.ControlLost):
            action = self._given.get(effect.item_id)
            if action is not None and action.kind in NEVER_SENT_AGAIN:
                self._lost.add(action.body)
        if not isinstance(effect, e.ControlReceived):
            return
        if effect.kind is PayloadKind.WELCOME:
            self._welcome_from = effect.sender_device
        if effect.kind is PayloadKind.OFFER:
            try:
                body = OfferBody.decode(effect.body.reveal())
            except CodecError:
                return
            self.heard_offer(body, effect, self._side.device.now)

    def heard_offer(self, body: OfferBody, effect: e.ControlReceived, now: float) -> None:
        """An OFFER stands in the line: the first one for its time counts. ``now``: when it was read here."""
        self._times[body.session_id] = body.time
        others = self._offers.setdefault(body.time, {})
        ahead = effect.utc_seconds - now
        known = others.get(body.session_id)
        if known is None or effect.order < known.order:
            others[body.session_id] = _Offer(effect.order, effect.sender_device, ahead, effect.utc_seconds)
        elif known.device == effect.sender_device:
            known.ahead, known.said_at = max(known.ahead, ahead), max(known.said_at, effect.utc_seconds)

    def sends(self, action: SendOverLine, item_id: bytes) -> None:
        """The broker hands a payload to the line."""
        if action.body in self._lost:
            self._violate("session-sealed-again", f"seals a {action.kind.name} again that the line lost (S1)")
        self._given[item_id] = action

    def made(self, join: SessionJoin) -> None:
        """The client's child made a JOIN. Only now: an OFFER may be made anew before the WELCOME comes."""
        self.check_offer(join.session_id)

    def check_offer(self, session_id: bytes) -> None:
        """S1: of several OFFERs for one time, of people who are there, the first in line order is joined."""
        others = self._offers.get(self._times.get(session_id, -1), {})
        mine = others.get(session_id)
        for other in others.values() if mine is not None else ():
            age = self._side.device.now + other.ahead - other.said_at
            if mine is not None and other.order < mine.order and age < SURELY_THERE_SECONDS:
                self._violate("session-offer", "joins an OFFER that was not the first for its time (S1)")

    def answers(self, body: JoinBody) -> None:
        """The therapist's child is given a JOIN to answer."""
        if self._side.device.now > body.valid_until + 1:
            self._violate("session-stale", "answers a JOIN that is no longer valid (S1)")

    # -- S2 to S4: the group

    def entered(self, group: Group, *, seeds: tuple[bytes, bytes]) -> None:
        """A side takes this group for the session's, holding these seeds: its own, and the peer's."""
        side, suite = self._side, self._world.suite
        keys = sorted(member.leaf_node.signature_key for member in group.members)
        if len(keys) != 2:
            self._violate("session-crowd", f"enters a session of {len(keys)} leaves (S2, S4)")
        if sorted(suite.signature_key_pair_from_seed(seed)[1] for seed in seeds) != keys:
            self._violate("session-authorship", "does not hold the signing keys of both leaves (S3)")
        wanted = {
            hashlib.sha256(b"amanat session" + group.group_id + bytes([code])).digest() for code in (1, 2)
        }
        if {member.leaf_node.credential.identity for member in group.members} != wanted:
            self._violate("session-credential", "enters a group of other credentials (S4)")
        if side.role is Role.CLIENT:
            self._check_inviter(group)
        elif group.group_id != side.session_id:
            self._violate("session-group", "offers another group than the session's (S4)")
        self._authenticator = group.epoch_authenticator
        self._heard_at, self._never_attached = self._world.now, True
        self._incarnation, self._log, self._position, self._hole, self._wrong = b"", {}, 0, False, ""

    def _check_inviter(self, group: Group) -> None:
        time = self._times.get(group.group_id)
        if time is None:
            self._violate("session-group", "enters a group that no OFFER named (S4)")
            return
        if self._offers[time][group.group_id].device != self._welcome_from:
            self._violate("session-usurped", "is let in by a device that did not make the OFFER (S4)")

    # -- S6: the log, counted once more

    def attached(self, frame: f.Attached) -> None:
        machine = self._side.machine
        if machine is None:
            return
        if frame.incarnation != self._incarnation:
            self._incarnation, self._position, self._hole = frame.incarnation, 0, False
            self._channel = channel_id(ChannelClass.LIVE, 2, machine._k)
            self._log = {0: log_start(self._channel, frame.incarnation)}
        elif frame.head < self._position:
            self._wrong = "a log that has become shorter"
        if self._never_attached:
            self._never_attached, self._heard_at = False, self._world.now

    def cell(self, frame: f.Cell) -> None:
        self._count(frame.seq, hashlib.sha256(frame.body).digest())

    def own_cell(self, frame: f.OwnCell) -> None:
        self._count(frame.seq, frame.digest)

    def _count(self, seq: int, digest: bytes) -> None:
        if seq != self._position + 1:
            self._wrong = "a cell out of its turn"
        before = self._log.get(seq - 1)
        if before is not None and not self._hole:
            self._log[seq] = log_next(before, seq, False, digest)
        self._position = seq

    def expired(self, frame: f.Expired) -> None:
        self._position, self._hole = frame.last, True

    def says(self, body: bytes) -> None:
        """This side seals a cell: with it goes what it knows of the log."""
        if not self._hole and self._incarnation:
            claim = _Claim(self._incarnation, self._position, self._log.get(self._position, b""))
            self._world.session_claims[body] = claim

    def heard(self, body: bytes) -> None:
        """The machine has accepted a cell of the peer's."""
        self._heard_at = self._world.now
        claim = self._world.session_claims.get(body)
        if not isinstance(claim, _Claim) or self._hole:
            return
        if claim.incarnation != self._incarnation:
            self._wrong = "another incarnation than its peer"
        elif self._log.get(claim.n, claim.log_hash) != claim.log_hash:
            self._wrong = "another log than its peer"

    def goes_on(self) -> None:
        """After each frame: whoever was shown a wrong log, and could see it, does not go on."""
        machine = self._side.machine
        if self._wrong and machine is not None and machine.phase is not Phase.OVER:
            self._violate("session-fork-unseen", f"was shown {self._wrong}, and goes on (S6, R10)")

    # -- S2 and S7: one epoch, and no silence without end

    def ticked(self) -> None:
        machine = self._side.machine
        if machine is None or machine._group is None:
            return
        if machine._group.epoch_authenticator != self._authenticator:
            self._violate("session-epoch", "has left the session's only epoch (S2)")
        if self._world.now - self._heard_at > SILENCE_SECONDS + 2:
            self._violate("session-outlives", "holds a session whose peer was silent for ten minutes (S7)")
