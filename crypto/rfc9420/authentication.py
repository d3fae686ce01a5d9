"""The Authentication Service as an interface (RFC 9420 section 5.3.1), and its simplest forms.

The core asks at each event that section 5.3.1 lists: a KeyPackage about to be added, an Add received, the
tree of a group to be joined, a new credential in an Update or in a commit's path, and ``external_senders``.
What identifiers are acceptable is the application's business: it implements :class:`AuthenticationService`.
"""

from __future__ import annotations

from typing import Protocol

from crypto.credentials import Credential
from crypto.errors import ValidationError
from crypto.extensions import Extensions
from crypto.leaf_node import LeafNode
from crypto.ratchet_tree import RatchetTree
from crypto.rfc9420.external_extensions import external_senders


class AuthenticationService(Protocol):
    """Judges credentials."""

    def validate(self, credential: Credential, signature_key: bytes) -> None:
        """Demand that the credential speaks for the holder of this signature key.

        Raises:
            ValidationError: ``credential.*``.
        """

    def same_client(self, one: Credential, other: Credential) -> bool:
        """Whether two credentials present equivalent identifiers: successors, and members across groups."""


class AnyCredential:
    """Accepts every credential; clients are told apart by identity, or by their whole certificate chain.

    For vectors, whose credentials nobody vouches for, and for tests. ``any_successor`` accepts every
    replacement of a credential.
    """

    __slots__ = ("_any_successor",)

    def __init__(self, *, any_successor: bool = False) -> None:
        self._any_successor = any_successor

    def validate(self, credential: Credential, signature_key: bytes) -> None:
        """Accept."""
        del credential, signature_key

    def same_client(self, one: Credential, other: Credential) -> bool:
        """Compare the credentials themselves."""
        return self._any_successor or one == other


def validate_leaf(service: AuthenticationService, leaf: LeafNode) -> None:
    """Validate the credential of a leaf that is new to the group. Raises ValidationError."""
    service.validate(leaf.credential, leaf.signature_key)


def validate_replacement(service: AuthenticationService, old: LeafNode, new: LeafNode) -> None:
    """Validate what a member puts in place of its own leaf, if credential or signature key are new.

    Raises:
        ValidationError: ``credential.*``; ``credential.successor``: it presents another client.
    """
    if (old.credential, old.signature_key) == (new.credential, new.signature_key):
        return
    validate_leaf(service, new)
    if not service.same_client(old.credential, new.credential):
        raise ValidationError("credential.successor")


def validate_tree(service: AuthenticationService, tree: RatchetTree) -> None:
    """Validate the credentials of all members, as a joiner must. Raises ValidationError."""
    for _, leaf in tree.members():
        validate_leaf(service, leaf)


def validate_external_senders(
    service: AuthenticationService, extensions: Extensions, *, known: Extensions = ()
) -> None:
    """Validate external senders that are new.

    Args:
        service: Judges.
        extensions: Of the new GroupContext.
        known: Of the old one.

    Raises:
        ValidationError: ``credential.*``.
        CodecError: The extension is malformed.
    """
    before = set(external_senders(known))
    for sender in external_senders(extensions):
        if sender not in before:
            service.validate(sender.credential, sender.signature_key)
