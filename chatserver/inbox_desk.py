"""Requests about inboxes on one connection: opening, first contacts, admissions, bundles (R21).

An inbox belongs to whoever signs a fresh challenge of this connection with the identity key. First contacts
that wait are read after INBOX_OPENED, later ones are pushed; each is said once per connection and again on
the next one, until it is acknowledged. A drop needs no inbox, no slot and no name: only what the admission of
this relay demands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from chatserver.rates import Kind
from chatserver.refusals import CODES
from chatserver.store.protocol import Day, Done, InboxId, Refused, TokenHash, hash_token
from chatserver.wire import frames as f
from chatserver.wire.bundle import SignedBundle
from chatserver.wire.errors import ErrorCode
from chatserver.wire.ids import inbox_challenge_content, proof_of_work_bits
from chatserver.wire.limits import ADMIT_VALUE_BYTES, CHALLENGE_BYTES, POW_NONCE_BYTES, AdmissionKind
from crypto.codec import CodecError
from keys import signing

if TYPE_CHECKING:
    from chatserver.peer import Peer

INVITATIONS_ONLY: Final = 255
"""`pow_bits` of SERVER_HELLO when no work lets a drop in."""

MAX_ADMISSION_DAYS: Final = 31
"""The longest that an invitation may be good, and a bundle served, in days from today."""

_PAGE_DROPS: Final = 16


class InboxDesk:
    """The inbox of one connection, if it opened one.

    Attributes:
        inbox_id: the open inbox.
        identity_key: whose it is.
    """

    __slots__ = ("_missed", "_nonce", "_peer", "_reading", "_said", "identity_key", "inbox_id")

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._nonce: bytes | None = None
        self._reading = False
        self._missed = False
        self._said: set[bytes] | None = None
        self.inbox_id: InboxId | None = None
        self.identity_key = b""

    def leave(self) -> None:
        """The connection is over."""
        if self.inbox_id is not None:
            self._peer.relay.inboxes.leave(self.inbox_id, self)

    def take(self, frame: f.InboxChallenge | f.InboxOpen | f.InboxAck | f.Admit | f.Publish | f.Drop) -> None:
        """Answer a request."""
        match frame:
            case f.InboxChallenge():
                self.challenge(frame)
            case f.InboxOpen():
                self.open(frame)
            case f.InboxAck():
                self.ack(frame)
            case f.Admit():
                self.admit(frame)
            case f.Publish():
                self.publish(frame)
            case f.Drop():
                self.drop(frame)
            case _:
                assert_never(frame)

    def wanted_bits(self) -> int:
        """What a drop without an invitation must show on this connection (`pow_bits` of SERVER_HELLO)."""
        wanted = self._peer.relay.config.first_contact
        if wanted.admission == "invite":
            return INVITATIONS_ONLY
        if wanted.admission == "pow" or self._peer.onion:
            return wanted.pow_bits
        return 0

    # -- opening (R21) --------------------------------------------------------------------------------------

    def challenge(self, frame: f.InboxChallenge) -> None:
        """A fresh nonce; an earlier one is void."""
        if not self._allowed(frame.request):
            return
        self._nonce = self._peer.relay.rng(CHALLENGE_BYTES)
        self._peer.say(f.Challenge(request=frame.request, nonce=self._nonce))

    def open(self, frame: f.InboxOpen) -> None:
        """Open or register the inbox of an identity key that has signed the challenge."""
        nonce, self._nonce = self._nonce, None
        if not self._allowed(frame.request):
            return
        try:
            if nonce is None:
                raise signing.AuthenticationFailed
            content = inbox_challenge_content(nonce, frame.identity_key)
            signing.verify(frame.identity_key, signing.Label.INBOX_OPEN, content, frame.signature)
        except signing.AuthenticationFailed:
            self._peer.refuse(frame.request, ErrorCode.BAD_SIGNATURE)
            return
        self._peer.ask_store(frame.request, self._open(frame))

    async def _open(self, frame: f.InboxOpen) -> None:
        peer = self._peer
        answer = await peer.relay.store.open_inbox(
            frame.identity_key,
            token_hash=hash_token(frame.token) if frame.token else None,
            admit_all=peer.relay.config.therapists.admission == "open",
            today=peer.relay.today(),
        )
        if isinstance(answer, Refused):
            peer.refuse(frame.request, CODES[answer.reason])
            return
        if peer not in peer.relay.peers:
            return
        self.leave()
        self.inbox_id = answer.inbox_id
        self.identity_key = frame.identity_key
        self._said = set()
        peer.relay.inboxes.enter(answer.inbox_id, self)
        peer.say(f.InboxOpened(request=frame.request, inbox_id=answer.inbox_id, waiting=answer.waiting))
        if answer.waiting:
            self._read_on()

    # -- first contacts, to the therapist -------------------------------------------------------------------

    def offer(self, drop_id: bytes, body: bytes) -> None:
        """A new first contact is on disk."""
        if self._reading or self._peer.blocked:
            self._read_on()
        else:
            self._say(drop_id, body)

    def _say(self, drop_id: bytes, body: bytes) -> None:
        if self._said is not None and drop_id not in self._said:
            self._said.add(drop_id)
            self._peer.say(f.InboxCell(drop_id=drop_id, body=body))

    def _read_on(self) -> None:
        self._missed = True
        if not self._reading:
            self._reading = True
            self._peer.start(self._read())

    async def _read(self) -> None:
        """Say what waits; ids are random, and one that comes now may lie behind us: read until none did."""
        peer = self._peer
        while self._missed and self.inbox_id is not None:
            self._missed = False
            after = b""
            while True:
                await peer.sender.writable()
                page = await peer.relay.store.list_drops(self.inbox_id, after=after, limit=_PAGE_DROPS)
                for drop in page:
                    self._say(drop.drop_id, drop.body)
                if len(page) < _PAGE_DROPS:
                    break
                after = page[-1].drop_id
        self._reading = False

    # -- first contacts, from clients -----------------------------------------------------------------------

    def drop(self, frame: f.Drop) -> None:
        """Put a first contact into an inbox."""
        if not self._allowed(frame.request):
            return
        refusal = self._judge(frame)
        if refusal is not None:
            self._peer.refuse(frame.request, refusal)
            return
        self._peer.ask_store(frame.request, self._drop(frame))

    def _judge(self, frame: f.Drop) -> ErrorCode | None:
        wanted = self.wanted_bits()
        match frame.admission:
            case AdmissionKind.INVITE:
                # Whether it is a known one, the store says, in the transaction that uses it up.
                return (
                    None if len(frame.admission_value) == ADMIT_VALUE_BYTES else ErrorCode.ADMISSION_UNKNOWN
                )
            case AdmissionKind.POW if wanted != INVITATIONS_ONLY:
                value = frame.admission_value
                if len(value) != POW_NONCE_BYTES:
                    return ErrorCode.POW_INVALID
                bits = proof_of_work_bits(frame.inbox_id, frame.drop_id, frame.body, value)
                return None if bits >= wanted else ErrorCode.POW_INVALID
            case AdmissionKind.OPEN if wanted == 0:
                return None
            case _:
                return ErrorCode.ADMISSION_REQUIRED

    async def _drop(self, frame: f.Drop) -> None:
        peer = self._peer
        invited = frame.admission is AdmissionKind.INVITE
        inbox_id = InboxId(frame.inbox_id)
        answer = await peer.relay.store.drop(
            inbox_id,
            drop_id=frame.drop_id,
            body=frame.body,
            admit_hash=hash_token(frame.admission_value) if invited else None,
            today=peer.relay.today(),
        )
        if isinstance(answer, Done) and not answer.repeated:
            peer.relay.tally.first_contacts += 1
            peer.relay.inboxes.offer(inbox_id, frame.drop_id, frame.body)
        self._done(frame.request, answer)

    # -- what the owner of an open inbox does ---------------------------------------------------------------

    def ack(self, frame: f.InboxAck) -> None:
        """Delete a first contact that the device has kept."""
        if self.inbox_id is None:
            self._peer.refuse(frame.request, ErrorCode.NOT_REGISTERED)
        elif not self._peer.meter.try_take(Kind.REQUEST):
            self._peer.refuse(frame.request, ErrorCode.RATE)
        else:
            self._peer.ask_store(frame.request, self._ack(frame, self.inbox_id))

    async def _ack(self, frame: f.InboxAck, inbox_id: InboxId) -> None:
        self._done(frame.request, await self._peer.relay.store.ack_drop(inbox_id, frame.drop_id))
        if self._said is not None:
            self._said.discard(frame.drop_id)

    def admit(self, frame: f.Admit) -> None:
        """Remember the hash of an invitation's admit value."""
        if self.inbox_id is None:
            self._peer.refuse(frame.request, ErrorCode.NOT_REGISTERED)
        elif self._allowed(frame.request):
            self._peer.ask_store(frame.request, self._admit(frame, self.inbox_id))

    async def _admit(self, frame: f.Admit, inbox_id: InboxId) -> None:
        relay = self._peer.relay
        today = relay.today()
        answer = await relay.store.admit(
            inbox_id,
            TokenHash(frame.admit_hash),
            expires_day=Day(min(frame.expires_day, today + MAX_ADMISSION_DAYS)),
            today=today,
        )
        self._done(frame.request, answer)

    def publish(self, frame: f.Publish) -> None:
        """Publish the contact bundle of the identity whose inbox is open."""
        if self.inbox_id is None:
            self._peer.refuse(frame.request, ErrorCode.NOT_REGISTERED)
            return
        if not self._allowed(frame.request):
            return
        today = self._peer.relay.today()
        try:
            bundle = SignedBundle.decode(frame.bundle)
            bundle.verify()
        except (CodecError, signing.AuthenticationFailed):
            self._peer.refuse(frame.request, ErrorCode.BUNDLE_INVALID)
            return
        in_time = today <= bundle.not_after_day <= today + MAX_ADMISSION_DAYS
        if bundle.identity_key != self.identity_key or not in_time:
            self._peer.refuse(frame.request, ErrorCode.BUNDLE_INVALID)
            return
        self._peer.ask_store(frame.request, self._publish(frame, bundle))

    async def _publish(self, frame: f.Publish, bundle: SignedBundle) -> None:
        relay = self._peer.relay
        answer = await relay.store.publish_bundle(
            bundle.identity_key,
            bundle=frame.bundle,
            serial=bundle.serial,
            not_after_day=Day(bundle.not_after_day),
        )
        relay.forget_buckets()
        self._done(frame.request, answer)

    # -- both -----------------------------------------------------------------------------------------------

    def _allowed(self, request: int) -> bool:
        if self._peer.relay.draining:
            self._peer.refuse(request, ErrorCode.DRAINING)
            return False
        if not self._peer.meter.try_take(Kind.INBOX):
            self._peer.refuse(request, ErrorCode.RATE)
            return False
        return True

    def _done(self, request: int, answer: Done | Refused) -> None:
        if isinstance(answer, Refused):
            self._peer.refuse(request, CODES[answer.reason])
        else:
            self._peer.say(f.Done(request=request))


class Inboxes:
    """Which connections have which inbox open."""

    def __init__(self) -> None:
        self._open: dict[InboxId, set[InboxDesk]] = {}

    def enter(self, inbox_id: InboxId, desk: InboxDesk) -> None:
        """A connection has opened an inbox."""
        self._open.setdefault(inbox_id, set()).add(desk)

    def leave(self, inbox_id: InboxId, desk: InboxDesk) -> None:
        """A connection has left its inbox."""
        desks = self._open.get(inbox_id, set())
        desks.discard(desk)
        if not desks:
            self._open.pop(inbox_id, None)

    def is_open(self, inbox_id: bytes) -> bool:
        """Whether any connection has it open."""
        return inbox_id in self._open

    def offer(self, inbox_id: InboxId, drop_id: bytes, body: bytes) -> None:
        """A first contact is on disk: tell whoever has the inbox open."""
        for desk in tuple(self._open.get(inbox_id, ())):
            desk.offer(drop_id, body)
