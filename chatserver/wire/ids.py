"""The few hashes that both ends compute: channel ids (R2), inbox challenges (R21), proofs of work."""

from __future__ import annotations

import hashlib

from chatserver.wire import limits


def channel_id(channel_class: int, readers: int, channel_key: bytes) -> bytes:
    """`SHA-256("amanat channel v1" ‖ u8 class ‖ u8 readers ‖ k)`: 32 bytes (R2).

    Because class and readers are inside, other parameters make another channel, and nobody can squat the
    right one.
    """
    return hashlib.sha256(b"amanat channel v1" + bytes((channel_class, readers)) + channel_key).digest()


def inbox_challenge_content(nonce: bytes, identity_key: bytes) -> bytes:
    """What an identity key signs under `keys.signing.Label.INBOX_OPEN` to open its inbox (R21).

    Args:
        nonce: the 32 bytes of CHALLENGE, fresh for this connection.
        identity_key: 32 bytes, Ed25519.
    """
    return nonce + identity_key


def proof_of_work_bits(inbox_id: bytes, drop_id: bytes, body: bytes, nonce: bytes) -> int:
    """Leading zero bits of `SHA-256("amanat pow v1" ‖ inbox id ‖ drop id ‖ SHA-256(body) ‖ nonce)`.

    A proof is bound to one drop into one inbox, so that none can be made in store for all, or used twice.
    """
    head = b"amanat pow v1" + inbox_id + drop_id + hashlib.sha256(body).digest()
    digest = hashlib.sha256(head + nonce).digest()
    return 256 - int.from_bytes(digest, "big").bit_length()


def find_proof_of_work(inbox_id: bytes, drop_id: bytes, body: bytes, bits: int) -> bytes:
    """The first 8-byte nonce, counting from 0, that reaches `bits`; takes about 2**bits hashes."""
    head = hashlib.sha256(b"amanat pow v1" + inbox_id + drop_id + hashlib.sha256(body).digest())
    limit = 1 << (256 - bits)
    counter = 0
    while True:
        nonce = counter.to_bytes(limits.POW_NONCE_BYTES, "big")
        attempt = head.copy()
        attempt.update(nonce)
        if int.from_bytes(attempt.digest(), "big") < limit:
            return nonce
        counter += 1


def bundle_bucket(identity_key: bytes, bits: int) -> int:
    """The bucket of a contact bundle (DESIGN section 6): the first `bits` bits of SHA-256(identity key)."""
    return int.from_bytes(hashlib.sha256(identity_key).digest(), "big") >> (256 - bits)


def bundle_path(bits: int, prefix: int) -> str:
    """The HTTP path of a bucket; the prefix has as many hexadecimal digits as its bits need, at least one."""
    digits = max(1, (bits + 3) // 4)
    return f"{limits.BUNDLES_PATH}/{bits}/{prefix:0{digits}x}"
