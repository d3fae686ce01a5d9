"""Watches every AEAD key that is used: none may seal two different things that could both have got out.

`crypto.aead.Aead.seal` and the XChaCha20-Poly1305 of `crypto.channel` are wrapped while a run lasts. What a
device seals in a step counts once the step's vault transaction took effect: before that nothing can have been
sent (R7, R19). Two promises are held against it: a pair of key and nonce is never used for two plaintexts
(always), and a key of an MLS suite seals once and never again (where no old copy of a vault was put back).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import crypto.channel
from crypto.aead import Aead
from simulation.quick import remembering

if TYPE_CHECKING:
    from simulation.device import DyingDriver


class AeadWatch:
    """See the module. ``complain`` is told of each violation."""

    def __init__(self, complain: Callable[[str, str], None]) -> None:
        self._complain = complain
        self.single_use = True
        self._pairs: dict[tuple[bytes, bytes], bytes] = {}
        self._keys: dict[bytes, bytes] = {}
        self._pending: list[tuple[bool, bytes, bytes, bytes]] | None = None
        self.seals = 0
        self.cell_keys: dict[bytes, None] = {}

    def sealed(self, mls: bool, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> None:
        self.seals += 1
        digest = hashlib.blake2b(len(aad).to_bytes(8, "big") + aad + plaintext, digest_size=16).digest()
        if not mls:
            self.cell_keys.setdefault(key)
        entry = (mls, key, nonce, digest)
        if self._pending is None:
            self._count(*entry)
        else:
            self._pending.append(entry)

    def _count(self, mls: bool, key: bytes, nonce: bytes, digest: bytes) -> None:
        if self._pairs.setdefault((key, nonce), digest) != digest:
            self._complain("nonce-reuse", "a pair of key and nonce sealed two different plaintexts")
        if mls and self.single_use and self._keys.setdefault(key, nonce + digest) != nonce + digest:
            self._complain("key-reuse", "a message key sealed twice: a generation was used again (R7)")

    def during(self, driver: DyingDriver, work: Callable[[DyingDriver], None]) -> None:
        """One step of a device: what it sealed counts if its transaction took effect."""
        vault: Any = driver.machine._vault
        before = vault.commits
        outer, self._pending = self._pending, []
        try:
            work(driver)
        finally:
            pending, self._pending = self._pending, outer
            if vault.commits != before:
                for entry in pending:
                    self._count(*entry)


@contextmanager
def watching(watch: AeadWatch) -> Iterator[None]:
    """Wrap the primitives for as long as a run lasts."""
    seal: Any = Aead.seal
    channel: Any = crypto.channel
    bindings = channel.bindings

    def watched_seal(self: Aead, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        watch.sealed(True, key, nonce, aad, plaintext)
        ciphertext: bytes = seal(self, key, nonce, aad, plaintext)
        return ciphertext

    class Bindings:
        """libsodium's, with an eye on what is sealed."""

        def __getattr__(self, name: str) -> Any:
            return getattr(bindings, name)

        @staticmethod
        def crypto_aead_xchacha20poly1305_ietf_encrypt(
            message: bytes, aad: bytes, nonce: bytes, key: bytes
        ) -> bytes:
            watch.sealed(False, key, nonce, aad, message)
            sealed: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(message, aad, nonce, key)
            return sealed

    setattr(Aead, "seal", watched_seal)  # noqa: B010 (mypy forbids assigning to a method)
    channel.bindings = Bindings()
    try:
        with remembering():
            yield
    finally:
        setattr(Aead, "seal", seal)  # noqa: B010 (as above)
        channel.bindings = bindings
