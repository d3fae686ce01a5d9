"""`send`, `receive`, `history`, `lines`, `end`, `invite`, `connect`, `safety-number`, `resolve`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from clients.sdk.errors import (
    CannotBeContacted,
    DecisionNeeded,
    ExitCode,
    InvitationUsed,
    RelayUnreachable,
    SettleTimedOut,
)
from clients.sdk.model import LinePhase, MessageKind, MessageState, Offer, OfferState, Role
from support.fake_device import NOW, FakeDevice

UNREACHABLE = RelayUnreachable("https://relay.example.org")
MIXED = "شکریہ — thanks at 15:00\nand a second line \u2067سلام\u2069"


def test_text_is_sent_and_its_state_printed(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    sent = world.json("send", MIXED)
    assert sent == {"line": "Dr Sara", "item": "item-1", "state": "stored", "alarms": []}
    assert [name for name, _ in vault.calls] == ["send_text", "settle"]
    assert vault.lines["Dr Sara"].messages[0].text == MIXED
    assert not vault.open


def test_text_from_stdin(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    assert world.run("send", "-", typed=MIXED + "\n") == 0
    assert vault.lines["Dr Sara"].messages[0].text == MIXED


def test_relay_that_is_down_leaves_the_text_queued(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.trouble["settle"] = UNREACHABLE
    assert world.run("send", "Salam") == ExitCode.RELAY_UNREACHABLE
    assert "Queued on this device" in world.out
    assert world.err == UNREACHABLE.sentence + "\n"
    assert vault.lines["Dr Sara"].messages[0].state is MessageState.QUEUED


def test_a_line_that_lost_its_place_says_so_and_promises_nothing(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara", phase=LinePhase.RETURNING, alarms=("This is an old copy.",))
    vault.trouble["settle"] = UNREACHABLE
    assert world.run("send", "Salam") == ExitCode.RELAY_UNREACHABLE
    assert "once this device may use the line again" in world.out
    assert "next connection" not in world.out
    assert "Dr Sara: This is an old copy.\n" in world.err
    del vault.trouble["settle"]
    # what keeps a text here is said with each text; otherwise an alarm is told once
    vault.keeps_texts = True
    assert world.run("send", "Salam") == ExitCode.TIMED_OUT
    assert "Dr Sara: This is an old copy.\n" in world.err
    assert world.run("receive") == 0
    assert world.err == "Nothing new.\n"


def test_new_alarms_are_told_once_and_only_acknowledged_ones_go(world: Any) -> None:
    vault = world.vault()
    line = vault.add_line("Dr Sara", alarms=("The relay has lost stored messages.",))
    assert world.run("receive", "--json") == 0
    assert json.loads(world.out) == {
        "line": "Dr Sara",
        "kind": "alarm",
        "alarm": "relay-lost-state",
        "text": "The relay has lost stored messages.",
        "since": NOW,
        "decision_needed": False,
    }
    assert world.err == "Dr Sara: The relay has lost stored messages.\n"
    assert world.run("receive") == 0
    assert "lost stored" not in world.err
    assert world.run("send", "Salam") == 0
    assert world.err == ""
    assert world.json("alarms")["alarms"][0]["alarm"] == "relay-lost-state"
    assert world.run("alarms", "--line", "Dr Sara", "--acknowledge") == 0
    assert "lost stored" in world.out
    assert line.summary.alarms == ()
    assert world.run("alarms") == 0
    assert world.err == "No alarms.\n"


def test_a_stopped_line_ends_receive_and_send_with_nine_and_says_why(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara", phase=LinePhase.STOPPED, alarms=("Two records.",))
    vault.arrive("Dr Sara", "before")
    for times in (1, 0):
        assert world.run("receive") == ExitCode.DECISION_NEEDED
        assert world.err.count("Two records.") == times
        assert "amanat resolve" in world.err
    # an alarm that waits for a decision is not acknowledged away
    assert world.run("alarms", "--acknowledge") == ExitCode.DECISION_NEEDED
    assert vault.lines["Dr Sara"].summary.alarms == ("Two records.",)
    # the line was found to be stopped while the text was on its way
    assert world.run("send", "Salam") == ExitCode.DECISION_NEEDED
    assert "amanat resolve" in world.err


@pytest.mark.parametrize("command", ["send", "receive", "alarms"])
def test_help_names_the_exit_code_for_a_decision(world: Any, command: str) -> None:
    world.run(command, "--help")
    assert "  9  a person must decide first" in world.out


def test_text_too_long_is_refused_with_the_number_of_bytes(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    assert world.run("send", "x" * 12_300) == ExitCode.USAGE
    assert "12 bytes too long" in world.err
    assert vault.lines["Dr Sara"].messages == []


@pytest.mark.parametrize("text", ["", "-"])
def test_empty_text_is_refused(world: Any, text: str) -> None:
    world.vault().add_line("Dr Sara")
    assert world.run("send", text) == ExitCode.USAGE


def test_line_must_be_named_where_there_are_several(world: Any) -> None:
    vault = world.vault(Role.THERAPIST)
    assert world.run("send", "Salam") == ExitCode.USAGE
    vault.add_line("one")
    vault.add_line("two")
    assert world.run("send", "Salam") == ExitCode.USAGE
    assert world.run("send", "--line", "two", "Salam") == 0
    assert world.run("send", "--line", "three", "Salam") == ExitCode.USAGE
    assert "'three'" in world.err


def test_stopped_line_needs_a_decision(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.trouble["send_text"] = DecisionNeeded("Compare the safety number first.")
    assert world.run("send", "Salam") == ExitCode.DECISION_NEEDED


def test_received_messages_are_printed_once(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "first")
    vault.arrive("Dr Sara", MIXED)
    assert world.run("receive", "--json") == 0
    printed = [json.loads(line) for line in world.out.splitlines()]
    assert [message["text"] for message in printed] == ["first", MIXED]
    assert printed[0] | {"item": ""} == {
        "line": "Dr Sara",
        "item": "",
        "from": "them",
        "utc_seconds": NOW,
        "counter": 1,
        "kind": "text",
        "state": "received",
        "text": "first",
    }
    assert world.run("receive", "--json") == 0
    assert world.out == ""
    assert world.run("receive") == 0
    assert world.err == "Nothing new.\n"


def test_what_came_before_the_relay_went_is_shown(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "kept")
    vault.trouble["settle"] = UNREACHABLE
    assert world.run("receive") == ExitCode.RELAY_UNREACHABLE
    assert "Dr Sara: kept" in world.out
    vault.trouble["settle"] = SettleTimedOut(2)
    assert world.run("receive") == ExitCode.TIMED_OUT


def test_kinds_of_messages_are_said_in_words(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    for kind, words in {
        MessageKind.MISSING: "a message is missing here",
        MessageKind.NEWER_VERSION: "needs a newer version",
        MessageKind.OFFER: "amanat offers --line Dr Sara",
        MessageKind.NOTICE: "it happened",
    }.items():
        vault.arrive("Dr Sara", "it happened", kind=kind)
        world.run("receive")
        assert words in world.out


def test_control_characters_of_a_peer_do_not_reach_a_terminal(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "\x1b[2J\u202egone")
    world.run("history", terminal=True)
    assert "␛[2Jgone" in world.out
    assert "\x1b" not in world.out
    world.run("history")
    assert "\x1b[2J\u202egone" in world.out
    vault.arrive("Dr Sara", "\x9b2Jگیا")
    world.run("history", "--json")
    assert "\\u009b2Jگیا" in world.out
    assert "\x9b" not in world.out


def test_history_shows_both_sides(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "question", sender="me")
    vault.arrive("Dr Sara", "answer")
    assert world.run("history") == 0
    assert "you: question" in world.out
    assert "Dr Sara: answer" in world.out
    assert world.run("history", "--limit", "1") == 0
    assert "question" not in world.out


def test_lines_are_listed_with_what_matters(world: Any) -> None:
    vault = world.vault(Role.THERAPIST)
    vault.add_line("quiet-river", waiting_to_send=3, alarms=("Look here.",), peer_name="x")
    vault.add_line("blue-heron", safety_number_confirmed=True, offered_now=True)
    vault.arrive("blue-heron", "new")
    assert world.run("lines") == 0
    assert "blue-heron: open, 1 unread, a live session waits for you" in world.out
    assert "quiet-river (x): open, 3 waiting to be sent, safety number not compared" in world.out
    assert "  ! Look here." in world.out
    listed = world.json("lines")["lines"]
    assert [line["name"] for line in listed] == ["blue-heron", "quiet-river"]
    assert listed[1]["alarms"] == ["Look here."]


def test_line_is_ended_and_the_peer_told(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara", undelivered=1)
    assert world.run("end", "--line", "Dr Sara", person=True, typed="no\n") == ExitCode.FAILED
    assert "not delivered yet and may be lost" in world.err
    assert vault.lines["Dr Sara"].summary.phase is LinePhase.OPEN
    assert world.run("end", "--line", "Dr Sara", "--block", "--delete") == 0
    assert ("end_line", ("Dr Sara", True, True)) in vault.calls
    assert world.run("end", "--line", "Dr Sara") == ExitCode.USAGE


def test_line_ends_here_even_if_the_relay_is_down(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.trouble["settle"] = UNREACHABLE
    assert world.run("end", "--line", "Dr Sara") == 0
    assert "told with the next connection" in world.err


def test_invitation_as_link_text_and_code(world: Any) -> None:
    world.vault(Role.THERAPIST)
    assert world.run("invite", "--link-only") == 0
    link = world.out.strip()
    assert link.startswith("https://relay.example.org/i#")
    assert world.json("invite") == {"link": link, "expires": "2026-12-03"}
    for terminal in (False, True):
        assert world.run("invite", terminal=terminal) == 0
        assert link in world.out
        assert "▀" in world.out
        assert ("\x1b[" in world.out) is terminal


def test_token_for_a_relay_that_asks_for_one_now(world: Any) -> None:
    vault = world.vault(Role.THERAPIST)
    assert world.run("invite", "--token", "T") == 0
    assert vault.calls[0] == ("use_therapist_token", "T")


def test_client_makes_no_invitations(world: Any) -> None:
    world.vault(Role.CLIENT)
    assert world.run("invite") == ExitCode.USAGE


def make_link(world: Any) -> str:
    world.vault(Role.THERAPIST)
    world.run("invite", "--link-only")
    return str(world.out.strip())


def test_connect_opens_a_line(world: Any) -> None:
    link = make_link(world)
    vault = world.vault(Role.CLIENT)
    assert world.json("connect", link, "--line", "my therapist", "--now")["line"] == "my therapist"
    assert ("connect", True) in vault.calls
    assert world.run("connect", link) == 0
    assert ("connect", False) in vault.calls
    assert "Waiting up to a minute" in world.err


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (InvitationUsed(), ExitCode.REFUSED),
        (CannotBeContacted(), ExitCode.REFUSED),
        (UNREACHABLE, ExitCode.RELAY_UNREACHABLE),
    ],
)
def test_connect_that_fails_is_one_sentence(world: Any, trouble: Any, code: ExitCode) -> None:
    link = make_link(world)
    world.vault(Role.CLIENT).trouble["connect"] = trouble
    assert world.run("connect", link, "--now") == code
    assert world.err == trouble.sentence + "\n"


def test_mistyped_invitation(world: Any) -> None:
    link = make_link(world)
    world.vault(Role.CLIENT)
    assert world.run("connect", link[:-2], "--now") == ExitCode.REFUSED
    assert "incomplete or mistyped" in world.err


def test_safety_number_as_digits_and_code(world: Any) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    number = FakeDevice(world.home, vault).safety_number("Dr Sara")
    vault.open = False
    assert world.json("safety-number") == {"line": "Dr Sara", "number": number, "confirmed": False}
    assert world.run("safety-number", "--confirm", terminal=True) == 0
    assert number.split()[0] in world.out
    assert "▀" in world.out
    assert vault.lines["Dr Sara"].summary.safety_number_confirmed


@pytest.mark.parametrize(
    ("answer", "phase"), [("--same", LinePhase.RETURNING), ("--different", LinePhase.ENDED)]
)
def test_resolve_records_what_people_found(world: Any, answer: str, phase: LinePhase) -> None:
    vault = world.vault()
    line = vault.add_line("Dr Sara", phase=LinePhase.STOPPED)
    assert world.run("resolve", "--line", "Dr Sara", answer) == 0
    assert line.summary.phase is phase
    line.summary = replace(line.summary, phase=LinePhase.OPEN)
    assert world.run("resolve", "--line", "Dr Sara", answer) == ExitCode.USAGE


def test_resolve_wants_one_answer(world: Any) -> None:
    world.vault()
    assert world.run("resolve", "--line", "x") == ExitCode.USAGE
    assert world.run("resolve", "--line", "x", "--same", "--different") == ExitCode.USAGE


@pytest.mark.parametrize("claim", [0, 2**33, 2**63, 2**64 - 1])
def test_r23_a_time_that_no_calendar_has_stops_neither_receive_nor_history(world: Any, claim: int) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.arrive("Dr Sara", "first", at=claim)
    vault.arrive("Dr Sara", "behind it")
    vault.lines["Dr Sara"].offers.append(
        Offer(offer_id="0" * 32, at=claim, sender="them", state=OfferState.OFFERED)
    )
    for command in ("receive", "history"):
        assert world.run(command) == 0
        assert ": first" in world.out
        assert ": behind it" in world.out
    assert world.run("offers") == 0
    assert world.run("lines") == 0
