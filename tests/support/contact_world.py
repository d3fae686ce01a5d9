"""A therapist's and a client's vault in memory and a drop between them; no relay, no device, no real time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from chatserver.wire.bundle import SignedBundle
from clients.sdk.bundles import choose_bundle
from clients.sdk.client_contact import OpenedLine, new_device_keys, open_line
from clients.sdk.first_contact import FirstContact, admit_hash, open_drop, seal_drop
from clients.sdk.inbox_keys import new_inbox_key
from clients.sdk.model import Role
from clients.sdk.records import (
    INVITED,
    DeviceRecord,
    InvitedRecord,
    LineRecord,
    TherapistState,
    load_device,
    save_device,
)
from clients.sdk.therapist_contact import accept_drop
from clients.sdk.upkeep import make_bundle, therapist_of
from crypto.suites import PRODUCT
from keys.certificates import DeviceCertificate, fingerprint_of
from keys.contact import ContactBundle
from keys.invitations import Invitation
from keys.memory_vault import MemoryVault

RELAY = "https://relay.example"
DAY = 86_400.0
START = 20_000 * DAY + 3_600.0


@dataclass
class ContactWorld:
    """One therapist, with an inbox at no relay in particular."""

    seed: int = 1
    now: float = START
    therapist: MemoryVault = field(default_factory=MemoryVault)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed).randbytes
        keys = new_device_keys(self.rng, now=self.now)
        state = TherapistState(keys=keys, inbox_private=new_inbox_key(self.rng), inbox_id=b"i" * 16)
        record = DeviceRecord(role=Role.THERAPIST, relay_url=RELAY, display_name="Dr Sara", therapist=state)
        with self.therapist.transaction() as tx:
            save_device(tx, record)

    @property
    def record(self) -> DeviceRecord:
        with self.therapist.transaction() as tx:
            record = load_device(tx)
        assert record is not None
        return record

    @property
    def state(self) -> TherapistState:
        return therapist_of(self.record)

    @property
    def fingerprint(self) -> bytes:
        return fingerprint_of(DeviceCertificate.decode(self.state.keys.certificate).identity_key)

    def bundle(self) -> SignedBundle:
        record = self.record
        with self.therapist.transaction() as tx:
            encoded, _ = make_bundle(tx, record, rng=self.rng, now=self.now)
        return SignedBundle.decode(encoded)

    def contact(self) -> ContactBundle:
        return choose_bundle([self.bundle()], fingerprint=self.fingerprint, now=self.now, suite=PRODUCT)

    def invite(self) -> Invitation:
        invitation = Invitation.make(
            relay_url=RELAY, fingerprint=self.fingerprint, rng=self.rng, now=self.now
        )
        self.note_invitation(invitation)
        return invitation

    def note_invitation(self, invitation: Invitation) -> None:
        record = InvitedRecord(secret=invitation.secret, expires_day=invitation.expires_day)
        with self.therapist.transaction() as tx:
            tx.put(INVITED, admit_hash(invitation.admit_value), record.encode())

    def open(
        self,
        invitation: Invitation,
        *,
        contact: ContactBundle | None = None,
        vault: MemoryVault | None = None,
    ) -> OpenedLine:
        """The client's side, in a vault that nobody keeps unless one is given."""
        vault = vault or MemoryVault()
        known = contact or self.contact()
        with vault.transaction() as tx:
            return open_line(
                tx,
                invitation=invitation,
                contact=known,
                name="sara",
                pause_seconds=30.0,
                rng=self.rng,
                now=self.now,
            )

    def accept(self, body: bytes) -> LineRecord:
        state = self.state
        with self.therapist.transaction() as tx:
            return accept_drop(tx, body, state=state, relay_url=RELAY, rng=self.rng, now=self.now)

    def peek(self, body: bytes) -> FirstContact:
        return open_drop(body, inbox_id=self.state.inbox_id, inbox_private=self.state.inbox_private.reveal())

    def sealed(self, content: FirstContact) -> bytes:
        return seal_drop(
            content,
            inbox_id=self.state.inbox_id,
            inbox_public_key=PRODUCT.hpke_public_key(self.state.inbox_private.reveal()),
            rng=self.rng,
        )

    def changed(self, body: bytes, **changes: object) -> bytes:
        """The drop with other content, sealed anew."""
        return self.sealed(replace(self.peek(body), **changes))  # type: ignore[arg-type]  # by name
