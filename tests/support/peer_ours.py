"""Our own members for tests/peers: the product's Group, and the FullGroup that knows all of RFC 9420."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from crypto.codec import CodecError, decode
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.framed_content import WireFormat
from crypto.group import ApplicationMessage, CommitReceived, Group, OwnLeafParams, RatchetPolicy
from crypto.key_package import KeyPackage, KeyPackageBundle, generate_key_package, read_key_package
from crypto.leaf_node import Capabilities, Lifetime
from crypto.proposals import Add, Proposal, Remove
from crypto.ratchet_tree import RatchetTree
from crypto.rfc9420.full_group import ApplicationReceived, CommitFollowed, FullGroup, ProposalReceived
from crypto.rfc9420.make import CommitOptions
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex
from support.peer import (
    EXPORT_BYTES,
    EXPORT_CONTEXT,
    EXPORT_LABEL,
    PLAIN_LABEL,
    Event,
    Made,
    PeerRefused,
    Text,
    View,
)

Rng = Callable[[int], bytes]
DAY_SECONDS = 86_400


@contextmanager
def refusals() -> Iterator[None]:
    """Our errors as PeerRefused."""
    try:
        yield
    except (CodecError, ValidationError, AuthenticationError, StateError) as error:
        raise PeerRefused(f"{type(error).__name__}: {error}") from error


def fresh_lifetime() -> Lifetime:
    """Other implementations read the clock themselves, so these KeyPackages are valid today."""
    now = int(time.time())
    return Lifetime(not_before=now - 3600, not_after=now + DAY_SECONDS)


class OurDevice:
    """Keys and KeyPackage, common to both of our groups."""

    def __init__(self, suite: CipherSuite, identity: bytes, rng: Rng, *, keep_skipped: int = 0) -> None:
        self.suite = suite
        self.rng = rng
        self.policy = RatchetPolicy(keep_skipped=keep_skipped)
        self.identity = identity
        self.credential = Credential.basic(identity)
        self.capabilities = Capabilities(versions=(1,), cipher_suites=(suite.code,), credentials=(1, 2))
        self.signature_private, _ = suite.generate_signature_key_pair(rng)
        self.bundle: KeyPackageBundle = generate_key_package(
            suite=suite,
            signature_private=self.signature_private,
            credential=self.credential,
            capabilities=self.capabilities,
            lifetime=fresh_lifetime(),
            rng=rng,
        )

    def key_package(self) -> bytes:
        return self.bundle.key_package.to_bytes()

    def leaf_params(self) -> OwnLeafParams:
        return OwnLeafParams(
            signature_private=self.signature_private,
            credential=self.credential,
            capabilities=self.capabilities,
        )


def read_adds(adds: Sequence[bytes]) -> list[KeyPackage]:
    return [decode(data, read_key_package) for data in adds]


class ProductPeer(OurDevice):
    """The product's Group: PrivateMessages alone, and a path and the tree in everything it makes."""

    kind = "product"
    group: Group

    def create(self, group_id: bytes) -> None:
        self.group = Group.create(
            suite=self.suite,
            group_id=group_id,
            leaf=self.leaf_params(),
            rng=self.rng,
            ratchet_policy=self.policy,
        )

    def join(self, welcome: bytes, ratchet_tree: bytes | None) -> None:
        with refusals():
            self.group = Group.join(
                welcome=welcome,
                key_package=self.bundle.key_package,
                init_private=self.bundle.init_private,
                encryption_private=self.bundle.encryption_private,
                signature_private=self.signature_private,
                ratchet_tree=ratchet_tree,
                ratchet_policy=self.policy,
            )

    def commit(
        self, *, adds: Sequence[bytes] = (), removes: Sequence[int] = (), tree_in_welcome: bool = True
    ) -> Made:
        del tree_in_welcome  # the product always puts it in
        with refusals():
            pending = self.group.commit(
                adds=read_adds(adds),
                removes=[LeafIndex(leaf) for leaf in removes],
                rng=self.rng,
                authenticated_data=b"from the product",
            )
            self.group = self.group.merge(pending.staged)
        return Made(message=pending.message, welcome=pending.welcome, ratchet_tree=None)

    def process(self, message: bytes, sender: int) -> Text | Event:
        with refusals():
            received = self.group.unprotect(message)
        match received:
            case ApplicationMessage():
                return Text(
                    sender=received.sender,
                    plaintext=received.plaintext,
                    authenticated_data=received.authenticated_data,
                )
            case CommitReceived(staged=None):
                return Event(kind="removed")
            case CommitReceived(staged=staged) if staged is not None:
                assert received.sender == sender
                self.group = self.group.merge(staged)
                return Event(kind="commit")
        raise PeerRefused("our own message")

    def protect(self, plaintext: bytes, authenticated_data: bytes) -> bytes:
        return self.group.protect(plaintext, authenticated_data=authenticated_data, rng=self.rng)

    def tree(self) -> RatchetTree:
        """The group's tree."""
        return self.group._state.tree

    def view(self) -> View:
        group = self.group
        return View(
            epoch=group.epoch,
            leaf=group.own_leaf,
            authenticator=group.epoch_authenticator,
            tree_hash=group.tree_hash,
            transcript_hash=group.confirmed_transcript_hash,
            leaves=tuple(member.leaf_index for member in group.members),
            exported=group.export(EXPORT_LABEL, EXPORT_CONTEXT, EXPORT_BYTES),
            exported_plain=group.export(PLAIN_LABEL, b"", EXPORT_BYTES),
        )


class FullPeer(OurDevice):
    """All of RFC 9420: PublicMessages, standalone proposals, commits without path, Welcomes without tree."""

    kind = "full"
    group: FullGroup

    def __init__(
        self,
        suite: CipherSuite,
        identity: bytes,
        rng: Rng,
        *,
        keep_skipped: int = 0,
        public: bool = False,
        path_always: bool = False,
    ) -> None:
        super().__init__(suite, identity, rng, keep_skipped=keep_skipped)
        self.wire_format = WireFormat.PUBLIC_MESSAGE if public else WireFormat.PRIVATE_MESSAGE
        self.path_always = path_always

    def create(self, group_id: bytes) -> None:
        self.group = FullGroup.create(
            suite=self.suite,
            group_id=group_id,
            leaf=self.leaf_params(),
            rng=self.rng,
            ratchet_policy=self.policy,
        )

    def join(self, welcome: bytes, ratchet_tree: bytes | None) -> None:
        with refusals():
            self.group = FullGroup.join(
                welcome=welcome,
                bundle=self.bundle,
                signature_private=self.signature_private,
                ratchet_tree=ratchet_tree,
                ratchet_policy=self.policy,
            )

    def commit(
        self, *, adds: Sequence[bytes] = (), removes: Sequence[int] = (), tree_in_welcome: bool = True
    ) -> Made:
        proposals: list[Proposal] = [Remove(removed=LeafIndex(leaf)) for leaf in removes]
        proposals += [Add(key_package=key_package) for key_package in read_adds(adds)]
        options = CommitOptions(
            wire_format=self.wire_format,
            with_path=self.path_always or not adds or bool(removes),
            tree_in_welcome=tree_in_welcome,
        )
        with refusals():
            made = self.group.commit(proposals, rng=self.rng, options=options)
        self.group = made.group
        return Made(message=made.message, welcome=made.welcome, ratchet_tree=made.ratchet_tree)

    def process(self, message: bytes, sender: int) -> Text | Event:
        with refusals():
            received = self.group.receive(message)
        match received:
            case ApplicationReceived():
                return Text(
                    sender=received.sender,
                    plaintext=received.plaintext,
                    authenticated_data=received.authenticated_data,
                )
            case ProposalReceived():
                return Event(kind="proposal")
            case CommitFollowed():
                assert received.sender.index in {None, sender}  # None: somebody new
                if received.group is None:
                    return Event(kind="removed")
                self.group = received.group
                return Event(kind="commit")

    def propose_update(self) -> bytes:
        with refusals():
            return self.group.propose_update(rng=self.rng, wire_format=self.wire_format)

    def protect(self, plaintext: bytes, authenticated_data: bytes) -> bytes:
        return self.group.protect(plaintext, authenticated_data=authenticated_data, rng=self.rng)

    def tree(self) -> RatchetTree:
        """The group's tree."""
        return self.group._state.core.tree

    def view(self) -> View:
        group = self.group
        return View(
            epoch=group.epoch,
            leaf=group.own_leaf,
            authenticator=group.epoch_authenticator,
            tree_hash=group.context.tree_hash,
            transcript_hash=group.context.confirmed_transcript_hash,
            leaves=tuple(member.leaf_index for member in group.members),
            exported=group.export(EXPORT_LABEL, EXPORT_CONTEXT, EXPORT_BYTES),
            exported_plain=group.export(PLAIN_LABEL, b"", EXPORT_BYTES),
        )
