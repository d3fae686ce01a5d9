"""Three columns in a terminal: what the client sees, what the relay holds, what the therapist sees."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final

LEAST_COLUMNS: Final = 72
MOST_COLUMNS: Final = 140
BETWEEN: Final = " │ "


def width(text: str) -> int:
    """Cells that a text takes in a terminal, as far as that can be told from here."""
    return sum(
        0
        if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf", "Cc")
        else 2
        if unicodedata.east_asian_width(letter) in ("W", "F")
        else 1
        for letter in text
    )


def wrap(text: str, room: int) -> Iterator[str]:
    """Break a text at spaces into lines of at most `room` cells; a longer word is cut."""
    line = ""
    for word in text.split(" "):
        while width(word) > room:
            if line:
                yield line
                line = ""
            cut = room
            while width(word[:cut]) > room:
                cut -= 1
            yield word[:cut]
            word = word[cut:]  # noqa: PLW2901 - the rest of it
        joined = f"{line} {word}" if line else word
        if width(joined) > room:
            yield line
            line = word
        else:
            line = joined
    yield line


class Columns:
    """Prints rows of three cells."""

    def __init__(self, columns: int | None = None) -> None:
        available = columns or shutil.get_terminal_size((110, 24)).columns
        all_of_them = max(LEAST_COLUMNS, min(MOST_COLUMNS, available)) - 2 * len(BETWEEN)
        middle = min(34, all_of_them // 3)
        side = (all_of_them - middle) // 2
        self._widths = (side, middle, side)

    def row(self, client: str = "", relay: str = "", therapist: str = "") -> None:
        """One event, as each of the three sees it."""
        cells = [
            list(wrap(text, room))
            for text, room in zip((client, relay, therapist), self._widths, strict=True)
        ]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = [
                part + " " * (room - width(part)) for part, room in zip(parts, self._widths, strict=True)
            ]
            print(BETWEEN.join(padded).rstrip(), flush=True)

    def rule(self) -> None:
        """A line across."""
        print("─┼─".join("─" * room for room in self._widths), flush=True)
