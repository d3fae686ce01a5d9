"""An authentication service for X.509 credentials (RFC 9420 section 5.3), on `cryptography`'s verifier.

For conformance: the product's credentials are basic ones. It stands here and not in ``crypto``, which knows
no clock and no calendar.

What is accepted is what `cryptography`'s path validation accepts: its rules are those of the web's public key
infrastructure, here without a server name and with any extension in the end entity.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from crypto.code_points import CredentialType
from crypto.credentials import Credential
from crypto.errors import ValidationError


def decode_chain(credential: Credential) -> list[x509.Certificate]:
    """The certificates of a credential, the end entity's first.

    Raises:
        ValidationError: ``credential.type``: not X.509; ``credential.malformed``: empty, or not DER.
    """
    if credential.credential_type is not CredentialType.X509:
        raise ValidationError("credential.type")
    try:
        chain = [x509.load_der_x509_certificate(encoded) for encoded in credential.certificates]
    except ValueError:
        raise ValidationError("credential.malformed") from None
    if not chain:
        raise ValidationError("credential.malformed")
    return chain


def public_key_octets(certificate: x509.Certificate) -> bytes:
    """The public key of a certificate in the form of an MLS ``SignaturePublicKey``.

    Raises:
        ValidationError: ``credential.key-type``: of a kind that no MLS suite has.
    """
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        raise ValidationError("credential.key-type") from None
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        return key.public_bytes_raw()
    if isinstance(key, EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    raise ValidationError("credential.key-type")


def identifiers(certificate: x509.Certificate) -> tuple[object, ...]:
    """What a certificate presents: its alternative names if it has some, else its subject.

    Raises:
        ValidationError: ``credential.malformed``.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return (certificate.subject,)
    except (ValueError, x509.DuplicateExtension):
        raise ValidationError("credential.malformed") from None
    return tuple(sorted(names.value, key=repr))


class X509Authentication:
    """Implements :class:`crypto.rfc9420.authentication.AuthenticationService`.

    Args:
        roots: Trust anchors.
        now: The moment to judge for, with time zone. A member's certificate may expire in the group; section
            5.3.2 says to go on accepting what it signed while it was valid.
    """

    def __init__(self, roots: Sequence[x509.Certificate], *, now: datetime) -> None:
        builder = PolicyBuilder().store(Store(list(roots))).time(now)
        self._verifier = builder.extension_policies(
            ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
        ).build_client_verifier()

    def validate(self, credential: Credential, signature_key: bytes) -> None:
        """Demand a chain to a trust anchor for exactly this signature key.

        Raises:
            ValidationError: ``credential.type``, ``credential.malformed``, ``credential.key-type``,
                ``credential.signature-key`` or ``credential.chain``.
        """
        chain = decode_chain(credential)
        if public_key_octets(chain[0]) != signature_key:
            raise ValidationError("credential.signature-key")
        try:
            self._verifier.verify(chain[0], chain[1:])
        except VerificationError:
            raise ValidationError("credential.chain") from None

    def same_client(self, one: Credential, other: Credential) -> bool:
        """Whether the end entities present the same identifiers. Raises as :func:`decode_chain`."""
        return identifiers(decode_chain(one)[0]) == identifiers(decode_chain(other)[0])
