"""sensitive.py: nothing shows by accident."""

from __future__ import annotations

import pickle

import pytest

from crypto.sensitive import Plaintext, Secret


@pytest.mark.parametrize("kind", [Secret, Plaintext])
def test_no_form_of_printing_shows_the_content(kind: type[Secret | Plaintext]) -> None:
    value = kind(b"hunter2")
    for shown in (repr(value), str(value), f"{value}", repr([value]), "%s" % value):  # noqa: UP031 - meant
        assert "hunter2" not in shown
        assert "redacted" in shown


@pytest.mark.parametrize("kind", [Secret, Plaintext])
def test_equality_is_by_content_and_kind(kind: type[Secret | Plaintext]) -> None:
    assert kind(b"a") == kind(b"a")
    assert kind(b"a") != kind(b"b")
    assert kind(b"a") != b"a"
    assert Secret(b"a") != Plaintext(b"a")
    assert len(kind(b"abc")) == 3


@pytest.mark.parametrize("kind", [Secret, Plaintext])
def test_hashing_and_pickling_are_refused(kind: type[Secret | Plaintext]) -> None:
    with pytest.raises(TypeError):
        hash(kind(b"a"))
    with pytest.raises(TypeError):
        pickle.dumps(kind(b"a"))


def test_revealing_takes_a_call() -> None:
    assert Secret(b"a").reveal() == b"a"
    assert Plaintext("آداب").reveal_text() == "آداب"
    assert Plaintext("آداب").reveal() == "آداب".encode()
