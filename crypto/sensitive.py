"""Types for what must never be printed: key material and text.

A ``Secret`` or ``Plaintext`` shows itself as ``<redacted>`` in every repr, so that a traceback, a log line or
a failed comparison cannot show the content. Reading it takes an explicit ``reveal()``; an import contract
lists who may use this module. CPython cannot guarantee erasure of memory, so neither type pretends to.
"""

from __future__ import annotations

import hmac
from typing import Final

REDACTED: Final = "<redacted>"


class Secret:
    """Secret bytes. Equality takes constant time; hashing is refused, formatting redacted."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The bytes themselves. Do not store or format the result."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret would leak through dict order and timing

    def __repr__(self) -> str:
        return f"Secret({REDACTED})"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


class Plaintext:
    """What a person wrote (str) or its encoding (bytes)."""

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        self._value = value.encode("utf-8") if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """The content as bytes."""
        return self._value

    def reveal_text(self) -> str:
        """The content as text.

        Raises:
            UnicodeDecodeError: The bytes are not UTF-8. Its message quotes a byte: catch it, do not log it.
        """
        return self._value.decode("utf-8")

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plaintext):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # as for Secret

    def __repr__(self) -> str:
        return f"Plaintext({REDACTED})"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Plaintext is not pickled")
