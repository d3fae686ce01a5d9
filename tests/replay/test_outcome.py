"""A conversation is good only if every text arrived once, in order and byte for byte."""

from __future__ import annotations

import pytest

from clients.replay.conversations import Conversation, Turn
from clients.replay.leaks import Encoding, Finding, Kind
from clients.replay.outcome import Outcome, Report, Store, judge
from clients.replay.printed import as_json, as_text
from clients.replay.relay_process import Left
from clients.sdk.model import Role

CONVERSATION = Conversation(
    id=5,
    turns=tuple(
        Turn(speaker=speaker, text=text)
        for speaker, text in [
            (Role.CLIENT, "one"),
            (Role.CLIENT, "two"),
            (Role.THERAPIST, "ok"),
            (Role.CLIENT, "one"),
            (Role.THERAPIST, "ok"),
        ]
    ),
)


def outcome_of(at_therapist: list[str], at_client: list[str]) -> Outcome:
    received = {Role.THERAPIST: at_therapist, Role.CLIENT: at_client}
    return judge(CONVERSATION, store=Store.STORED, received=received)


def test_all_is_well() -> None:
    outcome = outcome_of(["one", "two", "one"], ["ok", "ok"])
    assert outcome.good
    assert (outcome.sent, outcome.delivered) == (5, 5)


@pytest.mark.parametrize(
    ("at_therapist", "at_client", "delivered", "in_order", "identical"),
    [
        (["one", "two"], ["ok", "ok"], 4, True, False),
        (["one", "two", "one"], ["ok"], 4, True, False),
        (["two", "one", "one"], ["ok", "ok"], 5, False, True),
        (["one", "two", "one"], ["ok", "ok", "ok"], 5, False, False),
        (["one", "two", "one "], ["ok", "ok"], 4, False, False),
        ([], [], 0, True, False),
    ],
    ids=["lost", "lost at the client", "out of order", "shown twice", "changed", "nothing"],
)
def test_what_is_not(
    at_therapist: list[str], at_client: list[str], delivered: int, in_order: bool, identical: bool
) -> None:
    outcome = outcome_of(at_therapist, at_client)
    assert (outcome.delivered, outcome.in_order, outcome.identical) == (delivered, in_order, identical)
    assert not outcome.good


def report(**changed: object) -> Report:
    fields: dict[str, object] = {
        "time_scale": 20.0,
        "outcomes": [outcome_of(["one", "two", "one"], ["ok", "ok"])],
        "cells_by_size": {16_384: 9},
        "unreadable_frames": 0,
        "findings": [],
        "searched": {"files": 10, "log": 1, "frames": 100},
        "needles": {"text": 3},
        "too_short": 0,
        "already_there": 0,
        "control": (4, 4),
        "left": Left(cells=0, drops=0, bytes=0),
        "live_disk_bytes": 0,
        "live_disk_method": "strace",
        "live_disk_files": {},
        "seconds": 3.0,
    }
    return Report(**{**fields, **changed})  # type: ignore[arg-type]  # fields by name


FINDING = Finding(kind=Kind.TEXT, encoding=Encoding.HEX, conversation=5, where="log")


@pytest.mark.parametrize(
    "changed",
    [
        {"outcomes": [outcome_of([], [])]},
        {"findings": [FINDING]},
        {"unreadable_frames": 1},
        {"left": Left(cells=1, drops=0, bytes=16_384)},
        {"left": Left(cells=0, drops=1, bytes=16_384)},
        {"live_disk_bytes": 1},
        {"too_short": 1},
        {"control": (4, 3)},
        {"control": (0, 0)},
    ],
)
def test_any_broken_promise_is_seen(changed: dict[str, object]) -> None:
    assert report().good
    broken = report(**changed)
    assert not broken.good
    assert '"ok": false' in as_json(broken)
    assert "NOT all promises kept" in as_text(broken)


def test_a_finding_says_what_and_where_and_no_more() -> None:
    written = as_json(report(findings=[FINDING]))
    assert '"where": "log"' in written
    assert '"kind": "text"' in written
    assert "one" not in written.replace("none", "").replace("not_counted_because", "")
