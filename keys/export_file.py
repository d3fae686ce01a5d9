"""The container of an export (`amanat export FILE`): one content, under a passphrase of its own.

    struct {
        KeyBlock block;          /* keys.passphrase, magic "AMANATEX" */
        opaque   nonce[24];
        opaque   sealed[];       /* XChaCha20-Poly1305(key, nonce, aad = block, content), to the end */
    } ExportFile;

What an export holds is the SDK's business (CHANNELS R9: identity and device signature keys, per line group
id, epoch number, R and settings, and texts; never ratchets, exporter secrets or HPKE private keys). This
module only makes sure that it is unreadable without the passphrase, and that damage is told apart from a
wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from crypto.codec import CodecError
from crypto.sensitive import Secret
from keys.passphrase import DEVICE_COST, KEY_BLOCK_BYTES, KEY_BYTES, Cost, open_key, seal_key
from keys.vault import VaultTooNew

MAGIC: Final = b"AMANATEX"
_NONCE_BYTES: Final = 24
_TAG_BYTES: Final = 16


class ExportDamaged(Exception):
    """The file is no export, or is not what was written. The message is one sentence for the person."""

    def __init__(self) -> None:
        super().__init__("This file is not an Amanat export, or it is damaged; nothing was imported.")


class ExportTooNew(Exception):
    """The export was written by a later version of the program."""

    def __init__(self) -> None:
        super().__init__("This export was written by a newer version of Amanat; update the program.")


def seal_export(
    content: bytes, passphrase: str, *, rng: Callable[[int], bytes], cost: Cost = DEVICE_COST
) -> bytes:
    """Encrypt `content` under `passphrase`.

    Raises:
        EmptyPassphrase: the passphrase is empty.
    """
    key, nonce = Secret(rng(KEY_BYTES)), rng(_NONCE_BYTES)
    block = seal_key(key, passphrase, magic=MAGIC, cost=cost, rng=rng)
    return block + nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(content, block, nonce, key.reveal())


def open_export(data: bytes, passphrase: str) -> bytes:
    """The content of an export.

    Raises:
        ExportDamaged: it is no export, or any byte of it was changed.
        ExportTooNew: it was written by a later version.
        EmptyPassphrase: the passphrase is empty.
        WrongPassphrase: the export is whole and the passphrase is not the one.
    """
    block, rest = data[:KEY_BLOCK_BYTES], data[KEY_BLOCK_BYTES:]
    nonce, sealed = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
    if len(nonce) != _NONCE_BYTES or len(sealed) < _TAG_BYTES:
        raise ExportDamaged
    try:
        key = open_key(block, passphrase, magic=MAGIC)
        return bytes(crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, block, nonce, key.reveal()))
    except VaultTooNew:
        raise ExportTooNew from None
    except (CodecError, CryptoError):
        raise ExportDamaged from None
