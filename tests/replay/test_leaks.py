"""The leak search finds what is planted, in every form and place, and nothing else."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.replay.leaks import Encoding, Kind, LeakSearch, Needle

TEXT = "آج رات نیند نہیں آئی، I could not sleep at all"
NOISE = random.Random(7).randbytes(50_000)


def search_for_text(text: str = TEXT) -> LeakSearch:
    search = LeakSearch()
    search.add_text(1, text)
    return search


def planted(part: bytes, place: int) -> bytes:
    return NOISE[:place] + part + NOISE[place:]


WRITTEN: dict[Encoding, Callable[[bytes], bytes]] = {
    Encoding.RAW: lambda part: part,
    Encoding.HEX: lambda part: part.hex().encode(),
    Encoding.BASE64: base64.b64encode,
}


@pytest.mark.parametrize("place", range(1000, 1009))
@pytest.mark.parametrize("encoding", WRITTEN, ids=lambda encoding: encoding.value)
@pytest.mark.parametrize("ahead", range(3))
def test_a_window_is_found_in_every_form_and_place(place: int, encoding: Encoding, ahead: int) -> None:
    part = bytes(ahead) + TEXT.encode()[9:21] + b"\xff" * 3
    found = search_for_text().search("here", planted(WRITTEN[encoding](part), place))
    assert {(finding.kind, finding.encoding, finding.conversation) for finding in found} == {
        (Kind.TEXT, encoding, 1)
    }


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("place", range(1000, 1005))
def test_utf_16_is_found(codec: str, place: int) -> None:
    found = search_for_text().search("here", planted(TEXT[:7].encode(codec), place))
    assert [finding.encoding for finding in found] == [Encoding.UTF_16]


def test_upper_case_hexadecimal_and_the_other_base64_are_found() -> None:
    search = LeakSearch()
    value = bytes(range(240, 256)) + b"\xfb\xff\xfe" * 5
    search.add(Needle(kind=Kind.SECRET, conversation=3, value=value))
    assert search.search("here", planted(value.hex().upper().encode(), 77))
    assert search.search("here", planted(base64.urlsafe_b64encode(value), 78))


def test_eleven_bytes_of_a_text_are_no_finding() -> None:
    assert search_for_text().search("here", planted(TEXT.encode()[9:20] + b"\0", 500)) == []


def test_noise_holds_nothing() -> None:
    assert search_for_text().search("here", NOISE) == []


def test_what_stood_there_before_is_not_counted() -> None:
    search = search_for_text("CREATE TABLE cells ( and something of my own")
    before = b"...CREATE TABLE cells (..."
    assert search.ignore_what_is_in(before) > 0
    assert search.search("here", NOISE + before) == []
    assert search.search("here", NOISE + b"something of my own")


def test_short_texts_are_left_to_their_payload() -> None:
    search = LeakSearch()
    search.add_text(1, "ok")
    assert search.search("here", b"ok" * 50) == []
    assert not search.add(Needle(kind=Kind.PAYLOAD, conversation=1, value=b"ok"))
    assert search.add(Needle(kind=Kind.PAYLOAD, conversation=1, value=b"\0\1\0\0\0\0\0\0\0\5\2ok"))
    assert search.search("here", planted(b"\0\1\0\0\0\0\0\0\0\5\2ok", 3))


@given(
    value=st.binary(min_size=11, max_size=64), place=st.integers(0, 300), form=st.sampled_from(list(WRITTEN))
)
def test_any_needle_is_found_anywhere(value: bytes, place: int, form: Encoding) -> None:
    search = LeakSearch()
    search.add(Needle(kind=Kind.SECRET, conversation=1, value=value))
    data = NOISE[:place] + WRITTEN[form](value) + NOISE[place : place + 40]
    assert form in {finding.encoding for finding in search.search("here", data)}


def test_a_finding_at_the_border_of_two_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.replay.leaks.CHUNK_BYTES", 64)
    window = TEXT.encode()[3:15]
    for place in range(40, 90):
        assert search_for_text().search("here", planted(window, place)), place


def test_only_secrets_may_be_left_out() -> None:
    search = search_for_text()
    search.add(Needle(kind=Kind.SECRET, conversation=1, value=b"s" * 32))
    search.add(Needle(kind=Kind.IDENTIFIER, conversation=1, value=b"i" * 16))
    data = NOISE + b"s" * 32 + b"i" * 16 + TEXT.encode()
    kinds = {finding.kind for finding in search.search("here", data, but={b"", b"s" * 32, b"i" * 16})}
    assert kinds == {Kind.TEXT, Kind.IDENTIFIER}
