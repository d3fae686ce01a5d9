"""Where a person writes: several lines, the size told before sending, nothing cut.

Enter sends; Ctrl+J (and, in terminals that can tell them apart, Shift+Enter and Alt+Enter) begins a new
line. Pasted line ends stay line ends. The text lives in this widget alone until it is sent; `clear` forgets
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Label, TextArea

from clients.sdk.errors import MAX_TEXT_BYTES, too_long

_NEW_LINE_KEYS: Final = {"ctrl+j", "shift+enter", "alt+enter"}
_MAX_VISIBLE_LINES: Final = 8
_MIN_VISIBLE_LINES: Final = 2


class _Writing(TextArea):
    """The text area, with chat's meaning of Enter."""

    @dataclass
    class Finished(Message):
        """Enter was pressed."""

    def on_key(self, event: events.Key) -> None:
        """Enter sends; the keys for a new line make one."""
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Finished())
        elif event.key in _NEW_LINE_KEYS:
            event.stop()
            event.prevent_default()
            self.insert("\n")


class Composer(Vertical):
    """A text area, a hint, and how many bytes of the limit are used."""

    class Submitted(Message):
        """The person wants this text sent. Whoever sends it clears the composer then."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Edited(Message):
        """The text changed; `empty` says whether anything is left."""

        def __init__(self, *, empty: bool) -> None:
            super().__init__()
            self.empty = empty

    def compose(self) -> ComposeResult:
        """Lay the composer out."""
        yield _Writing(
            soft_wrap=True, tab_behavior="focus", show_line_numbers=False, placeholder="Write here …"
        )
        with Horizontal(classes="composer-notes"):
            yield Label("Enter sends · Ctrl+J line", classes="faint composer-hint")
            yield Label("", classes="faint composer-size")

    def on_mount(self) -> None:
        """Show the size of nothing."""
        self._measure("")

    @property
    def text(self) -> str:
        """What is written so far."""
        return self._area.text

    @property
    def _area(self) -> _Writing:
        return self.query_one(_Writing)

    def focus_writing(self) -> None:
        """Put the cursor into the text area."""
        self._area.focus()

    def clear(self) -> None:
        """Forget the text, its undo history included."""
        self._area.load_text("")

    def put(self, text: str) -> None:
        """Replace the text, for example by a draft that could not be sent."""
        self._area.load_text(text)
        self._area.move_cursor(self._area.document.end)

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        event.stop()
        text = event.text_area.text
        self._measure(text)
        lines = event.text_area.wrapped_document.height
        event.text_area.styles.height = max(_MIN_VISIBLE_LINES, min(lines, _MAX_VISIBLE_LINES)) + 2
        self.post_message(self.Edited(empty=not text))

    @on(_Writing.Finished)
    def _finished(self, event: _Writing.Finished) -> None:
        event.stop()
        if self._area.text.strip():
            self.post_message(self.Submitted(self._area.text))

    def _measure(self, text: str) -> None:
        used = len(text.encode("utf-8", "surrogatepass"))
        label = self.query_one(".composer-size", Label)
        over = used - MAX_TEXT_BYTES
        if over > 0:
            label.update(f"{too_long(over)}: shorten it, or send it in parts")
        else:
            label.update(f"{used:,} of {MAX_TEXT_BYTES:,} bytes")
        label.set_class(over > 0, "too-long")
