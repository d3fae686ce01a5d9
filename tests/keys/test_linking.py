"""Linking codes: what stands in them, mistyped ones, expired ones."""

from __future__ import annotations

import random

import pytest

from keys.linking import VALID_SECONDS, LinkingCode, LinkingCodeError, parse_code

RELAY = "https://relay.example.org"
NOW = 1_795_000_000.0


@pytest.fixture(name="code")
def _code() -> LinkingCode:
    return LinkingCode.make(relay_url=RELAY, public_key=b"p" * 1_216, rng=random.Random(1).randbytes, now=NOW)


def test_a_code_reads_back_also_with_line_breaks(code: LinkingCode) -> None:
    assert parse_code(code.text) == code
    assert parse_code(f" <{code.text[:40]}\n  {code.text[40:]}> ") == code
    assert len(code.text.partition("#")[2]) == 82
    assert len(code.body) == 57


def test_every_mistyped_character_is_noticed(code: LinkingCode) -> None:
    start = code.text.index("#") + 1
    for place in range(start, len(code.text)):
        other = "A" if code.text[place] != "A" else "B"
        with pytest.raises(LinkingCodeError, match="mistyped"):
            parse_code(code.text[:place] + other + code.text[place + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#",
        "https://relay.example.org/i#abc",
        "https://relay.example.org/l#",
        "https://x/l#" + "A" * 2_000,
    ],
)
def test_what_is_no_code_is_said_in_one_sentence(text: str) -> None:
    with pytest.raises(LinkingCodeError, match="copy it again"):
        parse_code(text)


def test_a_code_of_another_relay_is_not_the_same(code: LinkingCode) -> None:
    with pytest.raises(LinkingCodeError):
        parse_code(code.text.replace("relay.example.org", "other.example.org"))


def test_a_code_is_good_for_an_hour(code: LinkingCode) -> None:
    code.check_not_expired(NOW + VALID_SECONDS)
    with pytest.raises(LinkingCodeError, match="expired"):
        code.check_not_expired(NOW + VALID_SECONDS + 1)


def test_its_secrets_are_in_no_repr_and_differ_by_purpose(code: LinkingCode) -> None:
    assert code.secret.hex() not in repr(code)
    assert repr(code.secret) not in repr(code)
    assert len({code.derive(purpose) for purpose in ("address up", "address down", "key up")}) == 3


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        LinkingCode(relay_url=RELAY, key_hash=b"", secret=bytes(16), expires=1)
