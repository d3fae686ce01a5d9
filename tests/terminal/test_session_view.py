"""The live session's screen against a fake session: clock, notices, typing, states, the end that wipes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

import pytest
from textual.pilot import Pilot
from textual.widgets import TextArea

from clients.sdk.model import Role
from clients.sdk.session.front import (
    Ended,
    EndReason,
    KeepChanged,
    Link,
    LinkChanged,
    PeerEnding,
    PeerTyping,
    SessionEvent,
    TextDelivered,
    TextReceived,
)
from clients.terminal import session_view
from clients.terminal.composer import Composer
from clients.terminal.conversation import Bubble
from clients.terminal.session_view import GoneScreen, SessionApp
from support.fake_session import FakeSession
from support.screen import rest, shown, told

NOW = 1_795_000_000


@asynccontextmanager
async def running(session: FakeSession) -> AsyncIterator[tuple[SessionApp, Pilot[None]]]:
    app = SessionApp(session, now=lambda: NOW, wipe_seconds=0)
    async with app.run_test(size=(100, 30)) as pilot:
        await rest(pilot)
        yield app, pilot


async def happens(session: FakeSession, pilot: Pilot[None], *happenings: SessionEvent) -> None:
    for event in happenings:
        session.queue.put_nowait(event)
    await rest(pilot)


async def write(app: SessionApp, pilot: Pilot[None], text: str) -> None:
    app.query_one(TextArea).insert(text)
    await rest(pilot)
    await pilot.press("enter")
    await rest(pilot)


@pytest.mark.asyncio
async def test_the_clock_may_strike_while_the_screen_is_taken_down() -> None:
    async with running(FakeSession()) as (app, pilot):
        await app.query("#bar-countdown").remove()
        app.tick()
        await rest(pilot)


@pytest.mark.asyncio
async def test_texts_of_both_sides_and_delivery() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        await happens(session, pilot, TextReceived(text="کیسے ہیں آپ؟", utc_seconds=NOW))
        await write(app, pilot, "Better. بہتر")
        assert session.sent == ["Better. بہتر"]
        assert "on its way" in shown(app.screen)
        assert "کیسے ہیں آپ؟" in shown(app.screen)
        await happens(session, pilot, TextDelivered(text_id=1))
        assert "✓✓ delivered" in shown(app.screen)
        assert "Dr Sara Malik" in shown(app.screen)


@pytest.mark.asyncio
async def test_countdown_and_notices_at_ten_and_five_minutes() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        for elapsed, left, notice in (
            (0, "50:00 left", ""),
            (40 * 60 - 1, "10:01 left", ""),
            (40 * 60, "10:00 left", "About 10 minutes"),
            (44 * 60, "6:00 left", "About 10 minutes"),
            (45 * 60, "5:00 left", "About 5 minutes"),
            (50 * 60 + 12, "+0:12 over time", "About 5 minutes"),
        ):
            session.elapsed_seconds = elapsed
            app.tick()
            await rest(pilot)
            screen = shown(app.screen)
            assert left in screen
            assert notice in screen
            assert ("About" in screen) is bool(notice)


@pytest.mark.asyncio
async def test_typing_goes_both_ways() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        await happens(session, pilot, PeerTyping(typing=True))
        assert "Dr Sara Malik is writing" in shown(app.screen)
        await happens(session, pilot, PeerTyping(typing=False))
        assert "is writing" not in shown(app.screen)
        app.query_one(TextArea).insert("a")
        await rest(pilot)
        app.query_one(TextArea).insert("b")
        await rest(pilot)
        assert session.typing == [True]
        app.stopped_typing()
        assert session.typing == [True, False]
        await write(app, pilot, "c")
        assert session.typing == [True, False, True, False]


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (Link.CONNECTING, "connecting"),
        (Link.CONNECTED, "● connected, both of you"),
        (Link.PEER_QUIET, "nothing heard from them"),
        (Link.OFFLINE, "no connection, trying again"),
    ],
)
@pytest.mark.asyncio
async def test_connection_state(link: Link, words: str) -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        await happens(session, pilot, LinkChanged(link=link))
        assert words in shown(app.screen)


@pytest.mark.asyncio
async def test_too_long_a_text_is_told_and_stays() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        app.query_one(Composer).put("x" * 12_290)
        await rest(pilot)
        assert "2 bytes too long" in shown(app.screen)
        await pilot.press("enter")
        await rest(pilot)
        assert session.sent == []
        assert "nothing was sent" in told(app)
        assert len(app.query_one(Composer).text) == 12_290


@pytest.mark.asyncio
async def test_end_is_asked_for_and_can_be_taken_back() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        await pilot.press("f9")
        await rest(pilot)
        assert "End the session?" in shown(app.screen)
        await pilot.press("escape")
        await rest(pilot)
        assert session.done == []
        await pilot.press("f9")
        await rest(pilot)
        await pilot.press("enter")
        await rest(pilot)
        assert session.done == ["end"]
        assert isinstance(app.screen, GoneScreen)


@pytest.mark.parametrize("reason", list(EndReason))
@pytest.mark.asyncio
async def test_s7_end_wipes_every_text_from_the_screen_and_the_widgets(reason: EndReason) -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        texts = [TextReceived(text=f"private {number}", utc_seconds=NOW) for number in range(30)]
        await happens(session, pilot, *texts)
        app.query_one(Composer).put("private draft")
        bubbles = list(app.query(Bubble))
        assert len(bubbles) == 30
        await happens(session, pilot, Ended(reason=reason))
        assert isinstance(app.screen, GoneScreen)
        assert "private" not in shown(app.screen)
        assert not any("private" in repr(vars(bubble)) for bubble in bubbles)
        assert not any(app.screen_stack[0].query(Bubble))
        assert app.screen_stack[0].query_one(Composer).text == ""
        await pilot.press("space")
        await rest(pilot)
        assert not app.is_running


@pytest.mark.asyncio
async def test_peer_ending_is_announced() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        await happens(session, pilot, PeerEnding())
        assert "is ending the session" in shown(app.screen)


@pytest.mark.asyncio
async def test_panic_key_wipes_and_leaves_without_a_question() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        await happens(session, pilot, TextReceived(text="private", utc_seconds=NOW))
        await pilot.press("f8")
        await rest(pilot)
        assert session.done == ["panic"]
        assert not app.is_running
        assert not app.query(Bubble)


@pytest.mark.asyncio
async def test_crisis_card_during_a_session() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        await pilot.press("f2")
        await rest(pilot)
        assert "1166" in shown(app.screen)
        await happens(session, pilot, TextReceived(text="meanwhile", utc_seconds=NOW))
        await pilot.press("f2")
        await rest(pilot)
        assert "meanwhile" in shown(app.screen)


@pytest.mark.parametrize("options", [{}, {session_view.WAIT_FOR_BEGIN: "yes"}])
@pytest.mark.asyncio
async def test_front_end_waits_until_the_terminal_is_lent(
    monkeypatch: pytest.MonkeyPatch, options: Mapping[str, str]
) -> None:
    began: list[int] = []

    async def run_async(self: SessionApp) -> None:
        began.append(session.from_parent.qsize())

    monkeypatch.setattr(SessionApp, "run_async", run_async)
    session = FakeSession()
    session.options = MappingProxyType(options)
    for command in ("something else", session_view.BEGIN):
        session.from_parent.put_nowait((command, ""))
    await session_view.run(session)
    assert began == [0 if options else 2]


# -- S7: keeping the text, if both agree


@pytest.mark.asyncio
async def test_s7_what_becomes_of_the_text_is_always_on_the_screen() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        assert "This text is wiped on both devices when you end." in shown(app.screen)
        for mine, theirs, words in (
            (True, False, "You asked Dr Sara Malik to keep this text; without their yes it is wiped."),
            (False, True, "Dr Sara Malik asks to keep this text on both devices. F6 answers"),
            (
                True,
                True,
                "You both agreed: this text is kept on both devices when you end. F6 takes it back.",
            ),
            (False, False, "This text is wiped on both devices when you end."),
        ):
            await happens(session, pilot, KeepChanged(mine=mine, theirs=theirs))
            assert words in shown(app.screen)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    ("mine", "theirs", "button", "wishes"),
    [
        (False, False, "yes", [True]),
        (False, True, "yes", [True]),
        (False, True, "no", [False]),
        (True, False, "no", [False]),
        (True, True, "no", [False]),
        (True, True, "leave", []),
    ],
)
@pytest.mark.asyncio
async def test_s7_one_key_asks_agrees_declines_and_takes_back(
    role: Role, mine: bool, theirs: bool, button: str, wishes: list[bool]
) -> None:
    session = FakeSession(role=role)
    async with running(session) as (app, pilot):
        await happens(session, pilot, KeepChanged(mine=mine, theirs=theirs))
        await pilot.press("f6")
        await rest(pilot)
        assert "Keep this text?" in shown(app.screen)
        await pilot.press("enter" if button == "leave" else "tab")  # the harmless answer comes first
        if button != "leave":
            await pilot.click(f"#{button}")
        await rest(pilot)
        assert session.wishes == wishes


@pytest.mark.asyncio
async def test_s7_the_end_says_whether_the_text_is_kept() -> None:
    session = FakeSession()
    async with running(session) as (app, pilot):
        await happens(session, pilot, KeepChanged(mine=True, theirs=True))
        await pilot.press("f9")
        await rest(pilot)
        assert "agreed to keep it: it goes into" in shown(app.screen)
        await pilot.press("escape")
        await happens(session, pilot, Ended(reason=EndReason.ENDED, kept=True))
        await rest(pilot)
        assert isinstance(app.screen, GoneScreen)
        assert "because you both agreed" in shown(app.screen)
        assert "Nothing of it was written" not in shown(app.screen)
