"""HPKE in base mode (RFC 9180): single-shot seal and open, and secret export.

Two implementations of one protocol: :class:`ComposedHpke` for RFC 9420's suites 1 to 7, composed as RFC 9180
says from `cryptography`'s primitives; and ``crypto.xwing.XWingHpke`` for 0xF002, `cryptography`'s own.
MLS seals one plaintext per encapsulation, so the sequence number is always 0 and is not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from crypto.aead import Aead
from crypto.dhkem import Rng, labeled_expand, labeled_extract
from crypto.kdf import Kdf

MODE_BASE: Final = b"\x00"


class Hpke(Protocol):
    """HPKE with fixed algorithms. Keys and ``enc`` are RFC 9180's serialized octets."""

    @property
    def n_private(self) -> int:
        """Size of a private key, and of the key material for :meth:`derive_key_pair`, in bytes."""

    @property
    def n_public(self) -> int:
        """Size of a public key, in bytes."""

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """KEM.DeriveKeyPair: (private, public)."""

    def public_key(self, private: bytes) -> bytes:
        """Public key of ``private``. Raises StateError if that is no key."""

    def seal(
        self, public: bytes, *, info: bytes, aad: bytes, plaintext: bytes, rng: Rng
    ) -> tuple[bytes, bytes]:
        """SealBase: (enc, ciphertext). Raises ValidationError if ``public`` is no key."""

    def open(self, private: bytes, enc: bytes, *, info: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """OpenBase. Raises AuthenticationError if anything does not fit."""


class Kem(Protocol):
    """A KEM of RFC 9180 section 4."""

    @property
    def kem_id(self) -> int:
        """Its code point."""

    @property
    def n_private(self) -> int:
        """Size of a private key, in bytes."""

    @property
    def n_public(self) -> int:
        """Size of a public key, in bytes."""

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """DeriveKeyPair: (private, public)."""

    def public_key(self, private: bytes) -> bytes:
        """Public key of ``private``."""

    def encap(self, public: bytes, rng: Rng) -> tuple[bytes, bytes]:
        """Encap: (shared secret, enc). Raises ValidationError."""

    def decap(self, private: bytes, enc: bytes) -> bytes:
        """Decap: the shared secret. Raises AuthenticationError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedHpke:
    """HPKE over a KEM, composed as RFC 9180 says."""

    kem: Kem
    kdf: Kdf
    aead: Aead

    @property
    def n_private(self) -> int:
        """See :class:`Hpke`."""
        return self.kem.n_private

    @property
    def n_public(self) -> int:
        """See :class:`Hpke`."""
        return self.kem.n_public

    @property
    def _suite_id(self) -> bytes:
        identifiers = (self.kem.kem_id, self.kdf.kdf_id, self.aead.aead_id)
        return b"HPKE" + b"".join(identifier.to_bytes(2, "big") for identifier in identifiers)

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """See :class:`Hpke`."""
        return self.kem.derive_key_pair(ikm)

    def public_key(self, private: bytes) -> bytes:
        """See :class:`Hpke`."""
        return self.kem.public_key(private)

    def _schedule(self, shared_secret: bytes, info: bytes) -> Callable[[bytes, int], bytes]:
        """KeyScheduleBase of RFC 9180 section 5.1; gives ``expand(label, length)`` over its secret."""
        suite_id = self._suite_id
        psk_id_hash = labeled_extract(self.kdf, suite_id, b"", b"psk_id_hash", b"")
        info_hash = labeled_extract(self.kdf, suite_id, b"", b"info_hash", info)
        schedule_context = MODE_BASE + psk_id_hash + info_hash
        secret = labeled_extract(self.kdf, suite_id, shared_secret, b"secret", b"")

        def expand(label: bytes, length: int) -> bytes:
            return labeled_expand(self.kdf, suite_id, secret, label, schedule_context, length)

        return expand

    def _export(self, shared_secret: bytes, info: bytes, context: bytes, length: int) -> bytes:
        exporter_secret = self._schedule(shared_secret, info)(b"exp", self.kdf.nh)
        return labeled_expand(self.kdf, self._suite_id, exporter_secret, b"sec", context, length)

    def seal(
        self, public: bytes, *, info: bytes, aad: bytes, plaintext: bytes, rng: Rng
    ) -> tuple[bytes, bytes]:
        """See :class:`Hpke`."""
        shared_secret, enc = self.kem.encap(public, rng)
        expand = self._schedule(shared_secret, info)
        key, nonce = expand(b"key", self.aead.nk), expand(b"base_nonce", self.aead.nn)
        return enc, self.aead.seal(key, nonce, aad, plaintext)

    def open(self, private: bytes, enc: bytes, *, info: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """See :class:`Hpke`."""
        expand = self._schedule(self.kem.decap(private, enc), info)
        key, nonce = expand(b"key", self.aead.nk), expand(b"base_nonce", self.aead.nn)
        return self.aead.open(key, nonce, aad, ciphertext)

    def export_send(
        self, public: bytes, *, info: bytes, context: bytes, length: int, rng: Rng
    ) -> tuple[bytes, bytes]:
        """SendExportBase: (enc, secret). Raises ValidationError if ``public`` is no key."""
        shared_secret, enc = self.kem.encap(public, rng)
        return enc, self._export(shared_secret, info, context, length)

    def export_receive(
        self, private: bytes, enc: bytes, *, info: bytes, context: bytes, length: int
    ) -> bytes:
        """ReceiveExportBase. Raises AuthenticationError."""
        return self._export(self.kem.decap(private, enc), info, context, length)
