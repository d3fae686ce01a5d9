"""What a therapist's device does by itself, on every connection and once a day (DESIGN section 6, R21).

- It opens its inbox by a signature over the relay's challenge, registering it the first time.
- It makes a new KeyPackage every day, valid for 3 days, and destroys private keys 31 days after the validity
  ended, together with the group ids that were seen with them.
- It makes a new inbox key every week, and destroys the old one when no drop can need it (`inbox_keys`).
- It issues a new device list with each bundle (at most 7 days valid), and publishes the bundle: daily, and
  again when the relay gave it another inbox (its store was lost), in which case open invitations are
  admitted anew.

The functions over a transaction are pure of I/O; `InboxKeeper` speaks to the relay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from chatserver.wire import frames as f
from chatserver.wire.bundle import sign_bundle
from chatserver.wire.errors import ErrorCode
from chatserver.wire.ids import inbox_challenge_content
from clients.sdk import inbox_keys
from clients.sdk.connection import Connection, ConnectionLost, RequestRefused
from clients.sdk.errors import Refused, TherapistTokenNeeded
from clients.sdk.first_contact import KEEP_DAYS
from clients.sdk.records import (
    INVITED,
    PACKAGES,
    REFUSED,
    DeviceRecord,
    InvitedRecord,
    PackageRecord,
    TherapistState,
    save_device,
)
from clients.sdk.therapist_contact import forget_seen
from crypto.codec import Reader, decode
from crypto.credentials import Credential
from crypto.errors import StateError
from crypto.key_package import generate_key_package, read_key_package
from crypto.leaf_node import Lifetime
from crypto.policy import product_capabilities
from crypto.suites import PRODUCT
from keys import signing
from keys.certificates import SECONDS_PER_DAY, DeviceCertificate, Identity, utc_day
from keys.contact import Admission, ContactBundle
from keys.vault import VaultStore, VaultTransaction

PACKAGE_DAYS: Final = 3
BUNDLE_DAYS: Final = 7
"""As long as its device list; a bundle that is not renewed by then vanishes from the relay."""
LOOK_SECONDS: Final = 3_600.0
"""How often upkeep looks at the calendar while connected."""
LAST_DAYS_OF_A_BUNDLE: Final = 31


def therapist_of(record: DeviceRecord) -> TherapistState:
    """The therapist's part.

    Raises:
        StateError: it is a client's device.
    """
    if record.therapist is None:
        raise StateError("a client's device has no inbox")
    return record.therapist


def identity_of(state: TherapistState) -> Identity:
    """The therapist's identity, which only the first device holds.

    Raises:
        StateError: this is a linked device.
    """
    if state.keys.identity_seed is None:
        raise StateError("a linked device does not sign as its person")
    return Identity(state.keys.identity_seed.reveal())


def current_package(
    tx: VaultTransaction, state: TherapistState, *, rng: Callable[[int], bytes], now: float
) -> PackageRecord:
    """Today's KeyPackage: the one made today, or a new one."""
    today = utc_day(now)
    packages = [PackageRecord.decode(value) for _, value in tx.items(PACKAGES)]
    fitting = [package for package in packages if _carries(package, state.keys.certificate)]
    newest = max(fitting, key=lambda package: package.made_day, default=None)
    if newest is not None and newest.made_day >= today:
        return newest
    bundle = generate_key_package(
        suite=PRODUCT,
        signature_private=state.keys.device_seed,
        credential=Credential.basic(state.keys.certificate),
        capabilities=product_capabilities(),
        lifetime=Lifetime(
            not_before=today * SECONDS_PER_DAY, not_after=(today + PACKAGE_DAYS) * SECONDS_PER_DAY
        ),
        rng=rng,
    )
    package = PackageRecord(
        key_package=bundle.key_package.to_bytes(),
        init_private=bundle.init_private,
        encryption_private=bundle.encryption_private,
        made_day=today,
        last_day=today + PACKAGE_DAYS,
    )
    tx.put(PACKAGES, bundle.key_package.ref(PRODUCT), package.encode())
    return package


def _carries(package: PackageRecord, certificate: bytes) -> bool:
    """Whether a KeyPackage is for this certificate; one that was renewed wants another KeyPackage."""
    leaf = decode(package.key_package, read_key_package).leaf_node
    return leaf.credential.identity == certificate


def throw_away_old(tx: VaultTransaction, now: float) -> None:
    """Destroy private keys, seen group ids, invitations and notes whose time is over."""
    today = utc_day(now)
    inbox_keys.destroy_old(tx, today)
    for key, value in list(tx.items(PACKAGES)):
        if PackageRecord.decode(value).last_day + KEEP_DAYS < today:
            tx.delete(PACKAGES, key)
    forget_seen(tx, today)
    for key, value in list(tx.items(INVITED)):
        # A first contact may wait for a month after the last day on which the invitation could be used.
        if InvitedRecord.decode(value).expires_day + KEEP_DAYS < today:
            tx.delete(INVITED, key)
    for key, value in list(tx.items(REFUSED)):
        if decode(value, Reader.u32) + LAST_DAYS_OF_A_BUNDLE < today:
            tx.delete(REFUSED, key)


def make_bundle(
    tx: VaultTransaction, record: DeviceRecord, *, rng: Callable[[int], bytes], now: float
) -> tuple[bytes, DeviceRecord]:
    """Make today's signed contact bundle; the list version and the serial it takes are written down at once.

    Returns:
        The encoded SignedBundle, and the record as it is now in the vault.
    """
    state = therapist_of(record)
    today = utc_day(now)
    identity = identity_of(state)
    certificate = DeviceCertificate.decode(state.keys.certificate)
    package = current_package(tx, state, rng=rng, now=now)
    # At least the present second, so that a device that came out of an old export goes on behind itself.
    list_version = max(state.list_version + 1, int(now))
    serial = max(state.bundle_serial + 1, int(now))
    inbox_private = inbox_keys.rotate(tx, state.inbox_private, rng=rng, today=today)
    state = replace(state, list_version=list_version, bundle_serial=serial, inbox_private=inbox_private)
    contact = ContactBundle(
        identity_key=identity.public_key,
        certificates=(certificate,),
        device_list=identity.list_devices([certificate], version=state.list_version, issued_day=today),
        inbox_id=state.inbox_id,
        inbox_public_key=PRODUCT.hpke_public_key(state.inbox_private.reveal()),
        key_packages=(package.key_package,),
        display_name=record.display_name,
        admission=Admission.INVITE,
        bundle_day=today,
    )
    signed = sign_bundle(
        identity.seed,
        not_after_day=today + BUNDLE_DAYS,
        serial=state.bundle_serial,
        content=contact.encode(),
    )
    changed = replace(record, therapist=state)
    save_device(tx, changed)
    return signed.encode(), changed


class InboxKeeper:
    """Keeps a therapist reachable over one connection after the other.

    Args:
        vault: The device's.
        load: Reads the device's record inside a transaction.
        rng: Source of randomness.
        now: UTC seconds.
    """

    def __init__(
        self,
        vault: VaultStore,
        *,
        load: Callable[[VaultTransaction], DeviceRecord],
        rng: Callable[[int], bytes],
        now: Callable[[], float],
    ) -> None:
        self._vault = vault
        self._load = load
        self._rng = rng
        self._now = now

    async def open(self, connection: Connection) -> int:
        """Open (or register) the inbox; returns how many first contacts wait in it.

        Raises:
            TherapistTokenNeeded: the relay wants a token, and there is none that it takes.
            Refused: it refuses for another reason.
            ConnectionLost: try again on the next connection.
        """
        state = self._state()
        try:
            opened = await self._ask_open(connection, state, token="")
        except RequestRefused as refused:
            if refused.code not in {ErrorCode.TOKEN_REQUIRED, ErrorCode.NOT_REGISTERED}:
                raise _refusal(refused) from None
            if not state.token:
                raise TherapistTokenNeeded from None
            try:
                opened = await self._ask_open(connection, state, token=state.token)
            except RequestRefused as again:
                raise _refusal(again) from None
        with self._vault.transaction() as tx:
            record = self._load(tx)
            state = replace(therapist_of(record), token="", inbox_id=opened.inbox_id)
            if opened.inbox_id != therapist_of(record).inbox_id:
                state = replace(state, published_day=0)
            save_device(tx, replace(record, therapist=state))
        return opened.waiting

    async def look_after(self, connection: Connection) -> None:
        """Publish what is due, admit what the relay does not know, throw away what is over.

        Raises:
            Refused: the relay does not take the bundle.
            ConnectionLost: try again on the next connection.
        """
        now = self._now()
        with self._vault.transaction() as tx:
            throw_away_old(tx, now)
        if self._state().published_day < utc_day(now):
            await self.publish(connection)
        await self.admit_all(connection)

    async def publish(self, connection: Connection) -> None:
        """Publish a new bundle. Raises as `look_after`."""
        now = self._now()
        with self._vault.transaction() as tx:
            bundle, _ = make_bundle(tx, self._load(tx), rng=self._rng, now=now)
        try:
            await connection.ask(lambda number: f.Publish(request=number, bundle=bundle))
        except RequestRefused as refused:
            raise _refusal(refused) from None
        with self._vault.transaction() as tx:
            record = self._load(tx)
            state = replace(therapist_of(record), published_day=utc_day(now))
            save_device(tx, replace(record, therapist=state))

    async def admit_all(self, connection: Connection) -> None:
        """Tell the relay of every open invitation that it does not know. Raises as `look_after`."""
        inbox_id = self._state().inbox_id
        today = utc_day(self._now())
        with self._vault.transaction() as tx:
            open_ones = [(key, InvitedRecord.decode(value)) for key, value in tx.items(INVITED)]
        for key, invited in open_ones:
            if invited.used_by or invited.expires_day < today or invited.admitted_inbox == inbox_id:
                continue
            try:
                await connection.ask(_admit(key, invited.expires_day))
            except RequestRefused as refused:
                raise _refusal(refused) from None
            with self._vault.transaction() as tx:
                tx.put(INVITED, key, replace(invited, admitted_inbox=inbox_id).encode())

    async def acknowledge(self, connection: Connection, drop_id: bytes) -> None:
        """The drop was dealt with; the relay may forget it. Losing this only brings the drop again."""
        try:
            await connection.ask(lambda number: f.InboxAck(request=number, drop_id=drop_id))
        except RequestRefused:
            return

    async def _ask_open(self, connection: Connection, state: TherapistState, *, token: str) -> f.InboxOpened:
        challenge = await connection.ask(lambda number: f.InboxChallenge(request=number))
        if not isinstance(challenge, f.Challenge):
            raise ConnectionLost
        seed = identity_of(state).seed
        identity_key = signing.public_key(seed)
        content = inbox_challenge_content(challenge.nonce, identity_key)
        signature = signing.sign(seed, signing.Label.INBOX_OPEN, content)
        opened = await connection.ask(
            lambda number: f.InboxOpen(
                request=number, identity_key=identity_key, signature=signature, token=token.encode("utf-8")
            )
        )
        if not isinstance(opened, f.InboxOpened):
            raise ConnectionLost
        return opened

    def _state(self) -> TherapistState:
        with self._vault.transaction() as tx:
            return therapist_of(self._load(tx))


def _admit(key: bytes, expires_day: int) -> Callable[[int], f.ClientFrame]:
    return lambda number: f.Admit(request=number, admit_hash=key, expires_day=expires_day)


def _refusal(refused: RequestRefused) -> Refused:
    if refused.code in {ErrorCode.TOKEN_REQUIRED, ErrorCode.TOKEN_INVALID}:
        return TherapistTokenNeeded()
    known = next((known for known in ErrorCode if known == refused.code), None)
    return Refused(f"The relay refused: {known.sentence if known else 'for a reason of a later version'}.")
