"""psk_secret: the pre-shared keys' input to the key schedule (RFC 9420 section 8.4).

The product uses no PSKs; its psk_secret is always :func:`no_psk_secret`. Processing PreSharedKey proposals is
left to a module of its own (next issue).
"""

from __future__ import annotations

from collections.abc import Sequence

from crypto.codec import Writer
from crypto.labels import expand_with_label
from crypto.psk_id import PreSharedKeyID, write_psk_id
from crypto.suites import CipherSuite


def no_psk_secret(suite: CipherSuite) -> bytes:
    """psk_secret without PSKs: ``Nh`` zero bytes."""
    return bytes(suite.nh)


def compute_psk_secret(suite: CipherSuite, psks: Sequence[tuple[PreSharedKeyID, bytes]]) -> bytes:
    """Chain PSKs in the order of the Commit or GroupSecrets: ``Nh`` bytes.

    Args:
        suite: The group's suite.
        psks: Names and values of the PSKs.
    """
    zero = bytes(suite.nh)
    secret = zero
    for index, (psk_id, psk) in enumerate(psks):
        label = _psk_label(psk_id, index, len(psks))
        psk_input = expand_with_label(suite, suite.extract(zero, psk), "derived psk", label, suite.nh)
        secret = suite.extract(psk_input, secret)
    return secret


def _psk_label(psk_id: PreSharedKeyID, index: int, count: int) -> bytes:
    """``struct { PreSharedKeyID id; uint16 index; uint16 count; } PSKLabel;``."""
    writer = Writer()
    write_psk_id(writer, psk_id)
    return writer.u16(index).u16(count).to_bytes()
