"""Standard input and output for tests of commands."""

from __future__ import annotations

from io import StringIO


class Keyboard(StringIO):
    """Standard input with, or without, a person at it."""

    def __init__(self, text: str = "", *, person: bool = False) -> None:
        super().__init__(text)
        self._person = person

    def isatty(self) -> bool:
        return self._person


class Screen(StringIO):
    """Standard output that is, or is not, a terminal."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal
