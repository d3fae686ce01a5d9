"""The crisis card, over any screen; needs no vault and no network."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Label, Static

from clients.terminal import crisis


class CrisisScreen(ModalScreen[None]):
    """Numbers to call, each with its source and date. Any of the usual keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", "Close"),
        ("enter", "dismiss", "Close"),
    ]

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with VerticalScroll(classes="card crisis"):
            yield Label(f"{crisis.TITLE}  ·  {crisis.TITLE_URDU}", classes="card-title")
            yield Static(crisis.OPENING, markup=False)
            yield Static(crisis.OPENING_URDU, classes="rtl", markup=False)
            for line in crisis.CRISIS_LINES:
                with Vertical(classes="crisis-line"):
                    how = f"  {line.how}" if line.how else ""
                    name = "" if line.name == line.number else f"   {line.name}"
                    yield Label(f"{line.number}{how}{name}", classes="crisis-number", markup=False)
                    yield Label(f"source: {line.source}, {line.date}", classes="faint", markup=False)
            yield Static(crisis.NUMBERS_CHANGE, classes="faint", markup=False)
            yield Static(crisis.CLOSING, markup=False)
            yield Label("Esc closes", classes="card-keys")
