"""The card of one line: its name on this device, its appointments, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from clients.commands.times import FORMS, format_time
from clients.sdk.model import LineSummary, Offer, OfferState, Role
from clients.terminal.dialogs import Card

_STATE_WORDS: Final = {
    OfferState.OFFERED: "",
    OfferState.DECLINED: "declined",
    OfferState.CANCELLED: "cancelled",
    OfferState.PAST: "past",
}


class LineVerb(Enum):
    """What a person wants done with a line."""

    RENAME = "rename"
    OFFER = "offer"
    CANCEL = "cancel"
    DECLINE = "decline"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineWish:
    """One verb and what belongs to it: a name, a time as typed, or an appointment's id."""

    verb: LineVerb
    value: str = ""


class LineScreen(ModalScreen[LineWish | None]):
    """Rename, appointments, end."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]

    def __init__(self, *, line: LineSummary, offers: Sequence[Offer], role: Role) -> None:
        super().__init__()
        self._line = line
        self._offers = list(offers)
        self._role = role

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Card(classes="card"):
            yield Label(str(self._line.name), classes="card-title", markup=False)
            yield Label("Name on this device (nobody else sees it)", classes="faint")
            with Horizontal(classes="field"):
                yield Input(value=str(self._line.name), id="name", max_length=64)
                yield Button("Rename", id="rename")
            yield Label("Appointments for live sessions", classes="faint")
            if not self._offers:
                yield Label("none")
            for number, offer in enumerate(self._offers):
                with Horizontal(classes="field"):
                    words = _STATE_WORDS[offer.state]
                    yield Label(format_time(offer.at) + (f"  {words}" if words else ""), classes="offer")
                    if offer.state is OfferState.OFFERED:
                        label = "Cancel" if self._role is Role.THERAPIST else "Decline"
                        yield Button(label, id=f"offer-{number}")
            if self._role is Role.THERAPIST:
                with Horizontal(classes="field"):
                    yield Input(placeholder="15:00, 2026-12-24 15:00, +2h", id="time")
                    yield Button("Offer", id="offer")
                yield Label(f"as {FORMS}", classes="faint")
            with Horizontal(classes="buttons"):
                yield Button("End the line …", id="end", variant="error")
                yield Button("Close", id="close", variant="primary")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        verb = LineVerb.RENAME if event.input.id == "name" else LineVerb.OFFER
        self.dismiss(LineWish(verb=verb, value=event.value.strip()))

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        match event.button.id:
            case "rename":
                wish = LineWish(verb=LineVerb.RENAME, value=self.query_one("#name", Input).value.strip())
            case "offer":
                wish = LineWish(verb=LineVerb.OFFER, value=self.query_one("#time", Input).value.strip())
            case "end":
                wish = LineWish(verb=LineVerb.END)
            case str(button) if button.startswith("offer-"):
                offer = self._offers[int(button.removeprefix("offer-"))]
                verb = LineVerb.CANCEL if self._role is Role.THERAPIST else LineVerb.DECLINE
                wish = LineWish(verb=verb, value=offer.offer_id)
            case _:
                self.dismiss(None)
                return
        self.dismiss(wish)
