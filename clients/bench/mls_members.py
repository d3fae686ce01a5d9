"""Members for `amanat bench mls`: ours, and mls-rs behind its Python binding, with the same few verbs.

What they must do alike: enter a group (:mod:`clients.bench.mls_group`), talk, update, add, remove. Times are
of these verbs, bytes in and bytes out.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from clients.bench.mls_group import GROUP_ID, current_lifetime
from crypto.codec import decode
from crypto.credentials import Credential
from crypto.group import ApplicationMessage, CommitReceived, Group, OwnLeafParams, StagedCommit
from crypto.key_package import KeyPackageBundle, generate_key_package, read_key_package
from crypto.leaf_node import Capabilities
from crypto.suites import PRODUCT, X25519_AES128, CipherSuite
from crypto.tree_math import LeafIndex

MESSAGE_HEADER: Final = bytes.fromhex("00010005")
"""An MLSMessage with a KeyPackage in it begins so (version, wire format); the KeyPackage is the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A commit and its Welcome."""

    message: bytes
    welcome: bytes | None


class Member(Protocol):
    """One device."""

    def key_package(self) -> bytes:
        """Make a fresh KeyPackage, encoded without an MLSMessage around it."""

    def create(self) -> None:
        """Begin a group."""

    def join(self, welcome: bytes) -> None:
        """Enter a group with the last KeyPackage made; the tree is in the Welcome."""

    def commit(self, adds: Sequence[bytes]) -> Committed:
        """Commit with a path, and enter the epoch."""

    def remove(self, other: Member, leaf: int) -> bytes:
        """Commit the removal of another member, who stands at ``leaf``, and enter the epoch."""

    def process(self, message: bytes) -> None:
        """Follow another member's commit."""

    def protect(self, plaintext: bytes) -> bytes:
        """Seal a text."""

    def unprotect(self, message: bytes) -> bytes:
        """Open a text."""

    def state_bytes(self) -> int | None:
        """Size of the state on disk, in bytes; None where it cannot be asked for."""


class OurMember:
    """This program's."""

    def __init__(self, name: str, suite: CipherSuite) -> None:
        self._suite = suite
        self._private, _ = suite.generate_signature_key_pair(os.urandom)
        self._credential = Credential.basic(name.encode())
        self._capabilities = Capabilities(versions=(1,), cipher_suites=(suite.code,), credentials=(1,))
        self._bundle: KeyPackageBundle | None = None
        self._held: Group | None = None

    @property
    def _group(self) -> Group:
        if self._held is None:
            raise RuntimeError("in no group yet")
        return self._held

    def key_package(self) -> bytes:
        """See :class:`Member`."""
        self._bundle = generate_key_package(
            suite=self._suite,
            signature_private=self._private,
            credential=self._credential,
            capabilities=self._capabilities,
            lifetime=current_lifetime(),
            rng=os.urandom,
        )
        return self._bundle.key_package.to_bytes()

    def create(self) -> None:
        """See :class:`Member`."""
        leaf = OwnLeafParams(
            signature_private=self._private, credential=self._credential, capabilities=self._capabilities
        )
        self._held = Group.create(suite=self._suite, group_id=GROUP_ID, leaf=leaf, rng=os.urandom)

    def join(self, welcome: bytes) -> None:
        """See :class:`Member`."""
        if self._bundle is None:
            raise RuntimeError("no KeyPackage was made")
        self._held = Group.join(
            welcome=welcome,
            key_package=self._bundle.key_package,
            init_private=self._bundle.init_private,
            encryption_private=self._bundle.encryption_private,
            signature_private=self._private,
        )

    def commit(self, adds: Sequence[bytes]) -> Committed:
        """See :class:`Member`."""
        packages = [decode(add, read_key_package) for add in adds]
        made = self._group.commit(adds=packages, removes=(), rng=os.urandom, authenticated_data=b"")
        self._held = self._group.merge(made.staged)
        return Committed(message=made.message, welcome=made.welcome)

    def remove(self, other: Member, leaf: int) -> bytes:
        """See :class:`Member`."""
        del other
        made = self._group.commit(adds=(), removes=[LeafIndex(leaf)], rng=os.urandom, authenticated_data=b"")
        self._held = self._group.merge(made.staged)
        return made.message

    def process(self, message: bytes) -> None:
        """See :class:`Member`."""
        received = self._group.unprotect(message)
        if not isinstance(received, CommitReceived) or not isinstance(received.staged, StagedCommit):
            raise TypeError("a commit was expected")
        self._held = self._group.merge(received.staged)

    def protect(self, plaintext: bytes) -> bytes:
        """See :class:`Member`."""
        return self._group.protect(plaintext, authenticated_data=b"", rng=os.urandom)

    def unprotect(self, message: bytes) -> bytes:
        """See :class:`Member`."""
        received = self._group.unprotect(message)
        if not isinstance(received, ApplicationMessage):
            raise TypeError("a text was expected")
        return received.plaintext

    def state_bytes(self) -> int | None:
        """See :class:`Member`."""
        return len(self._group.to_bytes())


class RsMember:
    """mls-rs, cipher suite 1. Its binding sends commits as PublicMessages."""

    def __init__(self, name: str) -> None:
        self._rs: Any = importlib.import_module("mls_rs_uniffi")
        keys = self._rs.generate_signature_keypair(self._rs.CipherSuite.CURVE25519_AES128)
        config = self._rs.client_config_default()
        config.use_ratchet_tree_extension = True
        self._storage = _recording_storage(self._rs)
        config.group_state_storage = self._storage
        self._client: Any = self._rs.Client(name.encode(), keys, config)
        self._group: Any = None

    def key_package(self) -> bytes:
        """See :class:`Member`."""
        return bytes(self._client.generate_key_package_message().to_bytes())[len(MESSAGE_HEADER) :]

    def create(self) -> None:
        """See :class:`Member`."""
        self._group = self._client.create_group(GROUP_ID)

    def join(self, welcome: bytes) -> None:
        """See :class:`Member`."""
        self._group = self._client.join_group(None, self._rs.Message.from_bytes(welcome)).group

    def commit(self, adds: Sequence[bytes]) -> Committed:
        """See :class:`Member`."""
        packages = [self._rs.Message.from_bytes(MESSAGE_HEADER + add) for add in adds]
        made = self._group.add_members(packages) if packages else self._group.commit()
        self._group.process_incoming_message(made.commit_message)
        welcome = None if made.welcome_message is None else made.welcome_message.to_bytes()
        return Committed(message=made.commit_message.to_bytes(), welcome=welcome)

    def remove(self, other: Member, leaf: int) -> bytes:
        """See :class:`Member`."""
        del leaf
        if not isinstance(other, RsMember):
            raise TypeError("mls-rs names a member by what its own client shows")
        made = self._group.remove_members([other._client.signing_identity()])
        self._group.process_incoming_message(made.commit_message)
        return bytes(made.commit_message.to_bytes())

    def process(self, message: bytes) -> None:
        """See :class:`Member`."""
        self._group.process_incoming_message(self._rs.Message.from_bytes(message))

    def protect(self, plaintext: bytes) -> bytes:
        """See :class:`Member`."""
        return bytes(self._group.encrypt_application_message(plaintext).to_bytes())

    def unprotect(self, message: bytes) -> bytes:
        """See :class:`Member`."""
        return bytes(self._group.process_incoming_message(self._rs.Message.from_bytes(message)).data)

    def state_bytes(self) -> int | None:
        """See :class:`Member`."""
        self._group.write_to_storage()
        return int(self._storage.state_bytes)


def _recording_storage(rs: Any) -> Any:
    """A store for mls-rs that remembers how large the last state was.

    Records of past epochs, which mls-rs keeps beside the state, are not counted: ours keeps none.
    """

    class Recording(rs.GroupStateStorage):  # type: ignore[misc]  # a class of a binding without types
        state_bytes = 0

        def write(self, *written: Any) -> None:
            _, group_state, _, _ = written  # of which group; inserted and updated records of past epochs
            self.state_bytes = len(group_state)

        def state(self, *asked: Any) -> bytes | None:
            del asked
            return None

        def epoch(self, *asked: Any) -> bytes | None:
            del asked
            return None

        def max_epoch_id(self, *asked: Any) -> int | None:
            del asked
            return None

    return Recording()


def make_member(kind: str, name: str) -> Member:
    """A member of one of the kinds that `amanat bench mls` names.

    Raises:
        ImportError: mls-rs is not installed, or has no wheel for this platform.
    """
    match kind:
        case "amanat":
            return OurMember(name, X25519_AES128)
        case "amanat-0xF002":
            return OurMember(name, PRODUCT)
        case _:
            return RsMember(name)
