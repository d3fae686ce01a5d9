"""What both full-screen programs share: the look, the crisis key, and that no text is ever printed.

Textual shows an unhandled error as a traceback with the values of local variables; those hold texts.
`CalmApp` replaces that by one sentence.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import ClassVar, Final, TypeVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.theme import Theme

from clients.terminal.crisis_screen import CrisisScreen
from clients.terminal.promises_screen import PromisesScreen

T = TypeVar("T")

DEFECT_SENTENCE: Final = "Amanat has a defect and had to stop; nothing was shown or sent because of it."

THEME: Final = Theme(
    name="amanat",
    primary="#7fb8a6",
    secondary="#8fa7c4",
    accent="#e0c08a",
    foreground="#dde3e2",
    background="#12181b",
    surface="#182023",
    panel="#1f292d",
    success="#8cc7a1",
    warning="#e0b36a",
    error="#e08a7d",
    dark=True,
    variables={
        "block-cursor-text-style": "none",
        "input-selection-background": "#7fb8a6 35%",
        "footer-key-foreground": "#e0c08a",
        "footer-background": "#12181b",
        "border": "#3b4a4f",
        "scrollbar": "#2a363b",
        "scrollbar-background": "#12181b",
    },
)


def key(name: str, action: str, description: str) -> Binding:
    """A key that works wherever the cursor is (a text area has F6 and F7 of its own)."""
    return Binding(
        name, action, description, key_display=name.upper().replace("CTRL+", "Ctrl+"), priority=True
    )


class CalmApp(App[T]):
    """A Textual app in Amanat's colours, with crisis help on F2 and the promises on F1 in every screen."""

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = Path(__file__).with_name("amanat.tcss")
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        key("f2", "crisis", "Help at once"),
        key("f1", "promises", "Promises"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = THEME.name

    def action_crisis(self) -> None:
        """Show the crisis card over whatever is there, or take it away again."""
        if isinstance(self.screen, CrisisScreen):
            self.screen.dismiss()
        else:
            self.push_screen(CrisisScreen())

    def action_promises(self) -> None:
        """Show what Amanat promises over whatever is there, or take it away again."""
        if isinstance(self.screen, PromisesScreen):
            self.screen.dismiss()
        else:
            self.push_screen(PromisesScreen())

    def _fatal_error(self) -> None:
        """Textual's way out after an unhandled error, without its traceback (see the module's docstring)."""
        if os.environ.get("AMANAT_TRACEBACK"):
            super()._fatal_error()
        else:
            self.panic(DEFECT_SENTENCE)
