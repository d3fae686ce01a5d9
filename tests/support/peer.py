"""What a member of an interoperability group can do, whoever implemented it: tests/peers drives these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

EXPORT_LABEL = "amanat peers"
EXPORT_CONTEXT = b"after every step"
EXPORT_BYTES = 32
PLAIN_LABEL = "exporter"


class PeerRefused(Exception):
    """An implementation refused an operation; the text is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One member's view of an epoch; None where an implementation does not show it."""

    epoch: int | None
    leaf: int | None
    authenticator: bytes | None
    tree_hash: bytes | None
    transcript_hash: bytes | None
    leaves: tuple[int, ...] | None
    exported: bytes | None
    exported_plain: bytes | None = None
    """MLS-Exporter of :data:`PLAIN_LABEL` and no context: all that core-crypto shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A commit that its maker has already applied, and proposals that it names and that must go before it."""

    message: bytes
    welcome: bytes | None
    ratchet_tree: bytes | None
    proposals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """An application message that was opened; None where an implementation does not show it."""

    sender: int | None
    plaintext: bytes
    authenticated_data: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a handshake message did: ``proposal``, ``commit`` or ``removed`` (ourselves)."""

    kind: str


class Peer(Protocol):
    """One device. Whatever it refuses raises PeerRefused and leaves it as it was."""

    kind: str

    def key_package(self) -> bytes:
        """Its KeyPackage, without MLSMessage around it."""

    def create(self, group_id: bytes) -> None:
        """Begin a group of one."""

    def join(self, welcome: bytes, ratchet_tree: bytes | None) -> None:
        """Enter by MLSMessage(Welcome); the tree is given if the Welcome carries none."""

    def commit(
        self, *, adds: Sequence[bytes] = (), removes: Sequence[int] = (), tree_in_welcome: bool = True
    ) -> Made:
        """Commit and go on to the next epoch; without adds and removes a self-update."""

    def process(self, message: bytes, sender: int) -> Text | Event:
        """Take in any MLSMessage; ``sender`` helps an implementation that names members by leaf."""

    def protect(self, plaintext: bytes, authenticated_data: bytes) -> bytes:
        """Seal an application message."""

    def view(self) -> View:
        """See View."""


class Proposer(Protocol):
    """A peer that can also propose an update of its own leaf."""

    def propose_update(self) -> bytes:
        """MLSMessage of an Update proposal, which somebody else's commit brings in."""
