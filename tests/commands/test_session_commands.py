"""`offer`, `offers`, `cancel`, `decline`, `session`, `open`, and times as people type them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from clients.commands.session_command import end_sentence
from clients.commands.times import parse_time
from clients.sdk.errors import ExitCode, RelayUnreachable, TimedOut, UsageError
from clients.sdk.model import MessageKind, OfferState, Role
from clients.sdk.session.front import EndReason
from support.fake_device import NOW, session_result


def test_appointment_from_offer_to_cancel(world: Any) -> None:
    vault = world.vault(Role.THERAPIST)
    vault.add_line("client")
    made = world.json("offer", "--at", "+2h")
    assert made["at"] == NOW + 7_200
    assert world.json("offers")["offers"] == [made]
    assert world.run("offers") == 0
    assert made["id"][:8] in world.out
    assert world.run("cancel", "zz") == ExitCode.USAGE
    assert world.run("cancel", made["id"]) == 0
    assert vault.lines["client"].offers[0].state is OfferState.CANCELLED


def test_client_declines(world: Any) -> None:
    therapist = world.vault(Role.THERAPIST)
    therapist.add_line("x")
    world.json("offer", "--at", "+1d")
    client = world.vault(Role.CLIENT)
    client.add_line("x").offers.extend(therapist.lines["x"].offers)
    assert world.run("offer", "--at", "+1d") == ExitCode.USAGE
    assert world.run("decline", client.lines["x"].offers[0].offer_id) == 0
    assert client.lines["x"].offers[0].state is OfferState.DECLINED


def test_offer_without_a_relay_goes_out_later(world: Any) -> None:
    vault = world.vault(Role.THERAPIST)
    vault.add_line("client")
    vault.trouble["settle"] = RelayUnreachable("https://relay.example.org")
    assert world.run("offer", "--at", "+2h") == 0
    assert "goes out with the next connection" in world.err


def local(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone().timestamp())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("+30m", NOW + 1_800),
        ("+2h", NOW + 7_200),
        ("+1d", NOW + 86_400),
        ("2026-12-24T15:00:00Z", 1_798_124_400),
        ("2026-12-24 20:00+05:00", 1_798_124_400),
        ("2026-12-24 15:00", local("2026-12-24 15:00")),
    ],
)
def test_times_that_people_type(text: str, seconds: int) -> None:
    assert parse_time(text, NOW) == seconds


@pytest.mark.parametrize("text", ["00:00", "7:05", "23:59"])
def test_time_of_day_is_the_next_one(text: str) -> None:
    seconds = parse_time(text, NOW)
    assert NOW < seconds <= NOW + 86_400
    assert datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M") == text.zfill(5)


@pytest.mark.parametrize("text", ["", "tomorrow", "25:00", "+2w", "2026-13-01", "12:60"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_time(text, NOW)


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.json"
    path.write_text('{"turns": []}', encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (EndReason.ENDED, ExitCode.OK),
        (EndReason.PANIC, ExitCode.OK),
        (EndReason.PEER_SILENT, ExitCode.TIMED_OUT),
        (EndReason.NOT_JOINED, ExitCode.TIMED_OUT),
        (EndReason.FORK, ExitCode.DECISION_NEEDED),
        (EndReason.RELAY_REFUSED, ExitCode.FAILED),
    ],
)
def test_scripted_session_and_how_it_ended(
    world: Any, script: str, reason: EndReason, code: ExitCode
) -> None:
    vault = world.vault(Role.THERAPIST)
    vault.add_line("client")
    vault.session_result = session_result(reason)
    assert world.run("session", "--script", script, "--timeout", "12") == code
    assert end_sentence(reason) in world.out
    content = Path(script).read_text(encoding="utf-8")
    assert ("session start", ("clients.sdk.session.scripted:run", content, 12.0)) in vault.calls
    assert ("session closed", None) in vault.calls


def test_session_for_programs(world: Any, script: str) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.session_result = session_result()
    assert world.json("session", "--script", script) == {
        "reason": "ended",
        "sent": 3,
        "received": 2,
        "seconds": 61.5,
        "cells_sent": 62,
        "cells_received": 61,
        "kept": 0,
        "reports": [],
    }


def test_session_that_nobody_joins_times_out(world: Any, script: str) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.trouble["session start"] = TimedOut("Nobody joined in time.")
    assert world.run("session", "--script", script) == ExitCode.TIMED_OUT
    assert "Nobody joined in time." in world.err


def test_session_needs_a_terminal_or_a_script(world: Any) -> None:
    world.vault().add_line("Dr Sara")
    assert world.run("session") == ExitCode.MISSING_PREREQUISITE
    assert world.run("session", "--script", "no such file") == ExitCode.MISSING_PREREQUISITE


def test_app_needs_a_terminal(world: Any) -> None:
    assert world.run("open") == ExitCode.MISSING_PREREQUISITE


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_end_has_a_sentence(reason: EndReason) -> None:
    assert end_sentence(reason).endswith(".")


def test_a_broken_script_is_refused_before_anybody_is_kept_waiting(world: Any, tmp_path: Path) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    broken = tmp_path / "broken.json"
    for content, sentence in {
        '{"turns": [["client", "x"], ["nobody", 3]]}': "A script looks like",
        '{"turns": [["client", "x"], ["client", 3]]}': "Turn 2 of the script needs a text",
        '{"turns": [["client", "\\ud800"]]}': "Turn 1 of the script is no valid Unicode",
        json.dumps({"turns": [["client", "x"], ["therapist", "ی" * 6_145]]}): "is 2 over the 12,288",
        json.dumps({"turns": [["client", "x" * 12_000]] * 90}): "more than 1,000,000 bytes",
    }.items():
        broken.write_text(content, encoding="utf-8")
        assert world.run("session", "--script", str(broken)) == ExitCode.USAGE
        assert sentence in world.err
    assert vault.calls == []


SCRIPT = '{"turns": [["client", "salam"], ["therapist", "x"], ["client", "y"]]}'
WHOLE = (("sent", "1"), ("received", "2"), ("sent", "3"), ("ended", "ended"))


@pytest.mark.parametrize(
    ("reports", "sent", "sentence"),
    [
        (WHOLE, 2, ""),
        ((("sent", "1"), ("mismatch", "2"), ("sent", "3")), 2, "in turn 2 is not what the script says"),
        (WHOLE[:2], 1, "1 text(s) of the script were never sent"),
        ((("sent", "1"), ("sent", "3")), 2, "1 text(s) of the script never came"),
        ((*WHOLE, ("unexpected", "")), 2, "1 text(s) that the script does not hold"),
        (WHOLE, 1, "did not confirm"),
    ],
)
def test_a_script_that_was_not_played_whole_is_no_success(
    world: Any, tmp_path: Path, reports: Any, sent: int, sentence: str
) -> None:
    vault = world.vault(Role.CLIENT)
    vault.add_line("Dr Sara")
    path = tmp_path / "script.json"
    path.write_text(SCRIPT, encoding="utf-8")
    vault.session_result = replace(session_result(), sent=sent, reports=reports)
    code = world.run("session", "--script", str(path))
    assert code == (ExitCode.FAILED if sentence else ExitCode.OK)
    assert sentence in world.err
    assert (
        "Texts of this side: 2, 6 bytes of UTF-8 in all, the longest 5 (a text has at most 12,288)."
        in world.err
    )
    # the way in which it ended weighs more
    vault.session_result = replace(vault.session_result, reason=EndReason.PEER_SILENT)
    assert world.run("session", "--script", str(path)) == ExitCode.TIMED_OUT


def test_s7_a_scripted_side_agrees_to_keep_only_if_it_is_told_to(world: Any, script: str) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    vault.session_result = replace(session_result(), kept=5)
    assert world.run("session", "--script", script) == 0
    assert ("options of session", {}) in vault.calls
    assert world.run("session", "--script", script, "--keep") == 0
    assert ("options of session", {"keep": "1"}) in vault.calls
    assert "You both agreed to keep its text: 5 text(s) stand in the line's conversation." in world.out
    assert world.run("session", "--keep") == ExitCode.USAGE


def test_s7_kept_sessions_are_listed_read_and_deleted(world: Any) -> None:
    vault = world.vault()
    line = vault.add_line("Dr Sara")
    assert world.run("kept") == 0
    assert "needs both people's agreement" in world.err
    first, second = "ab" * 16, "cd" * 16
    vault.arrive("Dr Sara", "over the line")
    for session_id, sender, text in (
        (first, "me", "salam"),
        (first, "them", "سلام"),
        (second, "me", "again"),
    ):
        vault.arrive("Dr Sara", text, sender=sender, kind=MessageKind.SESSION, session_id=session_id)
    listed = world.json("kept")["sessions"]
    assert listed == [
        {"id": first, "texts": 2, "first_utc_seconds": NOW},
        {"id": second, "texts": 1, "first_utc_seconds": NOW},
    ]
    assert world.run("kept") == 0
    assert "abababab" in world.out
    assert world.run("kept", "ab") == 0
    assert world.out.count("\n") == 2
    assert "you (live session): salam" in world.out
    assert "Dr Sara (live session): سلام" in world.out
    assert world.json("kept", "cd")["session"] == second
    assert world.run("kept", "ef") == ExitCode.USAGE
    assert world.run("kept", "--delete") == ExitCode.USAGE
    assert world.run("kept", "ab", "--delete", person=True, typed="no\n") == ExitCode.FAILED
    assert world.json("kept", "ab", "--delete")["deleted"] == listed[0]
    assert [message.text for message in line.messages] == ["over the line", "again"]
    assert world.run("history") == 0
    assert "you (live session): again" in world.out
