"""Registered code points of RFC 9420 section 17 that our structs name, and the GREASE values.

Fields that carry code points hold plain integers: values that we do not know (GREASE among them) are kept as
they came and are never an error in themselves (RFC 9420 section 13.5). The enums name the known ones.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ProtocolVersion(IntEnum):
    """RFC 9420 section 6."""

    MLS10 = 1


class CredentialType(IntEnum):
    """RFC 9420 section 17.5."""

    BASIC = 1
    X509 = 2


class ExtensionType(IntEnum):
    """RFC 9420 section 17.3."""

    APPLICATION_ID = 1
    RATCHET_TREE = 2
    REQUIRED_CAPABILITIES = 3
    EXTERNAL_PUB = 4
    EXTERNAL_SENDERS = 5


class ProposalType(IntEnum):
    """RFC 9420 section 17.4."""

    ADD = 1
    UPDATE = 2
    REMOVE = 3
    PSK = 4
    REINIT = 5
    EXTERNAL_INIT = 6
    GROUP_CONTEXT_EXTENSIONS = 7


DEFAULT_EXTENSION_TYPES: Final = frozenset(ExtensionType)
"""Extension types that every client supports and no capabilities list (RFC 9420 section 7.2)."""

GREASE_VALUES: Final = tuple(0x0A0A + 0x1010 * i for i in range(15))
"""0x0A0A, 0x1A1A … 0xEAEA (RFC 9420 section 13.5)."""
