"""Making a stranger's text safe and right to show, without changing what is kept.

Everything a peer wrote passes through `printable` before it reaches a terminal: an escape sequence in a
message must not move the cursor or rename the window, and a direction override must not spill into the next
line. The text itself is kept, sent and exported byte for byte.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from enum import Enum
from typing import Final

_KEPT_CONTROLS: Final = {"\n", "\t"}
_OVERRIDES: Final = {"\u202d", "\u202e"}
_EMBEDDINGS: Final = {"\u202a", "\u202b"}
_ISOLATES: Final = {"\u2066", "\u2067", "\u2068"}
_POP_EMBEDDING: Final = "\u202c"
_POP_ISOLATE: Final = "\u2069"
UNKNOWN_TIME: Final = "at an unknown time"
MAX_SHOWN_SECONDS: Final = 253_370_764_800
"""UTC seconds of the year 9999: a peer claims any u64 (R23), a calendar ends somewhere."""
_LINE_ENDS: Final = {"\u2028", "\u2029", "\x85", "\x0b", "\x0c"}


class Direction(Enum):
    """Which way a text runs: that of its first strong letter (HTML's `dir="auto"`)."""

    LEFT_TO_RIGHT = "ltr"
    RIGHT_TO_LEFT = "rtl"


def direction_of(text: str) -> Direction:
    """The direction of the first strong character; left to right where there is none."""
    for character in text:
        match unicodedata.bidirectional(character):
            case "L":
                return Direction.LEFT_TO_RIGHT
            case "R" | "AL":
                return Direction.RIGHT_TO_LEFT
    return Direction.LEFT_TO_RIGHT


def printable(text: str) -> str:
    """The text with control characters made visible and directions closed at each line's end."""
    text = text.replace("\r\n", "\n")
    return "\n".join(_printable_line(line) for line in text.split("\n"))


def _printable_line(line: str) -> str:
    shown: list[str] = []
    open_marks: list[str] = []
    for character in line:
        if character in _OVERRIDES:
            continue
        if character in _LINE_ENDS:
            shown.append(" ")
        elif unicodedata.category(character) in {"Cc", "Cs"} and character not in _KEPT_CONTROLS:
            shown.append(_picture(character))
        elif character in _EMBEDDINGS:
            open_marks.append(_POP_EMBEDDING)
            shown.append(character)
        elif character in _ISOLATES:
            open_marks.append(_POP_ISOLATE)
            shown.append(character)
        elif character in {_POP_EMBEDDING, _POP_ISOLATE}:
            if open_marks and open_marks[-1] == character:
                shown.append(open_marks.pop())
        else:
            shown.append(character)
    return "".join(shown + open_marks[::-1])


def _picture(character: str) -> str:
    """A visible stand-in: Unicode's control pictures, else the replacement character."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def local_time(utc_seconds: float) -> datetime | None:
    """A time in the local zone; None where a peer claims one that no calendar has.

    Every time that a peer claimed is shown by way of this function: one absurd claim must not stop a device
    from showing all that came after it.
    """
    if not 0 <= utc_seconds < MAX_SHOWN_SECONDS:
        return None
    return datetime.fromtimestamp(utc_seconds, tz=UTC).astimezone()


def stamp(utc_seconds: float, form: str) -> str:
    """A time in the local zone, in a form of `strftime`."""
    then = local_time(utc_seconds)
    return UNKNOWN_TIME if then is None else then.strftime(form)


def clock(utc_seconds: float) -> str:
    """Hours and minutes in the local zone."""
    return stamp(utc_seconds, "%H:%M")


def day(utc_seconds: float, now: float) -> str:
    """The day of a message as a person says it: Today, Yesterday, or the date."""
    claimed = local_time(utc_seconds)
    if claimed is None:
        return UNKNOWN_TIME.capitalize()
    then = claimed.date()
    today = datetime.fromtimestamp(now).astimezone().date()
    match (today - then).days:
        case 0:
            return "Today"
        case 1:
            return "Yesterday"
        case _:
            return f"{then:%A} {then.day} {then:%B}" + ("" if then.year == today.year else f" {then.year}")


def moment(utc_seconds: float, now: float) -> str:
    """When something last happened, in a few characters: the time today, else the day."""
    if day(utc_seconds, now) == "Today":
        return clock(utc_seconds)
    then = local_time(utc_seconds)
    return UNKNOWN_TIME if then is None else f"{then.day} {then:%b}"


def duration(seconds: float) -> str:
    """Minutes and seconds, `49:07`; what is over is shown as `+0:12`."""
    whole = int(abs(seconds))
    return f"{'+' if seconds < 0 else ''}{whole // 60}:{whole % 60:02d}"
