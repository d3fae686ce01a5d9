"""channel.py: rules R1, R2, R10 and R18 as far as they are formulas, written out a second time by hand."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from crypto.channel import (
    BODY_BYTES,
    MESSAGE_BYTES,
    ChannelClass,
    channel_id,
    derive_channel_keys,
    log_next,
    log_start,
    open_cell,
    return_address,
    return_key,
    seal_cell,
)
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.group import Group
from crypto.sensitive import Secret
from crypto.suites import PRODUCT
from support.mls_groups import FAST, Circle, pair, seeded

KEY = bytes(range(32))
CHANNEL = channel_id(ChannelClass.STORED, 2, bytes(32))


def expand_sha384(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """ExpandWithLabel with HKDF-SHA384 for at most 48 bytes, from RFC 5869 and RFC 9420 section 8."""
    label = b"MLS 1.0 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + bytes([len(context)]) + context
    return hmac.new(secret, info + b"\x01", "sha384").digest()[:length]


def test_r01_addresses_and_cell_key_come_from_the_exporter() -> None:
    alice, _ = pair()
    secret = alice.export("amanat channel", b"", 48)
    keys = derive_channel_keys(alice)
    assert keys.addresses == tuple(expand_sha384(secret, b"address", bytes([t]), 32) for t in range(4))
    assert keys.cell_key == expand_sha384(secret, b"cell", b"", 32)
    assert len({*keys.addresses, keys.cell_key}) == 5


def test_r01_all_members_of_an_epoch_find_the_same_channels_and_no_other_epoch_does() -> None:
    circle = Circle(FAST, 3)
    first = {derive_channel_keys(group).addresses for group in circle.groups.values()}
    circle.update(1)
    second = {derive_channel_keys(group).addresses for group in circle.groups.values()}
    assert len(first) == len(second) == 1
    assert first != second


def test_r01_the_exporter_secret_is_wiped() -> None:
    alice, _ = pair(FAST)
    derive_channel_keys(alice)
    for group in (alice, Group.from_bytes(alice.to_bytes())):
        with pytest.raises(StateError, match="wiped"):
            derive_channel_keys(group)


@pytest.mark.parametrize("cls", ChannelClass)
def test_r01_a_cell_has_its_exact_size_and_form(cls: ChannelClass) -> None:
    cell = seal_cell(KEY, CHANNEL, cls, b"message", seeded(1))
    assert len(cell) == BODY_BYTES[cls]
    nonce = seeded(1)(24)
    assert cell[:24] == nonce
    padded = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(cell[24:], CHANNEL, nonce, KEY)
    assert padded == b"\x00\x07message" + bytes(BODY_BYTES[cls] - 24 - 16 - 2 - 7)
    assert open_cell(KEY, CHANNEL, cls, cell) == b"message"


def test_r01_cell_sizes_are_those_of_the_rules() -> None:
    assert BODY_BYTES == {ChannelClass.STORED: 16_384, ChannelClass.LIVE: 2_048}


def test_r01_a_cell_opens_only_under_its_key_and_in_its_channel() -> None:
    cell = seal_cell(KEY, CHANNEL, ChannelClass.LIVE, b"message", seeded(1))
    other_channel = channel_id(ChannelClass.LIVE, 3, bytes(32))
    for key, channel in ((bytes(32), CHANNEL), (KEY, other_channel)):
        with pytest.raises(AuthenticationError):
            open_cell(key, channel, ChannelClass.LIVE, cell)


@given(position=st.integers(0, 2_047), bit=st.integers(0, 7))
def test_r01_a_damaged_cell_does_not_open(position: int, bit: int) -> None:
    cell = bytearray(seal_cell(KEY, CHANNEL, ChannelClass.LIVE, b"message", seeded(1)))
    cell[position] ^= 1 << bit
    with pytest.raises(AuthenticationError):
        open_cell(KEY, CHANNEL, ChannelClass.LIVE, bytes(cell))


@pytest.mark.parametrize("cls", ChannelClass)
@pytest.mark.parametrize("change", [-1, 1])
def test_r01_a_cell_of_a_wrong_size_is_refused(cls: ChannelClass, change: int) -> None:
    with pytest.raises(ValidationError, match=r"R1\.cell-size"):
        open_cell(KEY, CHANNEL, cls, bytes(BODY_BYTES[cls] + change))


@pytest.mark.parametrize("padded", [b"\x00\x01a" + b"\x01" * 2_005, b"\xff\xff" + bytes(2_006)])
def test_r01_a_cell_that_a_member_sealed_wrongly_is_refused(padded: bytes) -> None:
    nonce = bytes(24)
    cell = nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(padded, CHANNEL, nonce, KEY)
    with pytest.raises(ValidationError, match=r"R1\.cell-padding"):
        open_cell(KEY, CHANNEL, ChannelClass.LIVE, cell)


@pytest.mark.parametrize("cls", ChannelClass)
def test_r01_the_longest_message_fits_and_nothing_is_cut(cls: ChannelClass) -> None:
    longest = b"x" * MESSAGE_BYTES[cls]
    assert open_cell(KEY, CHANNEL, cls, seal_cell(KEY, CHANNEL, cls, longest, seeded(1))) == longest
    assert open_cell(KEY, CHANNEL, cls, seal_cell(KEY, CHANNEL, cls, b"", seeded(1))) == b""
    with pytest.raises(StateError, match="1 bytes too long"):
        seal_cell(KEY, CHANNEL, cls, longest + b"x", seeded(1))


def test_r01_a_commit_is_sealed_under_the_epoch_that_it_ends() -> None:
    """PITFALLS: wrapping it under the next epoch's key locks everybody out."""
    alice, bob = pair()
    pending = alice.commit(adds=[], removes=[], rng=seeded(1), authenticated_data=b"")
    cell_key = derive_channel_keys(alice).cell_key
    cell = seal_cell(cell_key, CHANNEL, ChannelClass.STORED, pending.message, seeded(1))
    assert open_cell(derive_channel_keys(bob).cell_key, CHANNEL, ChannelClass.STORED, cell) == pending.message
    next_key = derive_channel_keys(alice.merge(pending.staged)).cell_key
    with pytest.raises(AuthenticationError):
        open_cell(next_key, CHANNEL, ChannelClass.STORED, cell)


def test_r01_commit_and_welcome_of_four_leaves_fit_a_cell() -> None:
    """PITFALLS: hence at most 4 leaves in a 16 KiB cell."""
    circle = Circle(PRODUCT, 1)
    for device in [circle.new_device() for _ in range(4)]:
        # The product's credential is a certificate of 154 bytes.
        device.identity = device.identity.ljust(154, b".")
        if len(circle.groups) == 3:
            bundle = device.key_package(circle.rng)
            pending = circle.pending(0, adds=[bundle.key_package])
            assert pending.welcome is not None
            assert max(len(pending.message), len(pending.welcome)) <= MESSAGE_BYTES[ChannelClass.STORED]
        if len(circle.groups) < 4:
            circle.add(0, device)


def test_r02_the_id_is_the_hash_of_class_readers_and_address() -> None:
    k = bytes(range(32))
    expected = hashlib.sha256(b"amanat channel v1" + b"\x01" + b"\x02" + k).digest()
    assert channel_id(ChannelClass.STORED, 2, k) == expected


def test_r02_other_parameters_make_another_channel() -> None:
    ids = {
        channel_id(cls, readers, k)
        for cls in ChannelClass
        for readers in (1, 2, 3, 4)
        for k in (bytes(32), b"\x01" + bytes(31))
    }
    assert len(ids) == 16


@pytest.mark.parametrize(("readers", "k"), [(0, bytes(32)), (256, bytes(32)), (2, bytes(31)), (2, b"")])
def test_r02_impossible_parameters_are_our_own_mistake(readers: int, k: bytes) -> None:
    with pytest.raises(StateError):
        channel_id(ChannelClass.STORED, readers, k)


def test_r10_the_log_chain_begins_with_channel_and_incarnation() -> None:
    assert log_start(CHANNEL, b"i" * 16) == hashlib.sha256(b"amanat log v1" + CHANNEL + b"i" * 16).digest()
    with pytest.raises(StateError):
        log_start(CHANNEL, b"short")


def test_r10_each_cell_is_chained_with_number_and_close_flag() -> None:
    digest = hashlib.sha256(b"cell").digest()
    start = log_start(CHANNEL, bytes(16))
    expected = hashlib.sha256(start + (7).to_bytes(8, "big") + b"\x01" + digest).digest()
    assert log_next(start, 7, True, digest) == expected
    others = {
        log_next(start, n, close, d) for n in (7, 8) for close in (True, False) for d in (digest, start)
    }
    assert len(others) == 8


def test_r18_return_channels_come_from_the_line_secret() -> None:
    line_secret = bytes(range(32))
    address = expand_sha384(line_secret, b"return", b"device id", 32)
    assert return_address(line_secret, b"device id") == address
    assert return_address(Secret(line_secret), b"device id") == address
    assert return_key(line_secret) == expand_sha384(line_secret, b"return key", b"", 32)
    assert return_address(line_secret, b"other") != address
