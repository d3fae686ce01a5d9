"""The line's own view of R1 and R2: keys of an epoch, ids of channels, sealing and opening of stored cells.

A thin wrapper over :mod:`crypto.channel`, so that the machine's records hold plain bytes and one module knows
the types of both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from clients.sdk.line.events import ChannelRef
from crypto import channel
from crypto.channel import ChannelClass
from crypto.group import Group
from crypto.sensitive import Secret

Rng = Callable[[int], bytes]

CLASS: Final = ChannelClass.STORED
"""Every channel of a line is of class stored."""


def epoch_keys(group: Group) -> tuple[list[bytes], bytes]:
    """The four k and the cell key of the group's epoch (R1); the caller then wipes the exporter secret."""
    keys = channel.derive_channel_keys(group)
    return [_bare(k) for k in keys.addresses], _bare(keys.cell_key)


def _bare(key: bytes | Secret) -> bytes:
    return key.reveal() if isinstance(key, Secret) else key


def stored_ref(readers: int, k: bytes) -> ChannelRef:
    """R2: the id of a stored channel."""
    return ChannelRef(channel.channel_id(CLASS, readers, k))


def seal(cell_key: bytes, ref: bytes, message: bytes, rng: Rng) -> bytes:
    """R1: a cell of 16,384 bytes."""
    return channel.seal_cell(cell_key, ref, CLASS, message, rng)


def open_(cell_key: bytes, ref: bytes, body: bytes) -> bytes:
    """Inverse of :func:`seal`.

    Raises:
        AuthenticationError: Not sealed under this key for this channel.
        CodecError: Malformed inside.
    """
    return channel.open_cell(cell_key, ref, CLASS, body)


def digest_of(body: bytes) -> bytes:
    """SHA-256 of a cell (R4, R10)."""
    return hashlib.sha256(body).digest()
