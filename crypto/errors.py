"""Errors of ``crypto``, sorted by blame (STYLE.md).

``CodecError`` (bytes that do not parse) lives in :mod:`crypto.codec` so that the relay can import it alone.
No message of these errors may hold a secret, plaintext, or bytes of a peer.
"""

from __future__ import annotations

from crypto.codec import CodecError

__all__ = ["AuthenticationError", "CodecError", "GenerationUsedError", "StateError", "ValidationError"]


class StateError(Exception):
    """Our own caller asked for what the present state does not allow; nothing changed."""


class ValidationError(Exception):
    """A peer's well-formed data breaks a rule.

    Attributes:
        rule: Id of the rule in ``docs/VALIDATION.md`` (a section of RFC 9420, or R…/S…/P… of ours).
    """

    def __init__(self, rule: str) -> None:
        super().__init__(f"validation failed: {rule}")
        self.rule = rule


class GenerationUsedError(ValidationError):
    """A message whose ratchet generation was used before: a replay or a second copy (R11, R20)."""

    def __init__(self, rule: str = "R11.generation-used") -> None:
        super().__init__(rule)


class AuthenticationError(Exception):
    """A signature, MAC or AEAD tag did not verify. Deliberately without any detail."""

    def __init__(self) -> None:
        super().__init__("authentication failed")
