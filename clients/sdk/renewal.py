"""Certificates are renewed in time, by whoever holds the identity (DESIGN section 6, R17; PROTOCOL 7.2).

A certificate is valid for a year. In its last four months the person's first device makes another one for the
same device key and id: for itself at once, for a linked device with the next word to it (PROTOCOL 7.8). It
comes into each line with a self-update (P5 of R14 lets a committer's own leaf change its certificate), so
that whoever reads a line once in four months never sees one that is out of date.

Here is the judgement and the making; `clients.sdk.engine` and `clients.sdk.linking` do it every hour on which
they are online.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from clients.sdk.records import DeviceKeys
from keys.certificates import DeviceCertificate, Identity, utc_day

CERTIFICATE_DAYS: Final = 366
"""Validity of a device certificate."""
RENEW_DAYS: Final = 122
"""How long before its end a certificate is renewed. R17 brings it into every line that is in use in 30."""


def due(certificate: DeviceCertificate, now: float) -> bool:
    """Whether a certificate ends so soon that another one has to be made. `now` in UTC seconds."""
    return certificate.not_after_day - utc_day(now) < RENEW_DAYS


def again(identity: Identity, certificate: DeviceCertificate, now: float) -> DeviceCertificate:
    """The same device, certified from today on."""
    today = utc_day(now)
    return identity.certify(
        device_key=certificate.device_key,
        device_id=certificate.device_id,
        role=certificate.role,
        not_before_day=today,
        not_after_day=today + CERTIFICATE_DAYS,
    )


def renewed(keys: DeviceKeys, now: float) -> DeviceKeys | None:
    """The keys with another certificate, if one is due and this device can make it; else None.

    Raises:
        CodecError: the record is damaged.
    """
    certificate = DeviceCertificate.decode(keys.certificate)
    if keys.identity_seed is None or not due(certificate, now):
        return None
    identity = Identity(keys.identity_seed.reveal())
    return replace(keys, certificate=again(identity, certificate, now).encode())
