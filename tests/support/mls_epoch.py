"""An epoch without a group around it: just enough to protect and unprotect messages."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    WireFormat,
    sign_framed_content,
)
from crypto.private_message import PrivateMessage, SenderData, protect_private, unprotect_private
from crypto.secret_tree import RatchetPolicy, SecretTree
from crypto.suites import PRODUCT, CipherSuite
from crypto.tree_math import LeafIndex

CONTEXT = b"encoded group context"


def seeded(seed: int) -> random.Random:
    """A source of bytes (``.randbytes``) that repeats itself, for tests."""
    return random.Random(seed)


@dataclass(kw_only=True)
class Member:
    """One member's view of an epoch in which everybody's secrets come from one seed."""

    leaf: LeafIndex
    suite: CipherSuite = PRODUCT
    n_leaves: int = 2
    policy: RatchetPolicy = field(default_factory=RatchetPolicy)
    tree: SecretTree = field(init=False)

    def __post_init__(self) -> None:
        self.tree = SecretTree(self.suite, self.n_leaves, b"e" * self.suite.nh, self.policy)

    def key_pair(self, leaf: LeafIndex) -> tuple[bytes, bytes]:
        """A member's signature key pair."""
        return self.suite.signature_key_pair_from_seed(bytes([leaf + 1]) * self.suite.signature.n_private)

    def sign(
        self,
        data: bytes,
        *,
        wire_format: WireFormat = WireFormat.PRIVATE_MESSAGE,
        leaf: LeafIndex | None = None,
    ) -> AuthenticatedContent:
        """Sign application data, as this member or (a forgery) in another's name."""
        content = FramedContent(
            group_id=b"group",
            epoch=7,
            sender=Sender.member(self.leaf if leaf is None else leaf),
            authenticated_data=b"seen",
            content_type=ContentType.APPLICATION,
            content=data,
        )
        signature = sign_framed_content(
            self.suite,
            self.key_pair(self.leaf)[0],
            wire_format=wire_format,
            content=content,
            group_context=CONTEXT,
        )
        return AuthenticatedContent(
            wire_format=wire_format, content=content, auth=FramedContentAuthData(signature=signature)
        )

    def seal(self, message: AuthenticatedContent, *, padding: int = 0, seed: int = 1) -> PrivateMessage:
        """Protect a signed content."""
        return protect_private(
            self.suite,
            message,
            sender_data_secret=b"s" * self.suite.nh,
            secret_tree=self.tree,
            rng=seeded(seed).randbytes,
            padding=padding,
        )

    def protect(self, data: bytes, *, padding: int = 0, seed: int = 1) -> PrivateMessage:
        """Sign and protect application data."""
        return self.seal(self.sign(data), padding=padding, seed=seed)

    def unprotect(self, message: PrivateMessage) -> tuple[AuthenticatedContent, SenderData]:
        """Unprotect a message of any member."""
        return unprotect_private(
            self.suite,
            message,
            sender_data_secret=b"s" * self.suite.nh,
            secret_tree=self.tree,
            signature_key=lambda leaf: self.key_pair(leaf)[1],
            group_context=CONTEXT,
            own_leaf=self.leaf,
        )
