"""Making a stranger's text safe and right to show, without changing what is kept.

Everything a peer wrote passes through `printable` before it reaches a terminal: an escape sequence in a
message must not move the cursor or rename the window, and a direction override must not spill into the next
line. The text itself is kept, sent and exported byte for byte.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime
from enum import Enum
from typing import Final

_KEPT_CONTROLS: Final = {"\n", "\t"}
_OVERRIDES: Final = {"\u202d", "\u202e"}
_EMBEDDINGS: Final = {"\u202a", "\u202b"}
_ISOLATES: Final = {"\u2066", "\u2067", "\u2068"}
_POP_EMBEDDING: Final = "\u202c"
_POP_ISOLATE: Final = "\u2069"
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


def clock(utc_seconds: float) -> str:
    """Hours and minutes in the local zone."""
    return datetime.fromtimestamp(utc_seconds).astimezone().strftime("%H:%M")


def day(utc_seconds: float, now: float) -> str:
    """The day of a message as a person says it: Today, Yesterday, or the date."""
    then = datetime.fromtimestamp(utc_seconds).astimezone().date()
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
    then = datetime.fromtimestamp(utc_seconds).astimezone()
    return f"{then.day} {then:%b}"


def duration(seconds: float) -> str:
    """Minutes and seconds, `49:07`; what is over is shown as `+0:12`."""
    whole = int(abs(seconds))
    return f"{'+' if seconds < 0 else ''}{whole // 60}:{whole % 60:02d}"
