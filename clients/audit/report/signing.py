"""Signed reports: a detached Ed25519 signature beside the file, as JSON with the public key.

Who signs is told by the key's fingerprint only, which an auditor publishes elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.sdk.errors import UsageError
from keys import signing

LABEL: Final = "audit report"
SUFFIX: Final = ".sig"


def sign(report: Path, key: Path) -> str:
    """Sign a report with the seed in `key`, which is made (mode 0600) where it is missing.

    Returns: the fingerprint of the public key: SHA-256, in hexadecimal.

    Raises:
        UsageError: report or key cannot be read or written.
    """
    try:
        if not key.exists():
            descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(os.urandom(32).hex() + "\n")
        seed = bytes.fromhex(key.read_text(encoding="ascii").strip())
        content = report.read_bytes()
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        signature = signing.sign(seed, LABEL, content)
        told = {"key": public.hex(), "signature": signature.hex()}
        report.with_name(report.name + SUFFIX).write_text(json.dumps(told) + "\n", encoding="ascii")
    except OSError:
        raise UsageError("The report or the key cannot be read or written.") from None
    except ValueError:
        raise UsageError("The key file does not hold 32 bytes in hexadecimal.") from None
    return hashlib.sha256(public).hexdigest()


def verify(report: Path, fingerprint: str | None) -> str | None:
    """Check a report's signature.

    Args:
        report: the signed file; the signature lies beside it.
        fingerprint: of the key that must have signed it; None for any.

    Returns: the fingerprint of the key that signed it; None for a wrong signature or another key.

    Raises:
        UsageError: report or signature cannot be read.
    """
    try:
        content = report.read_bytes()
        told = json.loads(report.with_name(report.name + SUFFIX).read_text(encoding="ascii"))
        public, signature = bytes.fromhex(told["key"]), bytes.fromhex(told["signature"])
    except OSError:
        raise UsageError("The report or its signature cannot be read.") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError("The signature file is damaged.") from None
    found = hashlib.sha256(public).hexdigest()
    if fingerprint is not None and fingerprint.lower() != found:
        return None
    try:
        signing.verify(public, LABEL, content, signature)
    except signing.AuthenticationFailed:
        return None
    return found
