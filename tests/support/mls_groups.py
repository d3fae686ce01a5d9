"""Groups of several members in one process, and forged commits, for the tests of ``crypto``."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from crypto.commit import Commit
from crypto.credentials import Credential
from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    WireFormat,
    sign_framed_content,
)
from crypto.group import ApplicationMessage, CommitReceived, Group, OwnLeafParams, PendingCommit, StagedCommit
from crypto.group_messages import open_message
from crypto.key_package import KeyPackage, KeyPackageBundle, generate_key_package
from crypto.leaf_node import Capabilities, Lifetime
from crypto.mls_message import MLSMessage
from crypto.private_message import protect_private
from crypto.sensitive import Secret
from crypto.suites import PRODUCT, X25519_AES128, CipherSuite
from crypto.tree_math import LeafIndex

FAST = X25519_AES128
"""The quickest suite: for tests whose subject does not depend on the suite."""

GROUP_ID = b"a group for tests"
LIFETIME = Lifetime(not_before=1_000_000, not_after=1_000_000 + 3 * 86_400)

Rng = Callable[[int], bytes]


def seeded(seed: int = 0) -> Rng:
    """A source of bytes that repeats."""
    return random.Random(seed).randbytes


def capabilities_of(suite: CipherSuite) -> Capabilities:
    return Capabilities(versions=(1,), cipher_suites=(suite.code,), credentials=(1,))


@dataclass(kw_only=True)
class Device:
    """A signature key and a way to make KeyPackages for it."""

    suite: CipherSuite
    identity: bytes
    signature_private: bytes = field(repr=False)
    capabilities: Capabilities

    @classmethod
    def make(cls, suite: CipherSuite, name: str, rng: Rng) -> Device:
        private, _ = suite.generate_signature_key_pair(rng)
        return cls(
            suite=suite,
            identity=name.encode(),
            signature_private=private,
            capabilities=capabilities_of(suite),
        )

    def key_package(self, rng: Rng) -> KeyPackageBundle:
        return generate_key_package(
            suite=self.suite,
            signature_private=self.signature_private,
            credential=Credential.basic(self.identity),
            capabilities=self.capabilities,
            lifetime=LIFETIME,
            rng=rng,
        )

    def create(self, rng: Rng, group_id: bytes = GROUP_ID) -> Group:
        return Group.create(
            suite=self.suite,
            group_id=group_id,
            leaf=OwnLeafParams(
                signature_private=self.signature_private,
                credential=Credential.basic(self.identity),
                capabilities=self.capabilities,
            ),
            rng=rng,
        )

    def join(self, welcome: bytes, bundle: KeyPackageBundle) -> Group:
        return Group.join(
            welcome=welcome,
            key_package=bundle.key_package,
            init_private=bundle.init_private,
            encryption_private=bundle.encryption_private,
            signature_private=self.signature_private,
        )


class Circle:
    """All members of one group: every commit is processed by everybody, and all must agree."""

    def __init__(
        self, suite: CipherSuite = FAST, size: int = 1, seed: int = 0, *, first: Device | None = None
    ) -> None:
        self.suite = suite
        self.rng = seeded(seed)
        self._count = 0
        first = first or Device.make(suite, "device 0", self.rng)
        self.devices: dict[LeafIndex, Device] = {LeafIndex(0): first}
        self.groups: dict[LeafIndex, Group] = {LeafIndex(0): first.create(self.rng)}
        for _ in range(size - 1):
            self.add(next(iter(self.groups)))

    def __getitem__(self, leaf: int) -> Group:
        return self.groups[LeafIndex(leaf)]

    def new_device(self) -> Device:
        self._count += 1
        return Device.make(self.suite, f"device {self._count}", self.rng)

    def pending(
        self, committer: int, *, adds: Sequence[KeyPackage] = (), removes: Iterable[int] = ()
    ) -> PendingCommit:
        return self[committer].commit(
            adds=adds,
            removes=[LeafIndex(leaf) for leaf in removes],
            rng=self.rng,
            authenticated_data=b"commit",
        )

    def add(self, committer: int, device: Device | None = None, *, removes: Iterable[int] = ()) -> LeafIndex:
        """Add one device (removing others in the same commit); returns its leaf."""
        joiner = device or self.new_device()
        bundle = joiner.key_package(self.rng)
        pending = self.pending(committer, adds=[bundle.key_package], removes=removes)
        self.apply(committer, pending)
        assert pending.welcome is not None
        joined = joiner.join(pending.welcome, bundle)
        assert joined.signer == committer
        self.groups[joined.own_leaf] = joined
        self.devices[joined.own_leaf] = joiner
        self.check()
        return joined.own_leaf

    def remove(self, committer: int, *leaves: int) -> list[Group]:
        """Remove members; returns the groups that they are left with."""
        left = [self[leaf] for leaf in leaves]
        self.apply(committer, self.pending(committer, removes=leaves))
        self.check()
        return left

    def update(self, committer: int) -> None:
        self.apply(committer, self.pending(committer))
        self.check()

    def apply(self, committer: int, pending: PendingCommit) -> None:
        """Let everybody process a commit; who is removed by it drops out."""
        for leaf, group in list(self.groups.items()):
            if leaf == committer:
                self.groups[leaf] = group.merge(pending.staged)
                continue
            received = group.unprotect(pending.message)
            assert isinstance(received, CommitReceived)
            assert received.sender == committer
            if received.staged is None:
                del self.groups[leaf]
            else:
                self.groups[leaf] = group.merge(received.staged)

    def check(self) -> None:
        """All members have the same view, and everybody reads everybody."""
        views = {
            (g.epoch, g.epoch_authenticator, g.tree_hash, g.confirmed_transcript_hash)
            for g in self.groups.values()
        }
        assert len(views) == 1
        for leaf, sender in self.groups.items():
            assert {member.leaf_index for member in sender.members} == set(self.groups)
            message = sender.protect(b"from %d" % leaf, authenticated_data=b"", rng=self.rng)
            for other, receiver in self.groups.items():
                if other != leaf:
                    received = receiver.unprotect(message)
                    assert isinstance(received, ApplicationMessage)
                    assert (received.sender, received.plaintext) == (leaf, b"from %d" % leaf)


def pair(suite: CipherSuite = PRODUCT, seed: int = 0) -> tuple[Group, Group]:
    """Two members of a new group, the creator first."""
    circle = Circle(suite, 2, seed)
    return circle[0], circle[1]


def opened_commit(receiver: Group, message: bytes) -> Commit:
    """The Commit in a message, as a member reads it."""
    authenticated, _ = open_message(receiver._state, message)
    assert isinstance(authenticated.content.content, Commit)
    return authenticated.content.content


def forge(
    sender: Group,
    content: Commit | bytes,
    rng: Rng,
    *,
    confirmation_tag: bytes = b"made up",
    signature_private: Secret | None = None,
) -> bytes:
    """A message with any content, well signed and well encrypted, whose confirmation tag is made up."""
    state = sender._state
    is_commit = isinstance(content, Commit)
    framed = FramedContent(
        group_id=state.context.group_id,
        epoch=state.context.epoch,
        sender=Sender.member(state.own_leaf),
        authenticated_data=b"",
        content_type=ContentType.COMMIT if is_commit else ContentType.APPLICATION,
        content=content,
    )
    signature = sign_framed_content(
        state.suite,
        (signature_private or state.signature_private).reveal(),
        wire_format=WireFormat.PRIVATE_MESSAGE,
        content=framed,
        group_context=state.context.to_bytes(),
    )
    message = AuthenticatedContent(
        wire_format=WireFormat.PRIVATE_MESSAGE,
        content=framed,
        auth=FramedContentAuthData(
            signature=signature, confirmation_tag=confirmation_tag if is_commit else None
        ),
    )
    sealed = protect_private(
        state.suite,
        message,
        sender_data_secret=state.sender_data_secret.reveal(),
        secret_tree=state.secret_tree,
        rng=rng,
    )
    return MLSMessage(body=sealed).to_bytes()


def staged_of(received: object) -> StagedCommit:
    """The staged epoch of a commit that does not remove us."""
    assert isinstance(received, CommitReceived)
    assert received.staged is not None
    return received.staged
