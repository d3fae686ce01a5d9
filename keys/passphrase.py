"""From a passphrase to a key: the *key block* that vault and exports begin with.

A random 32-byte key encrypts the content; the key block holds that key, wrapped under Argon2id of the
passphrase (RFC 9106, libsodium's `crypto_pwhash_argon2id`), so that changing the passphrase rewrites 142
bytes.

    struct {
        opaque magic[8];             /* what kind of file this is */
        uint16 version = 1;
        uint32 opslimit;             /* Argon2id passes */
        uint64 memlimit_bytes;
        opaque salt[16];
        opaque nonce[24];
        opaque wrapped[48];          /* XChaCha20-Poly1305(Argon2id(…), nonce, aad = magic to salt) */
        opaque checksum[32];         /* SHA-256 of everything above */
    } KeyBlock;

The checksum is what tells damage from a wrong passphrase: it is right in every block that we wrote, so if it
holds and the wrapped key does not open, the passphrase is wrong. It helps no attacker, who could test guesses
against `wrapped` anyway.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_pwhash_alg,
    crypto_pwhash_ALG_ARGON2ID13,
)
from nacl.exceptions import CryptoError

from crypto.codec import CodecError, Reader, Writer, decode
from crypto.sensitive import Secret
from keys.vault import EmptyPassphrase, VaultTooNew, WrongPassphrase

KEY_BYTES: Final = 32
MAGIC_BYTES: Final = 8
KEY_BLOCK_BYTES: Final = 142
_VERSION: Final = 1
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 24
_WRAPPED_BYTES: Final = KEY_BYTES + 16
_CHECKSUM_BYTES: Final = 32
_MAX_OPSLIMIT: Final = 64
_MAX_MEMLIMIT_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one guess at a passphrase costs. Written into the key block, so it can grow with time."""

    opslimit: int
    memlimit_bytes: int


DEVICE_COST: Final = Cost(opslimit=3, memlimit_bytes=256 << 20)
"""libsodium's MODERATE: 256 MiB and about a second. For people's devices and exports."""
TEST_COST: Final = Cost(opslimit=1, memlimit_bytes=8192)
"""libsodium's minimum. For tests and replays, whose passphrases guard nothing."""


def seal_key(key: Secret, passphrase: str, *, magic: bytes, cost: Cost, rng: Callable[[int], bytes]) -> bytes:
    """Wrap `key` under `passphrase`; returns a key block of 142 bytes.

    Raises:
        EmptyPassphrase: the passphrase is empty or all blanks.
    """
    salt, nonce = rng(_SALT_BYTES), rng(_NONCE_BYTES)
    header = (
        Writer().raw(magic).u16(_VERSION).u32(cost.opslimit).u64(cost.memlimit_bytes).raw(salt).to_bytes()
    )
    wrapping = _stretch(passphrase, salt, cost)
    wrapped = crypto_aead_xchacha20poly1305_ietf_encrypt(key.reveal(), header, nonce, wrapping)
    block = header + nonce + wrapped
    return block + hashlib.sha256(block).digest()


def open_key(block: bytes, passphrase: str, *, magic: bytes) -> Secret:
    """Unwrap the key in a key block.

    Raises:
        CodecError: the block is damaged, or is of another kind.
        EmptyPassphrase: the passphrase is empty or all blanks.
        WrongPassphrase: the block is whole and the passphrase is not the one.
        VaultTooNew: the block was written by a later version.
    """
    parts = decode(block, lambda reader: _read(reader, block, magic))
    try:
        wrapping = _stretch(passphrase, parts.salt, parts.cost)
        return Secret(
            crypto_aead_xchacha20poly1305_ietf_decrypt(parts.wrapped, parts.header, parts.nonce, wrapping)
        )
    except CryptoError:
        raise WrongPassphrase from None


def check_passphrase(passphrase: str) -> bytes:
    """The passphrase as the octets that are stretched: NFC, UTF-8.

    The same words typed on another keyboard may come composed differently (é, or e and an accent; Urdu's آ),
    hence NFC.

    Raises:
        EmptyPassphrase: it is empty or all blanks.
    """
    if not passphrase.strip():
        raise EmptyPassphrase
    return unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    header: bytes
    cost: Cost
    salt: bytes
    nonce: bytes
    wrapped: bytes


def _read(reader: Reader, block: bytes, magic: bytes) -> _Parts:
    if hashlib.sha256(block[:-_CHECKSUM_BYTES]).digest() != block[-_CHECKSUM_BYTES:]:
        raise reader.error("checksum")
    if reader.bytes_(MAGIC_BYTES) != magic:
        raise reader.error("not this kind of file")
    version = reader.u16()
    if version != _VERSION:
        raise VaultTooNew(found=version, known=_VERSION)
    cost = Cost(opslimit=reader.u32(), memlimit_bytes=reader.u64())
    if not 1 <= cost.opslimit <= _MAX_OPSLIMIT or not 8192 <= cost.memlimit_bytes <= _MAX_MEMLIMIT_BYTES:
        raise CodecError(reader.offset, "cost out of range")
    salt = reader.bytes_(_SALT_BYTES)
    header = block[: reader.offset]
    parts = _Parts(
        header=header,
        cost=cost,
        salt=salt,
        nonce=reader.bytes_(_NONCE_BYTES),
        wrapped=reader.bytes_(_WRAPPED_BYTES),
    )
    reader.bytes_(_CHECKSUM_BYTES)
    return parts


def _stretch(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    octets = check_passphrase(passphrase)
    return bytes(
        crypto_pwhash_alg(
            KEY_BYTES,
            octets,
            salt,
            cost.opslimit,
            cost.memlimit_bytes,
            crypto_pwhash_ALG_ARGON2ID13,
        )
    )
