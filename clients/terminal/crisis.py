"""Where to find help at once: data only, so that it can be shown offline, before unlocking, and by a command.

Every number stands with the source in which it was seen and that source's date; wrong numbers are worse than
none (PITFALLS.md, "People"). Change a number only together with its source and date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class CrisisLine:
    """One place to call."""

    name: str
    number: str
    how: str
    """What to do, where dialling is not all; else empty."""
    source: str
    date: str


CRISIS_LINES: Final = (
    CrisisLine(name="Umang", number="0311-7786264", how="", source="hourstv.com", date="undated"),
    CrisisLine(
        name="1166",
        number="1166",
        how="toll-free",
        source="tribune.com.pk/story/2412003",
        date="April 2023",
    ),
    CrisisLine(
        name="Punjab",
        number="15",
        how="then 7",
        source="express.pk/story/2797626",
        date="January 2026",
    ),
)

TITLE: Final = "Help at once"
TITLE_URDU: Final = "فوری مدد"
OPENING: Final = (
    "You do not have to carry this alone. Call one of these numbers now, or ask somebody near you "
    "to stay with you."
)
OPENING_URDU: Final = (
    "آپ اکیلے نہیں ہیں۔ ابھی ان میں سے کسی نمبر پر کال کریں، یا کسی قریبی شخص سے کہیں کہ آپ کے ساتھ رہے۔"
)
CLOSING: Final = (
    "If a life is in danger now, go to the nearest hospital's emergency department. Amanat is not an "
    "emergency service: nobody may be reading at this moment."
)
NUMBERS_CHANGE: Final = (
    "These are numbers in Pakistan, each seen in the source and at the date beside it. Numbers change: "
    "if one does not answer, try the next."
)


def as_text(*, width: int = 78) -> str:
    """The card as plain text, for the command."""
    import textwrap

    parts = [f"{TITLE}  ·  {TITLE_URDU}", "", *textwrap.wrap(OPENING, width), OPENING_URDU, ""]
    for line in CRISIS_LINES:
        number = f"{line.number}, {line.how}" if line.how else line.number
        parts += [f"  {line.name:8} {number}", f"  {'':8} source: {line.source} ({line.date})", ""]
    parts += [*textwrap.wrap(NUMBERS_CHANGE, width), "", *textwrap.wrap(CLOSING, width)]
    return "\n".join(parts)
