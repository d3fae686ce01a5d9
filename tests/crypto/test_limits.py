"""limits.py, and what bad input costs: counted operations, never time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from crypto.codec import CodecError, Writer, decode, encode_length
from crypto.commit import Commit
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, GenerationUsedError, StateError, ValidationError
from crypto.framed_content import ContentType, Sender
from crypto.group import Group, OwnLeafParams, StagedCommit
from crypto.group_codec import GROUP_MAGIC, seal_stored
from crypto.limits import (
    MAX_MESSAGE_BYTES,
    MAX_PROPOSALS,
    MAX_STORED_BYTES,
    MAX_TREE_DEPTH,
    MAX_TREE_LEAVES,
)
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.private_message import PrivateMessage, sender_data_key_nonce
from crypto.proposal_list import check_count
from crypto.proposals import Add, Remove
from crypto.ratchet_tree import RatchetTree, from_ratchet_tree
from crypto.rfc9420.full_group import FullGroup
from crypto.rfc9420.make import CommitOptions
from crypto.rfc9420.proposals import resolve
from crypto.secret_tree import RatchetPolicy, RatchetType
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex
from crypto.tree_nodes import read_ratchet_tree
from support.mls_groups import FAST, Circle, Device, forge

COUNTED = ("expand", "extract", "hash", "aead_open", "hpke_open", "verify")


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count the operations of every cipher suite."""
    counts: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., object]:
        original = getattr(CipherSuite, name)

        def call(*args: object, **kwargs: object) -> object:
            counts[name] += 1
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in COUNTED:
            patch.setattr(CipherSuite, name, counted(name))
        yield counts


def refused(group: Group, message: bytes, error: type[Exception]) -> None:
    before = group.to_bytes()
    with pytest.raises(error):
        group.unprotect(message)
    assert group.to_bytes() == before


def from_insider(sender: Group, *, generation: int, leaf: int | None = None) -> bytes:
    """Genuine sender data of any generation and leaf around a ciphertext that opens for nobody."""
    state = sender._state
    header = Writer().opaque(state.context.group_id).u64(state.context.epoch).u8(ContentType.APPLICATION)
    ciphertext = bytes(64)
    key, nonce = sender_data_key_nonce(state.suite, state.sender_data_secret.reveal(), ciphertext)
    sender_data = Writer().u32(state.own_leaf if leaf is None else leaf).u32(generation).raw(bytes(4))
    sealed = state.suite.aead_seal(key, nonce, header.to_bytes(), sender_data.to_bytes())
    message = PrivateMessage(
        group_id=state.context.group_id,
        epoch=state.context.epoch,
        content_type=ContentType.APPLICATION,
        authenticated_data=b"",
        encrypted_sender_data=sealed,
        ciphertext=ciphertext,
    )
    return MLSMessage(body=message).to_bytes()


def test_an_outsider_costs_two_derivations_and_one_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    circle = Circle(FAST, 3, seed=1)
    message = bytearray(circle[0].protect(b"x", authenticated_data=b"", rng=circle.rng))
    message[-1] ^= 1  # inside the tag of the content: what an outsider can do at most is to change the sample
    message[-60] ^= 1
    with counting(monkeypatch) as counts:
        refused(circle[1], bytes(message), AuthenticationError)
    assert counts == {"expand": 2, "aead_open": 1}


def test_a_message_of_another_epoch_or_of_no_form_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    circle = Circle(FAST, 2, seed=2)
    stale = circle[0].protect(b"x", authenticated_data=b"", rng=circle.rng)
    circle.update(0)
    with counting(monkeypatch) as counts:
        refused(circle[1], stale, ValidationError)
        refused(circle[1], b"\0" * 1000, CodecError)
    assert not counts


def test_r20_a_replay_costs_no_ratchet_step(monkeypatch: pytest.MonkeyPatch) -> None:
    circle = Circle(FAST, 2, seed=4)
    message = circle[0].protect(b"x", authenticated_data=b"", rng=circle.rng)
    circle[1].unprotect(message)
    with counting(monkeypatch) as counts:
        for _ in range(10):
            refused(circle[1], message, GenerationUsedError)
    assert counts == {"expand": 20, "aead_open": 10}


@pytest.mark.parametrize("generation", [4097, 2**31, 2**32 - 1])
def test_r11_a_generation_too_far_ahead_costs_no_ratchet_step(
    monkeypatch: pytest.MonkeyPatch, generation: int
) -> None:
    circle = Circle(FAST, 2, seed=5)
    circle[1].unprotect(circle[0].protect(b"x", authenticated_data=b"", rng=circle.rng))
    message = from_insider(circle[0], generation=min(generation + circle[0].next_generation(), 2**32 - 1))
    with counting(monkeypatch) as counts:
        refused(circle[1], message, ValidationError)
    assert counts == {"expand": 2, "aead_open": 1}


def test_r11_the_farthest_generation_costs_as_many_steps_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    circle = Circle(FAST, 2, seed=6)
    ahead = RatchetPolicy().max_forward
    tree = circle[1]._state.secret_tree
    first = tree.next_generation(circle[0].own_leaf, RatchetType.APPLICATION)
    message = from_insider(circle[0], generation=first + ahead)
    size = len(circle[1].to_bytes())
    with counting(monkeypatch) as counts:
        refused(circle[1], message, AuthenticationError)
    assert counts["expand"] <= ahead + 10
    assert counts["verify"] == 0
    assert len(circle[1].to_bytes()) == size


@pytest.mark.parametrize("leaf", [2, 3, 2**31, 2**32 - 1])
def test_a_sender_who_is_no_member_costs_no_derivation_in_the_tree(
    monkeypatch: pytest.MonkeyPatch, leaf: int
) -> None:
    circle = Circle(FAST, 2, seed=7)
    message = from_insider(circle[0], generation=0, leaf=leaf)
    with counting(monkeypatch) as counts:
        refused(circle[1], message, ValidationError)
    assert counts == {"expand": 2, "aead_open": 1}


def test_an_oversized_message_is_refused_before_it_is_read() -> None:
    circle = Circle(FAST, 2, seed=8)
    refused(circle[1], bytes(MAX_MESSAGE_BYTES + 1), CodecError)
    with pytest.raises(CodecError, match="longer than allowed"):
        decode(bytes(MAX_MESSAGE_BYTES + 1), read_mls_message)


def full_group(device: Device, circle: Circle) -> FullGroup:
    """A new group of one, with all of RFC 9420."""
    leaf = OwnLeafParams(
        signature_private=device.signature_private,
        credential=Credential.basic(device.identity),
        capabilities=device.capabilities,
    )
    return FullGroup.create(suite=FAST, group_id=b"g", leaf=leaf, rng=circle.rng)


def test_no_entrance_takes_more_than_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Welcome, GroupInfo, any message, a tree beside one of them: refused before they are read."""
    circle = Circle(FAST, 1, seed=12)
    device, oversized = circle.new_device(), bytes(MAX_MESSAGE_BYTES + 1)
    bundle, group = device.key_package(circle.rng), full_group(circle.new_device(), circle)
    leaf = OwnLeafParams(
        signature_private=device.signature_private,
        credential=Credential.basic(device.identity),
        capabilities=device.capabilities,
    )
    made = group.commit(
        [Add(key_package=bundle.key_package)], rng=circle.rng, options=CommitOptions(tree_in_welcome=False)
    )
    info = group.group_info(circle.rng, with_tree=False)
    assert made.welcome is not None
    with counting(monkeypatch) as counts:
        for entrance in (
            lambda: device.join(oversized, bundle),
            lambda: FullGroup.join(
                welcome=oversized, bundle=bundle, signature_private=device.signature_private
            ),
            lambda: FullGroup.join_externally(oversized, leaf=leaf, rng=circle.rng),
            lambda: group.receive(oversized),
        ):
            with pytest.raises(CodecError, match="longer than allowed"):
                entrance()
    assert not counts
    with pytest.raises(CodecError, match="longer than allowed"):
        FullGroup.join(
            welcome=made.welcome,
            bundle=bundle,
            signature_private=device.signature_private,
            ratchet_tree=oversized,
        )
    with pytest.raises(CodecError, match="longer than allowed"):
        FullGroup.join_externally(info, leaf=leaf, rng=circle.rng, ratchet_tree=oversized)


def test_stored_state_is_bounded_in_both_directions() -> None:
    oversized = bytes(MAX_STORED_BYTES + 1)
    for load in (Group.from_bytes, StagedCommit.from_bytes):
        with pytest.raises(CodecError, match="longer than allowed"):
            load(oversized)
    with pytest.raises(StateError, match="too large"):
        seal_stored(GROUP_MAGIC, oversized)


def test_a_commit_of_too_many_proposals_is_refused_before_any_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_count([Remove(removed=LeafIndex(1))] * MAX_PROPOSALS)
    too_many = [Remove(removed=LeafIndex(1))] * (MAX_PROPOSALS + 1)
    with pytest.raises(ValidationError, match=r"commit\.too-many-proposals"):
        resolve(too_many, {}, committer=Sender.member(LeafIndex(0)))
    circle = Circle(FAST, 2, seed=13)
    message = forge(circle[0], Commit(proposals=tuple(too_many), path=None), circle.rng)
    before = circle[1].to_bytes()
    with counting(monkeypatch) as counts, pytest.raises(ValidationError, match=r"commit\.too-many-proposals"):
        circle[1].unprotect(message)
    assert counts["verify"] == 1
    assert counts["hash"] == 0
    assert circle[1].to_bytes() == before


@pytest.mark.parametrize("claimed", [2**14, 2**29, 2**30 - 1])
def test_a_lying_length_costs_nothing(monkeypatch: pytest.MonkeyPatch, claimed: int) -> None:
    circle = Circle(FAST, 2, seed=9)
    with counting(monkeypatch) as counts:
        refused(circle[1], bytes.fromhex("00010002") + encode_length(claimed) + b"x" * 50, CodecError)
    assert not counts


def test_a_tree_has_at_most_so_many_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_TREE_LEAVES == 2**MAX_TREE_DEPTH
    leaf = Circle(FAST, 1, seed=10)[0]._state.own_leaf_node()
    full = [leaf, *([None] * (2 * MAX_TREE_LEAVES - 3)), leaf]
    assert from_ratchet_tree(FAST, full).n_leaves == MAX_TREE_LEAVES
    with counting(monkeypatch) as counts, pytest.raises(ValidationError, match=r"tree\.too-large"):
        from_ratchet_tree(FAST, [*full, None, leaf])
    assert not counts
    blank = Writer().vector([None] * (2 * MAX_TREE_LEAVES), lambda writer, _: writer.u8(0)).to_bytes()
    with pytest.raises(ValidationError):
        from_ratchet_tree(FAST, decode(blank, read_ratchet_tree))


def test_a_full_tree_takes_nobody_more() -> None:
    leaf = Circle(FAST, 1, seed=11)[0]._state.own_leaf_node()
    nodes = [leaf if index % 2 == 0 else None for index in range(2 * MAX_TREE_LEAVES - 1)]
    tree = RatchetTree(FAST, nodes)
    with pytest.raises(ValidationError, match=r"tree\.too-large"):
        tree.add_leaf(leaf)
    assert tree.n_leaves == MAX_TREE_LEAVES


def test_one_update_hashes_one_path_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No repeated hashing of unchanged subtrees: the work of an update grows with the depth of the tree."""
    hashes: dict[int, int] = {}
    for size in (4, 8, 16):
        circle = Circle(FAST, size, seed=size)
        for leaf in range(size):
            circle.update(leaf)
        pending = circle.pending(0)
        with counting(monkeypatch) as counts:
            circle[1].unprotect(pending.message)
        hashes[size] = counts["hash"]
        assert counts["hpke_open"] == 1
        assert counts["verify"] == 2
    assert hashes[8] - hashes[4] == hashes[16] - hashes[8] <= 4
