"""passive-client: join by a Welcome, follow every commit, agree on each epoch authenticator.

Files ``passive-client-welcome``, ``-handling-commit`` and ``-random`` have one format. What the format leaves
open is met with the widest sensible reading:

* ``key_package`` and ``welcome`` are MLSMessages in the official files; the bare structs are taken too.
* ``external_psks``, ``epochs`` and ``proposals`` may be null or absent where there are none; an empty
  ``ratchet_tree`` is none.
* Private keys may lack leading zeros, have their public half behind them, or come as PKCS #8.
* A proposal that no commit names may be anything; one that a commit names must have been valid.
* A resumption PSK of an epoch that we were in is ours. One of a group that we never saw (a case that begins
  with a branch or a re-initialised group) must come in ``external_psks``, under the encoded PreSharedKeyID,
  or that without its nonce, or the old group's id, alone or followed by the epoch as uint64, or under any
  name, if it is the one that opens the Welcome; or in an additional array ``resumption_psks`` of
  ``{group_id, epoch, psk}``.
* A ``commit`` may be the Welcome of a group that continues this one, for the same KeyPackage. The case may go
  on in either group; how the old one looked is not judged.
* A commit that removes us must be the last, with a null authenticator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from clients.conformance.case import (
    Case,
    Mismatch,
    expect_equal,
    integer,
    items_optional,
    unhex,
    unhex_optional,
)
from clients.conformance.private_keys import native_hpke_key, native_signature_key
from crypto.codec import CodecError, Writer, decode
from crypto.errors import AuthenticationError, ValidationError
from crypto.key_package import KeyPackage, KeyPackageBundle, read_key_package
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.private_message import PrivateMessage
from crypto.psk_id import PreSharedKeyID, PSKType, write_psk_id
from crypto.public_message import PublicMessage
from crypto.rfc9420.authentication import AnyCredential
from crypto.rfc9420.full_group import CommitFollowed, FullGroup, own_device
from crypto.rfc9420.psks import PskStore
from crypto.secret_tree import RatchetPolicy
from crypto.sensitive import Secret
from crypto.suites import suite as suite_of
from crypto.welcome import Welcome, read_welcome

T = TypeVar("T")

POLICY = RatchetPolicy(max_forward=1 << 16, keep_skipped=1 << 12)
"""A passive client may get handshake messages of one sender out of order."""


class VectorPsks(PskStore):
    """Takes PSKs of groups that we never were in from ``external_psks``; see the module's text."""

    __slots__ = ("_given", "guess")

    def __init__(self, given: dict[bytes, bytes]) -> None:
        super().__init__()
        self._given = given
        self.guess: bytes | None = None
        for psk_id, psk in given.items():
            self.add_external(psk_id, psk)

    def find(self, psk_id: PreSharedKeyID) -> Secret:
        """See :class:`PskStore`."""
        try:
            return super().find(psk_id)
        except ValidationError:
            for name in _names(psk_id):
                if name in self._given:
                    return Secret(self._given[name])
            if self.guess is None or psk_id.psktype is PSKType.EXTERNAL:
                raise
            return Secret(self.guess)

    def guesses(self) -> list[bytes]:
        """PSKs that a Welcome may mean by a name that tells nothing."""
        return list(self._given.values())


def _names(psk_id: PreSharedKeyID) -> list[bytes]:
    if psk_id.psktype is not PSKType.RESUMPTION:
        return []
    writer = Writer()
    write_psk_id(writer, psk_id)
    encoded = writer.to_bytes()
    nonce = Writer().opaque(psk_id.psk_nonce).to_bytes()
    group_id = psk_id.psk_group_id
    return [
        encoded,
        encoded[: len(encoded) - len(nonce)],
        group_id + psk_id.psk_epoch.to_bytes(8, "big"),
        group_id,
    ]


def check(case: Case) -> None:
    """Run one scenario.

    Raises:
        Mismatch: An authenticator differs, or the case is not of the format.
    """
    client = _Client(case)
    group = client.join(unhex(case, "welcome"), unhex_optional(case, "ratchet_tree"))
    expect_equal(
        "initial_epoch_authenticator", group.epoch_authenticator, unhex(case, "initial_epoch_authenticator")
    )
    epochs = items_optional(case, "epochs")
    for number, epoch in enumerate(epochs):
        for proposal in items_optional(epoch, "proposals"):
            client.take_proposal(unhex({"proposal": proposal}, "proposal"))
        following = client.take_commit(unhex(epoch, "commit"), unhex_optional(epoch, "ratchet_tree"))
        if following is None:
            if number + 1 != len(epochs) or epoch.get("epoch_authenticator"):
                raise Mismatch(f"epoch {number}: the commit removes us")
            return
        expect_equal(
            f"epoch_authenticator of epoch {number}",
            following.epoch_authenticator,
            unhex(epoch, "epoch_authenticator"),
        )


class _Client:
    """The passive client: its keys, and the groups that it is in, by their ids."""

    def __init__(self, case: Case) -> None:
        self._bundle, self._signature_private = _own_keys(case)
        self._psks = _psks(case)
        self._device = own_device(self._psks, AnyCredential(any_successor=True))
        self._groups: dict[bytes, FullGroup] = {}

    def join(self, welcome: bytes, ratchet_tree: bytes | None) -> FullGroup:
        """Enter a group by a Welcome."""
        return self._guessing(lambda: self._join(welcome, ratchet_tree or None))

    def _guessing(self, step: Callable[[], T]) -> T:
        """Take a step; if it wants a PSK of a name that tells nothing, try those given one by one."""
        try:
            return step()
        except ValidationError as error:
            if error.rule != "psk.unknown":
                raise
        for guess in self._psks.guesses():
            self._psks.guess = guess
            try:
                return step()
            except AuthenticationError:
                continue  # not this one
            finally:
                self._psks.guess = None
        raise ValidationError("psk.unknown")

    def _join(self, welcome: bytes, ratchet_tree: bytes | None) -> FullGroup:
        group = FullGroup.join(
            welcome=_welcome(welcome),
            bundle=self._bundle,
            signature_private=self._signature_private,
            device=self._device,
            ratchet_tree=ratchet_tree,
            ratchet_policy=POLICY,
        )
        self._groups[group.group_id] = group
        return group

    def take_proposal(self, message: bytes) -> None:
        """Remember a proposal; one that is not valid is missed only if a commit names it."""
        try:
            group = self._group_of(message)
            group.receive(message)
        except (AuthenticationError, CodecError, ValidationError):
            return

    def take_commit(self, message: bytes, ratchet_tree: bytes | None) -> FullGroup | None:
        """Enter the next epoch; None if the commit removes us."""
        if isinstance(decode(message, read_mls_message).body, Welcome):
            return self.join(message, ratchet_tree)
        group = self._group_of(message)
        received = self._guessing(lambda: group.receive(message))
        if not isinstance(received, CommitFollowed):
            raise Mismatch("a commit is of another content type")
        if received.group is not None:
            self._groups[group.group_id] = received.group
        return received.group

    def _group_of(self, message: bytes) -> FullGroup:
        decoded = decode(message, read_mls_message)
        expect_equal("a handshake message, encoded again", decoded.to_bytes(), message)
        match decoded.body:
            case PublicMessage(content=content):
                group_id = content.group_id
            case PrivateMessage():
                group_id = decoded.body.group_id
            case _:
                raise Mismatch("a handshake message is of another wire format")
        if group_id not in self._groups:
            raise ValidationError("message.group-id")
        return self._groups[group_id]


def _own_keys(case: Case) -> tuple[KeyPackageBundle, bytes]:
    suite = suite_of(integer(case, "cipher_suite"))
    key_package = _key_package(unhex(case, "key_package"))
    expect_equal("cipher suite of key_package", key_package.cipher_suite, suite.code)
    init = native_hpke_key(suite, unhex(case, "init_priv"))
    encryption = native_hpke_key(suite, unhex(case, "encryption_priv"))
    signature = native_signature_key(suite, unhex(case, "signature_priv"))
    expect_equal("public key of init_priv", suite.hpke_public_key(init), key_package.init_key)
    leaf = key_package.leaf_node
    expect_equal("public key of encryption_priv", suite.hpke_public_key(encryption), leaf.encryption_key)
    expect_equal("public key of signature_priv", suite.signature_public_key(signature), leaf.signature_key)
    bundle = KeyPackageBundle(
        key_package=key_package, init_private=Secret(init), encryption_private=Secret(encryption)
    )
    return bundle, signature


def _key_package(encoded: bytes) -> KeyPackage:
    try:
        message = decode(encoded, read_mls_message)
    except CodecError:
        return decode(encoded, read_key_package)
    if not isinstance(message.body, KeyPackage):
        raise Mismatch("key_package is of another wire format")
    expect_equal("key_package, encoded again", message.to_bytes(), encoded)
    return message.body


def _psks(case: Case) -> VectorPsks:
    given = {unhex(psk, "psk_id"): unhex(psk, "psk") for psk in case.get("external_psks") or ()}
    psks = VectorPsks(given)
    for psk in case.get("resumption_psks") or ():
        psks.add_resumption(unhex(psk, "group_id"), integer(psk, "epoch"), unhex(psk, "psk"))
    return psks


def _welcome(encoded: bytes) -> bytes:
    """The Welcome as an MLSMessage, which decodes and encodes to the same bytes."""
    try:
        message = decode(encoded, read_mls_message)
    except CodecError:
        message = MLSMessage(body=decode(encoded, read_welcome))
        return message.to_bytes()
    if not isinstance(message.body, Welcome):
        raise Mismatch("welcome is of another wire format")
    expect_equal("welcome, encoded again", message.to_bytes(), encoded)
    return encoded
