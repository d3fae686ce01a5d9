"""The first screen, and the one that the panic key leaves behind: a passphrase and nothing else."""

from __future__ import annotations

from typing import Final

from textual import on
from textual.app import ComposeResult
from textual.containers import Center, Middle, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Input, Label, Static

from clients.commands.vault_commands import NO_RECOVERY

NO_VAULT_SENTENCE: Final = (
    "There is no vault in this folder yet. Leave with Ctrl+Q and make one:\n\n"
    "    amanat --home DIR init --role client --relay URL"
)


class UnlockScreen(Screen[None]):
    """Asks for the passphrase. Says nothing of role, relay or lines."""

    class Given(Message):
        """A passphrase was typed."""

        def __init__(self, passphrase: str) -> None:
            super().__init__()
            self.passphrase = passphrase

    def __init__(self, *, vault_exists: bool, sentence: str = "") -> None:
        super().__init__()
        self._vault_exists = vault_exists
        self._sentence = sentence

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        with Middle(), Center(), Vertical(id="unlock"):
            yield Label("Amanat · امانت", id="unlock-title")
            if self._vault_exists:
                yield Label("Passphrase", classes="faint")
                yield Input(password=True, id="passphrase")
                yield Label(self._sentence, id="unlock-sentence", markup=False)
                yield Static(NO_RECOVERY, classes="faint")
            else:
                yield Label(NO_VAULT_SENTENCE, markup=False)
        yield Footer()

    def say(self, sentence: str) -> None:
        """Show a sentence under the field, ready for another try."""
        self.query_one("#unlock-sentence", Label).update(sentence)
        field = self.query_one("#passphrase", Input)
        field.value = ""
        field.disabled = False
        field.focus()

    @on(Input.Submitted, "#passphrase")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value:
            return
        passphrase, event.input.value = event.value, ""
        event.input.disabled = True
        self.query_one("#unlock-sentence", Label).update("Opening …")
        self.post_message(self.Given(passphrase))
