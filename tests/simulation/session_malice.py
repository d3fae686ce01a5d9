"""What members of a line do to a session that is not theirs, or that they hold crookedly (S1 to S4).

Everybody in a line reads every OFFER, JOIN and WELCOME. So a second device of the therapist can answer a
JOIN that was not meant for it (`Usurper`); a therapist may let the client into another group than S4 demands
(`CrookedTherapist`), a client may keep the key of its leaf for itself (`CrookedClient`), and either can
commit inside a session (`commits_inside`). The relay lies in a session as it does in a line (`LIVE_LIES`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from chatserver.wire import frames as f
from chatserver.wire.limits import ChannelClass
from clients.sdk.line import events as e
from clients.sdk.line.payloads import LogClaim, PayloadKind, encode_claim
from clients.sdk.model import Role
from clients.sdk.session.broker import ControlEffect, SendOverLine
from clients.sdk.session.control import Kind, Message, message
from clients.sdk.session.establish import (
    SessionJoin,
    prepare_join,
    session_credential,
    welcome_client,
)
from clients.sdk.session.log_chain import cell_digest
from clients.sdk.session.rendezvous import JoinBody, OfferBody, WelcomeBody
from crypto.channel import ChannelClass as CellClass
from crypto.channel import seal_cell
from crypto.codec import CodecError, decode
from crypto.credentials import Credential
from crypto.group import Group
from crypto.group_create import OwnLeafParams
from crypto.key_package import KeyPackage, read_key_package
from crypto.policy import product_capabilities
from simulation.sessions import Side, Wrong

if TYPE_CHECKING:
    import random

LIVE_LIES: Final = (
    *("other-bytes", "swap", "withhold", "withhold-echo", "renumber", "twice"),
    *("not-own", "false-head", "incarnation", "false-expired"),
)
"""What the relay may do to the frames of one side of a session."""


class Usurper(Side):
    """A device of the therapist without an OFFER of its own: it repeats another's, and answers its JOINs."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.honest = False
        self._repeated: set[bytes] = set()

    def _tick(self) -> None:
        if not self.over and self.world.now <= self._until:
            self.world.at(self.world.now + 5, self._tick)
        else:
            self.over = True

    def on_control(self, effect: ControlEffect) -> None:
        if self.over or not isinstance(effect, e.ControlReceived):
            return
        body = effect.body.reveal()
        try:
            if effect.kind is PayloadKind.OFFER:
                self._repeat(OfferBody.decode(body))
            if effect.kind is PayloadKind.JOIN:
                self._answer_for_another(JoinBody.decode(body))
        except (CodecError, *Wrong):
            return

    def _repeat(self, offer: OfferBody) -> None:
        if offer.session_id not in self._repeated:
            self._repeated.add(offer.session_id)
            self.world.story(self.name, "repeats the OFFER of another device")
            self._act([SendOverLine(kind=PayloadKind.OFFER, body=offer.encode())])

    def _answer_for_another(self, join: JoinBody) -> None:
        suite, rng = self.world.suite, self.dice.randbytes
        _, welcome = welcome_client(join, session_id=join.session_id, suite=suite, rng=rng)
        self.world.story(self.name, "answers a JOIN that was meant for another device")
        self._act([SendOverLine(kind=PayloadKind.WELCOME, body=welcome.encode())])


class CrookedTherapist(Side):
    """The device of the winning OFFER lets the client into what is no session."""

    TRICKS: Final = ("other-id", "third-leaf", "other-seed", "other-credential")

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.honest = False

    def _answer(self, content: Message) -> Message:
        trick = self.dice.choice(self.TRICKS)
        welcome = self._crooked(JoinBody.decode(content.part(0)), trick)
        self.world.story(self.name, f"answers with a crooked WELCOME: {trick}")
        return message(Kind.WELCOME_MADE, welcome.encode())

    def _crooked(self, join: JoinBody, trick: str) -> WelcomeBody:
        suite, rng = self.world.suite, self.dice.randbytes
        seed = rng(32)
        credential = session_credential(self.session_id, Role.THERAPIST)
        leaf = OwnLeafParams(
            signature_private=seed,
            credential=Credential.basic(rng(32) if trick == "other-credential" else credential),
            capabilities=product_capabilities(suite),
        )
        group_id = rng(16) if trick == "other-id" else self.session_id
        alone = Group.create(suite=suite, group_id=group_id, leaf=leaf, rng=rng)
        adds: list[KeyPackage] = [decode(join.key_package, read_key_package)]
        if trick == "third-leaf":
            third = prepare_join(session_id=rng(16), therapist_now=int(self.device.now), suite=suite, rng=rng)
            adds.append(third.bundle.key_package)
        pending = alone.commit(adds=adds, removes=[], rng=rng, authenticated_data=b"")
        return WelcomeBody(
            session_id=self.session_id,
            welcome=pending.welcome or b"",
            seed=rng(32) if trick == "other-seed" else seed,
        )


class CrookedClient(Side):
    """A client that keeps the signing key of its leaf for itself, or joins with another credential."""

    TRICKS: Final = ("other-seed", "other-credential", "too-late")

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.honest = False

    def _answer(self, content: Message) -> Message:
        if content.kind is not Kind.MAKE_JOIN:
            return super()._answer(content)
        suite, rng = self.world.suite, self.dice.randbytes
        trick = self.dice.choice(self.TRICKS)
        session_id = content.part(0)
        join: SessionJoin = prepare_join(
            session_id=rng(16) if trick == "other-credential" else session_id,
            therapist_now=content.number(1),
            valid_until=content.number(1) - 300 if trick == "too-late" else content.number(2),
            suite=suite,
            rng=rng,
        )
        seed = rng(32) if trick == "other-seed" else join.seed
        body = replace(join.body, session_id=session_id, seed=seed)
        self.joins.append(replace(join, session_id=session_id, body=body))
        self.world.story(self.name, f"makes a crooked JOIN: {trick}")
        return message(Kind.JOIN_MADE, body.encode())


def commits_inside(side: Side, dice: random.Random) -> bool:
    """One of the two makes another epoch, which S2 forbids. Returns whether it could."""
    machine = side.machine
    if machine is None or machine._group is None or side.line is None or machine in side.committed:
        return False
    if machine._chain.incarnation is None:
        return False  # never attached: there is nothing that it could claim
    side.committed.append(machine)
    group = Group.from_bytes(machine._group.to_bytes())
    claim = encode_claim(LogClaim(anchor=machine._chain.claim()))
    pending = group.commit(adds=[], removes=[], rng=dice.randbytes, authenticated_data=claim)
    body = seal_cell(machine._cell_key, machine._channel_id, CellClass.LIVE, pending.message, dice.randbytes)
    machine._own_digests.append(cell_digest(body))
    side.world.story(side.name, "commits inside the session")
    side._send(
        lambda request: f.Deposit(
            request=request,
            cls=ChannelClass.LIVE,
            readers=2,
            k=machine._k,
            deposit_id=dice.randbytes(16),
            close=False,
            body=body,
        )
    )
    return True
