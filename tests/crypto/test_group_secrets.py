"""What a stored group no longer holds: RFC 9420 section 9.2, seen in the bytes that go into the vault.

Each secret is recorded where it is derived; afterwards the stored form is searched for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from crypto import key_schedule, suites
from crypto.codec import CodecError
from crypto.errors import StateError, ValidationError
from crypto.group import CommitReceived, Group, StagedCommit
from crypto.group_codec import GROUP_MAGIC, VERSION, seal_stored
from crypto.key_schedule import EpochSecrets
from crypto.suites import PRODUCT, CipherSuite
from crypto.tree_math import leaf_to_node
from support.mls_groups import Circle, staged_of

KEPT = {"sender_data_secret", "exporter_secret", "epoch_authenticator", "init_secret"}
"""Of an epoch's secrets, what it still needs; the encryption secret lives on as the secret tree's root."""


class Recorder:
    """Every secret that is derived while it records."""

    def __init__(self) -> None:
        self.outputs: list[bytes] = []
        self.epochs: list[EpochSecrets] = []

    def in_bytes(self, stored: bytes) -> list[bytes]:
        """The recorded values that are in ``stored``."""
        return [value for value in dict.fromkeys(self.outputs) if len(value) >= 12 and value in stored]


@contextmanager
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Record all outputs of the KDF and all epochs."""
    recorder = Recorder()
    expand, extract = CipherSuite.expand, CipherSuite.extract
    epoch_from = key_schedule.epoch_secrets_from

    def recorded_expand(suite: CipherSuite, prk: bytes, info: bytes, length: int) -> bytes:
        recorder.outputs.append(expand(suite, prk, info, length))
        return recorder.outputs[-1]

    def recorded_extract(suite: CipherSuite, salt: bytes, ikm: bytes) -> bytes:
        recorder.outputs.append(extract(suite, salt, ikm))
        return recorder.outputs[-1]

    def recorded_epoch(suite: CipherSuite, epoch_secret: bytes) -> EpochSecrets:
        recorder.epochs.append(epoch_from(suite, epoch_secret))
        return recorder.epochs[-1]

    with monkeypatch.context() as patch:
        patch.setattr(CipherSuite, "expand", recorded_expand)
        patch.setattr(CipherSuite, "extract", recorded_extract)
        patch.setattr(key_schedule, "epoch_secrets_from", recorded_epoch)
        yield recorder


def kept_by(epoch: EpochSecrets) -> set[str]:
    return {"encryption_secret", *KEPT} & set(epoch.__dataclass_fields__)


@pytest.mark.parametrize("committer", [True, False], ids=["committer", "receiver"])
def test_of_a_commit_only_what_the_new_epoch_needs_is_stored(
    monkeypatch: pytest.MonkeyPatch, *, committer: bool
) -> None:
    circle = Circle(PRODUCT, 3, seed=1)
    pending = circle.pending(0)
    with recording(monkeypatch) as recorder:
        if committer:
            pending = circle.pending(0)
            after = circle[0].merge(pending.staged)
        else:
            after = circle[1].merge(staged_of(circle[1].unprotect(pending.message)))
    epoch = recorder.epochs[-1]
    needed = {getattr(epoch, name) for name in kept_by(epoch)}
    private_keys = {private.reveal() for private in after._state.private_keys.values()}
    stored = after.to_bytes()
    # Joiner, member, epoch, welcome, external, membership, confirmation, resumption and path secrets: none.
    assert set(recorder.in_bytes(stored)) <= needed | private_keys
    for name in set(epoch.__dataclass_fields__) - kept_by(epoch):
        assert getattr(epoch, name) not in stored
    for name in KEPT:
        assert getattr(epoch, name) in stored


def test_the_init_secret_and_all_else_of_an_old_epoch_are_gone() -> None:
    circle = Circle(PRODUCT, 2, seed=2)
    state = circle[1]._state
    old = {
        "init": state.init_secret.reveal(),
        "exporter": state.exporter_secret.reveal() if state.exporter_secret else b"?" * 48,
        "sender data": state.sender_data_secret.reveal(),
        "authenticator": state.epoch_authenticator,
        "own leaf": state.private_keys[leaf_to_node(state.own_leaf)].reveal(),
        **{f"tree {node}": secret for node, secret in state.secret_tree._nodes.items()},
        **{f"ratchet {name}": ratchet.secret for name, ratchet in state.secret_tree._ratchets.items()},
    }
    before = circle[1].to_bytes()
    assert all(secret in before for secret in old.values())
    circle.update(0)
    circle.update(1)
    after = circle[1].to_bytes()
    assert [name for name, secret in old.items() if secret in after] == []


def test_path_keys_that_a_commit_replaced_are_gone() -> None:
    circle = Circle(PRODUCT, 4, seed=3)
    for committer in range(4):
        circle.update(committer)
    root = circle[3]._state.tree.root
    old = circle[3]._state.private_keys[root].reveal()
    circle.update(0)
    assert circle[3]._state.private_keys[root].reveal() != old
    assert old not in circle[3].to_bytes()


def test_used_message_keys_are_gone_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    circle = Circle(PRODUCT, 2, seed=4)
    with recording(monkeypatch) as recorder:
        messages = [circle[0].protect(b"x", authenticated_data=b"", rng=circle.rng) for _ in range(3)]
        for message in (messages[0], messages[2]):
            circle[1].unprotect(message)
    for leaf in (0, 1):
        state = circle[leaf]._state
        live = {ratchet.secret for ratchet in state.secret_tree._ratchets.values()}
        live |= set(state.secret_tree._nodes.values())
        # Keys, nonces and ratchet secrets, those of the skipped generation 1 too, are gone; the next stays.
        assert set(recorder.in_bytes(circle[leaf].to_bytes())) <= live


def test_the_exporter_is_gone_once_deleted() -> None:
    circle = Circle(PRODUCT, 2, seed=5)
    exporter = circle[0]._state.exporter_secret
    assert exporter is not None
    assert exporter.reveal() in circle[0].to_bytes()
    circle[0].delete_exporter()
    stored = circle[0].to_bytes()
    assert exporter.reveal() not in stored
    with pytest.raises(StateError):
        Group.from_bytes(stored).export("label", b"", 32)


def test_the_init_key_of_a_joiner_is_not_stored() -> None:
    circle = Circle(PRODUCT, 2, seed=6)
    device = circle.new_device()
    bundle = device.key_package(circle.rng)
    pending = circle.pending(0, adds=[bundle.key_package])
    assert pending.welcome is not None
    joined = device.join(pending.welcome, bundle)
    assert bundle.init_private.reveal() not in joined.to_bytes()
    assert bundle.encryption_private.reveal() in joined.to_bytes()


def test_a_staged_commit_holds_the_new_epoch_only() -> None:
    circle = Circle(PRODUCT, 2, seed=7)
    state = circle[1]._state
    received = circle[1].unprotect(circle.pending(0).message)
    assert isinstance(received, CommitReceived)
    assert received.staged is not None
    stored = received.staged.to_bytes()
    for secret in (state.init_secret, state.sender_data_secret, state.exporter_secret):
        assert secret is not None
        assert secret.reveal() not in stored


# -- the binary form


@pytest.mark.parametrize("kind", ["group", "staged"])
def test_each_damaged_byte_of_a_stored_form_is_noticed(kind: str) -> None:
    circle = Circle(suites.X25519_AES128, 2, seed=8)
    read = Group.from_bytes if kind == "group" else StagedCommit.from_bytes
    stored = circle[0].to_bytes() if kind == "group" else circle.pending(0).staged.to_bytes()
    for position in range(len(stored)):
        for damaged in (
            stored[:position],
            stored[:position] + bytes([stored[position] ^ 0x10]) + stored[position + 1 :],
        ):
            with pytest.raises(CodecError):
                read(damaged)


def test_a_newer_version_says_so_and_an_older_unknown_one_too() -> None:
    circle = Circle(suites.X25519_AES128, 2, seed=9)
    body = circle[0].to_bytes()[10:-32]
    for version, error, sentence in (
        (VERSION + 1, StateError, "newer version of the program"),
        (0, CodecError, "unknown version"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("crypto.group_codec.VERSION", version)
            stored = seal_stored(GROUP_MAGIC, body)
        with pytest.raises(error, match=sentence):
            Group.from_bytes(stored)


def test_a_stored_group_of_another_suite_or_kind_is_refused() -> None:
    circle = Circle(suites.X25519_AES128, 2, seed=10)
    body = circle[0].to_bytes()[10:-32]
    assert body[:4] == bytes.fromhex("00010001")
    with pytest.raises(ValidationError, match="suite"):
        Group.from_bytes(seal_stored(GROUP_MAGIC, body[:2] + b"\x0a\x0a" + body[4:]))
    with pytest.raises(CodecError, match="kind"):
        StagedCommit.from_bytes(circle[0].to_bytes())
