"""Watches every AEAD key that is used: none may seal two different things that could both have got out.

`crypto.aead.Aead.seal` and the XChaCha20-Poly1305 of `crypto.channel` are wrapped while a run lasts. What a
device seals in a step counts once the step's vault transaction took effect: before that nothing can have been
sent (R7, R19). Two promises are held against it: a pair of key and nonce is never used for two plaintexts
(always), and a key of an MLS suite seals once and never again (where no old copy of a vault was put back).
It also remembers which messages each device has opened, for the thief who tries them again (`theft`).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import crypto.channel
from clients.sdk.line import log, receive
from clients.sdk.line.events import LinePhase
from clients.sdk.line.payloads import LogClaim
from clients.sdk.line.step import Step
from clients.sdk.line.tables import u64_key
from crypto.aead import Aead
from crypto.group import ApplicationMessage, Group
from keys.memory_vault import MemoryVault
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
        self._opened: list[bytes] | None = None
        self._read: dict[int, deque[bytes]] = {}
        self.skipped: list[str] = []
        """Holes that devices have found in their logs, and that nobody had announced."""

    def read_by(self, vault: MemoryVault) -> list[bytes]:
        """The newest messages that were opened in steps which this vault has kept."""
        return list(self._read.get(id(vault), ()))

    def opened(self, message: bytes) -> None:
        if self._opened is not None:
            self._opened.append(message)

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
        outer_opened, self._opened = self._opened, []
        try:
            work(driver)
        finally:
            pending, self._pending = self._pending, outer
            opened, self._opened = self._opened, outer_opened
            if vault.commits != before:
                self._read.setdefault(id(vault), deque(maxlen=64)).extend(opened)
                for entry in pending:
                    self._count(*entry)

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """One transaction of a vault: what is sealed in it counts if ``counts`` is set by its end."""
        held = Held()
        outer, self._pending = self._pending, []
        try:
            yield held
        finally:
            pending, self._pending = self._pending, outer
            if held.counts:
                for entry in pending:
                    self._count(*entry)


@dataclass
class Held:
    """See `AeadWatch.holding`."""

    counts: bool = False


@contextmanager
def comparing(watch: AeadWatch, complain: Callable[[str, str], None]) -> Iterator[None]:
    """R10: whoever reads what another device says of the log, and has it otherwise, does not simply go on.

    Who has a hole there knows the log again by what the other says of it. Holes that nobody announced are
    written down (``AeadWatch.skipped``).
    """
    check: Any = log.check_claim
    count: Any = receive._count

    def watched_check(step: Step, claim: LogClaim, seq: int) -> None:
        anchor = claim.anchor
        value = step.tables.history.get(u64_key(anchor.n))
        same_log = anchor.incarnation == step.state.channel.incarnation
        other = same_log and value is not None and value[33:] not in {b"", anchor.log_hash}
        other = other or (claim.previous is not None and step.state.previous not in {None, claim.previous})
        check(step, claim, seq)
        if other and step.state.phase in {LinePhase.ACTIVE, LinePhase.ENDING}:
            complain("fork-unseen", "two devices were shown different logs; one has read of it, and goes on")
        if same_log and anchor.n < seq and value is not None and not value[33:]:
            known = step.tables.history.get(u64_key(anchor.n))
            if step.state.phase is LinePhase.ACTIVE and known is not None and not known[33:]:
                complain(
                    "unchecked", "after a hole the log is not known again, though another device told it"
                )

    def watched_count(step: Step, *, seq: int, close: bool, digest: bytes) -> bool:
        channel = step.state.channel
        if step.state.phase is LinePhase.ACTIVE and channel.resync and seq > channel.position + 1:
            watch.skipped.append(f"the relay goes on at {seq}, and {channel.position + 1} was not said")
        gap = not channel.resync and seq > channel.position + 1
        counted: bool = count(step, seq=seq, close=close, digest=digest)
        if gap and step.state.phase in {LinePhase.ACTIVE, LinePhase.ENDING}:
            complain("gap-unseen", "the relay left out cells without saying so, and the device goes on")
        return counted

    log.check_claim = watched_check
    setattr(receive, "_count", watched_count)  # noqa: B010 (mypy forbids assigning a private name)
    try:
        yield
    finally:
        log.check_claim = check
        setattr(receive, "_count", count)  # noqa: B010 (as above)


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

    unprotect: Any = Group.unprotect

    def watched_unprotect(self: Group, message: bytes) -> Any:
        received = unprotect(self, message)
        if isinstance(received, ApplicationMessage):
            watch.opened(message)
        return received

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
    setattr(Group, "unprotect", watched_unprotect)  # noqa: B010 (as above)
    channel.bindings = Bindings()
    try:
        with remembering():
            yield
    finally:
        setattr(Aead, "seal", seal)  # noqa: B010 (as above)
        setattr(Group, "unprotect", unprotect)  # noqa: B010 (as above)
        channel.bindings = bindings
