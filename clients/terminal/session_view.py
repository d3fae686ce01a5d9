"""A live session as a person sees it: runs in the session's own process and dies with it (S7).

`run` is the front end that `SessionHandle.start(front=TERMINAL)` names. A parent with a screen of its own
passes the option `WAIT_FOR_BEGIN` and sends `BEGIN` once it has let go of the terminal.

Texts are held by the widgets that show them, and nowhere else. At the end they are blanked before the eyes
of the person, line by line, and the widgets are removed; what CPython does with the freed memory is the
claim of the process's end, not of this module.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum
from typing import ClassVar, Final

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Center, Horizontal, Middle, Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.timer import Timer
from textual.widgets import Button, Footer, Label, Static

from clients.sdk.errors import AmanatError
from clients.sdk.session.front import (
    Ended,
    EndReason,
    KeepChanged,
    Link,
    LinkChanged,
    PeerEnding,
    PeerReturned,
    PeerTyping,
    SessionEvent,
    SessionPort,
    TextDelivered,
    TextReceived,
)
from clients.terminal.base import CalmApp, key
from clients.terminal.composer import Composer
from clients.terminal.conversation import Bubble
from clients.terminal.dialogs import Card
from clients.terminal.display import duration, printable

WAIT_FOR_BEGIN: Final = "wait_for_begin"
BEGIN: Final = "begin"

NOTICE_MINUTES: Final = (10, 5)
_TYPING_SECONDS: Final = 5.0
"""Without a key for so long, a person is not typing any more."""
_WIPE_STEPS: Final = 24
_WIPE_SECONDS: Final = 1.2

_LINK_WORDS: Final = {
    Link.CONNECTING: "◌ connecting …",
    Link.CONNECTED: "● connected, both of you",
    Link.PEER_QUIET: "◌ nothing heard from them just now",
    Link.OFFLINE: "○ no connection, trying again",
}
_REASON_SENTENCES: Final = {
    EndReason.ENDED: "The session has ended. Everything written in it arrived.",
    EndReason.PEER_SILENT: "Nothing was heard from the other side for ten minutes. The session has ended.",
    EndReason.PANIC: "The session was wiped.",
    EndReason.PARENT_GONE: "The program around the session ended, and the session with it.",
    EndReason.RELAY_REFUSED: "The relay refused to carry the session on. It has ended.",
    EndReason.PEER_BROKEN: "The other device sent what no Amanat sends. The session has ended.",
    EndReason.FORK: "The relay showed your two devices different things. The session has ended.",
    EndReason.NOT_JOINED: "The session did not begin.",
}
GONE_SENTENCE: Final = (
    "Nothing of it was written to disk. The next key ends the process that held its keys and its texts."
)
KEPT_SENTENCE: Final = (
    "Its text stands in the line's conversation, in the vault of each of you, because you both agreed. Its "
    "keys are gone; the next key ends the process that held them."
)


def keep_sentence(name: str, *, mine: bool, theirs: bool) -> str:
    """What will become of the text if the session ends now."""
    match mine, theirs:
        case True, True:
            return "You both agreed: this text is kept on both devices when you end. F6 takes it back."
        case True, False:
            return f"You asked {name} to keep this text; without their yes it is wiped. F6 takes it back."
        case False, True:
            return f"{name} asks to keep this text on both devices. F6 answers; without your yes it is wiped."
        case _:
            return "This text is wiped on both devices when you end."


class KeepChoice(Enum):
    """What came of the question whether the text is to be kept."""

    YES = "yes"
    NO = "no"


async def run(session: SessionPort) -> None:
    """The front end; see the module's docstring and `clients.sdk.session.front`."""
    if session.options.get(WAIT_FOR_BEGIN):
        async for kind, _ in session.commands():
            if kind == BEGIN:
                break
    await SessionApp(session).run_async()


class EndQuestion(ModalScreen[bool]):
    """Asks before a session ends for both."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(False)", "Go on")]

    def __init__(self, *, kept: bool = False) -> None:
        super().__init__()
        self._kept = kept

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        fate = (
            "You both agreed to keep it: it goes into the line's conversation on both devices."
            if self._kept
            else "Then it is wiped on both devices, for good."
        )
        with Card(classes="card small"):
            yield Label("End the session?", classes="card-title")
            yield Static(f"What you both wrote still arrives. {fate}")
            with Horizontal(classes="buttons"):
                yield Button("End it", id="end", variant="error")
                yield Button("Go on", id="stay", variant="primary")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "end")


class KeepQuestion(ModalScreen[KeepChoice | None]):
    """Asks, agrees, declines or takes back (S7)."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Leave it as it is")]

    def __init__(self, *, name: str, mine: bool, theirs: bool) -> None:
        super().__init__()
        self._peer_name = name
        self._mine = mine
        self._theirs = theirs

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Card(classes="card small"):
            yield Label("Keep this text?", classes="card-title")
            yield Static(self._question(), markup=False)
            with Horizontal(classes="buttons"):
                if not self._mine:
                    yield Button("Agree" if self._theirs else "Ask", id="yes")
                if self._mine or self._theirs:
                    yield Button("Take it back" if self._mine else "Do not keep it", id="no")
                yield Button("Leave it as it is", id="leave", variant="primary")

    def on_mount(self) -> None:
        """Begin with the answer that changes nothing."""
        self.query_one("#leave", Button).focus()

    def _question(self) -> str:
        now = keep_sentence(self._peer_name, mine=self._mine, theirs=self._theirs)
        return (
            f"{now}\n\nKept means: what the two of you wrote in this session stands in the line's "
            "conversation, in both vaults, without signatures, until it is deleted there. Either of you can "
            "take it back until the session ends."
        )

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss({"yes": KeepChoice.YES, "no": KeepChoice.NO}.get(event.button.id or ""))


class GoneScreen(Screen[None]):
    """What is left of a session: one sentence. Any key leaves."""

    def __init__(self, reason: EndReason, *, kept: bool = False) -> None:
        super().__init__()
        self._reason = reason
        self._kept = kept

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        with Middle(), Center(), Vertical(id="gone"):
            yield Label("Session ended", classes="card-title")
            yield Static(_REASON_SENTENCES[self._reason])
            yield Static(KEPT_SENTENCE if self._kept else GONE_SENTENCE, classes="faint")
            yield Label("Any key leaves", classes="card-keys")

    def on_key(self, event: events.Key) -> None:
        """Leave, except for the crisis card."""
        if event.key != "f2":
            event.stop()
            self.app.exit()


class SessionApp(CalmApp[None]):
    """The session's screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("f9", "end", "End the session"),
        key("ctrl+q", "end", ""),
        key("f6", "keep", "Keep the text"),
        key("f8", "panic_now", "Wipe now"),
    ]

    def __init__(
        self,
        session: SessionPort,
        *,
        now: Callable[[], float] = time.time,
        wipe_seconds: float = _WIPE_SECONDS,
    ) -> None:
        super().__init__()
        self._session = session
        self._now = now
        self._wipe_seconds = wipe_seconds
        self._noticed: set[int] = set()
        self._typing_timer: Timer | None = None
        self._typing = False
        self._over = False
        self._mine = False
        self._theirs = False

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        with Horizontal(id="bar"):
            yield Label(f"Live session · {printable(self._session.peer_name)}", id="bar-title", markup=False)
            yield Label("", id="bar-countdown")
            yield Label("", id="bar-connection")
        yield Label("", id="session-notice")
        yield Label("", id="session-keep", markup=False)
        yield VerticalScroll(id="session-log")
        yield Label("", id="session-typing", markup=False)
        yield Composer()
        yield Footer()

    def on_mount(self) -> None:
        """Start the clock and listen."""
        self.query_one("#session-notice").display = False
        self.query_one("#session-log").anchor()
        self._show_link(self._session.link)
        self._show_keeping()
        self.tick()
        self.set_interval(1.0, self.tick)
        self.query_one(Composer).focus_writing()
        self._listen()

    @work(exit_on_error=True)
    async def _listen(self) -> None:
        async for event in self._session.events():
            if not self._over:
                await self.session_event(event)

    async def session_event(self, event: SessionEvent) -> None:
        """Show what happened."""
        match event:
            case TextReceived():
                await self._add(Bubble(mine=False, text=event.text, utc_seconds=event.utc_seconds))
            case TextDelivered():
                for bubble in self.query(f"#t{event.text_id}").results(Bubble):
                    bubble.set_mark("✓✓ delivered")
            case PeerTyping():
                name = printable(self._session.peer_name)
                self.query_one("#session-typing", Label).update(
                    f"{name} is writing …" if event.typing else ""
                )
            case LinkChanged():
                self._show_link(event.link)
            case PeerEnding():
                self._say(f"{printable(self._session.peer_name)} is ending the session.")
            case KeepChanged():
                self._keep_changed(event)
            case PeerReturned():
                self._say(
                    f"{printable(self._session.peer_name)} is back. What has no mark may not have arrived."
                )
            case Ended():
                self._end(event)

    def tick(self) -> None:
        """Show the time that is left, and remind at 10 and 5 minutes."""
        if self._over:
            return
        left = self._session.session_seconds - self._session.elapsed_seconds
        label = next(iter(self.query("#bar-countdown").results(Label)), None)
        if label is None:  # the screen is being taken down
            return
        label.update(f"{duration(left)} left" if left >= 0 else f"{duration(left)} over time")
        label.set_class(left < NOTICE_MINUTES[0] * 60, "late")
        due = [minutes for minutes in NOTICE_MINUTES if left <= minutes * 60 and minutes not in self._noticed]
        if due and left > 0:
            self._noticed.update(due)
            if (
                self._session.session_seconds > due[-1] * 60
            ):  # a session planned to be short needs no reminder
                self._say(f"About {due[-1]} minutes are left.")

    # -- writing

    @on(Composer.Submitted)
    async def _submitted(self, event: Composer.Submitted) -> None:
        event.stop()
        if self._over:
            return
        try:
            text_id = self._session.send(event.text)
        except AmanatError as error:
            self.notify(error.sentence, severity="error", timeout=12, markup=False)
            return
        self.query_one(Composer).clear()
        self._set_typing(typing=False)
        bubble = Bubble(mine=True, text=event.text, utc_seconds=self._now(), mark="○ on its way")
        bubble.id = f"t{text_id}"
        await self._add(bubble)

    @on(Composer.Edited)
    def _edited(self, event: Composer.Edited) -> None:
        event.stop()
        self._set_typing(typing=not event.empty)

    def _set_typing(self, *, typing: bool) -> None:
        if self._typing_timer is not None:
            self._typing_timer.stop()
            self._typing_timer = None
        if typing:
            self._typing_timer = self.set_timer(_TYPING_SECONDS, self.stopped_typing)
        if typing != self._typing and not self._over:
            self._typing = typing
            self._session.set_typing(typing)

    def stopped_typing(self) -> None:
        """No key for a while."""
        self._set_typing(typing=False)

    async def _add(self, bubble: Bubble) -> None:
        if self._over:
            return
        await self.query_one("#session-log").mount(bubble)

    # -- keeping the text, if both agree (S7)

    @work(group="question", exclusive=True)
    async def action_keep(self) -> None:
        """Ask, agree, decline or take back."""
        if self._over:
            return
        name = printable(self._session.peer_name)
        choice = await self.push_screen_wait(KeepQuestion(name=name, mine=self._mine, theirs=self._theirs))
        if choice is not None and not self._over:
            self._session.keep(choice is KeepChoice.YES)

    def _keep_changed(self, event: KeepChanged) -> None:
        self._mine, self._theirs = event.mine, event.theirs
        self._show_keeping()

    def _show_keeping(self) -> None:
        label = self.query_one("#session-keep", Label)
        name = printable(self._session.peer_name)
        label.update(keep_sentence(name, mine=self._mine, theirs=self._theirs))
        label.set_class(self._mine or self._theirs, "wished")

    # -- ending

    @work(group="question", exclusive=True)
    async def action_end(self) -> None:
        """Ask, and then end for both."""
        if self._over:
            self.exit()
        elif await self.push_screen_wait(EndQuestion(kept=self._mine and self._theirs)) and not self._over:
            self._say("Ending: waiting until everything has arrived …")
            self._session.end()

    def action_panic_now(self) -> None:
        """Wipe and leave, without a question and without a word to the peer."""
        self._over = True
        self.query_one("#session-log").remove_children()
        self.query_one(Composer).clear()
        self._session.panic()
        self.exit()

    def _end(self, ended: Ended) -> None:
        if self._over:
            return  # the panic key was faster: all is wiped, and the app is on its way out
        self._over = True
        composer = self.query_one(Composer)
        composer.clear()
        composer.display = False
        self.query_one("#session-typing", Label).update("")
        self.query_one("#bar-countdown", Label).update("")
        self.query_one("#session-keep").display = False
        self._say("The session is over. Wiping …")
        self._wipe(ended)

    @work(group="wipe")
    async def _wipe(self, ended: Ended) -> None:
        """Blank the texts from the last to the first, visibly, and leave one sentence."""
        bubbles = list(self.query(Bubble))[::-1]
        at_once = max(1, -(-len(bubbles) // _WIPE_STEPS))
        for start in range(0, len(bubbles), at_once):
            for bubble in bubbles[start : start + at_once]:
                bubble.blank()
                bubble.add_class("wiped")
            if self._wipe_seconds:
                await asyncio.sleep(self._wipe_seconds / _WIPE_STEPS)
        await self.query_one("#session-log").remove_children()
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        self.clear_notifications()
        await self.push_screen(GoneScreen(ended.reason, kept=ended.kept))

    # -- small things

    def _show_link(self, link: Link) -> None:
        label = self.query_one("#bar-connection", Label)
        label.update(_LINK_WORDS[link])
        label.set_class(link is Link.CONNECTED, "online")

    def _say(self, sentence: str) -> None:
        notice = self.query_one("#session-notice", Label)
        notice.update(sentence)
        notice.display = True
