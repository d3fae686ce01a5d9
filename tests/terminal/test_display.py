"""Showing strangers' texts: control characters become visible, directions end with their line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.terminal.display import (
    UNKNOWN_TIME,
    Direction,
    clock,
    day,
    direction_of,
    duration,
    local_time,
    moment,
    printable,
    stamp,
)

NOON = 1_795_000_000


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("Salam", Direction.LEFT_TO_RIGHT),
        ("سلام", Direction.RIGHT_TO_LEFT),
        ("123 سلام and English", Direction.RIGHT_TO_LEFT),
        ("OK، سلام", Direction.LEFT_TO_RIGHT),
        ("שלום", Direction.RIGHT_TO_LEFT),
        ("… 15:00", Direction.LEFT_TO_RIGHT),
        ("", Direction.LEFT_TO_RIGHT),
    ],
)
def test_direction_is_that_of_the_first_strong_letter(text: str, direction: Direction) -> None:
    assert direction_of(text) is direction


@pytest.mark.parametrize(
    "text",
    [
        "Salam",
        "مجھے نیند نہیں آتی۔",
        "می\u200cخواهم",
        "two\nlines\tand a tab",
        "e\u0301",
        "👩‍⚕️",
        "\u2067سلام\u2069",
    ],
)
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "␛[2Jgone"),
        ("a\x9b31mb", "a\ufffd31mb"),
        ("bell\x07", "bell␇"),
        ("\x7f", "␡"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a␍b"),
        ("\u202eevil", "evil"),
        ("\u2067open\nnext", "\u2067open\u2069\nnext"),
        ("\u202bopen", "\u202bopen\u202c"),
        ("stray\u2069", "stray"),
        ("a\u2028b", "a b"),
    ],
)
def test_what_could_harm_the_screen_is_made_harmless(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(text=st.text())
def test_no_control_character_ever_reaches_the_terminal(text: str) -> None:
    shown = printable(text)
    assert not any((ord(c) < 0x20 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in shown)
    for line in shown.split("\n"):
        assert line.count("\u2069") == sum(line.count(c) for c in "\u2066\u2067\u2068")


def test_days_are_named_as_people_do() -> None:
    assert day(NOON, NOON) == "Today"
    assert day(NOON - 86_400, NOON) == "Yesterday"
    assert day(NOON - 4 * 86_400, NOON).endswith("November")
    assert day(NOON - 400 * 86_400, NOON).endswith("2025")
    assert ":" in moment(NOON, NOON)
    assert moment(NOON - 4 * 86_400, NOON).endswith("Nov")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(3000, "50:00"), (59.9, "0:59"), (0, "0:00"), (-12, "+0:12"), (-61, "+1:01")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize("claim", [0, 2**33])
def test_time_of_any_calendar_is_shown(claim: int) -> None:
    assert local_time(claim) is not None
    assert clock(claim).count(":") == 1
    assert UNKNOWN_TIME not in (moment(claim, NOON), day(claim, NOON))


@pytest.mark.parametrize("claim", [253_370_764_800, 2**63, 2**64 - 1])
def test_r23_absurd_time_of_a_peer_is_shown_as_unknown(claim: int) -> None:
    assert local_time(claim) is None
    assert clock(claim) == moment(claim, NOON) == stamp(claim, "%Y") == UNKNOWN_TIME
    assert day(claim, NOON) == "At an unknown time"
