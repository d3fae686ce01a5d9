"""Signature schemes of MLS cipher suites (RFC 9420 sections 5.1.1 and 5.1.2), by `cryptography`.

Keys are the RFC's octets: EdDSA as in RFC 8032; ECDSA public keys as uncompressed points, private keys as
big-endian field elements, signatures in DER. ECDSA signs deterministically (RFC 6979), so that this package
draws no randomness of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crypto.errors import AuthenticationError, StateError

Signer = Callable[[bytes], bytes]
"""A loaded private key: content to signature."""


class SignatureScheme(Protocol):
    """What a cipher suite needs of its signature scheme."""

    @property
    def n_private(self) -> int:
        """Size of a private key, in bytes."""

    @property
    def n_public(self) -> int:
        """Size of a public key, in bytes."""

    def private_from_seed(self, seed: bytes) -> bytes:
        """Turn ``n_private`` random bytes into a private key."""

    def public_key(self, private: bytes) -> bytes:
        """Compute the public key. Raises StateError if ``private`` is none."""

    def signer(self, private: bytes) -> Signer:
        """Load ``private`` once for several signatures. Raises StateError if it is no key."""

    def verify(self, public: bytes, content: bytes, signature: bytes) -> None:
        """Return nothing, or raise AuthenticationError (also for a public key that is none)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdDsa:
    """Ed25519 or Ed448 (RFC 8032), without context."""

    n_private: int
    n_public: int
    private_type: type[Ed25519PrivateKey | Ed448PrivateKey]
    public_type: type[Ed25519PublicKey | Ed448PublicKey]

    def _load(self, private: bytes) -> Ed25519PrivateKey | Ed448PrivateKey:
        try:
            return self.private_type.from_private_bytes(private)
        except ValueError:
            raise StateError("the signature private key has the wrong size") from None

    def private_from_seed(self, seed: bytes) -> bytes:
        """The seed is the key."""
        self._load(seed)
        return seed

    def public_key(self, private: bytes) -> bytes:
        """See :class:`SignatureScheme`."""
        return self._load(private).public_key().public_bytes_raw()

    def signer(self, private: bytes) -> Signer:
        """See :class:`SignatureScheme`."""
        return self._load(private).sign

    def verify(self, public: bytes, content: bytes, signature: bytes) -> None:
        """See :class:`SignatureScheme`."""
        try:
            self.public_type.from_public_bytes(public).verify(signature, content)
        except (InvalidSignature, ValueError):
            raise AuthenticationError from None


@dataclass(frozen=True, slots=True, kw_only=True)
class EcDsa:
    """ECDSA over a NIST curve."""

    n_private: int
    n_public: int
    curve: ec.EllipticCurve
    hash: hashes.HashAlgorithm

    def _load(self, private: bytes) -> ec.EllipticCurvePrivateKey:
        try:
            return ec.derive_private_key(int.from_bytes(private, "big"), self.curve)
        except ValueError:
            raise StateError("the signature private key is not one of this curve") from None

    def private_from_seed(self, seed: bytes) -> bytes:
        """Reduce the seed into 1 … order - 1. Slightly biased: these suites are for conformance only."""
        value = int.from_bytes(seed, "big") % (self.curve.group_order - 1) + 1
        return value.to_bytes(self.n_private, "big")

    def public_key(self, private: bytes) -> bytes:
        """See :class:`SignatureScheme`."""
        public = self._load(private).public_key()
        return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def signer(self, private: bytes) -> Signer:
        """See :class:`SignatureScheme`."""
        key = self._load(private)
        algorithm = ec.ECDSA(self.hash, deterministic_signing=True)
        return lambda content: key.sign(content, algorithm)

    def verify(self, public: bytes, content: bytes, signature: bytes) -> None:
        """See :class:`SignatureScheme`."""
        if len(public) != self.n_public or public[0] != 4:
            raise AuthenticationError  # compressed points are not the RFC's form
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(self.curve, public)
            key.verify(signature, content, ec.ECDSA(self.hash))
        except (InvalidSignature, ValueError):
            raise AuthenticationError from None


ED25519: Final = EdDsa(
    n_private=32, n_public=32, private_type=Ed25519PrivateKey, public_type=Ed25519PublicKey
)
ED448: Final = EdDsa(n_private=57, n_public=57, private_type=Ed448PrivateKey, public_type=Ed448PublicKey)
ECDSA_P256: Final = EcDsa(n_private=32, n_public=65, curve=ec.SECP256R1(), hash=hashes.SHA256())
ECDSA_P384: Final = EcDsa(n_private=48, n_public=97, curve=ec.SECP384R1(), hash=hashes.SHA384())
ECDSA_P521: Final = EcDsa(n_private=66, n_public=133, curve=ec.SECP521R1(), hash=hashes.SHA512())
