"""message-protection: PublicMessage and PrivateMessage of all three content types (RFC 9420 section 6)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from clients.conformance.case import Case, Mismatch, expect_equal, integer, unhex
from crypto.codec import decode, encode
from crypto.errors import StateError
from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    WireFormat,
    read_content,
    sign_framed_content,
    write_content,
)
from crypto.group_context import GroupContext
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.private_message import PrivateMessage, protect_private, unprotect_private
from crypto.public_message import PublicMessage
from crypto.rfc9420.public_messages import protect_public, unprotect_public
from crypto.secret_tree import SecretTree
from crypto.suites import CipherSuite, suite
from crypto.tree_math import LeafIndex

SENDER: Final = LeafIndex(1)
N_MEMBERS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Epoch:
    """The group of a case."""

    suite: CipherSuite
    context: GroupContext
    context_bytes: bytes
    case: Case

    def secret_tree(self) -> SecretTree:
        return SecretTree(self.suite, N_MEMBERS, unhex(self.case, "encryption_secret"))

    def sign(
        self, raw: bytes, kind: ContentType, wire_format: WireFormat, tag: bytes | None
    ) -> AuthenticatedContent:
        """Sign content as the member at leaf 1. ``raw`` is the encoded content, application data itself."""
        is_data = kind is ContentType.APPLICATION
        content = FramedContent(
            group_id=self.context.group_id,
            epoch=self.context.epoch,
            sender=Sender.member(SENDER),
            authenticated_data=b"",
            content_type=kind,
            content=raw if is_data else decode(raw, lambda reader: read_content(reader, kind)),
        )
        signature = sign_framed_content(
            self.suite,
            unhex(self.case, "signature_priv"),
            wire_format=wire_format,
            content=content,
            group_context=self.context_bytes,
        )
        auth = FramedContentAuthData(signature=signature, confirmation_tag=tag)
        return AuthenticatedContent(wire_format=wire_format, content=content, auth=auth)

    def open_public(self, message: PublicMessage) -> AuthenticatedContent:
        return unprotect_public(
            self.suite,
            message,
            signature_key=unhex(self.case, "signature_pub"),
            membership_key=unhex(self.case, "membership_key"),
            group_context=self.context_bytes,
        )

    def open_private(self, message: PrivateMessage, tree: SecretTree) -> AuthenticatedContent:
        content, _ = unprotect_private(
            self.suite,
            message,
            sender_data_secret=unhex(self.case, "sender_data_secret"),
            secret_tree=tree,
            signature_key=lambda _: unhex(self.case, "signature_pub"),
            group_context=self.context_bytes,
        )
        return content


def check(case: Case) -> None:
    """Unprotect what the vector protects, and what we protect ourselves."""
    algorithms = suite(integer(case, "cipher_suite"))
    context = GroupContext(
        cipher_suite=algorithms.code,
        group_id=unhex(case, "group_id"),
        epoch=integer(case, "epoch"),
        tree_hash=unhex(case, "tree_hash"),
        confirmed_transcript_hash=unhex(case, "confirmed_transcript_hash"),
    )
    epoch = _Epoch(suite=algorithms, context=context, context_bytes=context.to_bytes(), case=case)
    for name, kind in (("proposal", ContentType.PROPOSAL), ("commit", ContentType.COMMIT)):
        _check_public(epoch, name, kind)
        _check_private(epoch, name, kind)
    _check_private(epoch, "application", ContentType.APPLICATION)
    _check_no_public_application(epoch)


def _message(case: Case, name: str) -> PublicMessage | PrivateMessage:
    encoded = unhex(case, name)
    message = decode(encoded, read_mls_message)
    expect_equal(f"{name}, encoded again", message.to_bytes(), encoded)
    if not isinstance(message.body, PublicMessage | PrivateMessage):
        raise Mismatch(f"{name} is of another wire format")
    return message.body


def _expect_content(epoch: _Epoch, what: str, opened: AuthenticatedContent, raw: bytes) -> None:
    content = opened.content.content
    ours = content if isinstance(content, bytes) else encode(content, write_content)
    expect_equal(what, ours, raw)
    expect_equal(f"sender of {what}", opened.content.sender, Sender.member(SENDER))
    expect_equal(f"group_id of {what}", opened.content.group_id, epoch.context.group_id)
    expect_equal(f"epoch of {what}", opened.content.epoch, epoch.context.epoch)


def _tag(epoch: _Epoch, kind: ContentType) -> bytes | None:
    """A confirmation tag for a commit: any bytes do, since the vectors hold no confirmation key."""
    return bytes(epoch.suite.nh) if kind is ContentType.COMMIT else None


def _check_public(epoch: _Epoch, name: str, kind: ContentType) -> None:
    raw = unhex(epoch.case, name)
    theirs = _message(epoch.case, f"{name}_pub")
    if not isinstance(theirs, PublicMessage):
        raise Mismatch(f"{name}_pub is no PublicMessage")
    _expect_content(epoch, f"{name}_pub", epoch.open_public(theirs), raw)
    ours = protect_public(
        epoch.suite,
        epoch.sign(raw, kind, WireFormat.PUBLIC_MESSAGE, _tag(epoch, kind)),
        membership_key=unhex(epoch.case, "membership_key"),
        group_context=epoch.context_bytes,
    )
    sent = decode(MLSMessage(body=ours).to_bytes(), read_mls_message).body
    if not isinstance(sent, PublicMessage):
        raise Mismatch(f"our {name} is no PublicMessage")
    _expect_content(epoch, f"our PublicMessage of {name}", epoch.open_public(sent), raw)


def _check_private(epoch: _Epoch, name: str, kind: ContentType) -> None:
    raw = unhex(epoch.case, name)
    theirs = _message(epoch.case, f"{name}_priv")
    if not isinstance(theirs, PrivateMessage):
        raise Mismatch(f"{name}_priv is no PrivateMessage")
    receiver = epoch.secret_tree()
    _expect_content(epoch, f"{name}_priv", epoch.open_private(theirs, receiver), raw)
    sender = receiver.copy()
    ours = protect_private(
        epoch.suite,
        epoch.sign(raw, kind, WireFormat.PRIVATE_MESSAGE, _tag(epoch, kind)),
        sender_data_secret=unhex(epoch.case, "sender_data_secret"),
        secret_tree=sender,
        rng=os.urandom,
    )
    sent = decode(MLSMessage(body=ours).to_bytes(), read_mls_message).body
    if not isinstance(sent, PrivateMessage):
        raise Mismatch(f"our {name} is no PrivateMessage")
    _expect_content(epoch, f"our PrivateMessage of {name}", epoch.open_private(sent, receiver), raw)


def _check_no_public_application(epoch: _Epoch) -> None:
    raw = unhex(epoch.case, "application")
    message = epoch.sign(raw, ContentType.APPLICATION, WireFormat.PUBLIC_MESSAGE, None)
    try:
        protect_public(
            epoch.suite,
            message,
            membership_key=unhex(epoch.case, "membership_key"),
            group_context=epoch.context_bytes,
        )
    except StateError:
        return
    raise Mismatch("application data was protected as a PublicMessage")
