"""Channels: how an epoch's members find and seal their cells (CHANNELS R1, R2), and the log chain (R10).

Concatenations are of fixed-length fields with integers in the width written beside them, big-endian:

* ``k_t = ExpandWithLabel(S, "address", u8(t), 32)``, ``cell_key = ExpandWithLabel(S, "cell", "", 32)`` (R1)
* ``id = SHA-256("amanat channel v1" ‖ u8 class ‖ u8 readers ‖ k)`` (R2)
* cell = ``nonce(24) ‖ XChaCha20-Poly1305(cell_key, nonce, aad = id, u16 length ‖ MLSMessage ‖ zeros)`` (R1)
* ``H_0 = SHA-256("amanat log v1" ‖ id ‖ incarnation)``,
  ``H_n = SHA-256(H_{n-1} ‖ u64 n ‖ u8 close ‖ SHA-256(cell))`` (R10)

* return channel of a device: ``k = ExpandWithLabel(R, "return", device id, 32)``, its cells under
  ``ExpandWithLabel(R, "return key", "", 32)`` (R18), with the product suite's KDF
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.group import Group
from crypto.labels import expand_with_label
from crypto.sensitive import Secret
from crypto.suites import PRODUCT

EXPORTER_LABEL: Final = "amanat channel"
CHANNEL_PREFIX: Final = b"amanat channel v1"
LOG_PREFIX: Final = b"amanat log v1"
TURNS: Final = 4
"""Turns of an epoch, and so addresses (R1, R14)."""
SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
LENGTH_BYTES: Final = 2
INCARNATION_BYTES: Final = 16


class ChannelClass(IntEnum):
    """The two classes of channels (R2)."""

    STORED = 1
    LIVE = 2


BODY_BYTES: Final = {ChannelClass.STORED: 16_384, ChannelClass.LIVE: 2_048}
"""Size of a cell, in bytes."""

MESSAGE_BYTES: Final = {
    cls: size - NONCE_BYTES - TAG_BYTES - LENGTH_BYTES for cls, size in BODY_BYTES.items()
}
"""Largest MLSMessage that a cell can hold, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKeys:
    """An epoch's addresses, one for each turn, and the key of its cells. All are secrets."""

    addresses: tuple[bytes, ...] = field(repr=False)
    cell_key: bytes = field(repr=False)


def derive_channel_keys(group: Group) -> ChannelKeys:
    """Derive the keys of the group's present epoch, and wipe the exporter secret (R1).

    Save the group and the keys together afterwards: they cannot be derived a second time.

    Raises:
        StateError: The exporter secret was wiped before.
    """
    suite = group.suite
    secret = group.export(EXPORTER_LABEL, b"", suite.nh)
    keys = ChannelKeys(
        addresses=tuple(
            expand_with_label(suite, secret, "address", bytes([turn]), SECRET_BYTES) for turn in range(TURNS)
        ),
        cell_key=expand_with_label(suite, secret, "cell", b"", SECRET_BYTES),
    )
    group.delete_exporter()
    return keys


def channel_id(cls: ChannelClass, readers: int, k: bytes) -> bytes:
    """The id of a channel (R2): other parameters make another channel.

    Args:
        cls: Class of the channel.
        readers: Leaves of the epoch, 1 to 255.
        k: Address secret, 32 bytes.

    Raises:
        StateError: ``readers`` or the length of ``k`` is out of range.
    """
    if not 1 <= readers <= 255 or len(k) != SECRET_BYTES:
        raise StateError("a channel has 1 to 255 readers and a 32-byte address secret")
    return hashlib.sha256(CHANNEL_PREFIX + bytes([cls, readers]) + k).digest()


def seal_cell(
    cell_key: bytes,
    channel: bytes,
    cls: ChannelClass,
    mls_message: bytes,
    rng: Callable[[int], bytes],
) -> bytes:
    """Seal one message into a cell (R1).

    Args:
        cell_key: Of the epoch; 32 bytes.
        channel: Id of the channel where the cell will stand; in another it does not open.
        cls: Gives the size.
        mls_message: At most ``MESSAGE_BYTES[cls]`` bytes.
        rng: Source of the nonce.

    Returns:
        Exactly ``BODY_BYTES[cls]`` bytes.

    Raises:
        StateError: The message is too long. Nothing is cut.
    """
    if len(mls_message) > MESSAGE_BYTES[cls]:
        over = len(mls_message) - MESSAGE_BYTES[cls]
        raise StateError(f"the message is {over} bytes too long for a cell")
    room = MESSAGE_BYTES[cls] - len(mls_message)
    padded = len(mls_message).to_bytes(LENGTH_BYTES, "big") + mls_message + bytes(room)
    nonce = rng(NONCE_BYTES)
    return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(padded, channel, nonce, cell_key)


def open_cell(cell_key: bytes, channel: bytes, cls: ChannelClass, cell: bytes) -> bytes:
    """Open a cell (R1).

    Returns:
        The message without its padding.

    Raises:
        ValidationError: ``R1.cell-size``, or ``R1.cell-padding``: a member sealed it wrongly.
        AuthenticationError: It was not sealed under this key for this channel.
    """
    if len(cell) != BODY_BYTES[cls]:
        raise ValidationError("R1.cell-size")
    nonce, sealed = cell[:NONCE_BYTES], cell[NONCE_BYTES:]
    try:
        padded = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, channel, nonce, cell_key)
    except CryptoError:
        raise AuthenticationError from None
    length = int.from_bytes(padded[:LENGTH_BYTES], "big")
    message, zeros = padded[LENGTH_BYTES : LENGTH_BYTES + length], padded[LENGTH_BYTES + length :]
    if len(message) != length or zeros.strip(b"\0"):
        raise ValidationError("R1.cell-padding")
    return message


def log_start(channel: bytes, incarnation: bytes) -> bytes:
    """``H_0`` of a channel's incarnation (R10), 32 bytes.

    Raises:
        StateError: An incarnation is 16 bytes.
    """
    if len(incarnation) != INCARNATION_BYTES:
        raise StateError("an incarnation is 16 bytes")
    return hashlib.sha256(LOG_PREFIX + channel + incarnation).digest()


def log_next(previous: bytes, n: int, close: bool, cell_digest: bytes) -> bytes:  # noqa: FBT001 - a wire flag
    """``H_n`` after the n-th cell (R10), 32 bytes.

    Args:
        previous: ``H_{n-1}``.
        n: Sequence number of the cell, from 1.
        close: Whether the cell closes the channel.
        cell_digest: SHA-256 of the cell.
    """
    step = previous + n.to_bytes(8, "big") + bytes([close]) + cell_digest
    return hashlib.sha256(step).digest()


def return_address(line_secret: bytes | Secret, device_id: bytes) -> bytes:
    """Address secret ``k`` of a device's return channel (stored, 1 reader) (R18), 32 bytes.

    Args:
        line_secret: R, 32 bytes.
        device_id: Of the device that owns and reads the channel.
    """
    return expand_with_label(PRODUCT, _bare(line_secret), "return", device_id, SECRET_BYTES)


def return_key(line_secret: bytes | Secret) -> bytes:
    """Key of the cells in all return channels of a line (R18), 32 bytes.

    Args:
        line_secret: R, 32 bytes.
    """
    return expand_with_label(PRODUCT, _bare(line_secret), "return key", b"", SECRET_BYTES)


def _bare(value: bytes | Secret) -> bytes:
    return value.reveal() if isinstance(value, Secret) else value
