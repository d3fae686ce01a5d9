"""GREASE: values without meaning, sent so that others keep ignoring what is unknown (RFC 9420 section 13.5).

The product sends a GREASE extension in each GroupInfo. It puts none into capabilities or KeyPackages: R14's
P2 compares capabilities exactly, and extensions of a KeyPackage would have to be listed there. Receiving
needs no code at all: unknown values are kept and ignored everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

from crypto.code_points import GREASE_VALUES
from crypto.extensions import Extension

MAX_DATA_BYTES = 15


def grease_value(rng: Callable[[int], bytes]) -> int:
    """One of the 15 values, at random (its slight bias hides nothing that is secret)."""
    return GREASE_VALUES[rng(1)[0] % len(GREASE_VALUES)]


def grease_extension(rng: Callable[[int], bytes]) -> Extension:
    """An extension of a GREASE type with 0 to 15 random bytes."""
    return Extension(extension_type=grease_value(rng), extension_data=rng(rng(1)[0] % (MAX_DATA_BYTES + 1)))
