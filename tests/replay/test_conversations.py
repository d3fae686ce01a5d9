"""Conversations come from files as they stand, or are made up to the byte; what cannot be is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.replay.conversations import (
    bundled_shapes,
    choose,
    load_shapes,
    load_texts,
    text_of_size,
)
from clients.sdk.errors import UsageError
from clients.sdk.model import Role

WORKLOAD = Path(__file__).resolve().parents[3] / "shared" / "workload" / "conversation-shapes.json"


@given(seed=st.text(max_size=10), size=st.integers(1, 3_000))
def test_a_made_up_text_has_exactly_so_many_bytes(seed: str, size: int) -> None:
    text = text_of_size(seed, size)
    assert len(text.encode()) == size
    assert text.strip()
    assert text == text_of_size(seed, size)


def test_long_made_up_texts_are_of_both_scripts() -> None:
    text = text_of_size("a", 400)
    assert any("\u0600" <= letter <= "\u06ff" for letter in text)
    assert any("a" <= letter <= "z" for letter in text)


def test_the_bundled_shapes_can_be_replayed() -> None:
    conversations = load_shapes(bundled_shapes())
    assert len(conversations) >= 3
    assert {turn.speaker for turn in conversations[0].turns} == set(Role)


@pytest.mark.workload
@pytest.mark.skipif(not WORKLOAD.exists(), reason="../shared is not beside this checkout")
def test_all_98_shapes_can_be_replayed_and_ours_are_among_them() -> None:
    theirs = load_shapes(WORKLOAD)
    assert len(theirs) == 98
    assert set(load_shapes(bundled_shapes())) <= set(theirs)


def test_texts_are_taken_as_they_are(tmp_path: Path) -> None:
    texts = ["  لیلیٰ\u200c \n", "e\u0301", "👩‍⚕️", "a\u202eb"]
    path = tmp_path / "texts.json"
    path.write_text(json.dumps({"conversations": [{"id": 7, "turns": [["client", text] for text in texts]}]}))
    assert load_texts(path)[0].of(Role.CLIENT) == texts


TURNS = [["client", "hello"]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "no JSON"),
        ("[]", "not of the format"),
        ('{"conversations": []}', "no conversation"),
        (json.dumps({"conversations": [{"id": 1, "turns": [["nobody", "hello"]]}]}), "not of the format"),
        (json.dumps({"conversations": [{"id": 1, "turns": [["client"]]}]}), "not of the format"),
        (json.dumps({"conversations": [{"id": 1, "turns": [["client", 5]]}]}), "is no text"),
        (json.dumps({"conversations": [{"id": 1, "turns": [["client", ""]]}]}), "is empty"),
        (json.dumps({"conversations": [{"id": 1, "turns": [["client", "\ud800"]]}]}), "no valid Unicode"),
        (json.dumps({"conversations": [{"id": 1, "turns": [["client", "x" * 12_290]]}]}), "2 bytes too long"),
        (json.dumps({"conversations": [{"id": 1, "turns": TURNS}] * 2}), "an id twice"),
    ],
)
def test_what_cannot_be_replayed_is_said_without_its_content(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "texts.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=sentence) as caught:
        load_texts(path)
    assert "hello" not in caught.value.sentence


@pytest.mark.parametrize("size", ["hello", 0, 12_289, True, 1.5])
def test_a_shape_is_a_number_of_bytes(tmp_path: Path, size: object) -> None:
    path = tmp_path / "shapes.json"
    path.write_text(json.dumps({"conversations": [{"id": 1, "turns": [["client", size]]}]}))
    with pytest.raises(UsageError, match="no number of bytes"):
        load_shapes(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_shapes(tmp_path / "none.json")


def test_choosing() -> None:
    conversations = load_shapes(bundled_shapes())
    assert choose(conversations, None, every=False) == conversations[:1]
    assert choose(conversations, None, every=True) == conversations
    assert choose(conversations, conversations[2].id, every=False) == [conversations[2]]
    with pytest.raises(UsageError, match="no conversation with id 99999"):
        choose(conversations, 99_999, every=False)
