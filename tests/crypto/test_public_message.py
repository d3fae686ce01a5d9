"""public_message.py and framed_content.py: who may send what, and what binds it (RFC 9420 6.1, 6.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.codec import CodecError, decode, encode
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    SenderType,
    WireFormat,
    read_authenticated_content,
    sign_framed_content,
    write_authenticated_content,
)
from crypto.proposals import Remove
from crypto.public_message import (
    PublicMessage,
    read_public_message,
    write_public_message,
)
from crypto.rfc9420.public_messages import protect_public, unprotect_public
from crypto.tree_math import LeafIndex
from support.mls_epoch import CONTEXT, Member

ALICE = Member(leaf=LeafIndex(0))
KEY = b"m" * ALICE.suite.nh


def signed(sender: Sender | None = None, *, context: bytes | None = CONTEXT) -> AuthenticatedContent:
    content = FramedContent(
        group_id=b"group",
        epoch=7,
        sender=sender or Sender.member(ALICE.leaf),
        authenticated_data=b"seen",
        content_type=ContentType.PROPOSAL,
        content=Remove(removed=LeafIndex(0)),
    )
    signature = sign_framed_content(
        ALICE.suite,
        ALICE.key_pair(ALICE.leaf)[0],
        wire_format=WireFormat.PUBLIC_MESSAGE,
        content=content,
        group_context=context,
    )
    auth = FramedContentAuthData(signature=signature)
    return AuthenticatedContent(wire_format=WireFormat.PUBLIC_MESSAGE, content=content, auth=auth)


def protect(message: AuthenticatedContent) -> PublicMessage:
    return protect_public(ALICE.suite, message, membership_key=KEY, group_context=CONTEXT)


def unprotect(message: PublicMessage, *, context: bytes = CONTEXT, key: bytes = KEY) -> AuthenticatedContent:
    return unprotect_public(
        ALICE.suite,
        message,
        signature_key=ALICE.key_pair(ALICE.leaf)[1],
        membership_key=key,
        group_context=context,
    )


def wire(message: PublicMessage) -> bytes:
    return encode(message, write_public_message)


def test_a_proposal_arrives() -> None:
    message = decode(wire(protect(signed())), read_public_message)
    assert unprotect(message) == signed()
    assert decode(encode(signed(), write_authenticated_content), read_authenticated_content) == signed()


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_every_flipped_bit_fails_closed(data: st.DataObject) -> None:
    encoded = bytearray(wire(protect(signed())))
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    with pytest.raises((AuthenticationError, CodecError, ValidationError)):
        unprotect(decode(bytes(encoded), read_public_message))


def test_another_epoch_or_group_does_not_verify() -> None:
    with pytest.raises(AuthenticationError):
        unprotect(protect(signed()), context=b"another context")
    with pytest.raises(AuthenticationError):
        unprotect(protect(signed()), key=b"n" * ALICE.suite.nh)


def test_a_members_message_without_its_tag_is_refused() -> None:
    with pytest.raises(AuthenticationError):
        unprotect(replace(protect(signed()), membership_tag=None))


def test_a_valid_tag_does_not_save_a_wrong_signature() -> None:
    message = signed()
    forged = replace(message, auth=FramedContentAuthData(signature=bytes(64)))
    with pytest.raises(AuthenticationError):
        unprotect(protect(forged))


def test_application_data_is_refused_both_ways_but_decodes() -> None:
    data = ALICE.sign(b"text", wire_format=WireFormat.PUBLIC_MESSAGE)
    with pytest.raises(StateError):
        protect(data)
    raw = PublicMessage(content=data.content, auth=data.auth, membership_tag=b"tag")
    assert decode(wire(raw), read_public_message) == raw
    with pytest.raises(ValidationError, match="content-of-sender"):
        unprotect(raw)


def test_content_signed_for_a_private_message_is_not_sent_in_the_open() -> None:
    with pytest.raises(StateError, match="wire format"):
        protect(replace(signed(), wire_format=WireFormat.PRIVATE_MESSAGE))


def test_an_external_sender_signs_without_the_group_context() -> None:
    sender = Sender(sender_type=SenderType.EXTERNAL, index=0)
    message = protect(signed(sender, context=None))
    assert message.membership_tag is None
    assert decode(wire(message), read_public_message) == message
    assert unprotect(message).content.sender == sender
    with pytest.raises(ValidationError, match="not-a-member"):
        _ = sender.leaf_index


def test_a_new_member_may_not_propose_with_a_commits_sender() -> None:
    with pytest.raises(StateError):
        protect(signed(Sender(sender_type=SenderType.NEW_MEMBER_COMMIT)))
    with pytest.raises(StateError, match="context"):
        signed(Sender(sender_type=SenderType.NEW_MEMBER_COMMIT), context=None)


def test_only_a_commit_carries_a_confirmation_tag() -> None:
    message = signed()
    tagged = replace(message, auth=replace(message.auth, confirmation_tag=b"tag"))
    with pytest.raises(StateError):
        encode(tagged, write_authenticated_content)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        ("0003", "frames no content"),
        ("0001" + "00" + "00" * 8 + "05", "sender type"),
        ("0001" + "00" + "00" * 8 + "0100000000" + "00" + "04", "content type"),
    ],
)
def test_values_without_a_structure_are_malformed(encoded: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        decode(bytes.fromhex(encoded), read_authenticated_content)
