"""What is marked is found in every form that docs/AUDIT.md names, and nothing is found in noise."""

from __future__ import annotations

import base64
import gzip
import random
import zlib
from collections.abc import Callable
from urllib.parse import quote, quote_from_bytes

import pytest

from clients.audit.live.canaries import found_in, search_for, text

NOISE = random.Random(6).randbytes(3_000)
TEXT = text()
KEY = random.Random(7).randbytes(32)
NAME = b"canary-0123456789abcdef"
SEARCH = search_for([TEXT], [KEY], [NAME])

FORMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "raw": (lambda value: value, "raw"),
    "hex": (lambda value: value.hex().encode(), "hex"),
    "HEX": (lambda value: value.hex().upper().encode(), "hex"),
    "base64": (base64.b64encode, "base64"),
    "base64url": (base64.urlsafe_b64encode, "base64"),
    "percent": (lambda value: quote_from_bytes(value, safe="").encode(), "raw"),
    "zlib": (zlib.compress, "compressed"),
    "zlib stored": (lambda value: zlib.compress(value, 0), "raw"),
    "gzip": (gzip.compress, "compressed"),
}
"""Form → how it is written, and how it is told of."""


@pytest.mark.parametrize("ahead", range(3))
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", ["text", "secret", "identifier"])
def test_each_form_of_each_kind_is_found(what: str, form: str, ahead: int) -> None:
    value = {"text": TEXT.encode(), "secret": KEY, "identifier": NAME}[what]
    write, told = FORMS[form]
    assert f"a {what}, {told}" in found_in(
        SEARCH, NOISE[: 997 + ahead] + write(NOISE[:ahead] + value) + NOISE
    )


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("what", ["text", "secret", "identifier"])
def test_utf_16_is_found(what: str, codec: str) -> None:
    value = {"text": TEXT, "secret": KEY.hex(), "identifier": NAME.decode()}[what]
    assert found_in(SEARCH, NOISE[:999] + value.encode(codec) + NOISE)


def test_small_digits_after_a_percent_sign_are_found() -> None:
    small = "".join(one.lower() if one.startswith("%") else one for one in _pieces(quote(TEXT)))
    assert small != quote(TEXT)
    assert found_in(search_for([TEXT]), small.encode())


def _pieces(quoted: str) -> list[str]:
    found, place = [], 0
    while place < len(quoted):
        length = 3 if quoted[place] == "%" else 1
        found.append(quoted[place : place + length])
        place += length
    return found


def test_a_part_of_a_text_is_found_inside_a_frame() -> None:
    frame = bytes([1, 0, 0, 9]) + TEXT.encode()[9:] + NOISE[:5]
    assert found_in(SEARCH, frame) == ["a text, raw"]


def test_nothing_is_found_in_noise() -> None:
    assert found_in(SEARCH, NOISE * 20) == []
    assert found_in(SEARCH, zlib.compress(NOISE)) == []
