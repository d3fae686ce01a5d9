"""The init secret of an external commit, by HPKE export (RFC 9420 section 8.3), on all suites.

`cryptography` has no exporter for MLKEM768-X25519, so for 0xF002 HPKE is composed here from its primitives as
for suites 1 to 7; tests show that what one of the two forms seals the other opens.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from crypto.dhkem import Rng
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.hpke import ComposedHpke
from crypto.key_schedule import derive_external_key_pair
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.xwing import KEM_ID, N_ENC, N_MLKEM_PUBLIC, N_PUBLIC, N_SEED, N_X25519, XWingHpke, expand_seed

EXPORTER_CONTEXT: Final = b"MLS 1.0 external init secret"
COMBINER_LABEL: Final = rb"\.//^" + b"\\"
"""X-Wing's label, six bytes (draft-connolly-cfrg-xwing-kem section 5.3)."""


class XWingKem:
    """MLKEM768-X25519 as a KEM for :class:`crypto.hpke.ComposedHpke`."""

    kem_id: Final = KEM_ID
    n_private: Final = N_SEED
    n_public: Final = N_PUBLIC

    def __init__(self, hpke: XWingHpke) -> None:
        self._hpke = hpke

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """See :class:`crypto.xwing.XWingHpke`."""
        return self._hpke.derive_key_pair(ikm)

    def public_key(self, private: bytes) -> bytes:
        """See :class:`crypto.xwing.XWingHpke`."""
        return self._hpke.public_key(private)

    def encap(self, public: bytes, rng: Rng) -> tuple[bytes, bytes]:
        """Encap: (shared secret, enc). The half of ML-KEM draws from `cryptography`.

        Raises:
            ValidationError: ``public`` is no key.
        """
        if len(public) != N_PUBLIC:
            raise ValidationError("hpke.public-key")
        x25519_public = public[N_MLKEM_PUBLIC:]
        ephemeral = X25519PrivateKey.from_private_bytes(rng(N_X25519))
        try:
            mlkem_secret, mlkem_enc = MLKEM768PublicKey.from_public_bytes(
                public[:N_MLKEM_PUBLIC]
            ).encapsulate()
            x25519_secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(x25519_public))
        except ValueError:
            raise ValidationError("hpke.public-key") from None
        x25519_enc = ephemeral.public_key().public_bytes_raw()
        shared = _combine(mlkem_secret, x25519_secret, x25519_enc, x25519_public)
        return shared, mlkem_enc + x25519_enc

    def decap(self, private: bytes, enc: bytes) -> bytes:
        """Decap: the shared secret.

        Raises:
            AuthenticationError: ``enc`` is malformed.
            StateError: ``private`` is no key.
        """
        mlkem, x25519 = expand_seed(private)
        if len(enc) != N_ENC:
            raise AuthenticationError
        mlkem_enc, x25519_enc = enc[:-N_X25519], enc[-N_X25519:]
        try:
            mlkem_secret = mlkem.decapsulate(mlkem_enc)
            x25519_secret = x25519.exchange(X25519PublicKey.from_public_bytes(x25519_enc))
        except ValueError:
            raise AuthenticationError from None
        return _combine(mlkem_secret, x25519_secret, x25519_enc, x25519.public_key().public_bytes_raw())


def _combine(mlkem_secret: bytes, x25519_secret: bytes, x25519_enc: bytes, x25519_public: bytes) -> bytes:
    return hashlib.sha3_256(
        mlkem_secret + x25519_secret + x25519_enc + x25519_public + COMBINER_LABEL
    ).digest()


def composed_hpke(suite: CipherSuite) -> ComposedHpke:
    """HPKE of a suite in the form that has an exporter."""
    if isinstance(suite.hpke, XWingHpke):
        return ComposedHpke(kem=XWingKem(suite.hpke), kdf=suite.kdf, aead=suite.aead)
    if isinstance(suite.hpke, ComposedHpke):
        return suite.hpke
    raise StateError("this cipher suite has no HPKE exporter")


def send_init_secret(suite: CipherSuite, external_pub: bytes, rng: Rng) -> tuple[bytes, Secret]:
    """The joiner's side: (kem_output, init_secret).

    Raises:
        ValidationError: ``external_pub`` is no key of the suite.
    """
    kem_output, init_secret = composed_hpke(suite).export_send(
        external_pub, info=b"", context=EXPORTER_CONTEXT, length=suite.nh, rng=rng
    )
    return kem_output, Secret(init_secret)


def receive_init_secret(suite: CipherSuite, external_secret: Secret, kem_output: bytes) -> Secret:
    """The members' side.

    Raises:
        AuthenticationError: ``kem_output`` is malformed.
    """
    private, _ = derive_external_key_pair(suite, external_secret.reveal())
    return Secret(
        composed_hpke(suite).export_receive(
            private, kem_output, info=b"", context=EXPORTER_CONTEXT, length=suite.nh
        )
    )
