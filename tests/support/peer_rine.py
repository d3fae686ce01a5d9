"""mls-rs in the wheel ``rine-mls``: a member that can also enter by an external commit, on cipher suite 1.

The binding shows neither epoch authenticator nor exporter: that two members agree is seen from texts that
each of them opens. It writes one byte before a PrivateMessage of application data.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

CODE = 1


def why_not() -> str | None:
    """Why rine-mls cannot be run here, or None."""
    try:
        binding()
    except ImportError:
        return f"rine-mls has no wheel for {sys.platform} on {platform.machine()}, or is not installed"
    return None


def binding() -> ModuleType:
    """The binding; imported late, since it does not exist for every platform."""
    return importlib.import_module("rine_mls")


class RineMember:
    """A member that mls-rs holds. ``store`` is a folder of its own; ``seed`` is its Ed25519 key."""

    def __init__(self, store: Path, seed: bytes) -> None:
        self.rine: Any = binding()
        self.client = self.rine.MlsClient(str(store), seed, CODE)
        self.group: Any = None

    @property
    def leaf(self) -> int:
        """Its leaf index."""
        index: int = self.group.current_member_index()
        return index

    def key_package(self) -> bytes:
        """MLSMessage(KeyPackage)."""
        message: bytes = self.client.generate_key_package()
        return message

    def create(self, group_id: bytes, key_packages: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
        """Begin a group with these members; gives the commit and one Welcome for each."""
        self.group = self.client.create_group_with_members(group_id, list(key_packages))
        made = self.group.last_commit()
        return made.commit, made.welcomes

    def join(self, welcome: bytes) -> None:
        """Enter by MLSMessage(Welcome)."""
        self.group = self.client.join_from_welcome(welcome)

    def join_externally(self, group_info: bytes) -> bytes:
        """Enter by an external commit, which is returned."""
        self.group = self.client.join_by_external_commit(group_info)
        commit: bytes = self.group.last_commit().commit
        return commit

    def resync(self, group_info: bytes) -> bytes:
        """Take one's own place anew by an external commit, which is returned."""
        self.group = self.client.resync_by_external_commit(group_info, self.leaf)
        commit: bytes = self.group.last_commit().commit
        return commit

    def add(self, key_packages: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
        """Commit Adds; gives the commit and one Welcome for each."""
        made = self.group.add_members(list(key_packages))
        return made.commit, made.welcomes

    def remove(self, leaf: int) -> bytes:
        """Commit a Remove."""
        commit: bytes = self.group.remove_member(leaf).commit
        return commit

    def follow(self, commit: bytes) -> bool:
        """Take a commit in; whether we are still in the group."""
        self.group.apply_commit(commit)
        active: bool = self.group.is_active()
        return active

    def group_info(self) -> bytes:
        """MLSMessage(GroupInfo) for external joins."""
        message: bytes = self.group.group_info()
        return message

    def protect(self, plaintext: bytes) -> bytes:
        """MLSMessage of a text."""
        payload: bytes = self.group.encrypt_application_message(plaintext)
        assert payload[0] == self.rine.APP_MESSAGE_TAG
        return payload[1:]

    def open(self, message: bytes) -> tuple[int, bytes]:
        """Sender's leaf and text of an MLSMessage."""
        opened = self.group.decrypt_application_message(bytes([self.rine.APP_MESSAGE_TAG]) + message)
        return opened.sender_index, opened.envelope
