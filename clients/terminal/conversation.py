"""The list of messages: bubbles with their state, day marks, notices, and the marks of missing messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Label, Static

from clients.sdk.model import LineMessage, MessageKind, MessageState
from clients.terminal.display import clock, day, direction_of, printable

STATE_MARKS: Final = {
    MessageState.QUEUED: "○ waiting to be sent",
    MessageState.SEALED: "○ waiting to be sent",
    MessageState.STORED: "✓ sent",
    MessageState.DELIVERED: "✓✓ delivered",
    MessageState.FAILED: "✗ not delivered",
    MessageState.RECEIVED: "",
    MessageState.MISSING: "",
}
MISSING_SENTENCE: Final = "a message is missing here; it has been asked for"
NEWER_SENTENCE: Final = "this message needs a newer version of Amanat"
KEPT_SENTENCE: Final = "from a live session, kept because you both agreed"
KEPT_MARK: Final = "live session"
OFFER_SENTENCE: Final = "an appointment for a live session (F9 shows it)"


class Bubble(Horizontal):
    """One text: ours on the right, theirs on the left; each runs its own way."""

    def __init__(self, *, mine: bool, text: str, utc_seconds: float, mark: str = "") -> None:
        super().__init__(classes="mine" if mine else "theirs")
        self._text = text
        self._utc_seconds = utc_seconds
        self._mark = mark

    def compose(self) -> ComposeResult:
        """Lay the bubble out."""
        direction = direction_of(self._text).value
        yield Static(self._content(), classes=f"bubble {direction}", markup=False)

    def set_mark(self, mark: str) -> None:
        """Show another state."""
        if mark != self._mark:
            self._mark = mark
            self.query_one(Static).update(self._content())
        self.set_class(mark == STATE_MARKS[MessageState.FAILED], "failed")

    def blank(self) -> None:
        """Forget the text and show nothing in its place."""
        self._text = ""
        self.query_one(Static).update("")

    def _content(self) -> Content:
        meta = clock(self._utc_seconds) + (f"  {self._mark}" if self._mark else "")
        style = "$error" if self._mark == STATE_MARKS[MessageState.FAILED] else "$foreground 55%"
        return Content.assemble(printable(self._text), "\n", (meta, style))


class Aside(Label):
    """A sentence that nobody wrote: a day, a notice, a missing message."""

    def __init__(self, sentence: str, *, kind: str) -> None:
        super().__init__(printable(sentence), classes=f"aside {kind}", markup=False)


def aside_for(message: LineMessage) -> Aside | None:
    """How a message that is no text is shown; None for texts, those of a kept session included."""
    match message.kind:
        case MessageKind.TEXT | MessageKind.SESSION:
            return None
        case MessageKind.NOTICE:
            return Aside(message.text, kind="notice")
        case MessageKind.OFFER:
            return Aside(OFFER_SENTENCE, kind="notice")
        case MessageKind.NEWER_VERSION:
            return Aside(NEWER_SENTENCE, kind="missing")
        case MessageKind.MISSING:
            return Aside(MISSING_SENTENCE, kind="missing")


class Conversation(VerticalScroll):
    """The messages of one line; `show_messages` changes as little of the screen as it can."""

    can_focus = True

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[tuple[str, MessageKind]] = []

    def on_mount(self) -> None:
        """Stay at the newest message, until the person scrolls away from it."""
        self.anchor()

    async def show_messages(self, messages: Sequence[LineMessage], *, now: float) -> None:
        """Show exactly these messages."""
        wanted = [(message.item_id, message.kind) for message in messages]
        if wanted[: len(self._shown)] != self._shown:
            await self.forget()
        fresh = messages[len(self._shown) :]
        for message in messages[: len(self._shown)]:
            self._update(message)
        previous = messages[len(self._shown) - 1] if self._shown else None
        widgets: list[Widget] = []
        for message in fresh:
            if previous is None or day(previous.utc_seconds, now) != day(message.utc_seconds, now):
                widgets.append(Aside(day(message.utc_seconds, now), kind="day"))
            if message.session_id and (previous is None or previous.session_id != message.session_id):
                widgets.append(Aside(KEPT_SENTENCE, kind="notice"))
            widgets.append(self._make(message))
            previous = message
        if widgets:
            await self.mount_all(widgets)
        self._shown = wanted

    async def forget(self) -> None:
        """Show nothing, and keep nothing."""
        self._shown = []
        await self.remove_children()

    def _make(self, message: LineMessage) -> Widget:
        aside = aside_for(message)
        if aside is not None:
            return aside
        bubble = Bubble(
            mine=message.sender == "me",
            text=message.text,
            utc_seconds=message.utc_seconds,
            mark=_mark(message),
        )
        bubble.id = _widget_id(message.item_id)
        return bubble

    def _update(self, message: LineMessage) -> None:
        for bubble in self.query(f"#{_widget_id(message.item_id)}").results(Bubble):
            bubble.set_mark(_mark(message))


def _mark(message: LineMessage) -> str:
    return KEPT_MARK if message.kind is MessageKind.SESSION else STATE_MARKS[message.state]


def _widget_id(item_id: str) -> str:
    """A name that Textual accepts, for any item id."""
    return "m" + item_id.encode().hex()
