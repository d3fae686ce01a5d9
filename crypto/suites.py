"""Cipher suites: RFC 9420's 1 to 7, and the product's 0xF002.

0xF002 is ``MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519`` of draft-ietf-mls-pq-ciphersuites-06 under a
private code point until IANA assigns one (DESIGN section 4). The product uses no other; 1 to 7 are for
conformance.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hpke as hpke_primitives

from crypto import dhkem, signatures
from crypto.aead import AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, Aead
from crypto.dhkem import Rng
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.hpke import ComposedHpke, Hpke
from crypto.kdf import SHA256, SHA384, SHA512, Kdf
from crypto.signatures import SignatureScheme, Signer
from crypto.xwing import XWingHpke


@dataclass(frozen=True, slots=True, kw_only=True)
class CipherSuite:
    """The algorithms of one cipher suite (RFC 9420 section 5.1). Compare suites by ``code``.

    Attributes:
        code: The code point.
        kdf: Hash, HMAC and HKDF.
        aead: The AEAD.
        hpke: KEM and HPKE.
        signature: The signature scheme.
    """

    code: int
    name: str
    kdf: Kdf = field(repr=False)
    aead: Aead = field(repr=False)
    hpke: Hpke = field(repr=False)
    signature: SignatureScheme = field(repr=False)

    @property
    def nh(self) -> int:
        """KDF.Nh: size of secrets, hashes and MACs, in bytes."""
        return self.kdf.nh

    def hash(self, data: bytes) -> bytes:
        """The suite's hash."""
        return self.kdf.hash(data)

    def mac(self, key: bytes, data: bytes) -> bytes:
        """The suite's MAC (HMAC)."""
        return self.kdf.mac(key, data)

    def verify_mac(self, key: bytes, data: bytes, tag: bytes) -> None:
        """Check a MAC in constant time.

        Raises:
            AuthenticationError: It does not fit.
        """
        if not hmac.compare_digest(self.kdf.mac(key, data), tag):
            raise AuthenticationError

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        """KDF.Extract."""
        return self.kdf.extract(salt, ikm)

    def expand(self, prk: bytes, info: bytes, length: int) -> bytes:
        """KDF.Expand to ``length`` bytes."""
        return self.kdf.expand(prk, info, length)

    def aead_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """AEAD encryption; the pair of key and nonce must be fresh."""
        return self.aead.seal(key, nonce, aad, plaintext)

    def aead_open(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """AEAD decryption. Raises AuthenticationError."""
        return self.aead.open(key, nonce, aad, ciphertext)

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """KEM.DeriveKeyPair: (private, public)."""
        return self.hpke.derive_key_pair(ikm)

    def generate_key_pair(self, rng: Rng) -> tuple[bytes, bytes]:
        """A fresh HPKE key pair: (private, public)."""
        return self.hpke.derive_key_pair(rng(self.hpke.n_private))

    def hpke_public_key(self, private: bytes) -> bytes:
        """HPKE public key of ``private``. Raises StateError."""
        return self.hpke.public_key(private)

    def hpke_seal(
        self, public: bytes, *, info: bytes, plaintext: bytes, rng: Rng, aad: bytes = b""
    ) -> tuple[bytes, bytes]:
        """SealBase: (kem_output, ciphertext). Raises ValidationError for a bad public key."""
        return self.hpke.seal(public, info=info, aad=aad, plaintext=plaintext, rng=rng)

    def hpke_open(
        self, private: bytes, kem_output: bytes, *, info: bytes, ciphertext: bytes, aad: bytes = b""
    ) -> bytes:
        """OpenBase. Raises AuthenticationError."""
        return self.hpke.open(private, kem_output, info=info, aad=aad, ciphertext=ciphertext)

    def hpke_export_send(
        self, public: bytes, *, info: bytes, context: bytes, length: int, rng: Rng
    ) -> tuple[bytes, bytes]:
        """SendExportBase: (kem_output, secret); suites 1 to 7 only, else StateError."""
        return self._exporter().export_send(public, info=info, context=context, length=length, rng=rng)

    def hpke_export_receive(
        self, private: bytes, kem_output: bytes, *, info: bytes, context: bytes, length: int
    ) -> bytes:
        """ReceiveExportBase; suites 1 to 7 only, else StateError."""
        return self._exporter().export_receive(private, kem_output, info=info, context=context, length=length)

    def _exporter(self) -> ComposedHpke:
        if not isinstance(self.hpke, ComposedHpke):
            raise StateError("this cipher suite has no HPKE exporter")
        return self.hpke

    def generate_signature_key_pair(self, rng: Rng) -> tuple[bytes, bytes]:
        """A fresh signature key pair: (private, public)."""
        return self.signature_key_pair_from_seed(rng(self.signature.n_private))

    def signature_key_pair_from_seed(self, seed: bytes) -> tuple[bytes, bytes]:
        """The signature key pair of ``signature.n_private`` random bytes: (private, public)."""
        private = self.signature.private_from_seed(seed)
        return private, self.signature.public_key(private)

    def signature_public_key(self, private: bytes) -> bytes:
        """Signature public key of ``private``. Raises StateError."""
        return self.signature.public_key(private)

    def signer(self, private: bytes) -> Signer:
        """Load a private key once, for several signatures. Raises StateError."""
        return self.signature.signer(private)

    def sign(self, private: bytes, content: bytes) -> bytes:
        """Sign raw content; MLS code uses ``labels.sign_with_label``. Raises StateError."""
        return self.signature.signer(private)(content)

    def verify(self, public: bytes, content: bytes, signature: bytes) -> None:
        """Verify raw content; MLS code uses ``labels.verify_with_label``. Raises AuthenticationError."""
        self.signature.verify(public, content, signature)


def _composed(
    code: int, name: str, kem: dhkem.DhKem, kdf: Kdf, aead: Aead, signature: SignatureScheme
) -> CipherSuite:
    hpke = ComposedHpke(kem=kem, kdf=kdf, aead=aead)
    return CipherSuite(code=code, name=name, kdf=kdf, aead=aead, hpke=hpke, signature=signature)


X25519_AES128: Final = _composed(
    1, "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
    dhkem.DHKEM_X25519, SHA256, AES_128_GCM, signatures.ED25519,
)  # fmt: skip
P256_AES128: Final = _composed(
    2, "MLS_128_DHKEMP256_AES128GCM_SHA256_P256",
    dhkem.DHKEM_P256, SHA256, AES_128_GCM, signatures.ECDSA_P256,
)  # fmt: skip
X25519_CHACHA: Final = _composed(
    3, "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
    dhkem.DHKEM_X25519, SHA256, CHACHA20_POLY1305, signatures.ED25519,
)  # fmt: skip
X448_AES256: Final = _composed(
    4, "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448",
    dhkem.DHKEM_X448, SHA512, AES_256_GCM, signatures.ED448,
)  # fmt: skip
P521_AES256: Final = _composed(
    5, "MLS_256_DHKEMP521_AES256GCM_SHA512_P521",
    dhkem.DHKEM_P521, SHA512, AES_256_GCM, signatures.ECDSA_P521,
)  # fmt: skip
X448_CHACHA: Final = _composed(
    6, "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448",
    dhkem.DHKEM_X448, SHA512, CHACHA20_POLY1305, signatures.ED448,
)  # fmt: skip
P384_AES256: Final = _composed(
    7, "MLS_256_DHKEMP384_AES256GCM_SHA384_P384",
    dhkem.DHKEM_P384, SHA384, AES_256_GCM, signatures.ECDSA_P384,
)  # fmt: skip
PRODUCT: Final = CipherSuite(
    code=0xF002,
    name="MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519",
    kdf=SHA384,
    aead=AES_256_GCM,
    hpke=XWingHpke(
        suite=hpke_primitives.Suite(
            hpke_primitives.KEM.MLKEM768_X25519,
            hpke_primitives.KDF.HKDF_SHA384,
            hpke_primitives.AEAD.AES_256_GCM,
        )
    ),
    signature=signatures.ED25519,
)
"""The only suite of the product: 0xF002."""

SUITES: Final = {
    suite.code: suite
    for suite in (
        X25519_AES128,
        P256_AES128,
        X25519_CHACHA,
        X448_AES256,
        P521_AES256,
        X448_CHACHA,
        P384_AES256,
        PRODUCT,
    )
}


def suite(code: int) -> CipherSuite:
    """The cipher suite of a code point.

    Raises:
        ValidationError: It is not implemented here (GREASE and future suites included).
    """
    try:
        return SUITES[code]
    except KeyError:
        raise ValidationError("suite.unsupported") from None
