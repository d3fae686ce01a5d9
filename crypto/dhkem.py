"""DHKEM of RFC 9180 section 4.1, over X25519, X448 and the NIST curves.

`cryptography` does the Diffie-Hellman and the HKDF; this module composes them. The ephemeral key comes from
the caller's ``rng`` through DeriveKeyPair, so that the package draws no randomness of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.kdf import SHA256, SHA384, SHA512, Kdf

Rng = Callable[[int], bytes]
"""Gives that many random bytes; ``os.urandom`` in production."""

VERSION: Final = b"HPKE-v1"


def labeled_extract(kdf: Kdf, suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """LabeledExtract of RFC 9180 section 4."""
    return kdf.extract(salt, VERSION + suite_id + label + ikm)


def labeled_expand(kdf: Kdf, suite_id: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand of RFC 9180 section 4."""
    return kdf.expand(prk, length.to_bytes(2, "big") + VERSION + suite_id + label + info, length)


class DhGroup(Protocol):
    """A Diffie-Hellman group as DHKEM uses it. ValueError means: no such key, or no shared secret."""

    @property
    def n_private(self) -> int:
        """Size of a private key, in bytes."""

    @property
    def n_public(self) -> int:
        """Size of a public key, in bytes."""

    def derive_private(self, expand: Callable[[bytes, bytes], bytes]) -> bytes:
        """The group's part of DeriveKeyPair; ``expand(label, info)`` gives ``n_private`` bytes."""

    def public_key(self, private: bytes) -> bytes:
        """Public key of ``private``."""

    def exchange(self, private: bytes, public: bytes) -> tuple[bytes, bytes]:
        """Shared secret, checked as RFC 9180 section 7.1.4 says, and the public key of ``private``.

        Both at once, because loading a private key costs as much as the exchange itself.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Montgomery:
    """X25519 or X448. `cryptography` refuses an all-zero shared secret (RFC 9180 section 7.1.4)."""

    n_private: int
    n_public: int
    private_type: type[X25519PrivateKey | X448PrivateKey]
    public_type: type[X25519PublicKey | X448PublicKey]

    def derive_private(self, expand: Callable[[bytes, bytes], bytes]) -> bytes:
        """See :class:`DhGroup`."""
        return expand(b"sk", b"")

    def public_key(self, private: bytes) -> bytes:
        """See :class:`DhGroup`."""
        return self.private_type.from_private_bytes(private).public_key().public_bytes_raw()

    def exchange(self, private: bytes, public: bytes) -> tuple[bytes, bytes]:
        """See :class:`DhGroup`."""
        if self.private_type is X25519PrivateKey:
            key = X25519PrivateKey.from_private_bytes(private)
            shared = key.exchange(X25519PublicKey.from_public_bytes(public))
            return shared, key.public_key().public_bytes_raw()
        other = X448PrivateKey.from_private_bytes(private)
        shared = other.exchange(X448PublicKey.from_public_bytes(public))
        return shared, other.public_key().public_bytes_raw()


@dataclass(frozen=True, slots=True, kw_only=True)
class NistCurve:
    """P-256, P-384 or P-521. Public keys are uncompressed points, checked to lie on the curve when loaded."""

    n_private: int
    n_public: int
    curve: ec.EllipticCurve
    bitmask: int

    def derive_private(self, expand: Callable[[bytes, bytes], bytes]) -> bytes:
        """Rejection sampling of RFC 9180 section 7.1.3."""
        for counter in range(256):
            candidate = bytearray(expand(b"candidate", bytes([counter])))
            candidate[0] &= self.bitmask
            if 0 < int.from_bytes(candidate, "big") < self.curve.group_order:
                return bytes(candidate)
        raise StateError("no private key could be derived from this input")

    def _load(self, private: bytes) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(private, "big"), self.curve)

    def public_key(self, private: bytes) -> bytes:
        """See :class:`DhGroup`."""
        return _encode_point(self._load(private))

    def exchange(self, private: bytes, public: bytes) -> tuple[bytes, bytes]:
        """See :class:`DhGroup`."""
        if len(public) != self.n_public or public[0] != 4:
            raise ValueError("not an uncompressed point")
        point = ec.EllipticCurvePublicKey.from_encoded_point(self.curve, public)
        key = self._load(private)
        return key.exchange(ec.ECDH(), point), _encode_point(key)


def _encode_point(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class DhKem:
    """DHKEM(group, HKDF), unauthenticated mode only (MLS uses no other)."""

    kem_id: int
    kdf: Kdf
    group: DhGroup

    @property
    def _suite_id(self) -> bytes:
        return b"KEM" + self.kem_id.to_bytes(2, "big")

    @property
    def n_private(self) -> int:
        """Size of a private key, and of good key material for :meth:`derive_key_pair`, in bytes."""
        return self.group.n_private

    @property
    def n_public(self) -> int:
        """Size of a public key and of ``enc``, in bytes."""
        return self.group.n_public

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """DeriveKeyPair of RFC 9180 section 7.1.3: (private, public)."""
        private = self._derive_private(ikm)
        return private, self.group.public_key(private)

    def _derive_private(self, ikm: bytes) -> bytes:
        prk = labeled_extract(self.kdf, self._suite_id, b"", b"dkp_prk", ikm)
        return self.group.derive_private(
            lambda label, info: labeled_expand(self.kdf, self._suite_id, prk, label, info, self.n_private)
        )

    def public_key(self, private: bytes) -> bytes:
        """Public key of a serialized private key.

        Raises:
            StateError: ``private`` is no key of this KEM.
        """
        try:
            return self.group.public_key(private)
        except ValueError:
            raise StateError("the HPKE private key is not one of this KEM") from None

    def _shared_secret(self, dh: bytes, enc: bytes, public: bytes) -> bytes:
        prk = labeled_extract(self.kdf, self._suite_id, b"", b"eae_prk", dh)
        return labeled_expand(self.kdf, self._suite_id, prk, b"shared_secret", enc + public, self.kdf.nh)

    def encap(self, public: bytes, rng: Rng) -> tuple[bytes, bytes]:
        """Encap: (shared secret, enc).

        Raises:
            ValidationError: ``public`` is no key of this KEM, or one without a shared secret.
        """
        private = self._derive_private(rng(self.n_private))
        try:
            dh, enc = self.group.exchange(private, public)
        except ValueError:
            raise ValidationError("hpke.public-key") from None
        return self._shared_secret(dh, enc, public), enc

    def decap(self, private: bytes, enc: bytes) -> bytes:
        """Decap: the shared secret.

        Raises:
            AuthenticationError: ``enc`` is no public key of this KEM, or one without a shared secret.
        """
        try:
            dh, public = self.group.exchange(private, enc)
        except ValueError:
            raise AuthenticationError from None
        return self._shared_secret(dh, enc, public)


DHKEM_P256: Final = DhKem(
    kem_id=0x0010,
    kdf=SHA256,
    group=NistCurve(n_private=32, n_public=65, curve=ec.SECP256R1(), bitmask=0xFF),
)
DHKEM_P384: Final = DhKem(
    kem_id=0x0011,
    kdf=SHA384,
    group=NistCurve(n_private=48, n_public=97, curve=ec.SECP384R1(), bitmask=0xFF),
)
DHKEM_P521: Final = DhKem(
    kem_id=0x0012,
    kdf=SHA512,
    group=NistCurve(n_private=66, n_public=133, curve=ec.SECP521R1(), bitmask=0x01),
)
DHKEM_X25519: Final = DhKem(
    kem_id=0x0020,
    kdf=SHA256,
    group=Montgomery(n_private=32, n_public=32, private_type=X25519PrivateKey, public_type=X25519PublicKey),
)
DHKEM_X448: Final = DhKem(
    kem_id=0x0021,
    kdf=SHA512,
    group=Montgomery(n_private=56, n_public=56, private_type=X448PrivateKey, public_type=X448PublicKey),
)
