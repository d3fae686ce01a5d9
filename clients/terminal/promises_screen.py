"""What Amanat promises, as claims.toml says it: over any screen; needs no vault and no network."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Label, Static

from clients.audit.claims import load

TITLE: Final = "What Amanat promises"
TITLE_URDU: Final = "امانت کے وعدے"
OPENING: Final = (
    "Each promise has a check that anybody can run (amanat audit). With each stands how it is checked, and "
    "what the check cannot see."
)
OPENING_URDU: Final = (
    "ہر وعدے کی ایک جانچ ہے جو کوئی بھی خود چلا سکتا ہے (amanat audit)۔ "
    "ساتھ یہ بھی لکھا ہے کہ جانچ کیا نہیں دیکھ سکتی۔"
)
CLOSING: Final = (
    "These are the promises that matter most; `amanat claims --long` prints all. No promise covers what the "
    "other person does with what they read, or a device that somebody else controls."
)
CLOSING_URDU: Final = (
    "یہ سب سے اہم وعدے ہیں؛ باقی سب amanat claims --urdu سے دیکھے جا سکتے ہیں۔ "
    "کوئی وعدہ اس پر لاگو نہیں ہوتا کہ دوسرا شخص پڑھ کر کیا کرتا ہے، "
    "یا ایسی ڈیوائس پر جو کسی اور کے قابو میں ہو۔"
)
NOT_SEEN_URDU: Final = "جانچ یہ نہیں دیکھ سکتی:"


class PromisesScreen(ModalScreen[None]):
    """The promises of the summary, each with its check and that check's limits."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", "Close"),
        ("enter", "dismiss", "Close"),
    ]

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Vertical(classes="card wide promises"):
            yield Label(f"{TITLE}  ·  {TITLE_URDU}", classes="card-title")
            with VerticalScroll(classes="promise-list"):
                yield Static(OPENING, markup=False)
                yield Static(OPENING_URDU, classes="rtl", markup=False)
                for claim in load():
                    if claim.summary:
                        with Vertical(classes="promise"):
                            yield Static(claim.sentence, classes="promise-sentence", markup=False)
                            yield Static(claim.urdu, classes="promise-sentence rtl", markup=False)
                            for_whom = f"For {claim.audience}  ·  {claim.urdu_audience}"
                            yield Static(for_whom, classes="faint", markup=False)
                            yield Static(f"Checked: {claim.how}", classes="faint", markup=False)
                            yield Static(f"Not seen: {claim.blind}", classes="faint", markup=False)
                            not_seen = f"{NOT_SEEN_URDU} {claim.urdu_blind}"
                            yield Static(not_seen, classes="faint rtl", markup=False)
                yield Static(CLOSING, markup=False)
                yield Static(CLOSING_URDU, classes="rtl", markup=False)
            yield Label("↑ ↓ scroll, Esc closes", classes="card-keys")
