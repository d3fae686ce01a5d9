"""Safety numbers: how two people convince themselves that nobody sits between them (DESIGN section 6).

Both devices compute the same 60 digits from the two identity keys of a line, in whatever order they come.
The people read them to each other, or one scans the other's QR code. The construction is Signal's (numeric
fingerprints of libsignal): an iterated SHA-512, so that a search for a key with similar digits costs 5,200
hashes a try. Each person gives 30 digits, about 100 bits.

    h_0 = SHA-512(u16(version = 0) ‖ "amanat safety number" ‖ key)
    h_i = SHA-512(h_{i-1} ‖ key)                                     for i = 1 … 5,199
    six groups: the first 30 bytes of h_5199 as six big-endian 40-bit integers, each mod 100,000
    number    : the groups of the two people, the smaller 30 digits first
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from keys.certificates import KEY_BYTES

VERSION: Final = 0
GROUPS: Final = 12
DIGITS_PER_GROUP: Final = 5
_ROUNDS: Final = 5_200
_PREFIX: Final = "AMANAT:SN1:"
_LABEL: Final = b"amanat safety number"


class SafetyNumberError(Exception):
    """A scanned code is no safety number of this version. The message is one sentence for the person."""


def safety_number(identity_key: bytes, other_identity_key: bytes) -> str:
    """The 60 digits of a pair, without blanks; the same for both orders.

    Raises:
        ValueError: a key does not have 32 bytes.
    """
    return "".join(sorted((_digits(identity_key), _digits(other_identity_key))))


def grouped(number: str) -> tuple[str, ...]:
    """The number in 12 groups of 5 digits, as it is shown and read aloud."""
    return tuple(
        number[start : start + DIGITS_PER_GROUP] for start in range(0, len(number), DIGITS_PER_GROUP)
    )


def qr_payload(number: str) -> str:
    """What the QR code holds: a prefix with the version and the digits, all in QR's alphanumeric mode."""
    return _PREFIX + number


def check_scanned(scanned: str, number: str) -> bool:
    """Whether a scanned code shows the same number; False is the alarm that a person must see.

    Raises:
        SafetyNumberError: what was scanned is no safety number, or one of another version.
    """
    text = "".join(scanned.split()).upper()
    digits = text.removeprefix(_PREFIX)
    if digits == text or len(digits) != GROUPS * DIGITS_PER_GROUP or not digits.isdecimal():
        raise SafetyNumberError("This code is not a safety number of this version of Amanat.")
    return hmac.compare_digest(digits.encode(), number.encode())


def _digits(identity_key: bytes) -> str:
    if len(identity_key) != KEY_BYTES:
        raise ValueError("an identity key has 32 bytes")
    value = hashlib.sha512(VERSION.to_bytes(2, "big") + _LABEL + identity_key).digest()
    for _ in range(_ROUNDS - 1):
        value = hashlib.sha512(value + identity_key).digest()
    chunks = (int.from_bytes(value[start : start + 5], "big") for start in range(0, 30, 5))
    return "".join(f"{chunk % 100_000:05d}" for chunk in chunks)
