"""Error codes of wire protocol v1: what each means, whose fault it is, and whether the connection ends.

A code travels in REFUSED (one request was not done; the connection goes on) or in FAILED (the connection
ends). A peer that does not know a code goes by its range: below 256 refused, from 256 on failed. Errors never
carry content of the peer's bytes.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Self

from crypto.codec import CodecError


class Blame(Enum):
    """Whose doing an error is."""

    REQUEST = (
        "the request cannot be met in the present state of the channel or inbox; the peer did nothing wrong"
    )
    PEER = "the peer broke the protocol"
    LIMIT = "a limit of the operator; the same request may succeed later"
    RELAY = "the relay, or its store, could not; the same request may succeed later"


class ErrorCode(IntEnum):
    """Every code, in the order of its number. `blame` and `closes` are attributes of the member."""

    blame: Blame
    closes: bool
    sentence: str

    def __new__(cls, value: int, blame: Blame, sentence: str) -> Self:
        """A code at or above 256 closes the connection."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.blame = blame
        member.closes = value >= 256
        member.sentence = sentence
        return member

    # Channels (R3 to R6)
    FULL = 1, Blame.REQUEST, "all slots of the channel belong to other tokens"
    GONE = 2, Blame.REQUEST, "the channel was finished; a tombstone remains"
    CLOSED = 3, Blame.REQUEST, "the channel has its closing cell"
    QUOTA = 4, Blame.LIMIT, "too many cells wait in the channel"
    NOT_ATTACHED = 5, Blame.REQUEST, "no channel is attached to this connection under that handle"
    ACK_BEYOND_HEAD = 6, Blame.REQUEST, "the cell acknowledged does not exist"
    UNSUPPORTED = 7, Blame.REQUEST, "this class of channel has no such operation (live: no ack, no close)"
    # Limits (DESIGN section 8)
    RATE = 16, Blame.LIMIT, "too many requests of this kind; wait a minute"
    TOO_MANY_CHANNELS = 17, Blame.LIMIT, "too many channels are attached to this connection"
    CREATION_LIMIT = 18, Blame.LIMIT, "too many channels were created; wait a minute"
    BUSY = 19, Blame.LIMIT, "the relay holds as many live channels as it may"
    # Inboxes, admissions, bundles (R21, DESIGN section 6)
    NOT_REGISTERED = 32, Blame.REQUEST, "no such inbox, or no inbox is open on this connection"
    INBOX_FULL = 33, Blame.LIMIT, "too many first contacts wait in the inbox"
    ADMISSION_REQUIRED = 34, Blame.REQUEST, "this relay wants an invitation or a proof of work"
    ADMISSION_UNKNOWN = 35, Blame.REQUEST, "the invitation is unknown to this inbox, or expired"
    ADMISSION_USED = 36, Blame.REQUEST, "the invitation was used by another first contact"
    POW_INVALID = 37, Blame.REQUEST, "the proof of work is not one"
    BAD_SIGNATURE = 38, Blame.REQUEST, "the signature does not match, or no challenge is outstanding"
    TOKEN_REQUIRED = 39, Blame.REQUEST, "registering an inbox here needs a one-use token"
    TOKEN_INVALID = 40, Blame.REQUEST, "the one-use token is unknown, used or expired"
    BUNDLE_OLD = 41, Blame.REQUEST, "a bundle of this or a higher serial is published"
    BUNDLE_INVALID = 42, Blame.REQUEST, "the bundle does not parse, is expired, or is another identity's"
    THERAPISTS_FULL = 43, Blame.LIMIT, "as many inboxes are registered as this relay takes"
    # The relay
    STORE_FAILED = 64, Blame.RELAY, "the store failed; nothing was done"
    DRAINING = 65, Blame.RELAY, "the relay is shutting down; nothing was done"
    # Ends of the connection
    BAD_FRAME = 256, Blame.PEER, "the frame does not parse"
    BAD_VERSION = 257, Blame.PEER, "the relay speaks another version of the protocol"
    BAD_SIZE = 258, Blame.PEER, "a cell or frame of a wrong size"
    BAD_ORDER = 259, Blame.PEER, "a frame that is not allowed in this state"
    TIMEOUT = 260, Blame.PEER, "no HELLO in time, or nothing heard for too long"
    SLOW_READER = 261, Blame.PEER, "the peer does not read what it asked for"
    TOO_MANY_CONNECTIONS = 262, Blame.LIMIT, "too many connections from this address, or in all"
    SHUTDOWN = 263, Blame.RELAY, "the relay has shut down; connect again"
    INTERNAL = 264, Blame.RELAY, "a fault of the relay"


class SizeError(CodecError):
    """A cell, or a frame, is not of the size that its type demands: BAD_SIZE rather than BAD_FRAME."""


class OrderError(Exception):
    """A frame that well-formed peers do not send in this state: BAD_ORDER. Carries no content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class VersionError(Exception):
    """HELLO or SERVER_HELLO names a version that this end does not speak: BAD_VERSION."""

    def __init__(self, version: int) -> None:
        super().__init__("the peer speaks another version of the protocol")
        self.version = version
