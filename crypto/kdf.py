"""Hash, HMAC and HKDF of one hash function (RFC 5869), as cipher suites use them.

The primitives are `cryptography`'s and the standard library's; this module only gives them the RFC's shape.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand


@dataclass(frozen=True, slots=True, kw_only=True)
class Kdf:
    """HKDF and friends over one hash.

    Attributes:
        kdf_id: HPKE's KDF identifier (RFC 9180 section 7.2).
        hash_name: The hash's name for :mod:`hashlib`.
        algorithm: The same hash for `cryptography`.
        nh: Output size of Extract and of the hash, in bytes.
    """

    kdf_id: int
    hash_name: str
    algorithm: hashes.HashAlgorithm
    nh: int

    def hash(self, data: bytes) -> bytes:
        """Hash ``data`` to ``nh`` bytes."""
        return hashlib.new(self.hash_name, data).digest()

    def mac(self, key: bytes, data: bytes) -> bytes:
        """HMAC: the MAC of RFC 9420 section 5.1, ``nh`` bytes."""
        return hmac.digest(key, data, self.hash_name)

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        """HKDF-Extract; an empty salt means ``nh`` zero bytes."""
        return HKDF.extract(self.algorithm, salt, ikm)

    def expand(self, prk: bytes, info: bytes, length: int) -> bytes:
        """HKDF-Expand to ``length`` bytes (at most 255 times ``nh``).

        Raises:
            ValueError: ``length`` is out of range: a mistake of ours.
        """
        if length == 0:
            return b""
        return HKDFExpand(self.algorithm, length, info).derive(prk)


SHA256 = Kdf(kdf_id=0x0001, hash_name="sha256", algorithm=hashes.SHA256(), nh=32)
SHA384 = Kdf(kdf_id=0x0002, hash_name="sha384", algorithm=hashes.SHA384(), nh=48)
SHA512 = Kdf(kdf_id=0x0003, hash_name="sha512", algorithm=hashes.SHA512(), nh=64)
