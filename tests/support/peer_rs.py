"""mls-rs through its Python binding as a member for tests/peers.

The binding shows neither epoch authenticators nor leaf indices nor Update proposals, and its handshake
messages are PublicMessages. It names a member by a ``SigningIdentity``, which it hands out only with a
message of that member: hence the texts before each removal in support.peer_circle.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from crypto.codec import decode
from crypto.key_package import KeyPackage, read_key_package
from crypto.mls_message import MLSMessage, read_mls_message
from support.peer import EXPORT_BYTES, EXPORT_CONTEXT, EXPORT_LABEL, Event, Made, PeerRefused, Text, View


def why_not() -> str | None:
    """Why mls-rs cannot be run here, or None."""
    try:
        binding()
    except ImportError:
        return (
            f"the mls-rs binding has no wheel for {sys.platform} on {platform.machine()}, or is not installed"
        )
    return None


def binding() -> ModuleType:
    """The binding; imported late, since it does not exist for every platform."""
    return importlib.import_module("mls_rs_uniffi")


class RsPeer:
    """A member that mls-rs holds, on cipher suite 1."""

    kind = "mls-rs"

    def __init__(self, identity: bytes, *, tree_in_welcome: bool = True) -> None:
        self.rs: Any = binding()
        keys = self.rs.generate_signature_keypair(self.rs.CipherSuite.CURVE25519_AES128)
        config = self.rs.client_config_default()
        config.use_ratchet_tree_extension = tree_in_welcome
        self.tree_in_welcome = tree_in_welcome
        self.client = self.rs.Client(identity, keys, config)
        self.identities: dict[int, Any] = {}
        self.group: Any = None
        self._key_package = self.client.generate_key_package_message().to_bytes()

    def key_package(self) -> bytes:
        body = decode(self._key_package, read_mls_message).body
        assert isinstance(body, KeyPackage)
        return body.to_bytes()

    def create(self, group_id: bytes) -> None:
        self.group = self.client.create_group(group_id)

    def join(self, welcome: bytes, ratchet_tree: bytes | None) -> None:
        tree = None if ratchet_tree is None else self.rs.RatchetTree(bytes=ratchet_tree)
        try:
            self.group = self.client.join_group(tree, self.rs.Message.from_bytes(welcome)).group
        except self.rs.Error as error:
            raise PeerRefused(str(error)) from error

    def commit(
        self, *, adds: Sequence[bytes] = (), removes: Sequence[int] = (), tree_in_welcome: bool = True
    ) -> Made:
        assert not adds or tree_in_welcome == self.tree_in_welcome, "mls-rs decides this once for a client"
        packages = [
            self.rs.Message.from_bytes(MLSMessage(body=decode(data, read_key_package)).to_bytes())
            for data in adds
        ]
        identities = [self.identities[leaf] for leaf in removes]
        proposed = []
        try:
            if adds and removes:  # the binding has no commit of both by value
                proposed = self.group.propose_remove_members(identities)
                made = self.group.add_members(packages)
            elif adds:
                made = self.group.add_members(packages)
            elif removes:
                made = self.group.remove_members(identities)
            else:
                made = self.group.commit()
            self.group.process_incoming_message(made.commit_message)
        except self.rs.Error as error:
            raise PeerRefused(str(error)) from error
        return Made(
            message=made.commit_message.to_bytes(),
            welcome=None if made.welcome_message is None else made.welcome_message.to_bytes(),
            ratchet_tree=None if made.ratchet_tree is None else made.ratchet_tree.bytes,
            proposals=tuple(message.to_bytes() for message in proposed),
        )

    def process(self, message: bytes, sender: int) -> Text | Event:
        try:
            got = self.group.process_incoming_message(self.rs.Message.from_bytes(message))
        except self.rs.Error as error:
            raise PeerRefused(str(error)) from error
        if got.is_application_message():
            self.identities[sender] = got.sender
            return Text(sender=None, plaintext=got.data, authenticated_data=None)
        if got.is_commit():
            self.identities[sender] = got.committer
            return Event(kind="removed" if got.effect.is_removed() else "commit")
        return Event(kind="proposal")

    def protect(self, plaintext: bytes, authenticated_data: bytes) -> bytes:
        del authenticated_data  # the binding has none
        try:
            message: bytes = self.group.encrypt_application_message(plaintext).to_bytes()
        except self.rs.Error as error:
            raise PeerRefused(str(error)) from error
        return message

    def view(self) -> View:
        exported = self.group.export_secret(EXPORT_LABEL.encode(), EXPORT_CONTEXT, EXPORT_BYTES)
        return View(
            epoch=None,
            leaf=None,
            authenticator=None,
            tree_hash=None,
            transcript_hash=None,
            leaves=None,
            exported=exported,
        )
