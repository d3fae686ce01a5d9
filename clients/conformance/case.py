"""What every check of a vector needs: reading its hexadecimal fields, and comparing.

A field of the wrong form or missing is a failed case, never a crash of the runner. Vectors are public, so a
message may name fields; it names no values, since they are long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Case = Mapping[str, Any]
"""One JSON object of a vector file."""


class Mismatch(Exception):
    """Our result differs from the vector's, or the vector lacks what its format says."""


def field(case: Any, name: str) -> Any:
    """A field that must be there.

    Raises:
        Mismatch: It is missing.
    """
    if not isinstance(case, Mapping) or name not in case:
        raise Mismatch(f"field {name} is missing")
    return case[name]


def unhex(case: Case, name: str) -> bytes:
    """A field of hex-encoded binary data.

    Raises:
        Mismatch: Missing, or not hexadecimal.
    """
    value = field(case, name)
    if not isinstance(value, str):
        raise Mismatch(f"field {name} is not a string")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise Mismatch(f"field {name} is not hexadecimal") from None


def unhex_optional(case: Case, name: str) -> bytes | None:
    """As :func:`unhex`, or None where the field is null or absent."""
    return None if case.get(name) is None else unhex(case, name)


def integer(case: Case, name: str) -> int:
    """A field that is a whole number, not negative.

    Raises:
        Mismatch: Missing, or something else.
    """
    value = field(case, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Mismatch(f"field {name} is not a whole number")
    return value


def text(case: Case, name: str) -> str:
    """A field that is a string.

    Raises:
        Mismatch: Missing, or something else.
    """
    value = field(case, name)
    if not isinstance(value, str):
        raise Mismatch(f"field {name} is not a string")
    return value


def items(case: Case, name: str) -> Sequence[Any]:
    """A field that is an array.

    Raises:
        Mismatch: Missing, or something else.
    """
    value = field(case, name)
    if not isinstance(value, list):
        raise Mismatch(f"field {name} is not an array")
    return value


def items_optional(case: Case, name: str) -> Sequence[Any]:
    """As :func:`items`, or no items where the field is null or absent."""
    return () if case.get(name) is None else items(case, name)


def expect_equal(what: str, got: object, wanted: object) -> None:
    """Compare.

    Raises:
        Mismatch: They differ; names ``what``.
    """
    if got != wanted:
        raise Mismatch(f"{what} differs")
