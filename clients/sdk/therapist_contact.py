"""The therapist's side of a first contact: judge a drop and, if it is good, let the line come to be.

`accept_drop` runs in one transaction that the caller rolls back when it raises, so a refused drop leaves no
trace but the note that it was refused. The steps are numbered; docs/PROTOCOL.md section 7 lists the same
numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace

from clients.sdk.client_contact import own_device
from clients.sdk.first_contact import KEEP_DAYS, MAX_WAIT_DAYS, FirstContact, open_drop
from clients.sdk.inbox_keys import old_keys
from clients.sdk.line.founding import join_line
from clients.sdk.records import (
    INVITED,
    LINE_ID_BYTES,
    PACKAGES,
    SEEN,
    InvitedRecord,
    LineRecord,
    PackageRecord,
    TherapistState,
    free_name,
    load_lines,
    save_line,
)
from crypto.codec import Reader, Writer, decode
from crypto.errors import AuthenticationError, ValidationError
from crypto.key_package import KeyPackageBundle, check_lifetime, read_key_package
from crypto.mls_message import read_mls_message
from crypto.suites import PRODUCT
from crypto.welcome import Welcome
from keys.certificates import SECONDS_PER_DAY, DeviceCertificate, utc_day
from keys.invitations import Invitation, verify_binding
from keys.vault import VaultTransaction

DAYS_OF_TOLERANCE = 2
"""26 hours of tolerance (DESIGN section 8), in whole days."""


def accept_drop(
    tx: VaultTransaction,
    body: bytes,
    *,
    state: TherapistState,
    relay_url: str,
    rng: Callable[[int], bytes],
    now: float,
) -> LineRecord:
    """Judge a drop and make the line.

    Args:
        tx: An open transaction, to be rolled back if this raises.
        body: 16,384 bytes from the inbox.
        state: Of this therapist.
        relay_url: Of this device.
        rng: Source of randomness.
        now: UTC seconds.

    Raises:
        ValidationError: "first-contact.…" or a rule of MLS or R16.
        AuthenticationError: it was not sealed to this inbox, or the binding is not the invitation's.
        CodecError: malformed.
    """
    # 1. It opens under the inbox key, or one that was replaced lately, and has the form of a first contact.
    content = _open(tx, body, state)
    # 2. The day on which the client used the KeyPackage is possible: not in the future, not older than a
    # wait.
    today = utc_day(now)
    if not today - MAX_WAIT_DAYS - DAYS_OF_TOLERANCE <= content.used_day <= today + DAYS_OF_TOLERANCE:
        raise ValidationError("first-contact.day")
    # 3. It names an invitation of ours that was not used and was still good on that day.
    invited, invitation = _find_invitation(tx, content, state, relay_url)
    # 4. Its Welcome is for a KeyPackage of ours that was valid on that day.
    package, bundle = _find_package(tx, content.welcome)
    check_lifetime(bundle.key_package, now=content.used_day * SECONDS_PER_DAY + SECONDS_PER_DAY / 2)
    # 5. The group was never seen before (no replay), and R16 holds for its members.
    line_id = rng(LINE_ID_BYTES)
    own_identity = DeviceCertificate.decode(state.keys.certificate).identity_key
    joined = join_line(
        tx,
        line_id,
        own_device(state.keys),
        rng,
        now=now,
        welcome=content.welcome,
        bundle=bundle,
        known_group=lambda group_id: tx.get(SEEN, _seen_key(group_id)) is not None,
        suite=PRODUCT,
    )
    if joined.signer_identity == own_identity:
        raise ValidationError("first-contact.own-identity")
    # 6. Whoever made the group holds the invitation, and is that client: the relay only knows the admit
    # value.
    verify_binding(
        content.binding,
        invitation.bind_key,
        group_id=joined.group_id,
        client_identity_key=joined.signer_identity,
        epoch_authenticator=joined.epoch_authenticator,
    )
    # 7. The invitation is used up, and the group id is remembered as long as the KeyPackage's key lives.
    tx.put(INVITED, content.admit_hash, replace(invited, used_by=line_id).encode())
    tx.put(SEEN, _seen_key(joined.group_id), Writer().u32(package.last_day + KEEP_DAYS).to_bytes())
    record = LineRecord(
        line_id=line_id,
        name=free_name({line.name for line in load_lines(tx)}, "client"),
        peer_name="",
        peer_identity=joined.signer_identity,
        keys=None,
        created=int(now),
    )
    save_line(tx, record)
    return record


def forget_seen(tx: VaultTransaction, today: int) -> None:
    """Drop group ids whose KeyPackage's private key is destroyed: a replay cannot be opened any more."""
    for key, value in list(tx.items(SEEN)):
        if decode(value, Reader.u32) < today:
            tx.delete(SEEN, key)


def _open(tx: VaultTransaction, body: bytes, state: TherapistState) -> FirstContact:
    for private in (state.inbox_private, *old_keys(tx)):
        with contextlib.suppress(AuthenticationError):
            return open_drop(body, inbox_id=state.inbox_id, inbox_private=private.reveal())
    raise AuthenticationError


def _seen_key(group_id: bytes) -> bytes:
    return hashlib.sha256(group_id).digest()


def _find_invitation(
    tx: VaultTransaction, content: FirstContact, state: TherapistState, relay_url: str
) -> tuple[InvitedRecord, Invitation]:
    data = tx.get(INVITED, content.admit_hash)
    if data is None:
        raise ValidationError("first-contact.invitation-unknown")
    invited = InvitedRecord.decode(data)
    if invited.used_by:
        raise ValidationError("first-contact.invitation-used")
    if content.used_day > invited.expires_day + DAYS_OF_TOLERANCE:
        raise ValidationError("first-contact.invitation-expired")
    fingerprint = hashlib.sha256(DeviceCertificate.decode(state.keys.certificate).identity_key).digest()
    invitation = invited.invitation(relay_url=relay_url, fingerprint=fingerprint)
    return invited, invitation


def _find_package(tx: VaultTransaction, encoded: bytes) -> tuple[PackageRecord, KeyPackageBundle]:
    welcome = decode(encoded, read_mls_message).body
    if not isinstance(welcome, Welcome):
        raise ValidationError("first-contact.welcome")
    for secrets in welcome.secrets:
        data = tx.get(PACKAGES, secrets.new_member)
        if data is not None:
            package = PackageRecord.decode(data)
            bundle = KeyPackageBundle(
                key_package=decode(package.key_package, read_key_package),
                init_private=package.init_private,
                encryption_private=package.encryption_private,
            )
            return package, bundle
    raise ValidationError("first-contact.key-package-unknown")
