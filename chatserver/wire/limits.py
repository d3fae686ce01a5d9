"""Numbers that both ends of the wire agree on: sizes, code points, the names of the protocol.

What an operator may change stands in the relay's `config.toml`; what stands here is protocol version 1, and
another value would be another protocol. Sources: CHANNELS.md R2 (sizes, readers), R21 (inboxes), DESIGN
sections 6 and 8.
"""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Final

PROTOCOL_VERSION: Final = 1
"""The only version; HELLO with another one is answered by FAILED(BAD_VERSION)."""

SUBPROTOCOL: Final = "amanat.v1"
"""WebSocket subprotocol that both ends name (RFC 6455 section 1.9)."""

WEBSOCKET_PATH: Final = "/v1/ws"
BUNDLES_PATH: Final = "/v1/bundles"
"""`GET /v1/bundles/{bits}/{prefix_hex}`."""
HEALTH_PATH: Final = "/v1/health"

STORED_CELL_BYTES: Final = 16_384
LIVE_CELL_BYTES: Final = 2_048
DROP_BYTES: Final = 16_384
"""A first contact in an inbox is exactly this long (R21)."""


class ChannelClass(IntEnum):
    """Class of a channel (R2); the numbers of `crypto.channel.ChannelClass`, which a relay cannot import."""

    STORED = 1
    LIVE = 2


BODY_BYTES: Final = MappingProxyType(
    {ChannelClass.STORED: STORED_CELL_BYTES, ChannelClass.LIVE: LIVE_CELL_BYTES}
)
"""Exact length of a cell, by class (R2)."""


class AdmissionKind(IntEnum):
    """How a first contact asks to be let into an inbox (DESIGN section 6)."""

    OPEN = 0
    """Nothing is shown; `admission_value` is empty."""
    INVITE = 1
    """`admission_value` is the 32-byte admit value of an invitation, whose SHA-256 the therapist left."""
    POW = 2
    """`admission_value` is an 8-byte nonce with `chatserver.wire.ids.proof_of_work_bits` high enough."""


MAX_READERS: Final = 4
"""Slots of a channel: a group has at most 4 leaves (R2)."""

CHANNEL_KEY_BYTES: Final = 32
SLOT_TOKEN_BYTES: Final = 32
INCARNATION_BYTES: Final = 16
NO_INCARNATION: Final = bytes(INCARNATION_BYTES)
"""What ATTACH carries when the device has never seen the channel."""
DEPOSIT_ID_BYTES: Final = 16
DROP_ID_BYTES: Final = 16
INBOX_ID_BYTES: Final = 16
IDENTITY_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
CHALLENGE_BYTES: Final = 32
DIGEST_BYTES: Final = 32
ADMIT_VALUE_BYTES: Final = 32
POW_NONCE_BYTES: Final = 8
MAX_ADMISSION_VALUE_BYTES: Final = 64
MAX_THERAPIST_TOKEN_BYTES: Final = 64

MAX_FRAME_BYTES: Final = STORED_CELL_BYTES + 256
"""Longest frame other than PUBLISH, type byte included."""
MAX_BUNDLE_BYTES: Final = 32_768
"""Longest encoded SignedBundle; one of eight devices, the most that a person has, takes 26,000 bytes."""
MAX_PUBLISH_FRAME_BYTES: Final = MAX_BUNDLE_BYTES + 16
"""Longest PUBLISH frame, type byte included; also the longest frame that the relay takes."""
MAX_BUCKET_BITS: Final = 32
"""Longest prefix by which bundles are asked for, in bits."""

LIVE_RING_CELLS: Final = 64
"""Cells that a `live` channel remembers (R6)."""
LIVE_LINGER_SECONDS: Final = 600
"""A `live` channel goes this long after its last connection has left (R6)."""
