"""The full-screen app against a fake device: both roles, every key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Checkbox, Input, TextArea

from clients.audit.claims import load
from clients.sdk.errors import CannotBeContacted, InvitationUsed, RelayUnreachable, TimedOut
from clients.sdk.linking.errors import CodeWasUsed
from clients.sdk.model import (
    ConnectionChanged,
    ConnectionState,
    LineName,
    LinePhase,
    MessageKind,
    MessageState,
    MessageStateChanged,
    Offer,
    OfferState,
    Role,
    SessionOffered,
)
from clients.sdk.session.front import EndReason
from clients.terminal.app import AmanatApp
from clients.terminal.composer import Composer
from clients.terminal.conversation import Bubble
from clients.terminal.crisis_screen import CrisisScreen
from clients.terminal.devices_screen import DevicesScreen, RemoveDeviceScreen
from clients.terminal.dialogs import (
    AcceptScreen,
    EndScreen,
    InvitationScreen,
    SafetyNumberScreen,
    WaitingScreen,
)
from clients.terminal.home_screen import HomeScreen
from clients.terminal.line_screen import LineScreen
from clients.terminal.promises_screen import PromisesScreen
from clients.terminal.unlock_screen import UnlockScreen
from support.fake_device import NOW, FakeDevice, FakeVault, own_device_summary, session_result
from support.screen import rest, shown, told

LINK = (
    "https://relay.example.org/i#AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAAAAAAAAAAAAAAAAAAAAAAUTbqWsCU"
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "vault.key").write_bytes(b"")  # what tells the app that there is a vault
    yield tmp_path
    FakeDevice.vaults.clear()


def make_vault(home: Path, role: Role) -> FakeVault:
    FakeDevice.vaults[home] = vault = FakeVault(
        role, "https://relay.example.org", "secret words", "Dr Sara Malik"
    )
    return vault


class HeadlessApp(AmanatApp):
    """The app without a terminal that it could lend to anybody."""

    @contextmanager
    def suspend(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def running(
    home: Path, *, unlock: bool = True, size: tuple[int, int] = (110, 36)
) -> AsyncIterator[tuple[AmanatApp, Pilot[int]]]:
    app = HeadlessApp(home, device_class=FakeDevice, now=lambda: NOW)
    async with app.run_test(size=size) as pilot:
        await rest(pilot)
        if unlock:
            await type_passphrase(app, pilot, "secret words")
            assert on(app, HomeScreen)
        yield app, pilot


async def type_passphrase(app: AmanatApp, pilot: Pilot[int], passphrase: str) -> None:
    app.screen.query_one("#passphrase", Input).value = passphrase
    await pilot.press("enter")
    await rest(pilot)


def on(app: AmanatApp, screen: type[Screen[Any]]) -> bool:
    """Whether that screen is on top (a function, so that mypy forgets the answer)."""
    return isinstance(app.screen, screen)


async def write(app: AmanatApp, pilot: Pilot[int], text: str) -> None:
    app.screen.query_one(Composer).put(text)
    await pilot.pause()
    await pilot.press("enter")
    await rest(pilot)


@pytest.mark.asyncio
async def test_wrong_passphrase_is_said_and_asked_again(home: Path) -> None:
    make_vault(home, Role.CLIENT)
    async with running(home, unlock=False) as (app, pilot):
        await type_passphrase(app, pilot, "wrong")
        assert on(app, UnlockScreen)
        assert "does not open the vault" in shown(app.screen)
        await type_passphrase(app, pilot, "secret words")
        assert on(app, HomeScreen)


@pytest.mark.asyncio
async def test_folder_without_a_vault_says_what_to_do(tmp_path: Path) -> None:
    async with running(tmp_path, unlock=False) as (app, _):
        assert "amanat --home DIR init" in shown(app.screen)


@pytest.mark.asyncio
async def test_locked_screen_tells_nothing(home: Path) -> None:
    vault = make_vault(home, Role.THERAPIST)
    vault.add_line("blue-heron")
    async with running(home, unlock=False) as (app, _):
        assert "blue-heron" not in shown(app.screen)
        assert "Therapist" not in shown(app.screen)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.asyncio
async def test_lines_with_unread_marks_and_the_newest_conversation(home: Path, role: Role) -> None:
    vault = make_vault(home, role)
    vault.add_line("quiet-river")
    vault.add_line("blue-heron")
    vault.arrive("quiet-river", "older", at=NOW - 7200)
    vault.arrive("quiet-river", "old", at=NOW - 7100)
    vault.arrive("blue-heron", "the newest words")
    async with running(home) as (app, _):
        screen = shown(app.screen)
        assert "the newest words" in screen
        assert "\u00a02\u00a0" in screen  # unread on the other line
        assert role.value.capitalize() in screen
        assert vault.lines["blue-heron"].summary.unread == 0
        assert vault.lines["quiet-river"].summary.unread == 2


@pytest.mark.asyncio
async def test_choosing_another_line_keeps_the_draft(home: Path) -> None:
    vault = make_vault(home, Role.THERAPIST)
    vault.add_line("first")
    vault.add_line("second")
    vault.arrive("second", "of the second", at=NOW - 10)
    vault.arrive("first", "of the first")
    async with running(home) as (app, pilot):
        app.screen.query_one(Composer).put("a draft")
        await pilot.press("escape", "down")
        await rest(pilot)
        assert "of the second" in shown(app.screen)
        assert app.screen.query_one(Composer).text == ""
        await pilot.press("up")
        await rest(pilot)
        assert app.screen.query_one(Composer).text == "a draft"
        assert "of the first" in shown(app.screen)


@pytest.mark.asyncio
async def test_message_goes_through_its_states(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    async with running(home) as (app, pilot):
        await write(app, pilot, "Salam")
        assert "waiting to be sent" in shown(app.screen)
        assert app.screen.query_one(Composer).text == ""
        for state, words in (
            (MessageState.STORED, "✓ sent"),
            (MessageState.DELIVERED, "✓✓ delivered"),
            (MessageState.FAILED, "✗ not delivered"),
        ):
            line = vault.lines["Dr Sara"]
            line.messages[-1] = replace(line.messages[-1], state=state)
            vault.events.put_nowait(
                MessageStateChanged(line=LineName("Dr Sara"), item_id=line.messages[-1].item_id, state=state)
            )
            await rest(pilot)
            assert words in shown(app.screen)
        assert len(app.screen.query(Bubble)) == 1


@pytest.mark.asyncio
async def test_text_of_several_lines_is_sent_whole(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    async with running(home) as (_, pilot):
        await pilot.press("a", "ctrl+j", "b", "enter")
        await rest(pilot)
        assert ("send_text", "a\nb") in vault.calls


MIXED = "شکریہ کہ آپ نے بتایا۔ Let's talk at 15:00 — ٹھیک ہے؟ می\u200cخواهم e\u0301 👩‍⚕️"


@pytest.mark.asyncio
async def test_urdu_and_english_survive_the_composer_and_the_screen(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    async with running(home) as (app, pilot):
        app.screen.query_one(TextArea).focus()
        app.screen.query_one(TextArea).insert(MIXED)
        await pilot.press("enter")
        await rest(pilot)
        assert ("send_text", MIXED) in vault.calls
        assert "شکریہ" in shown(app.screen)
        assert app.screen.query_one(".bubble").has_class("rtl")


@pytest.mark.asyncio
async def test_too_long_a_text_is_told_before_sending_and_stays(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    text = "ا" * 6_150
    async with running(home) as (app, pilot):
        app.screen.query_one(Composer).put(text)
        await rest(pilot)
        assert "12 bytes too long" in shown(app.screen)
        await pilot.press("enter")
        await rest(pilot)
        assert app.screen.query_one(Composer).text == text
        assert vault.lines["Dr Sara"].messages == []


@pytest.mark.asyncio
async def test_missing_notice_and_newer_marks(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "", kind=MessageKind.MISSING, state=MessageState.MISSING)
    vault.arrive("Dr Sara", "", kind=MessageKind.NEWER_VERSION)
    vault.arrive("Dr Sara", "They came back.", kind=MessageKind.NOTICE)
    async with running(home) as (app, pilot):
        screen = shown(app.screen)
        assert "a message is missing here" in screen
        assert "needs a newer version" in screen
        assert "They came back." in screen
        line = vault.lines["Dr Sara"]
        line.messages[0] = replace(line.messages[0], kind=MessageKind.TEXT, text="here it is")
        vault.arrive("Dr Sara", "and the next")
        await rest(pilot)
        assert "is missing here" not in shown(app.screen)
        assert "here it is" in shown(app.screen)


@pytest.mark.asyncio
async def test_s7_a_kept_session_stands_in_the_conversation_and_is_named(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "over the line")
    for sender, text in (("me", "said live"), ("them", "answered live")):
        vault.arrive("Dr Sara", text, sender=sender, kind=MessageKind.SESSION, session_id="ab" * 16)
    async with running(home) as (app, _):
        screen = shown(app.screen)
        assert screen.count("from a live session, kept because you both agreed") == 1
        assert "said live" in screen
        assert screen.count("  live session") == 2


@pytest.mark.asyncio
async def test_escape_sequences_of_a_peer_do_not_reach_the_terminal(home: Path) -> None:
    vault = make_vault(home, Role.THERAPIST)
    vault.add_line("client")
    vault.arrive("client", "\x1b]0;owned\x07 [bold]no markup[/bold]")
    async with running(home) as (app, _):
        assert "\x1b" not in shown(app.screen)
        assert "[bold]no markup[/bold]" in shown(app.screen)


@pytest.mark.asyncio
async def test_connection_state_is_shown(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    async with running(home) as (app, pilot):
        assert "● connected" in shown(app.screen)
        vault.events.put_nowait(ConnectionChanged(state=ConnectionState.WAITING))
        await rest(pilot)
        assert "trying again" in shown(app.screen)


@pytest.mark.asyncio
async def test_panic_key_clears_the_screen_and_locks_the_vault(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "private words")
    async with running(home) as (app, pilot):
        app.screen.query_one(Composer).put("a draft nobody shall see")
        await pilot.press("f4")
        await rest(pilot)
        before = vault.open  # a name of its own, so that mypy does not think it stays so
        assert before
        await pilot.press("f8")
        await rest(pilot)
        assert on(app, UnlockScreen)
        assert not vault.open
        assert not any(isinstance(screen, HomeScreen) for screen in app.screen_stack)
        assert "private" not in shown(app.screen)
        await type_passphrase(app, pilot, "secret words")
        assert "private words" in shown(app.screen)
        assert app.screen.query_one(Composer).text == ""


@pytest.mark.asyncio
async def test_quitting_closes_the_vault(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    async with running(home) as (app, pilot):
        await pilot.press("ctrl+q")
        await rest(pilot)
        assert ("settle", None) in vault.calls
        assert not vault.open
        assert app.return_value == 0


@pytest.mark.asyncio
async def test_promises_stand_in_the_app_as_in_the_claims(home: Path) -> None:
    make_vault(home, Role.CLIENT)
    async with running(home, unlock=False, size=(110, 400)) as (app, pilot):
        await pilot.press("f1")
        await rest(pilot)
        assert on(app, PromisesScreen)
        words = " ".join(shown(app.screen).replace("│", " ").split())
        for claim in load():
            english = (claim.sentence, f"For {claim.audience}", claim.how, claim.blind)
            urdu = (claim.urdu, claim.urdu_audience, claim.urdu_blind)
            for part in (*english, *urdu) if claim.summary else ():
                assert part in words
        await pilot.press("f1")
        await rest(pilot)
        assert on(app, UnlockScreen)


@pytest.mark.asyncio
async def test_crisis_card_opens_on_one_key_in_every_screen(home: Path) -> None:
    vault = make_vault(home, Role.THERAPIST)
    vault.add_line("client")
    async with running(home, unlock=False) as (app, pilot):
        for opening in ((), ("f3",), ("f4",), ("f5",), ("f9",)):
            if opening and not on(app, HomeScreen):
                await type_passphrase(app, pilot, "secret words")
            await pilot.press(*opening)
            await rest(pilot)
            await pilot.press("f2")
            await rest(pilot)
            assert on(app, CrisisScreen), opening
            assert "0311-7786264" in shown(app.screen)
            await pilot.press("f2")
            await rest(pilot)
            assert not on(app, CrisisScreen)
            if opening:
                await pilot.press("escape")
                await rest(pilot)


@pytest.mark.asyncio
async def test_therapist_sees_a_new_invitation_as_link_and_code(home: Path) -> None:
    make_vault(home, Role.THERAPIST)
    async with running(home) as (app, pilot):
        await pilot.press("f3")
        await rest(pilot)
        assert on(app, InvitationScreen)
        screen = shown(app.screen)
        assert "https://relay.example.org/i#" in screen
        assert "▀" in screen
        assert "2026-12-03" in screen


@pytest.mark.asyncio
async def test_invitation_that_the_relay_refuses_is_said(home: Path) -> None:
    vault = make_vault(home, Role.THERAPIST)
    vault.trouble["invite"] = RelayUnreachable("https://relay.example.org")
    async with running(home) as (app, pilot):
        await pilot.press("f3")
        await rest(pilot)
        assert on(app, HomeScreen)
        assert "cannot be reached" in told(app)


@pytest.mark.asyncio
async def test_client_accepts_an_invitation(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    async with running(home) as (app, pilot):
        assert "F3 accepts an invitation" in shown(app.screen)
        await pilot.press("f3")
        await rest(pilot)
        assert on(app, AcceptScreen)
        app.screen.query_one("#link", Input).value = LINK
        app.screen.query_one("#name", Input).value = "my therapist"
        app.screen.query_one("#hurry", Checkbox).value = True
        await pilot.click("#accept")
        await rest(pilot)
        assert on(app, HomeScreen)
        assert ("connect", True) in vault.calls
        assert "my therapist" in shown(app.screen)
        assert "You can write already" in shown(app.screen)


@pytest.mark.parametrize("trouble", [InvitationUsed(), CannotBeContacted()])
@pytest.mark.asyncio
async def test_invitation_that_cannot_be_used_is_said(
    home: Path, trouble: InvitationUsed | CannotBeContacted
) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.trouble["connect"] = trouble
    async with running(home) as (app, pilot):
        await pilot.press("f3")
        await rest(pilot)
        app.screen.query_one("#link", Input).value = LINK
        await pilot.click("#accept")
        await rest(pilot)
        assert on(app, HomeScreen)
        assert trouble.sentence in told(app)


@pytest.mark.asyncio
async def test_mistyped_invitation_is_said(home: Path) -> None:
    make_vault(home, Role.CLIENT)
    async with running(home) as (app, pilot):
        await pilot.press("f3")
        await rest(pilot)
        app.screen.query_one("#link", Input).value = LINK[:-1]
        await pilot.click("#accept")
        await rest(pilot)
        assert "incomplete or mistyped" in told(app)


@pytest.mark.asyncio
async def test_safety_number_as_digits_and_code_and_its_confirmation(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    async with running(home) as (app, pilot):
        assert "not compared" in shown(app.screen)
        await pilot.press("f4")
        await rest(pilot)
        assert on(app, SafetyNumberScreen)
        screen = shown(app.screen)
        for group in FakeDevice(home, vault).safety_number("Dr Sara").split():
            assert group in screen
        assert "█" in screen
        assert "It differs" not in screen
        await pilot.click("#same")
        await rest(pilot)
        assert vault.lines["Dr Sara"].summary.safety_number_confirmed
        assert "not compared" not in shown(app.screen)


@pytest.mark.parametrize(
    ("button", "phase"), [("#same", LinePhase.RETURNING), ("#different", LinePhase.ENDED)]
)
@pytest.mark.asyncio
async def test_stopped_line_is_decided_by_people(home: Path, button: str, phase: LinePhase) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara", phase=LinePhase.STOPPED, alarms=("The relay showed different messages.",))
    async with running(home) as (app, pilot):
        assert "This line is stopped" in shown(app.screen)
        await pilot.press("f4")
        await rest(pilot)
        await pilot.click(button)
        await rest(pilot)
        assert vault.lines["Dr Sara"].summary.phase is phase


@pytest.mark.asyncio
async def test_alarm_that_was_noted_is_not_shown_for_ever(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara", alarms=("The relay has lost stored messages.",))
    async with running(home) as (app, pilot):
        assert "The relay has lost stored messages.  (F7: noted)" in shown(app.screen)
        await pilot.press("f7")
        await rest(pilot)
        assert "lost stored messages" not in shown(app.screen)
        assert not app.screen.check_action("acknowledge", ())


@pytest.mark.asyncio
async def test_ending_a_line_says_what_is_lost_and_asks(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara", undelivered=2)
    vault.arrive("Dr Sara", "words")
    async with running(home) as (app, pilot):
        await pilot.press("f9")
        await rest(pilot)
        assert on(app, LineScreen)
        await pilot.click("#end")
        await rest(pilot)
        assert on(app, EndScreen)
        assert "2 message(s) are not delivered" in shown(app.screen)
        await pilot.press("escape")
        await rest(pilot)
        assert vault.lines["Dr Sara"].summary.phase is LinePhase.OPEN
        await pilot.press("f9")
        await rest(pilot)
        await pilot.click("#end")
        await rest(pilot)
        app.screen.query_one("#delete", Checkbox).value = True
        await pilot.click("#end")
        await rest(pilot)
        assert ("end_line", ("Dr Sara", False, True)) in vault.calls
        assert "This line has ended" in shown(app.screen)
        assert not app.screen.query_one(Composer).display


@pytest.mark.asyncio
async def test_renaming_a_line(home: Path) -> None:
    vault = make_vault(home, Role.THERAPIST)
    vault.add_line("line-1")
    async with running(home) as (app, pilot):
        await pilot.press("f9")
        await rest(pilot)
        app.screen.query_one("#name", Input).value = "blue-heron"
        await pilot.click("#rename")
        await rest(pilot)
        assert list(vault.lines) == ["blue-heron"]
        assert "blue-heron" in shown(app.screen)


@pytest.mark.asyncio
async def test_appointments_are_offered_cancelled_and_declined(home: Path) -> None:
    vault = make_vault(home, Role.THERAPIST)
    vault.add_line("client")
    async with running(home) as (app, pilot):
        await pilot.press("f9")
        await rest(pilot)
        app.screen.query_one("#time", Input).value = "+2h"
        await pilot.click("#offer")
        await rest(pilot)
        assert vault.lines["client"].offers[0].at == NOW + 7_200
        assert "Live session:" in shown(app.screen)
        await pilot.press("f9")
        await rest(pilot)
        await pilot.click("#offer-0")
        await rest(pilot)
        assert vault.lines["client"].offers[0].state is OfferState.CANCELLED
        await pilot.press("f9")
        await rest(pilot)
        app.screen.query_one("#time", Input).value = "when the moon is full"
        await pilot.click("#offer")
        await rest(pilot)
        assert "is not a time" in told(app)


@pytest.mark.asyncio
async def test_client_declines_an_appointment(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    offer = Offer(offer_id="ab" * 16, at=NOW + 60, sender="them", state=OfferState.OFFERED)
    vault.add_line("Dr Sara").offers.append(offer)
    async with running(home) as (app, pilot):
        await pilot.press("f9")
        await rest(pilot)
        assert not app.screen.query("#time")
        await pilot.click("#offer-0")
        await rest(pilot)
        assert vault.lines["Dr Sara"].offers[0].state is OfferState.DECLINED


@pytest.mark.asyncio
async def test_waiting_for_a_session_can_be_given_up(home: Path) -> None:
    vault = make_vault(home, Role.THERAPIST)
    vault.add_line("client")
    async with running(home) as (app, pilot):
        await pilot.press("f5")
        await rest(pilot)
        assert on(app, WaitingScreen)
        assert "is offered to client" in shown(app.screen)
        await pilot.press("escape")
        await rest(pilot)
        assert on(app, HomeScreen)
        assert ("session closed", None) in vault.calls


@pytest.mark.asyncio
async def test_session_runs_on_the_lent_terminal_and_its_end_is_told(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara", offered_now=True)
    vault.session_result = session_result()
    async with running(home) as (app, pilot):
        assert "live session" in shown(app.screen)
        await pilot.press("f5")
        await rest(pilot)
        assert [call for call in vault.calls if call[0].startswith("session")] == [
            ("session start", ("clients.terminal.session_view:run", None, 900.0)),
            ("session command", "begin"),
            ("session closed", None),
        ]
        assert on(app, HomeScreen)
        assert "The session has ended" in told(app)


@pytest.mark.asyncio
async def test_session_wiped_by_the_panic_key_locks_the_vault_too(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    vault.session_result = session_result(EndReason.PANIC)
    async with running(home) as (app, pilot):
        await pilot.press("f5")
        await rest(pilot)
        assert on(app, UnlockScreen)
        assert not vault.open


@pytest.mark.asyncio
async def test_nobody_came_is_said(home: Path) -> None:
    vault = make_vault(home, Role.THERAPIST)
    vault.add_line("client")
    vault.trouble["session start"] = TimedOut("Nobody joined in time.")
    async with running(home) as (app, pilot):
        await pilot.press("f5")
        await rest(pilot)
        assert on(app, HomeScreen)
        assert "Nobody joined in time." in told(app)


@pytest.mark.asyncio
async def test_offer_of_a_session_is_announced(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    async with running(home) as (app, pilot):
        vault.events.put_nowait(SessionOffered(line=LineName("Dr Sara"), session_id="00"))
        await rest(pilot)
        assert "F5 joins" in told(app)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (40, 15), (200, 60)])
@pytest.mark.asyncio
async def test_screens_of_any_size_show_the_conversation(home: Path, size: tuple[int, int]) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "words")
    async with running(home, size=size) as (app, _):
        assert "words" in shown(app.screen)


@pytest.mark.asyncio
async def test_defect_ends_the_app_without_showing_what_it_held(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "private words")
    app = AmanatApp(home, device_class=FakeDevice, now=lambda: NOW)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the pilot raises again what the app met
        async with app.run_test() as pilot:
            await rest(pilot)
            await type_passphrase(app, pilot, "secret words")
            vault.events.put_nowait(None)  # type: ignore[arg-type]  # no event at all
            app.call_later(lambda: 1 // 0)
            await rest(pilot)
    printed = capsys.readouterr()
    assert "private words" not in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err
    assert not vault.open


def test_fixture_link_is_one_of_ours() -> None:
    from keys.invitations import parse_link

    assert parse_link(LINK).relay_url == json.loads('"https://relay.example.org"')


@pytest.mark.asyncio
@pytest.mark.parametrize(("role", "label"), [(Role.CLIENT, "Connect"), (Role.THERAPIST, "Invite")])
async def test_f3_says_what_it_does_for_this_person(home: Path, role: Role, label: str) -> None:
    make_vault(home, role)
    async with running(home) as (app, _):
        offered = [
            bound.binding for bound in app.screen.active_bindings.values() if bound.binding.key == "f3"
        ]
        assert [binding.description for binding in offered] == [label]


@pytest.mark.asyncio
async def test_devices_are_shown_and_one_is_removed_after_a_question(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    vault.devices.append(own_device_summary("phone"))
    async with running(home) as (app, pilot):
        await pilot.press("f6")
        await rest(pilot)
        assert on(app, DevicesScreen)
        assert "this device: first device" in shown(app.screen)
        assert "phone: linked" in shown(app.screen)
        await pilot.click("#remove-1")
        await rest(pilot)
        assert on(app, RemoveDeviceScreen)
        await pilot.press("enter")  # the harmless answer
        await rest(pilot)
        assert [device.name for device in vault.devices] == ["phone"]
        await pilot.press("f6")
        await rest(pilot)
        await pilot.click("#remove-1")
        await rest(pilot)
        await pilot.click("#remove")
        await rest(pilot)
        assert vault.devices == []


@pytest.mark.asyncio
async def test_a_device_is_linked_by_its_code(home: Path) -> None:
    vault = make_vault(home, Role.CLIENT)
    async with running(home) as (app, pilot):
        await pilot.press("f6")
        await rest(pilot)
        app.screen.query_one("#code", Input).value = "https://relay.example.org/l#code"
        await pilot.click("#link")
        await rest(pilot)
        assert ("link", "https://relay.example.org/l#code") in vault.calls
        assert "device-2 is linked" in told(app)
        vault.trouble["link"] = CodeWasUsed()
        vault.devices.clear()
        await pilot.press("f6")
        await rest(pilot)
        app.screen.query_one("#code", Input).value = "again"
        await pilot.press("tab")
        await pilot.click("#link")
        await rest(pilot)
        assert "used already" in told(app)
