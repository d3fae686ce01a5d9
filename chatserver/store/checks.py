"""Lengths and ranges of the arguments of a store, checked before anything is queued.

A wrong length here is the relay's mistake (the wire codec has fixed lengths), so it raises `StoreUsageError`.
Checking first keeps one caller's mistake out of the transaction that it would share with others.
"""

from __future__ import annotations

from chatserver.store.errors import StoreUsageError
from chatserver.store.protocol import (
    CELL_BYTES,
    CHANNEL_ID_BYTES,
    DEPOSIT_ID_BYTES,
    HASH_BYTES,
    IDENTITY_KEY_BYTES,
    INBOX_ID_BYTES,
    MAX_READERS,
    STORED_CLASS,
    ChannelRef,
)

MAX_SEQ = 2**63 - 1
"""SQLite's largest integer. Numbers on the wire are u64; no channel ever gets this far."""

MAX_SERIAL = 2**64 - 1


def _length(value: bytes, expected: int, name: str) -> None:
    if len(value) != expected:
        raise StoreUsageError(f"{name} must be {expected} bytes, not {len(value)}")


def channel_ref(channel: ChannelRef) -> None:
    """A channel of class `stored` with 1 to 4 readers (R2, R6)."""
    if channel.channel_class != STORED_CLASS:
        raise StoreUsageError("only channels of the class `stored` may reach a store (R6)")
    if not 1 <= channel.readers <= MAX_READERS:
        raise StoreUsageError(f"a channel has 1 to {MAX_READERS} readers, not {channel.readers}")
    _length(channel.channel_id, CHANNEL_ID_BYTES, "a channel id")


def channel_id(value: bytes) -> None:
    """32 bytes."""
    _length(value, CHANNEL_ID_BYTES, "a channel id")


def token_hash(value: bytes) -> None:
    """32 bytes."""
    _length(value, HASH_BYTES, "a token hash")


def deposit_id(value: bytes) -> None:
    """16 bytes."""
    _length(value, DEPOSIT_ID_BYTES, "a deposit or drop id")


def body(value: bytes, expected: int = CELL_BYTES) -> None:
    """Exactly one cell of the class `stored` (R2, R21)."""
    _length(value, expected, "a cell")


def inbox_id(value: bytes) -> None:
    """16 bytes."""
    _length(value, INBOX_ID_BYTES, "an inbox id")


def identity_key(value: bytes) -> None:
    """32 bytes."""
    _length(value, IDENTITY_KEY_BYTES, "an identity key")


def not_negative(value: int, name: str) -> None:
    """Positions, numbers and limits start at 0."""
    if value < 0:
        raise StoreUsageError(f"{name} must not be negative")


def serial(value: int) -> None:
    """A u64."""
    if not 0 <= value <= MAX_SERIAL:
        raise StoreUsageError("a serial is a u64")


def bucket(bits: int, prefix: int) -> None:
    """A bucket of 2^bits, bits at most 32."""
    if not 0 <= bits <= 32 or not 0 <= prefix < 1 << bits:
        raise StoreUsageError("a bucket is a number below 2^bits, and bits at most 32")
