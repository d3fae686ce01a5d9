"""Safety numbers: the same on both devices, different for every other pair."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.safety_number import (
    SafetyNumberError,
    check_scanned,
    grouped,
    qr_payload,
    safety_number,
)

A, B, C = (hashlib.sha256(name).digest() for name in (b"a", b"b", b"c"))


@settings(max_examples=15, deadline=None)
@given(first=st.binary(min_size=32, max_size=32), second=st.binary(min_size=32, max_size=32))
def test_both_orders_give_the_same_sixty_digits(first: bytes, second: bytes) -> None:
    number = safety_number(first, second)
    assert number == safety_number(second, first)
    assert len(number) == 60
    assert number.isdecimal()


def test_another_key_gives_another_number() -> None:
    assert len({safety_number(A, B), safety_number(A, C), safety_number(B, C), safety_number(A, A)}) == 4


def test_number_is_pinned() -> None:
    # Computed once; a change here means that two versions of the program would raise false alarms.
    assert safety_number(bytes(32), bytes([1]) * 32) == PINNED


PINNED = "003113027072708502734703671261289157212431978859354510343026"


def test_twelve_groups_of_five() -> None:
    groups = grouped(safety_number(A, B))
    assert len(groups) == 12
    assert {len(group) for group in groups} == {5}
    assert "".join(groups) == safety_number(A, B)


def test_scanned_code_is_compared() -> None:
    number = safety_number(A, B)
    assert check_scanned(qr_payload(number), number)
    assert check_scanned(qr_payload(number).lower() + "\n", number)
    assert not check_scanned(qr_payload(safety_number(A, C)), number)


@pytest.mark.parametrize(
    "scanned", ["", "https://example.org", "AMANAT:SN1:123", "AMANAT:SN2:" + "1" * 60, "1" * 60]
)
def test_what_is_no_safety_number(scanned: str) -> None:
    with pytest.raises(SafetyNumberError):
        check_scanned(scanned, safety_number(A, B))


def test_wrong_length_of_a_key() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        safety_number(A, b"")
