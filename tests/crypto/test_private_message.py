"""private_message.py: protect, unprotect, and every way to fail closed (RFC 9420 section 6.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.codec import CodecError, decode, encode
from crypto.errors import AuthenticationError, GenerationUsedError, StateError, ValidationError
from crypto.framed_content import ContentType, Sender, SenderType, WireFormat
from crypto.private_message import (
    PrivateMessage,
    _guarded,
    open_sender_data,
    protect_private,
    read_private_message,
    sender_data_key_nonce,
    write_private_message,
)
from crypto.secret_tree import MAX_GENERATION, RatchetPolicy, RatchetType
from crypto.secret_tree_codec import write_secret_tree
from crypto.suites import SUITES
from crypto.tree_math import LeafIndex
from support.mls_epoch import Member

ZERO, ONE = LeafIndex(0), LeafIndex(1)


def pair() -> tuple[Member, Member]:
    return Member(leaf=ZERO), Member(leaf=ONE)


def state(member: Member) -> bytes:
    return encode(member.tree, write_secret_tree)


def wire(message: PrivateMessage) -> bytes:
    return encode(message, write_private_message)


@pytest.mark.parametrize("algorithms", SUITES.values(), ids=lambda algorithms: algorithms.name)
@pytest.mark.parametrize("leaf", [ZERO, ONE])
def test_a_message_arrives_with_its_sender_and_generation(algorithms: object, leaf: LeafIndex) -> None:
    sender = Member(leaf=leaf, suite=algorithms)  # type: ignore[arg-type]  # parametrised over SUITES
    receiver = Member(leaf=LeafIndex(1 - leaf), suite=algorithms)  # type: ignore[arg-type]  # as above
    for generation in range(3):
        sent = decode(wire(sender.protect(b"salaam")), read_private_message)
        opened, sender_data = receiver.unprotect(sent)
        assert opened.content.content == b"salaam"
        assert opened.content.sender == Sender.member(leaf)
        assert opened.content.authenticated_data == b"seen"
        assert (sender_data.leaf_index, sender_data.generation) == (leaf, generation)


@given(st.binary(max_size=100), st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_content_and_padding_survive(data: bytes, padding: int) -> None:
    sender, receiver = pair()
    message = sender.protect(data, padding=padding)
    assert receiver.unprotect(message)[0].content.content == data
    plain = Member(leaf=ZERO).protect(data)
    assert len(message.ciphertext) == len(plain.ciphertext) + padding


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_flipped_bit_fails_closed_and_changes_nothing(data: st.DataObject) -> None:
    sender, receiver = pair()
    encoded = bytearray(wire(sender.protect(b"a text of some length")))
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    before = state(receiver)
    with pytest.raises((AuthenticationError, CodecError)):
        receiver.unprotect(decode(bytes(encoded), read_private_message))
    assert state(receiver) == before


def test_what_stands_outside_the_ciphertext_is_bound_to_it() -> None:
    sender, receiver = pair()
    message = sender.protect(b"x")
    for changed in (
        replace(message, group_id=b"other"),
        replace(message, authenticated_data=b"other"),
        replace(message, epoch=8),
        replace(message, content_type=ContentType.PROPOSAL),
    ):
        with pytest.raises(AuthenticationError):
            receiver.unprotect(changed)
    assert receiver.unprotect(message)[0].content.content == b"x"


def test_r20_a_replayed_message_is_known_as_such() -> None:
    sender, receiver = pair()
    message = sender.protect(b"once")
    receiver.unprotect(message)
    before = state(receiver)
    with pytest.raises(GenerationUsedError):
        receiver.unprotect(message)
    assert state(receiver) == before


def test_r11_a_message_out_of_order_is_not_accepted() -> None:
    sender, receiver = pair()
    first, second = sender.protect(b"1"), sender.protect(b"2")
    receiver.unprotect(second)
    with pytest.raises(GenerationUsedError):
        receiver.unprotect(first)


def test_a_peer_that_keeps_skipped_generations_takes_them_once() -> None:
    sender, receiver = Member(leaf=ZERO), Member(leaf=ONE, policy=RatchetPolicy(keep_skipped=10))
    messages = [sender.protect(bytes([n])) for n in range(4)]
    for index in (3, 0, 2, 1):
        assert receiver.unprotect(messages[index])[0].content.content == bytes([index])
    with pytest.raises(GenerationUsedError):
        receiver.unprotect(messages[0])


def test_r11_a_message_too_far_ahead_is_refused() -> None:
    sender, receiver = pair()
    for _ in range(4097):
        sender.tree.take_next(ZERO, RatchetType.APPLICATION)
    before = state(receiver)
    with pytest.raises(ValidationError, match="max-forward"):
        receiver.unprotect(sender.protect(b"far"))
    assert state(receiver) == before


def test_a_forged_signature_changes_nothing() -> None:
    """A member that writes in another's name fails at the signature, after decryption."""
    forger, receiver = Member(leaf=ZERO, n_leaves=4), Member(leaf=ONE, n_leaves=4)
    forged = forger.seal(forger.sign(b"not mine", leaf=LeafIndex(2)))
    before = state(receiver)
    with pytest.raises(AuthenticationError):
        receiver.unprotect(forged)
    assert state(receiver) == before
    honest = Member(leaf=LeafIndex(2), n_leaves=4).protect(b"mine")
    assert receiver.unprotect(honest)[0].content.content == b"mine"


def test_r09_own_messages_are_recognised_without_moving_the_own_ratchet() -> None:
    device, clone = Member(leaf=ZERO), Member(leaf=ZERO)
    own = device.protect(b"mine")
    with pytest.raises(GenerationUsedError):
        device.unprotect(own)
    before = state(clone)
    opened, sender_data = clone.unprotect(own)
    assert (opened.content.content, sender_data.generation) == (b"mine", 0)
    assert clone.tree.next_generation(ZERO, RatchetType.APPLICATION) == 0
    clone.tree.take_next(ZERO, RatchetType.APPLICATION)
    assert before != state(clone)


def test_the_reuse_guard_changes_the_nonce() -> None:
    """RFC 9420 section 6.3.1: a state that was lost must not repeat a nonce."""
    first, again = Member(leaf=ZERO), Member(leaf=ZERO)
    assert first.protect(b"x", seed=1).ciphertext != again.protect(b"x", seed=2).ciphertext
    assert _guarded(bytes(range(12)), b"\xff\x00\x0f\x01") == b"\xff\x01\x0d\x02" + bytes(range(4, 12))


def test_padding_that_is_not_zero_is_malformed() -> None:
    sender, receiver = pair()
    message = sender.sign(b"x")
    sealed = _seal_raw(sender, b"\x01x" + b"\x40\x40" + message.auth.signature + b"\x00\x01")
    with pytest.raises(CodecError, match="padding"):
        receiver.unprotect(sealed)


def test_content_that_ends_early_is_malformed() -> None:
    sender, receiver = pair()
    before = state(receiver)
    with pytest.raises(CodecError):
        receiver.unprotect(_seal_raw(sender, b"\x05x"))
    assert state(receiver) == before


def _seal_raw(sender: Member, inner: bytes) -> PrivateMessage:
    """Encrypt bytes that no honest member would, with the keys that it would use."""
    suite = sender.suite
    key = sender.tree.take_next(sender.leaf, RatchetType.APPLICATION)
    template = Member(leaf=sender.leaf).protect(b"")
    aad = b"\x05group" + (7).to_bytes(8, "big") + b"\x01" + b"\x04seen"
    ciphertext = suite.aead_seal(key.key, _guarded(key.nonce, bytes(4)), aad, inner)
    data_key, data_nonce = sender_data_key_nonce(suite, b"s" * suite.nh, ciphertext)
    sender_data = sender.leaf.to_bytes(4, "big") + key.generation.to_bytes(4, "big") + bytes(4)
    sealed = suite.aead_seal(data_key, data_nonce, aad[: -len(b"\x04seen")], sender_data)
    return replace(template, encrypted_sender_data=sealed, ciphertext=ciphertext)


def test_the_highest_generation_can_be_sent_but_no_more() -> None:
    sender, _ = pair()
    sender.protect(b"x")
    sender.tree._ratchets[ZERO, RatchetType.APPLICATION].generation = MAX_GENERATION
    sender.protect(b"last")
    with pytest.raises(StateError, match="used up"):
        sender.protect(b"one more")


def test_only_a_member_may_send_and_only_what_was_signed_for_it() -> None:
    sender, _ = pair()
    with pytest.raises(StateError, match="wire format"):
        sender.seal(sender.sign(b"x", wire_format=WireFormat.PUBLIC_MESSAGE))
    signed = sender.sign(b"x")
    outsider = replace(signed.content, sender=Sender(sender_type=SenderType.NEW_MEMBER_COMMIT))
    with pytest.raises(ValidationError, match="not-a-member"):
        sender.seal(replace(signed, content=outsider))
    assert sender.tree.next_generation(ZERO, RatchetType.APPLICATION) == 0


def test_a_leaf_outside_the_tree_is_refused() -> None:
    sender, receiver = Member(leaf=LeafIndex(3), n_leaves=4), Member(leaf=ZERO, n_leaves=2)
    with pytest.raises(ValidationError, match="leaf-outside"):
        receiver.unprotect(sender.protect(b"x"))


def test_sender_data_opens_without_the_ratchets() -> None:
    sender, receiver = pair()
    message = sender.protect(b"x")
    sender_data = open_sender_data(receiver.suite, message, b"s" * receiver.suite.nh)
    assert (sender_data.leaf_index, sender_data.generation, len(sender_data.reuse_guard)) == (ZERO, 0, 4)


def test_encryption_that_fails_sends_nothing() -> None:
    sender, _ = pair()

    def broken(_size: int) -> bytes:
        raise OSError("no randomness")

    with pytest.raises(OSError, match="no randomness"):
        protect_private(
            sender.suite,
            sender.sign(b"x"),
            sender_data_secret=b"s" * sender.suite.nh,
            secret_tree=sender.tree,
            rng=broken,
        )
    assert sender.tree.next_generation(ZERO, RatchetType.APPLICATION) == 1, "the generation counts as used"
