"""core-crypto, Wire's library over OpenMLS, under Node as a member for tests/peers.

It shows the epoch, one exported secret (label ``exporter``, no context) and the sender's identity. Members
are removed by identity, so it must be told who is where. Its handshake messages are PublicMessages, and it
takes a GroupInfo without the MLSMessage in which it gives its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from support.peer import EXPORT_BYTES, Event, Made, Text, View
from support.peer_ts import HERE, Bridge
from support.peer_ts import why_not as why_not_node

VERSION = "core-crypto"
GROUP_INFO = b"\0\1\0\4"
"""How an MLSMessage begins that holds a GroupInfo."""


def why_not() -> str | None:
    """Why core-crypto cannot be run here, or None."""
    reason = why_not_node()
    if reason is None and not (HERE / "node_modules" / "@wireapp" / "core-crypto" / "package.json").is_file():
        return "tests/peers/ts/node_modules lacks core-crypto: ./test --setup installs it (npm ci)"
    return reason


class CorePeer:
    """A member that core-crypto holds."""

    kind = "core-crypto"
    _handles = itertools.count(1)

    def __init__(self, bridge: Bridge, suite_code: int, identity: bytes) -> None:
        self.bridge = bridge
        self.handle = next(self._handles)
        self.identity = identity
        self.identities: dict[int, bytes] = {}
        self._key_package: bytes = self._ask("new", suite=suite_code, identity=identity)["keyPackage"]

    def _ask(self, op: str, **request: object) -> Any:
        return self.bridge.ask(op, member=self.handle, **request)

    def key_package(self) -> bytes:
        return self._key_package

    def create(self, group_id: bytes) -> None:
        self._ask("create", groupId=group_id)

    def join(self, welcome: bytes, ratchet_tree: bytes | None) -> None:
        assert ratchet_tree is None
        self._ask("join", welcome=welcome)

    def join_externally(self, group_info: bytes) -> bytes:
        """Enter by an external commit, which is returned."""
        message: bytes = self._ask("joinExternally", groupInfo=group_info.removeprefix(GROUP_INFO))["message"]
        return message

    def commit(
        self, *, adds: Sequence[bytes] = (), removes: Sequence[int] = (), tree_in_welcome: bool = True
    ) -> Made:
        assert tree_in_welcome
        made = self._ask("commit", adds=list(adds), removes=[self.identities[leaf] for leaf in removes])
        self.group_info: bytes = made["groupInfo"]
        return Made(message=made["message"], welcome=made["welcome"], ratchet_tree=None)

    def process(self, message: bytes, sender: int) -> Text | Event:
        del sender
        got = self._ask("process", message=message)
        if got["kind"] == "application":
            return Text(sender=None, plaintext=got["plaintext"], authenticated_data=None)
        return Event(kind=got["kind"])

    def protect(self, plaintext: bytes, authenticated_data: bytes) -> bytes:
        del authenticated_data  # the library has none
        message: bytes = self._ask("protect", plaintext=plaintext)["message"]
        return message

    def view(self) -> View:
        seen = self._ask("view", length=EXPORT_BYTES)
        return View(
            epoch=seen["epoch"],
            leaf=None,
            authenticator=None,
            tree_hash=None,
            transcript_hash=None,
            leaves=None,
            exported=None,
            exported_plain=seen["exported"],
        )
