"""The key schedule of an epoch (RFC 9420 section 8), the exporter (8.5) and the Welcome key (12.4.3.1).

Secrets are plain bytes inside ``crypto``; :class:`EpochSecrets` shows none of them. What is consumed is to be
dropped by the caller at once (section 9.2): the joiner secret when the epoch secrets are made, the encryption
secret when the secret tree is made, the exporter secret when R1's channel keys are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto.labels import derive_secret, expand_with_label
from crypto.suites import CipherSuite


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSecrets:
    """Everything derived from ``epoch_secret``, each of ``Nh`` bytes (RFC 9420 section 8, table 4)."""

    sender_data_secret: bytes = field(repr=False)
    encryption_secret: bytes = field(repr=False)
    exporter_secret: bytes = field(repr=False)
    external_secret: bytes = field(repr=False)
    confirmation_key: bytes = field(repr=False)
    membership_key: bytes = field(repr=False)
    resumption_psk: bytes = field(repr=False)
    epoch_authenticator: bytes = field(repr=False)
    init_secret: bytes = field(repr=False)


def derive_joiner_secret(
    suite: CipherSuite, *, init_secret: bytes, commit_secret: bytes, group_context: bytes
) -> bytes:
    """joiner_secret of the new epoch.

    Args:
        suite: The group's suite.
        init_secret: Of the previous epoch.
        commit_secret: Of the commit's path, or ``Nh`` zero bytes without a path.
        group_context: Encoded GroupContext of the new epoch.
    """
    extracted = suite.extract(init_secret, commit_secret)
    return expand_with_label(suite, extracted, "joiner", group_context, suite.nh)


def _member_secret(suite: CipherSuite, joiner_secret: bytes, psk_secret: bytes) -> bytes:
    return suite.extract(joiner_secret, psk_secret)


def derive_welcome_secret(suite: CipherSuite, *, joiner_secret: bytes, psk_secret: bytes) -> bytes:
    """welcome_secret, which encrypts the GroupInfo of a Welcome."""
    return derive_secret(suite, _member_secret(suite, joiner_secret, psk_secret), "welcome")


def derive_welcome_key_nonce(suite: CipherSuite, welcome_secret: bytes) -> tuple[bytes, bytes]:
    """AEAD key and nonce of a Welcome's encrypted GroupInfo (section 12.4.3.1)."""
    key = expand_with_label(suite, welcome_secret, "key", b"", suite.aead.nk)
    nonce = expand_with_label(suite, welcome_secret, "nonce", b"", suite.aead.nn)
    return key, nonce


def derive_epoch_secrets(
    suite: CipherSuite, *, joiner_secret: bytes, psk_secret: bytes, group_context: bytes
) -> EpochSecrets:
    """All secrets of an epoch.

    Args:
        suite: The group's suite.
        joiner_secret: From the commit or the Welcome.
        psk_secret: ``Nh`` zero bytes without PSKs.
        group_context: Encoded GroupContext of the epoch.
    """
    member_secret = _member_secret(suite, joiner_secret, psk_secret)
    epoch_secret = expand_with_label(suite, member_secret, "epoch", group_context, suite.nh)
    return epoch_secrets_from(suite, epoch_secret)


def epoch_secrets_from(suite: CipherSuite, epoch_secret: bytes) -> EpochSecrets:
    """Secrets of an epoch from its epoch_secret; a new group draws that at random (section 11)."""
    return EpochSecrets(
        sender_data_secret=derive_secret(suite, epoch_secret, "sender data"),
        encryption_secret=derive_secret(suite, epoch_secret, "encryption"),
        exporter_secret=derive_secret(suite, epoch_secret, "exporter"),
        external_secret=derive_secret(suite, epoch_secret, "external"),
        confirmation_key=derive_secret(suite, epoch_secret, "confirm"),
        membership_key=derive_secret(suite, epoch_secret, "membership"),
        resumption_psk=derive_secret(suite, epoch_secret, "resumption"),
        epoch_authenticator=derive_secret(suite, epoch_secret, "authentication"),
        init_secret=derive_secret(suite, epoch_secret, "init"),
    )


def derive_external_key_pair(suite: CipherSuite, external_secret: bytes) -> tuple[bytes, bytes]:
    """External key pair of an epoch: (private, public). The product publishes none."""
    return suite.derive_key_pair(external_secret)


def mls_exporter(
    suite: CipherSuite, exporter_secret: bytes, *, label: str, context: bytes, length: int
) -> bytes:
    """MLS-Exporter(label, context, length) of section 8.5: ``length`` bytes."""
    derived = derive_secret(suite, exporter_secret, label)
    return expand_with_label(suite, derived, "exported", suite.hash(context), length)
