"""Private keys of vectors in the forms that generators write, beside the one that the format asks for.

The format wants the octets of RFC 9180's SerializePrivateKey, big-endian field elements for ECDSA, and EdDSA
keys as they are. Some libraries keep an EdDSA key with its public half behind it, or hand out PKCS #8 or
SEC 1. What is taken here is compared with the vector's public key afterwards, so that no guess goes unseen.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519
from cryptography.hazmat.primitives.serialization import load_der_private_key

from crypto.suites import CipherSuite

RAW_TYPES = (
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
    x25519.X25519PrivateKey,
    x448.X448PrivateKey,
)


def native_signature_key(suite: CipherSuite, private: bytes) -> bytes:
    """A signature private key as :mod:`crypto.signatures` takes it; left as it is if its form is unknown."""
    scheme = suite.signature
    if len(private) == scheme.n_private + scheme.n_public:
        return private[: scheme.n_private]
    return _from_der(private, scheme.n_private)


def native_hpke_key(suite: CipherSuite, private: bytes) -> bytes:
    """An HPKE private key as :mod:`crypto.hpke` takes it; left as it is if its form is unknown."""
    return _from_der(private, suite.hpke.n_private)


def _from_der(private: bytes, size: int) -> bytes:
    if len(private) <= size:
        return private
    try:
        key = load_der_private_key(private, password=None)
    except (ValueError, TypeError):
        return private
    if isinstance(key, RAW_TYPES):
        return key.private_bytes_raw()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes(size, "big")
    return private
