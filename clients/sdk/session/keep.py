"""S7's last sentence: do both people agree to keep the text of this session, and the text until they end it.

Each side has a *wish*, which it says by the record KEEP in its stream: 1, it wants the text kept; 0, it does
not (any more). The last KEEP before a side's END is its wish, and without one it is 0. Both streams are read
whole before a session ends in order, so both sides know both wishes and come to the same answer: the text is
kept exactly if both are 1 then. Whoever reads a 0 while its own wish is 1 takes that back, by a KEEP of its
own: a no is not waited out, one has to ask again.

What is kept is what was said in this group, since a side that came back after losing its session (S2) holds
no more. The texts lie in memory beside those that the screen shows; they grow no faster than the rhythm of
cells lets them, and leave this process only if both agreed, after END.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clients.sdk.line.events import KeptText
from crypto.sensitive import Plaintext


@dataclass(slots=True)
class Keeping:
    """Wishes and texts of one group."""

    mine: bool = False
    theirs: bool = False
    _texts: list[KeptText] = field(default_factory=list, repr=False)

    @property
    def agreed(self) -> bool:
        """Whether both want the text kept, as things stand."""
        return self.mine and self.theirs

    def said(self, text: str, *, mine: bool, utc_seconds: int) -> None:
        """A text was sent or received."""
        self._texts.append(KeptText(mine=mine, utc_seconds=utc_seconds, text=Plaintext(text)))

    def hand_over(self) -> tuple[KeptText, ...]:
        """What may leave the process now that both ENDs are read: all of it, or nothing."""
        return tuple(self._texts) if self.agreed else ()

    def wipe(self) -> None:
        """Forget everything."""
        self.mine = self.theirs = False
        self._texts.clear()
