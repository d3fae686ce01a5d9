"""What became of one conversation, and of a whole replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from clients.replay.conversations import Conversation
from clients.replay.leaks import Finding
from clients.replay.relay_process import Left
from clients.sdk.model import Role


class Store(Enum):
    """How a conversation went: over the line (cells on the relay's disk) or in a live session (in memory)."""

    STORED = "stored"
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One conversation over one kind of channel."""

    conversation: int
    store: Store
    sent: int
    delivered: int
    in_order: bool
    identical: bool
    """Every text arrived once, byte for byte, and nothing else did."""
    seconds: float = 0.0
    trouble: str = ""

    @property
    def good(self) -> bool:
        """Whether all is as it should be."""
        return self.delivered == self.sent and self.in_order and self.identical and not self.trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole replay."""

    time_scale: float
    outcomes: Sequence[Outcome]
    cells_by_size: Mapping[int, int]
    unreadable_frames: int
    findings: Sequence[Finding]
    searched: Mapping[str, int]
    """Bytes searched: files, log, frames."""
    needles: Mapping[str, int]
    too_short: int
    """Needles too short to be searched for; there should be none."""
    already_there: int
    """Forms of texts that stood in the relay's files before any device existed, and are not counted."""
    control: tuple[int, int]
    """Values that the relay was told and that the search must find: how many there are, how many it found."""
    left: Left
    live_disk_bytes: int | None
    """None where nothing went over a live session."""
    live_disk_method: str
    live_disk_files: Mapping[str, int]
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return (
            all(outcome.good for outcome in self.outcomes)
            and not self.findings
            and not self.too_short
            and self.control[0] == self.control[1] > 0
            and not self.unreadable_frames
            and self.left.cells == self.left.drops == self.left.bytes == 0
            and not self.live_disk_bytes
        )


def judge(
    conversation: Conversation, *, store: Store, received: Mapping[Role, Sequence[str]], trouble: str = ""
) -> Outcome:
    """Compare what arrived with what was to be sent.

    Args:
        conversation: What was to be sent.
        store: Over what.
        received: Per role the texts that arrived there, in order.
        trouble: What went wrong on the way, as a sentence.
    """
    wanted = {role: conversation.of(role.other) for role in Role}
    delivered = sum(
        (Counter(received.get(role, ())) & Counter(texts)).total() for role, texts in wanted.items()
    )
    surplus = any(Counter(received.get(role, ())) - Counter(texts) for role, texts in wanted.items())
    missing = any(Counter(texts) - Counter(received.get(role, ())) for role, texts in wanted.items())
    in_order = all(_is_in_order(texts, received.get(role, ())) for role, texts in wanted.items())
    return Outcome(
        conversation=conversation.id,
        store=store,
        sent=len(conversation.turns),
        delivered=delivered,
        in_order=in_order,
        identical=not surplus and not missing,
        trouble=trouble,
    )


def _is_in_order(wanted: Sequence[str], received: Sequence[str]) -> bool:
    """Whether what arrived is a part of what was wanted, in the same order."""
    rest = iter(wanted)
    return all(text in rest for text in received)
