"""group_codec.py: what is stored of a group comes back whole, and damage is seen."""

from __future__ import annotations

import hashlib

import pytest

from crypto.codec import CodecError
from crypto.credentials import Credential
from crypto.errors import StateError, ValidationError
from crypto.group import Group, OwnLeafParams, RatchetPolicy, StagedCommit
from crypto.group_codec import GROUP_MAGIC, decode_group_state, open_stored, seal_stored
from crypto.suites import PRODUCT, SUITES
from support.mls_groups import FAST, Circle, Device, capabilities_of, pair, seeded


def reseal(data: bytes) -> bytes:
    """Data with a digest that fits."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


@pytest.mark.parametrize("code", sorted(SUITES))
def test_a_group_comes_back_whole(code: int) -> None:
    circle = Circle(SUITES[code], 3)
    for leaf, group in list(circle.groups.items()):
        stored = group.to_bytes()
        again = Group.from_bytes(stored)
        assert again.to_bytes() == stored
        circle.groups[leaf] = again
    circle.check()
    circle.update(2)


def test_own_leaf_signer_policy_and_wiped_exporter_are_kept() -> None:
    group = Group.create(
        suite=FAST,
        group_id=b"id",
        leaf=_leaf(),
        rng=seeded(1),
        ratchet_policy=RatchetPolicy(max_forward=7, keep_skipped=3),
    )
    group.delete_exporter()
    again = decode_group_state(group.to_bytes())
    assert again.ratchet_policy == RatchetPolicy(max_forward=7, keep_skipped=3)
    assert again.exporter_secret is None
    _, bob = pair(FAST)
    assert Group.from_bytes(bob.to_bytes()).signer == 0


def _leaf() -> OwnLeafParams:
    device = Device.make(FAST, "x", seeded(1))
    return OwnLeafParams(
        signature_private=device.signature_private,
        credential=Credential.basic(b"x"),
        capabilities=capabilities_of(FAST),
    )


def test_any_flipped_bit_is_seen() -> None:
    stored = pair(PRODUCT)[1].to_bytes()
    for position in range(0, len(stored), 7):
        damaged = bytearray(stored)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CodecError):
            Group.from_bytes(bytes(damaged))


def test_any_cut_is_seen() -> None:
    stored = pair(FAST)[1].to_bytes()
    for length in range(len(stored)):
        with pytest.raises(CodecError):
            Group.from_bytes(stored[:length])
    with pytest.raises(CodecError):
        Group.from_bytes(stored + b"\0")


def test_damage_under_a_fitting_digest_never_does_more_than_raise() -> None:
    """Whatever decodes has at least the right shape; nothing but our own errors comes out."""
    stored = pair(FAST)[1].to_bytes()
    for position in range(10, len(stored) - 32):
        damaged = bytearray(stored)
        damaged[position] ^= 0x41
        try:
            Group.from_bytes(reseal(bytes(damaged)))
        except (CodecError, ValidationError):
            continue


def test_a_newer_version_is_refused_with_a_sentence() -> None:
    stored = bytearray(pair(FAST)[0].to_bytes())
    stored[len(GROUP_MAGIC) + 1] += 1
    with pytest.raises(StateError, match="newer version of the program"):
        Group.from_bytes(reseal(bytes(stored)))


def test_version_0_never_existed() -> None:
    stored = bytearray(pair(FAST)[0].to_bytes())
    stored[len(GROUP_MAGIC) + 1] = 0
    with pytest.raises(CodecError, match="unknown version"):
        Group.from_bytes(reseal(bytes(stored)))


def test_one_kind_is_not_taken_for_another() -> None:
    alice, _ = pair(FAST)
    with pytest.raises(CodecError, match="not a stored group state"):
        StagedCommit.from_bytes(alice.to_bytes())
    assert open_stored(seal_stored(b"12345678", b"x"), b"12345678", lambda reader: reader.bytes_(1)) == b"x"


def test_no_secret_shows_in_a_repr() -> None:
    alice, _ = pair(FAST)
    shown = repr(alice._state)
    for secret in (alice._state.init_secret, alice._state.signature_private):
        assert secret.reveal().hex() not in shown
        assert repr(secret.reveal()) not in shown
    pending = alice.commit(adds=[], removes=[], rng=seeded(1), authenticated_data=b"")
    assert "Secret" not in repr(pending)
