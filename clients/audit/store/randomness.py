"""Whether bytes look random, and how often random bytes would be called otherwise.

Three tests of a cell of n bytes, each with its rate of false alarms per cell:

* chi-squared of the 256 byte values, 255 degrees of freedom, Wilson and Hilferty's approximation, both sides,
  at 6 standard deviations: 2.0e-9;
* the longest run of printable ASCII: 48 or more, at most n * (95/256)^48: 3.6e-17 for 16,384 bytes;
* the longest run of one byte value: 10 or more, at most n * 256^-9: 3.5e-18.

No test can tell a good cipher from a bad one, or find a text that was encrypted badly.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

DEVIATIONS: Final = 6.0
FALSE_ALARMS_PER_CELL: Final = 2.1e-9
PRINTABLE_RUN: Final = re.compile(rb"[\t\n\r\x20-\x7e]{48}")
SAME_RUN: Final = re.compile(rb"(.)\1{9}", re.DOTALL)
LEAST_BYTES: Final = 1_280
"""Five of each value expected: below that chi-squared means little."""

SHARED_ID_BYTES: Final = 6
MANY_IDS: Final = 64
BIT_DEVIATIONS: Final = 7.0


def chi_squared_deviations(data: bytes) -> float:
    """How many standard deviations chi-squared of the byte values lies from what random bytes give."""
    expected = len(data) / 256
    counted = Counter(data)
    statistic = sum((counted.get(value, 0) - expected) ** 2 for value in range(256)) / expected
    spread = 2 / (9 * 255)
    return float(((statistic / 255) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


def entropy(data: bytes) -> float:
    """Shannon's entropy of the byte values, in bits per byte."""
    total = len(data)
    return -sum(count / total * math.log2(count / total) for count in Counter(data).values())


def trouble_of(data: bytes) -> str:
    """Why these bytes do not look random; empty where they do."""
    if len(data) >= LEAST_BYTES and abs(chi_squared_deviations(data)) > DEVIATIONS:
        return "its byte values are unevenly distributed"
    if PRINTABLE_RUN.search(data):
        return "it holds a long run of printable characters"
    if SAME_RUN.search(data):
        return "it holds a long run of one value"
    return ""


def trouble_of_ids(ids: Sequence[bytes]) -> str:
    """Why ids of one column look made in some order, or by some rule; empty where they look drawn at random.

    False alarms: two of n ids share their first or last 6 bytes by chance with n^2 / 2^48 at most; with 64 or
    more ids a bit is off by 7 deviations in 2.6e-12 of all cases.
    """
    for end in (slice(None, SHARED_ID_BYTES), slice(-SHARED_ID_BYTES, None)):
        if len({value[end] for value in ids}) < len(set(ids)):
            return "several share their first or last bytes"
    if len(ids) < MANY_IDS:
        return ""
    for bit in range(8 * len(ids[0])):
        byte, mask = bit // 8, 0x80 >> bit % 8
        ones = sum(bool(value[byte] & mask) for value in ids)
        if abs(2 * ones - len(ids)) > BIT_DEVIATIONS * math.sqrt(len(ids)):
            return "one of their bits is nearly always the same"
    return ""
