"""What a group reports: members, received messages. Data only; texts never show in a repr."""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto.leaf_node import LeafNode
from crypto.tree_math import LeafIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An occupied leaf."""

    leaf_index: LeafIndex
    leaf_node: LeafNode


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationMessage:
    """A message of another member, decrypted and verified.

    Attributes:
        sender: Its leaf.
        generation: Of the sender's application ratchet; serves only against replay (R11).
        authenticated_data: Signed, not encrypted by MLS.
        plaintext: The content.
    """

    sender: LeafIndex
    generation: int
    authenticated_data: bytes
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMessage:
    """A genuine message by our own leaf, of a generation that we have not used: this state has a clone (R9).

    Attributes:
        generation: Of our own ratchet, which has not moved.
        authenticated_data: As signed by whoever holds our keys.
        is_commit: It came from the handshake ratchet.
    """

    generation: int
    authenticated_data: bytes
    is_commit: bool
