"""The container of exports, and the key block that it shares with the vault."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.sensitive import Secret
from keys.export_file import MAGIC, ExportDamaged, ExportTooNew, open_export, seal_export
from keys.passphrase import KEY_BLOCK_BYTES, TEST_COST, Cost, open_key, seal_key
from keys.vault import EmptyPassphrase, WrongPassphrase


def sealed(content: bytes = b"content") -> bytes:
    return seal_export(content, "a passphrase", rng=os.urandom, cost=TEST_COST)


@settings(max_examples=10, deadline=None)
@given(content=st.binary(max_size=1000), passphrase=st.text(min_size=1).filter(str.strip))
def test_content_comes_back(content: bytes, passphrase: str) -> None:
    exported = seal_export(content, passphrase, rng=os.urandom, cost=TEST_COST)
    assert open_export(exported, passphrase) == content
    assert content[:16] not in exported or len(content) < 4


def test_wrong_passphrase_is_told_apart_from_damage() -> None:
    with pytest.raises(WrongPassphrase):
        open_export(sealed(), "another")
    with pytest.raises(EmptyPassphrase):
        open_export(sealed(), "")


@settings(max_examples=60, deadline=None)
@given(bit=st.integers(min_value=0, max_value=(KEY_BLOCK_BYTES + 24 + 7 + 16) * 8 - 1))
def test_any_flipped_bit_is_damage(bit: int) -> None:
    damaged = bytearray(sealed())
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ExportDamaged):
        open_export(bytes(damaged), "a passphrase")


@pytest.mark.parametrize("length", [0, 1, KEY_BLOCK_BYTES - 1, KEY_BLOCK_BYTES, KEY_BLOCK_BYTES + 30, 188])
def test_cut_file_is_damage(length: int) -> None:
    with pytest.raises(ExportDamaged):
        open_export(sealed()[:length], "a passphrase")


def test_key_block_of_another_kind_of_file_is_refused() -> None:
    block = seal_key(Secret(bytes(32)), "p", magic=b"AMANATVK", cost=TEST_COST, rng=os.urandom)
    with pytest.raises(ExportDamaged):
        open_export(block + bytes(40), "p")


def test_later_version_says_so() -> None:
    import hashlib

    block = bytearray(sealed()[:KEY_BLOCK_BYTES])
    block[9] = 2
    block[-32:] = hashlib.sha256(block[:-32]).digest()
    with pytest.raises(ExportTooNew):
        open_export(bytes(block) + sealed()[KEY_BLOCK_BYTES:], "a passphrase")


@pytest.mark.parametrize(
    "cost",
    [Cost(opslimit=1000, memlimit_bytes=8192), Cost(opslimit=1, memlimit_bytes=1 << 40)],
)
def test_cost_that_would_stop_the_machine_is_refused(cost: Cost) -> None:
    import hashlib

    block = bytearray(seal_key(Secret(bytes(32)), "p", magic=MAGIC, cost=TEST_COST, rng=os.urandom))
    block[10:22] = cost.opslimit.to_bytes(4, "big") + cost.memlimit_bytes.to_bytes(8, "big")
    block[-32:] = hashlib.sha256(block[:-32]).digest()
    with pytest.raises(ExportDamaged):
        open_export(bytes(block) + bytes(40), "p")


def test_two_seals_of_the_same_share_nothing() -> None:
    first, second = (
        seal_key(Secret(bytes(32)), "p", magic=MAGIC, cost=TEST_COST, rng=os.urandom) for _ in "ab"
    )
    assert first[22:] != second[22:]
    assert open_key(first, "p", magic=MAGIC) == open_key(second, "p", magic=MAGIC)
