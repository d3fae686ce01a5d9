"""secret_tree.py and its codec: a key once, nothing kept (RFC 9420 section 9; R11)."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.codec import CodecError, decode, encode
from crypto.errors import GenerationUsedError, StateError, ValidationError
from crypto.secret_tree import MAX_GENERATION, MessageKey, RatchetPolicy, RatchetType, SecretTree
from crypto.secret_tree_codec import read_secret_tree, write_secret_tree
from crypto.suites import PRODUCT
from crypto.tree_math import LeafIndex

APPLICATION, HANDSHAKE = RatchetType.APPLICATION, RatchetType.HANDSHAKE
ZERO, ONE = LeafIndex(0), LeafIndex(1)
ROOT = b"r" * PRODUCT.nh


def make(n_leaves: int = 2, policy: RatchetPolicy | None = None) -> SecretTree:
    return SecretTree(PRODUCT, n_leaves, ROOT, policy)


def stored(tree: SecretTree) -> bytes:
    return encode(tree, write_secret_tree)


def restored(data: bytes, policy: RatchetPolicy | None = None) -> SecretTree:
    return decode(data, lambda reader: read_secret_tree(reader, PRODUCT, policy))


def receive(tree: SecretTree, generation: int, leaf: LeafIndex = ZERO) -> MessageKey:
    prepared = tree.prepare(leaf, APPLICATION, generation)
    tree.consume(prepared)
    return prepared.key


def test_sender_and_receiver_derive_the_same_keys_once() -> None:
    sender, receiver = make(), make()
    sent = [sender.take_next(ZERO, APPLICATION) for _ in range(5)]
    assert [receive(receiver, generation) for generation in range(5)] == sent
    assert len({key.key for key in sent}) == 5
    assert sender.next_generation(ZERO, APPLICATION) == 5
    assert sender.next_generation(ONE, HANDSHAKE) == 0


@pytest.mark.parametrize("n_leaves", [1, 2, 3, 4, 5, 8])
def test_every_leaf_and_ratchet_has_keys_of_its_own(n_leaves: int) -> None:
    tree = make(n_leaves)
    keys = {
        tree.take_next(LeafIndex(leaf), ratchet).key for leaf in range(n_leaves) for ratchet in RatchetType
    }
    assert len(keys) == 2 * n_leaves


def test_preparing_changes_nothing() -> None:
    tree = make(4)
    receive(tree, 3, ONE)
    before = stored(tree)
    tree.prepare(ONE, APPLICATION, 10)
    tree.prepare(LeafIndex(3), HANDSHAKE, 0)
    assert stored(tree) == before


def test_r11_a_used_generation_is_never_used_again() -> None:
    tree = make()
    receive(tree, 0)
    with pytest.raises(GenerationUsedError):
        tree.prepare(ZERO, APPLICATION, 0)


def test_r11_the_same_prepared_key_is_consumed_once() -> None:
    tree = make()
    prepared = tree.prepare(ZERO, APPLICATION, 0)
    tree.consume(prepared)
    with pytest.raises(GenerationUsedError):
        tree.consume(prepared)


def test_r11_no_key_of_a_skipped_generation_is_kept() -> None:
    tree = make()
    never_used = make()
    skipped = [never_used.take_next(ZERO, APPLICATION) for _ in range(3)]
    receive(tree, 3)
    for key in skipped:
        with pytest.raises(GenerationUsedError):
            tree.prepare(ZERO, APPLICATION, key.generation)
        assert key.key not in stored(tree)
        assert key.nonce not in stored(tree)


def test_r11_at_most_4096_generations_are_skipped() -> None:
    tree = make()
    before = stored(tree)
    with pytest.raises(ValidationError, match="max-forward"):
        tree.prepare(ZERO, APPLICATION, 4097)
    assert stored(tree) == before
    assert receive(tree, 4096).generation == 4096
    assert RatchetPolicy().max_forward == 4096


def test_r11_no_secret_is_left_in_the_stored_tree_after_use() -> None:
    """Everything that the used generation was derived from is gone (RFC 9420 section 9.2)."""
    tree = make(4)
    ancestors = list(tree._nodes.values())
    for _ in range(3):
        ancestors.extend(tree._nodes.values())
        ancestors.extend(state.secret for state in tree._ratchets.values())
        twin = tree.copy()
        key = receive(tree, tree.next_generation(ZERO, APPLICATION))
        assert twin.next_generation(ZERO, APPLICATION) == key.generation
        left_over = stored(tree)
        assert key.key not in left_over
        assert key.nonce not in left_over
        assert ROOT not in left_over
        changed = [secret for secret in ancestors if secret not in _living(tree)]
        assert changed
        assert not any(secret in left_over for secret in changed)


def _living(tree: SecretTree) -> set[bytes]:
    """Secrets that still cover leaves or generations that were not used."""
    return {*tree._nodes.values(), *(state.secret for state in tree._ratchets.values())}


def test_a_leaf_secret_is_replaced_by_both_ratchets_at_once() -> None:
    tree = make(2)
    tree.take_next(ZERO, APPLICATION)
    assert set(tree._nodes) == {2}
    assert set(tree._ratchets) == {(ZERO, HANDSHAKE), (ZERO, APPLICATION)}


def test_skipped_keys_are_kept_only_where_asked_for() -> None:
    policy = RatchetPolicy(keep_skipped=2)
    tree, sender = make(policy=policy), make()
    sent = [sender.take_next(ZERO, APPLICATION) for _ in range(8)]
    receive(tree, 4)
    with pytest.raises(GenerationUsedError):
        tree.prepare(ZERO, APPLICATION, 1)
    tree = restored(stored(tree), policy)
    assert receive(tree, 2) == sent[2]
    with pytest.raises(GenerationUsedError):
        tree.prepare(ZERO, APPLICATION, 2)
    receive(tree, 7)
    with pytest.raises(GenerationUsedError):
        tree.prepare(ZERO, APPLICATION, 3)
    assert receive(tree, 5) == sent[5]
    kept = tree.prepare(ZERO, APPLICATION, 6)
    tree.consume(kept)
    with pytest.raises(GenerationUsedError):
        tree.consume(kept)


def test_a_used_up_ratchet_refuses_to_send() -> None:
    tree = make()
    tree.take_next(ZERO, APPLICATION)
    tree._ratchets[ZERO, APPLICATION].generation = MAX_GENERATION
    assert tree.take_next(ZERO, APPLICATION).generation == MAX_GENERATION
    with pytest.raises(StateError, match="used up"):
        restored(stored(tree)).take_next(ZERO, APPLICATION)


def test_leaves_outside_the_tree_are_refused() -> None:
    tree = make(2)
    with pytest.raises(ValidationError):
        tree.prepare(LeafIndex(2), APPLICATION, 0)
    with pytest.raises(StateError):
        tree.take_next(LeafIndex(2), APPLICATION)
    with pytest.raises(StateError):
        make(0)


def test_a_copy_goes_its_own_way() -> None:
    tree = make()
    tree.take_next(ZERO, APPLICATION)
    before, twin = stored(tree), tree.copy()
    receive(twin, 5, ONE)
    twin.take_next(ZERO, APPLICATION)
    assert stored(tree) == before != stored(twin)


def test_nothing_printed_shows_a_secret() -> None:
    tree = make()
    prepared = tree.prepare(ZERO, APPLICATION, 0)
    tree.consume(prepared)
    shown = repr([tree, prepared, prepared.key, *tree._ratchets.values()])
    for secret in (ROOT, prepared.key.key, prepared.key.nonce):
        assert repr(secret)[2:-1] not in shown


steps = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(RatchetType), st.integers(0, 3)), max_size=12)


@given(steps)
@settings(max_examples=40, deadline=None)
def test_a_stored_tree_goes_on_as_it_was(moves: list[tuple[int, RatchetType, int]]) -> None:
    tree = make(5)
    for leaf, ratchet, ahead in moves:
        generation = tree.next_generation(LeafIndex(leaf), ratchet) + ahead
        tree.consume(tree.prepare(LeafIndex(leaf), ratchet, generation))
        again = restored(stored(tree))
        assert stored(again) == stored(tree)
        tree = again
    for leaf in range(5):
        for ratchet in RatchetType:
            twin = tree.copy().take_next(LeafIndex(leaf), ratchet)
            assert restored(stored(tree)).take_next(LeafIndex(leaf), ratchet) == twin


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_stored_tree_is_refused_or_covers_every_leaf_once(data: st.DataObject) -> None:
    tree = make(4)
    receive(tree, 1, ONE)
    encoded = bytearray(stored(tree))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    try:
        again = restored(bytes(encoded))
    except CodecError:
        return
    for leaf in range(4):
        generation = again.next_generation(LeafIndex(leaf), HANDSHAKE)
        if generation <= MAX_GENERATION:
            again.prepare(LeafIndex(leaf), HANDSHAKE, generation)


def test_the_end_of_a_ratchet_is_the_end() -> None:
    tree = make(2)
    tree.take_next(ZERO, APPLICATION)
    tree._ratchets[ZERO, APPLICATION].generation = MAX_GENERATION + 1
    with pytest.raises(ValidationError):
        tree.prepare(ZERO, APPLICATION, MAX_GENERATION + 1)
    tree._ratchets[ZERO, APPLICATION].generation = MAX_GENERATION + 2
    with pytest.raises(CodecError, match="range"):
        restored(stored(tree))


def test_a_stored_tree_that_revives_a_used_leaf_is_refused() -> None:
    tree = make(2)
    receive(tree, 0)
    tree._nodes[0] = ROOT  # type: ignore[index]  # a NodeIndex written by an attacker is a plain number
    with pytest.raises(CodecError, match="exactly once"):
        restored(stored(tree))


def test_a_stored_tree_that_lost_a_leaf_is_refused() -> None:
    tree = make(2)
    receive(tree, 0)
    del tree._nodes[2]  # type: ignore[arg-type]  # as above
    with pytest.raises(CodecError, match="exactly once"):
        restored(stored(tree))


# What follows derives the tree a second time from the text of RFC 9420 section 9 (SHA-384, AES-256-GCM).


def expand_with_label(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    full = b"MLS 1.0 " + label
    info = length.to_bytes(2, "big") + bytes([len(full)]) + full + bytes([len(context)]) + context
    return hmac.digest(secret, info + b"\x01", "sha384")[:length]


def test_keys_and_nonces_are_those_of_section_9() -> None:
    size = PRODUCT.nh
    side = expand_with_label(ROOT, b"tree", b"right", size)
    leaf_secret = expand_with_label(side, b"tree", b"left", size)
    for ratchet, label in ((HANDSHAKE, b"handshake"), (APPLICATION, b"application")):
        tree = make(4)
        secret = expand_with_label(leaf_secret, label, b"", size)
        for generation in range(3):
            counter = generation.to_bytes(4, "big")
            assert tree.take_next(LeafIndex(2), ratchet) == MessageKey(
                generation=generation,
                key=expand_with_label(secret, b"key", counter, 32),
                nonce=expand_with_label(secret, b"nonce", counter, 12),
            )
            secret = expand_with_label(secret, b"secret", counter, size)


def test_the_stored_codes_of_the_ratchets_stay_what_they_are() -> None:
    assert [(ratchet.name, ratchet.value) for ratchet in RatchetType] == [
        ("HANDSHAKE", 1),
        ("APPLICATION", 2),
    ]
    assert MAX_GENERATION == 0xFFFF_FFFF


@pytest.mark.parametrize("leaf", range(4))
def test_a_receiver_that_only_looks_derives_what_the_sender_took(leaf: int) -> None:
    for ratchet in RatchetType:
        looked = make(4).prepare(LeafIndex(leaf), ratchet, 1).key
        sender = make(4)
        sender.take_next(LeafIndex(leaf), ratchet)
        assert sender.take_next(LeafIndex(leaf), ratchet) == looked


def test_no_part_of_a_ratchet_prints_a_secret() -> None:
    tree = make(2, RatchetPolicy(keep_skipped=2))
    prepared = tree.prepare(ZERO, APPLICATION, 2)
    assert repr(prepared).startswith("PreparedKey(key=MessageKey(generation=2), ratchet_id=(0, ")
    assert "_next_secret" not in repr(prepared)
    assert "_skipped" not in repr(prepared)
    tree.consume(prepared)
    assert repr(tree._ratchets[ZERO, APPLICATION]) == "Ratchet(generation=3)"


def test_the_last_generation_of_all_can_be_received() -> None:
    tree = make()
    receive(tree, 0)
    tree._ratchets[ZERO, APPLICATION].generation = MAX_GENERATION - 1
    assert receive(tree, MAX_GENERATION).generation == MAX_GENERATION


def test_a_leaf_whose_secret_is_gone_says_so() -> None:
    tree = make(4)
    tree._nodes.clear()
    with pytest.raises(StateError, match="secret of this leaf is gone"):
        tree.take_next(ZERO, APPLICATION)


@pytest.mark.parametrize("leaf", [-1, 2, 3])
def test_there_is_no_leaf_beside_the_tree(leaf: int) -> None:
    with pytest.raises(StateError, match="no such leaf"):
        make(2).take_next(LeafIndex(leaf), APPLICATION)
