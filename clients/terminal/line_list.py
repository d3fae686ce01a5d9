"""The list of lines: name, unread mark, when something happened last, and what the person should know."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Label, ListItem, ListView

from clients.sdk.model import LinePhase, LineSummary
from clients.terminal.display import moment, printable

_PHASE_WORDS = {
    LinePhase.OPENING: "waiting for the first answer",
    LinePhase.OPEN: "",
    LinePhase.RETURNING: "coming back",
    LinePhase.STOPPED: "stopped: compare safety numbers",
    LinePhase.ENDED: "ended",
}


def subtitle(line: LineSummary) -> str:
    """The one thing most worth saying about a line."""
    if line.alarms:
        return "needs your attention"
    if line.offered_now:
        return "live session: waiting for you"
    if words := _PHASE_WORDS[line.phase]:
        return words
    if line.waiting_to_send:
        return f"{line.waiting_to_send} waiting to be sent"
    return "" if line.safety_number_confirmed else "number not compared"


class LineRow(ListItem):
    """One line."""

    def __init__(self, line: LineSummary, *, now: float) -> None:
        super().__init__(classes=f"line-{line.phase.value}")
        self.line = line
        self.set_class(line.unread > 0, "unread")
        self.set_class(bool(line.alarms) or line.phase is LinePhase.STOPPED, "alarm")
        self.set_class(line.offered_now, "offered")
        self._now = now

    def compose(self) -> ComposeResult:
        """Lay the row out."""
        line = self.line
        when = "" if line.last_activity is None else moment(line.last_activity, self._now)
        with Horizontal(classes="line-top"):
            yield Label(printable(str(line.name)), classes="line-name", markup=False)
            yield Label(when, classes="line-when faint", markup=False)
        with Horizontal(classes="line-bottom"):
            yield Label(subtitle(line), classes="line-about", markup=False)
            yield Label(
                f"\u00a0{line.unread}\u00a0" if line.unread else "", classes="line-unread", markup=False
            )


class LineList(ListView):
    """All lines of the device."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[LineSummary] = []

    async def show_lines(self, lines: Sequence[LineSummary], *, selected: str | None, now: float) -> None:
        """Show these lines with `selected` marked."""
        if list(lines) != self._shown:
            self._shown = list(lines)
            await self.clear()
            await self.extend(LineRow(line, now=now) for line in lines)
        names = [line.name for line in lines]
        wanted = names.index(selected) if selected in names else None  # type: ignore[arg-type]  # LineName is a str
        if self.index != wanted:
            self.index = wanted
