"""The AEAD algorithms of MLS cipher suites (RFC 9180 section 7.3), by `cryptography`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from crypto.errors import AuthenticationError


class _Cipher(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Aead:
    """One AEAD. The ciphertext ends with the tag, as RFC 5116 has it.

    Attributes:
        aead_id: HPKE's AEAD identifier.
        nk: Key size in bytes.
        nn: Nonce size in bytes.
        nt: Tag size in bytes.
        cipher: Makes `cryptography`'s object from a key.
    """

    aead_id: int
    nk: int
    nn: int = 12
    nt: int = 16
    cipher: Callable[[bytes], _Cipher]

    def seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt. The pair of ``key`` and ``nonce`` must never have been used before."""
        return self.cipher(key).encrypt(nonce, plaintext, aad)

    def open(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt.

        Raises:
            AuthenticationError: The ciphertext, its tag or the associated data is not what was sealed.
        """
        try:
            return self.cipher(key).decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError):
            raise AuthenticationError from None


AES_128_GCM = Aead(aead_id=0x0001, nk=16, cipher=AESGCM)
AES_256_GCM = Aead(aead_id=0x0002, nk=32, cipher=AESGCM)
CHACHA20_POLY1305 = Aead(aead_id=0x0003, nk=32, cipher=ChaCha20Poly1305)
