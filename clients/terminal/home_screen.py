"""The main screen: the list of lines on the left, one conversation on the right.

It shows what the device says and passes on what the person wants; it decides nothing. Drafts live here, in
memory, one for each line, and die with the screen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Label, ListView

from clients.commands.times import format_time
from clients.sdk.device import Device
from clients.sdk.errors import AmanatError
from clients.sdk.model import (
    ConnectionChanged,
    ConnectionState,
    DeviceEvent,
    LineName,
    LinePhase,
    LineSummary,
    OfferState,
    Role,
    SessionOffered,
)
from clients.terminal.base import key
from clients.terminal.composer import Composer
from clients.terminal.conversation import Conversation
from clients.terminal.display import printable
from clients.terminal.line_list import LineList, LineRow

SHOWN_MESSAGES: Final = 300
"""Only the newest so many messages are on the screen; `amanat history` prints all."""

_CONNECTION_WORDS: Final = {
    ConnectionState.OFFLINE: "○ offline",
    ConnectionState.CONNECTING: "◌ connecting …",
    ConnectionState.ONLINE: "● connected",
    ConnectionState.WAITING: "○ no connection, trying again",
}
_EMPTY: Final = {
    Role.CLIENT: "No conversation yet.\n\nF3 accepts an invitation from your therapist."
    "\nF1 shows what Amanat promises.",
    Role.THERAPIST: "No conversation yet.\n\nF3 makes an invitation for a client."
    "\nF1 shows what Amanat promises.",
}


class HomeScreen(Screen[None]):
    """Lines, conversation, composer."""

    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [  # noqa: RUF012 - Textual declares it so
        (0, "-narrow"),
        (78, "-middle"),
        (104, "-wide"),
    ]
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-short"), (22, "-tall")]  # noqa: RUF012 - as above
    BINDINGS: ClassVar[list[BindingType]] = [
        # Short, and those that must never be cut first: 80 columns hold all but the last, 100 all of them.
        key("f2", "app.crisis", "Help"),
        key("f8", "app.lock", "Lock"),
        key("f3", "invite", "Invite"),
        key("f3", "connect", "Connect"),
        key("f4", "app.safety_number", "Number"),
        key("f5", "app.live_session", "Session"),
        key("f7", "acknowledge", "Noted"),
        key("f6", "app.devices", "Devices"),
        key("f9", "app.line", "Line"),
        key("f1", "app.promises", "Promises"),
        key("ctrl+q", "app.leave", "Quit"),
        ("escape", "leave_conversation", ""),
    ]

    class Send(Message):
        """The person wants a text sent."""

        def __init__(self, line: LineName, text: str) -> None:
            super().__init__()
            self.line = line
            self.text = text

    def __init__(self, device: Device, *, now: Callable[[], float]) -> None:
        super().__init__()
        self._device = device
        self._now = now
        self._selected: LineName | None = None
        self._drafts: dict[LineName, str] = {}
        self._alarmed = False

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        role = "Therapist" if self._device.role is Role.THERAPIST else "Client"
        name = self._device.display_name
        with Horizontal(id="bar"):
            yield Label("Amanat · امانت", id="bar-title")
            yield Label(f"{role}{f' · {printable(name)}' if name else ''}", id="bar-role", markup=False)
            yield Label("", id="bar-connection")
        with Horizontal(id="panes"):
            yield LineList()
            with Vertical(id="talk"):
                with Vertical(id="talk-head"):
                    yield Label("", id="talk-name", markup=False)
                    yield Label("", id="talk-strip", markup=False)
                yield Conversation()
                yield Label(_EMPTY[self._device.role], id="talk-empty")
                yield Composer()
        yield Footer()

    async def on_mount(self) -> None:
        """Show what is there, and begin with the newest line."""
        self._show_connection(self._device.connection_state)
        lines = self._device.lines()
        if lines:
            self._selected = lines[0].name
        await self.bring_up_to_date()
        if lines:
            self.query_one(Composer).focus_writing()

    @property
    def selected(self) -> LineSummary | None:
        """The line that is shown."""
        for line in self._device.lines():
            if line.name == self._selected:
                return line
        return None

    async def select(self, name: LineName) -> None:
        """Show another line, keeping what was being written on the last one."""
        composer = self.query_one(Composer)
        if self._selected is not None and self._selected != name:
            self._drafts[self._selected] = composer.text
            await self.query_one(Conversation).forget()
            composer.put(self._drafts.pop(name, ""))
        self._selected = name
        await self.bring_up_to_date()

    async def device_event(self, event: DeviceEvent) -> None:
        """Something happened on the device."""
        if isinstance(event, ConnectionChanged):
            self._show_connection(event.state)
            return
        if isinstance(event, SessionOffered):
            self.notify(f"{event.line} waits for you in a live session. F5 joins.", timeout=15, markup=False)
        await self.bring_up_to_date()

    async def bring_up_to_date(self) -> None:
        """Read lines and messages again and show them."""
        shown = self._selected
        if shown is not None and self.app.app_focus:
            try:
                self._device.mark_read(shown)
            except AmanatError:
                self._selected = None  # the line is gone
        lines = self._device.lines()
        await self.query_one(LineList).show_lines(lines, selected=self._selected, now=self._now())
        self.query_one(LineList).set_class(not lines, "empty")
        line = self.selected
        for selector, visible in (("#talk-empty", line is None), ("#talk-head", line is not None)):
            self.query_one(selector).display = visible
        self.query_one(Conversation).display = line is not None
        self.query_one(Composer).display = line is not None and line.phase is not LinePhase.ENDED
        if line is not None:
            self._show_head(line)
            messages = self._device.messages(line.name, limit=SHOWN_MESSAGES)
            await self.query_one(Conversation).show_messages(messages, now=self._now())
        self._alarmed = line is not None and bool(line.alarms)
        self.refresh_bindings()

    def sent(self, *, text: str | None = None) -> None:
        """The text was queued; or, with `text`, it was not, and stands in the composer again."""
        composer = self.query_one(Composer)
        if text is None:
            composer.clear()
        elif not composer.text:
            composer.put(text)

    def rename(self, old: LineName, new: LineName) -> None:
        """A line has another name now."""
        if old in self._drafts:
            self._drafts[new] = self._drafts.pop(old)
        if self._selected == old:
            self._selected = new

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key is offered: "Noted" only where there is something to note, and F3 by the role."""
        del parameters
        match action:
            case "acknowledge":
                return self._alarmed
            case "invite":
                return self._device.role is Role.THERAPIST
            case "connect":
                return self._device.role is Role.CLIENT
            case _:
                return True

    async def action_invite(self) -> None:
        """Make an invitation."""
        await self.run_action("app.invitation")

    async def action_connect(self) -> None:
        """Accept an invitation."""
        await self.run_action("app.invitation")

    async def action_acknowledge(self) -> None:
        """The person has read what the strip says; it is not shown for ever."""
        if self._selected is not None:
            self._device.acknowledge_alarms(self._selected)
            await self.bring_up_to_date()

    def action_leave_conversation(self) -> None:
        """Go to the list of lines."""
        self.query_one(LineList).focus()

    @on(ListView.Highlighted)
    async def _highlighted(self, event: ListView.Highlighted) -> None:
        event.stop()
        if isinstance(event.item, LineRow) and event.item.line.name != self._selected:
            await self.select(event.item.line.name)

    @on(ListView.Selected)
    def _chosen(self, event: ListView.Selected) -> None:
        event.stop()
        self.query_one(Composer).focus_writing()

    @on(Composer.Submitted)
    def _submitted(self, event: Composer.Submitted) -> None:
        event.stop()
        if self._selected is not None:
            self.post_message(self.Send(self._selected, event.text))

    @on(Composer.Edited)
    def _edited(self, event: Composer.Edited) -> None:
        event.stop()

    @on(events.ScreenResume)
    async def _resumed(self) -> None:
        if self.is_mounted:
            await self.bring_up_to_date()

    def _show_connection(self, state: ConnectionState) -> None:
        label = self.query_one("#bar-connection", Label)
        label.update(_CONNECTION_WORDS[state])
        label.set_class(state is ConnectionState.ONLINE, "online")

    def _show_head(self, line: LineSummary) -> None:
        peer = f"  ({line.peer_name})" if line.peer_name and line.peer_name != line.name else ""
        self.query_one("#talk-name", Label).update(printable(f"{line.name}{peer}"))
        sentence, kind = self._strip(line)
        strip = self.query_one("#talk-strip", Label)
        strip.update(printable(sentence))
        strip.set_classes(kind)
        strip.display = bool(sentence)

    def _strip(self, line: LineSummary) -> tuple[str, str]:
        """The most important thing about the line, and how loudly it is said."""
        if line.phase is LinePhase.STOPPED:
            return (
                "This line is stopped: somebody may be tampering with it. F4: compare safety numbers.",
                "alarm",
            )
        if line.alarms:
            return f"{' '.join(line.alarms)}  (F7: noted)", "alarm"
        if line.phase is LinePhase.ENDED:
            return "This line has ended.", "faint"
        if line.offered_now:
            return "A live session is waiting for you now: F5 joins.", "offered"
        upcoming = [
            offer
            for offer in self._device.offers(line.name)
            if offer.state is OfferState.OFFERED and offer.at > self._now()
        ]
        if upcoming:
            return f"Live session: {format_time(upcoming[0].at)}", "offered"
        if line.phase is LinePhase.OPENING:
            return "Waiting for the first answer. You can write already; it is kept for them.", "faint"
        if line.phase is LinePhase.RETURNING:
            return "This device lost its place and has asked to come back; what you write waits.", "faint"
        if not line.safety_number_confirmed:
            return "Safety number not compared yet (F4).", "faint"
        return "", "faint"
