"""HPKE with the hybrid KEM MLKEM768-X25519 (X-Wing, 0x647A), as `cryptography` implements it.

`cryptography` gives single-shot seal and open but neither an exporter nor DeriveKeyPair. The latter is that
of draft-ietf-hpke-pq: LabeledDerive with SHAKE256, checked in tests against the vectors of the PyPI package
``cryptography-vectors`` (other libraries' X-Wing derive otherwise; seal and open interoperate, tree keys do
not: PITFALLS). Encapsulation draws from `cryptography`, which has no derandomised form: the one exception to
"no randomness of its own" (DESIGN section 2). There is no exporter: only external commits need one, and the
product refuses those (``crypto.rfc9420.external_init`` composes one).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from crypto.dhkem import VERSION, Rng
from crypto.errors import AuthenticationError, StateError, ValidationError

KEM_ID: Final = 0x647A
N_SEED: Final = 32
"""Size of a private key: the seed of both component keys, in bytes."""
N_MLKEM_SEED: Final = 64
N_MLKEM_PUBLIC: Final = 1184
N_X25519: Final = 32
N_PUBLIC: Final = N_MLKEM_PUBLIC + N_X25519
N_ENC: Final = 1088 + N_X25519


def labeled_derive(ikm: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """LabeledDerive of draft-ietf-hpke-pq with SHAKE256 and this KEM's suite id."""
    size = length.to_bytes(2, "big")
    prefixed_label = len(label).to_bytes(2, "big") + label
    suite_id = b"KEM" + KEM_ID.to_bytes(2, "big")
    return hashlib.shake_256(ikm + VERSION + suite_id + prefixed_label + size + context).digest(length)


@dataclass(frozen=True, slots=True, kw_only=True)
class XWingHpke:
    """HPKE with MLKEM768-X25519; KDF and AEAD as in ``suite``."""

    suite: hpke.Suite

    @property
    def n_private(self) -> int:
        """See :class:`crypto.hpke.Hpke`."""
        return N_SEED

    @property
    def n_public(self) -> int:
        """See :class:`crypto.hpke.Hpke`."""
        return N_PUBLIC

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """DeriveKeyPair of draft-ietf-hpke-pq: (private, public)."""
        private = labeled_derive(ikm, b"DeriveKeyPair", b"", N_SEED)
        return private, self.public_key(private)

    def public_key(self, private: bytes) -> bytes:
        """See :class:`crypto.hpke.Hpke`."""
        mlkem, x25519 = expand_seed(private)
        return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def seal(
        self, public: bytes, *, info: bytes, aad: bytes, plaintext: bytes, rng: Rng
    ) -> tuple[bytes, bytes]:
        """See :class:`crypto.hpke.Hpke`. ``aad`` must be empty, as MLS has it."""
        del rng  # encapsulation draws from `cryptography`
        _require_no_aad(aad)
        try:
            key = hpke.MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(public[:N_MLKEM_PUBLIC]),
                X25519PublicKey.from_public_bytes(public[N_MLKEM_PUBLIC:]),
            )
            sealed = self.suite.encrypt(plaintext, key, info)
        except ValueError:
            raise ValidationError("hpke.public-key") from None
        return sealed[:N_ENC], sealed[N_ENC:]

    def open(self, private: bytes, enc: bytes, *, info: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """See :class:`crypto.hpke.Hpke`."""
        _require_no_aad(aad)
        if len(enc) != N_ENC:
            raise AuthenticationError
        key = hpke.MLKEM768X25519PrivateKey(*expand_seed(private))
        try:
            return self.suite.decrypt(enc + ciphertext, key, info)
        except (InvalidTag, ValueError):
            raise AuthenticationError from None


def expand_seed(private: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """Run X-Wing's expandDecapsulationKey: one 32-byte seed to both private keys."""
    if len(private) != N_SEED:
        raise StateError("the HPKE private key is not one of this KEM")
    expanded = hashlib.shake_256(private).digest(N_MLKEM_SEED + N_X25519)
    return (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:N_MLKEM_SEED]),
        X25519PrivateKey.from_private_bytes(expanded[N_MLKEM_SEED:]),
    )


def _require_no_aad(aad: bytes) -> None:
    if aad:
        raise StateError("HPKE of this cipher suite takes no associated data")
