"""psk_secret: the chain of external pre-shared keys (RFC 9420 section 8.4)."""

from __future__ import annotations

from clients.conformance.case import Case, expect_equal, integer, items, unhex
from crypto.psk_id import PreSharedKeyID, PSKType
from crypto.psk_secret import compute_psk_secret
from crypto.suites import suite


def check(case: Case) -> None:
    """Compute psk_secret from names and values."""
    psks = [
        (
            PreSharedKeyID(
                psktype=PSKType.EXTERNAL, psk_id=unhex(psk, "psk_id"), psk_nonce=unhex(psk, "psk_nonce")
            ),
            unhex(psk, "psk"),
        )
        for psk in items(case, "psks")
    ]
    computed = compute_psk_secret(suite(integer(case, "cipher_suite")), psks)
    expect_equal("psk_secret", computed, unhex(case, "psk_secret"))
