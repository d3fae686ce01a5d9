"""The client's side of a first contact: a fresh pseudonymous identity, the line's group, and the drop.

One transaction makes identity, group, name and drop together, so that a crash leaves either nothing or a
line whose drop is still to be delivered. Delivering is the business of `online`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clients.sdk.first_contact import FirstContact, admit_hash, seal_drop
from clients.sdk.line.founding import found_line
from clients.sdk.line.machine import OwnDevice
from clients.sdk.records import (
    DROPS,
    LINE_ID_BYTES,
    DeviceKeys,
    DropRecord,
    LineRecord,
    free_name,
    load_lines,
    save_line,
)
from clients.sdk.renewal import CERTIFICATE_DAYS
from crypto.codec import decode
from crypto.key_package import read_key_package
from crypto.sensitive import Secret
from crypto.suites import PRODUCT
from keys import signing
from keys.certificates import DEVICE_ID_BYTES, DeviceCertificate, DeviceId, DeviceRole, Identity, utc_day
from keys.contact import ContactBundle
from keys.invitations import Invitation, binding
from keys.vault import VaultTransaction

MIN_PAUSE_SECONDS: Final = 5.0
MAX_PAUSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLine:
    """What `open_line` left in the vault."""

    record: LineRecord
    drop: DropRecord


def new_device_keys(
    rng: Callable[[int], bytes], *, now: float, identity: Identity | None = None
) -> DeviceKeys:
    """A device key, certified as the primary (and only) device of an identity, a new one unless given."""
    person = identity or Identity.generate(rng)
    seed = rng(signing.SEED_BYTES)
    today = utc_day(now)
    certificate = person.certify(
        device_key=signing.public_key(seed),
        device_id=DeviceId(rng(DEVICE_ID_BYTES)),
        role=DeviceRole.PRIMARY,
        not_before_day=today,
        not_after_day=today + CERTIFICATE_DAYS,
    )
    return DeviceKeys(
        identity_seed=Secret(person.seed), device_seed=Secret(seed), certificate=certificate.encode()
    )


def own_device(keys: DeviceKeys) -> OwnDevice:
    """The keys as the line machine wants them."""
    certificate = DeviceCertificate.decode(keys.certificate)
    return OwnDevice(
        signature_private=keys.device_seed,
        certificate=keys.certificate,
        device_id=certificate.device_id,
        identity_key=certificate.identity_key,
    )


def open_line(
    tx: VaultTransaction,
    *,
    invitation: Invitation,
    contact: ContactBundle,
    name: str,
    pause_seconds: float,
    rng: Callable[[int], bytes],
    now: float,
) -> OpenedLine:
    """Make the line and its drop.

    Args:
        tx: An open transaction; everything is written in it.
        invitation: Unexpired.
        contact: Verified for the invitation's fingerprint.
        name: Wish for the local name; taken ones get a number.
        pause_seconds: After the drop, before the line is attached.
        rng: Source of randomness.
        now: UTC seconds.
    """
    line_id = rng(LINE_ID_BYTES)
    keys = new_device_keys(rng, now=now)
    founding = found_line(
        tx,
        line_id,
        own_device(keys),
        rng,
        now=now,
        key_packages=[decode(encoded, read_key_package) for encoded in contact.key_packages],
        suite=PRODUCT,
    )
    identity_key = DeviceCertificate.decode(keys.certificate).identity_key
    content = FirstContact(
        used_day=utc_day(now),
        admit_hash=admit_hash(invitation.admit_value),
        binding=binding(
            invitation.bind_key,
            group_id=founding.group_id,
            client_identity_key=identity_key,
            epoch_authenticator=founding.epoch_authenticator,
        ),
        welcome=founding.welcome,
    )
    drop = DropRecord(
        inbox_id=contact.inbox_id,
        drop_id=rng(16),
        admit_value=invitation.admit_value,
        body=seal_drop(
            content, inbox_id=contact.inbox_id, inbox_public_key=contact.inbox_public_key, rng=rng
        ),
    )
    record = LineRecord(
        line_id=line_id,
        name=free_name({line.name for line in load_lines(tx)}, name),
        peer_name=contact.display_name,
        peer_identity=contact.identity_key,
        keys=keys,
        created=int(now),
        not_before=int(now + pause_seconds),
    )
    save_line(tx, record)
    tx.put(DROPS, line_id, drop.encode())
    return OpenedLine(record=record, drop=drop)
