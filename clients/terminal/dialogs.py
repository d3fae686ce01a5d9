"""The cards that open over the conversation: safety number, invitation, waiting, ending a line.

Each only asks and answers; what follows from the answer is done by `clients.terminal.app`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Grid, Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, Input, Label, LoadingIndicator, Static

from clients.terminal.qr import qr_lines

_CLOSE: Final[list[BindingType]] = [("escape", "dismiss", "Close")]


class Card(VerticalScroll, can_focus=False):
    """What a dialog stands on. Takes no focus itself, so that Enter goes to a button from the start."""


class Answer(Enum):
    """What a person said about a safety number."""

    SAME = "same"
    DIFFERENT = "different"


class SafetyNumberScreen(ModalScreen[Answer | None]):
    """The number as digits and QR code, and what came of comparing it."""

    BINDINGS: ClassVar[list[BindingType]] = _CLOSE

    def __init__(
        self, *, line: str, groups: tuple[str, ...], payload: str, confirmed: bool, must_decide: bool
    ) -> None:
        super().__init__()
        self._line = line
        self._groups = groups
        self._payload = payload
        self._confirmed = confirmed
        self._must_decide = must_decide

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Card(classes="card wide"):
            yield Label(f"Safety number with {self._line}", classes="card-title", markup=False)
            with Horizontal(classes="safety"):
                with Grid(classes="digits"):
                    for group in self._groups:
                        yield Label(group, classes="digit-group")
                yield Static("\n".join(qr_lines(self._payload)), classes="qr", markup=False)
            yield Static(self._advice(), markup=False)
            with Horizontal(classes="buttons"):
                yield Button("It is the same", id="same", variant="primary")
                if self._must_decide:
                    yield Button("It differs", id="different", variant="error")
                yield Button("Close", id="close")

    def on_mount(self) -> None:
        """Begin with the harmless answer."""
        self.query_one("#close", Button).focus()

    def _advice(self) -> str:
        if self._must_decide:
            return (
                "This line stopped, because the two devices may have been shown different messages. Compare "
                "the number in person or by voice. If it is the same the line comes back once; if it differs "
                "the line ends, and its texts stay here."
            )
        if self._confirmed:
            return "You two compared it and found it the same."
        return (
            "Read it to each other, best by voice or in person. If it is the same on both devices, nobody "
            "sits between you. If it differs, stop writing and talk in person."
        )

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        answers = {"same": Answer.SAME, "different": Answer.DIFFERENT}
        self.dismiss(answers.get(event.button.id or ""))


class InvitationScreen(ModalScreen[None]):
    """A new invitation as link and QR code."""

    BINDINGS: ClassVar[list[BindingType]] = [*_CLOSE, ("c", "copy", "Copy")]

    def __init__(self, *, link: str, until: str) -> None:
        super().__init__()
        self._link = link
        self._until = until

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Card(classes="card wide"):
            yield Label("Invitation", classes="card-title")
            yield Static(self._link, classes="link", markup=False)
            with Horizontal(classes="invitation"):
                yield Static("\n".join(qr_lines(self._link)), classes="qr", markup=False)
                with Vertical(classes="stacked"):
                    yield Static(
                        "Give it to one client, over a way that only the two of you can read.\n\n"
                        f"It works once, until {self._until}."
                    )
                    yield Button("Copy the link", id="copy", variant="primary")
                    yield Button("Close", id="close")

    def action_copy(self) -> None:
        """Put the link into the terminal's clipboard, where the terminal allows it."""
        self.app.copy_to_clipboard(self._link)
        self.notify("Copied, if your terminal allows programs to copy.")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "copy":
            self.action_copy()
        else:
            self.dismiss()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """An invitation that a client wants to follow."""

    link: str = field(repr=False)
    name: str
    hurry: bool


class AcceptScreen(ModalScreen[Acceptance | None]):
    """Asks for an invitation link and a name for the line."""

    BINDINGS: ClassVar[list[BindingType]] = _CLOSE

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Card(classes="card"):
            yield Label("Accept an invitation", classes="card-title")
            yield Static("Paste the link that your therapist gave you.")
            yield Input(placeholder="https://…/i#…", id="link")
            yield Static("A name for this conversation. Only this device knows it.")
            yield Input(placeholder="(optional)", id="name", max_length=64)
            yield Checkbox("Skip the random wait of up to a minute", id="hurry")
            yield Static(
                "The wait makes it harder for the relay to tell which therapist this device writes to.",
                classes="faint",
            )
            with Horizontal(classes="buttons"):
                yield Button("Open the line", id="accept", variant="primary")
                yield Button("Close", id="close")

    def on_mount(self) -> None:
        """Begin with the link."""
        self.query_one("#link", Input).focus()

    @on(Button.Pressed, "#close")
    def _close(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(None)

    @on(Button.Pressed, "#accept")
    @on(Input.Submitted)
    def _accept(self, event: Button.Pressed | Input.Submitted) -> None:
        event.stop()
        link = self.query_one("#link", Input).value.strip()
        if not link:
            self.query_one("#link", Input).focus()
            return
        name = self.query_one("#name", Input).value.strip()
        self.dismiss(Acceptance(link=link, name=name, hurry=self.query_one("#hurry", Checkbox).value))


class WaitingScreen(ModalScreen[None]):
    """Something takes its time. Esc gives up, where `can_stop`; whoever waits dismisses it."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "stop", "Give up")]

    def __init__(self, sentence: str, *, can_stop: bool = True) -> None:
        super().__init__()
        self._sentence = sentence
        self._can_stop = can_stop
        self.gone = asyncio.Event()
        """Set when the card goes, whoever sent it away."""

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Card(classes="card small"):
            yield Static(self._sentence, markup=False)
            yield LoadingIndicator()
            if self._can_stop:
                yield Label("Esc gives up", classes="card-keys")

    def action_stop(self) -> None:
        """Give up."""
        if self._can_stop:
            self.dismiss()

    def on_unmount(self) -> None:
        """Tell whoever waits that the card is gone."""
        self.gone.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a person wants a line to end."""

    block: bool
    delete_texts: bool


class EndScreen(ModalScreen[Ending | None]):
    """Asks how a line is to end; says what is lost before it is lost."""

    BINDINGS: ClassVar[list[BindingType]] = _CLOSE

    def __init__(self, *, line: str, undelivered: int) -> None:
        super().__init__()
        self._line = line
        self._undelivered = undelivered

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Card(classes="card"):
            yield Label(f"End the line with {self._line}", classes="card-title", markup=False)
            yield Static("It ends for both of you, for good. To write again you need a new invitation.")
            if self._undelivered:
                yield Static(
                    f"{self._undelivered} message(s) are not delivered yet and may be lost.",
                    classes="warning",
                )
            yield Checkbox("Block: destroy the keys at once, without waiting to tell them", id="block")
            yield Checkbox("Also delete the texts on this device", id="delete")
            with Horizontal(classes="buttons"):
                yield Button("End the line", id="end", variant="error")
                yield Button("Keep it", id="close", variant="primary")

    def on_mount(self) -> None:
        """Begin with the harmless answer."""
        self.query_one("#close", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id != "end":
            self.dismiss(None)
            return
        block, delete = (self.query_one(f"#{name}", Checkbox).value for name in ("block", "delete"))
        self.dismiss(Ending(block=block, delete_texts=delete))
