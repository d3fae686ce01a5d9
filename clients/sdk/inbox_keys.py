"""The inbox's HPKE key: a new one every week, old ones until no drop can need them (DESIGN section 6).

A first contact is sealed to the key of the bundle that its client fetched. That bundle stands at the relay
for at most 7 days, and the drop waits for at most 30 (R21). So a key that was replaced is kept for 40 days,
and destroyed: whoever takes the device later opens no drop that was recorded before.

    space device.inboxkeys
        "made"                                     u32 day of the present key (which is in `TherapistState`)
        u32 last day ‖ SHA-256 of the public key   the old private key, 32 bytes
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from crypto.codec import Reader, Writer, decode
from crypto.sensitive import Secret
from crypto.suites import PRODUCT
from keys.vault import VaultTransaction

INBOX_KEYS: Final = "device.inboxkeys"
ROTATE_DAYS: Final = 7
OVERLAP_DAYS: Final = 40
"""A bundle's 7 days at the relay, a drop's 30 in the inbox, and 26 hours of tolerance on both ends."""
_MADE: Final = b"made"
_LAST_DAY_BYTES: Final = 4


def new_inbox_key(rng: Callable[[int], bytes]) -> Secret:
    """A private key for the inbox (HPKE, KEM of suite 0xF002)."""
    private, _ = PRODUCT.generate_key_pair(rng)
    return Secret(private)


def rotate(tx: VaultTransaction, present: Secret, *, rng: Callable[[int], bytes], today: int) -> Secret:
    """The key for a bundle of today: the present one, or another if that is a week old.

    Args:
        tx: Open; the caller writes the key that is returned into the therapist's record in it.
        present: The key of the last bundle.
        rng: Source of randomness.
        today: UTC day.
    """
    made = tx.get(INBOX_KEYS, _MADE)
    if made is None:
        tx.put(INBOX_KEYS, _MADE, Writer().u32(today).to_bytes())
        return present
    if decode(made, Reader.u32) + ROTATE_DAYS > today:
        return present
    tx.put(INBOX_KEYS, _MADE, Writer().u32(today).to_bytes())
    name = hashlib.sha256(PRODUCT.hpke_public_key(present.reveal())).digest()
    tx.put(INBOX_KEYS, Writer().u32(today + OVERLAP_DAYS).to_bytes() + name, present.reveal())
    return new_inbox_key(rng)


def old_keys(tx: VaultTransaction) -> Iterator[Secret]:
    """The keys that a drop may still be sealed to, the newest first."""
    for key, private in tx.items(INBOX_KEYS, reverse=True):
        if key != _MADE:
            yield Secret(private)


def destroy_old(tx: VaultTransaction, today: int) -> None:
    """Destroy the keys that no drop can need any more."""
    for key, _ in list(tx.items(INBOX_KEYS)):
        if key != _MADE and int.from_bytes(key[:_LAST_DAY_BYTES], "big") < today:
            tx.delete(INBOX_KEYS, key)
