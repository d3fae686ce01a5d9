"""The PyPI package ``rfc9420`` as a joiner of our groups, on all of suites 1 to 7.

It opens our Welcomes, arrives at our epoch authenticator and reads our texts. It cannot follow a commit, as
it has one private key for init key and leaf; its exporter leaves out the hash of the context. More in
docs/INTEROPERABILITY.md.
"""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest

from crypto.suites import suite
from support.peer import EXPORT_BYTES, EXPORT_CONTEXT, EXPORT_LABEL
from support.peer_ours import FullPeer

HEADER = 4
"""Bytes of an MLSMessage before its content."""


def joined(code: int, welcome: bytes, joiner: FullPeer) -> Any:
    """The package's group for this joiner."""
    package: Any = importlib.import_module("rfc9420")
    structures: Any = importlib.import_module("rfc9420.messages.data_structures")
    key_packages: Any = importlib.import_module("rfc9420.messages.key_packages")
    config = package.GroupConfig(
        crypto_provider=package.DefaultCryptoProvider(code), storage_provider=package.MemoryStorageProvider()
    )
    return package.MLSGroup.join_from_welcome(
        config,
        structures.Welcome.deserialize(welcome[HEADER:]),
        joiner.bundle.init_private.reveal(),
        key_package=key_packages.KeyPackage.deserialize(joiner.key_package()),
    )


def read(group: Any, message: bytes) -> tuple[int, bytes]:
    """Sender's leaf and text."""
    wire: Any = importlib.import_module("rfc9420.interop.wire")
    sender, text = group.unprotect(wire.decode_application(message[HEADER:]))
    return sender, text


@pytest.mark.parametrize("code", range(1, 8))
def test_it_joins_on_every_suite(code: int) -> None:
    pytest.importorskip("rfc9420")
    algorithms, rng = suite(code), random.Random(code).randbytes
    first, second, joiner = (FullPeer(algorithms, b"member %d" % n, rng) for n in range(3))
    first.create(b"group")
    made = first.commit(adds=[second.key_package()])
    assert made.welcome is not None
    second.join(made.welcome, None)
    second_made = second.commit(adds=[joiner.key_package()])
    first.process(second_made.message, 1)
    assert second_made.welcome is not None
    group = joined(code, second_made.welcome, joiner)
    assert (group.epoch, group.own_leaf_index) == (2, 2)
    assert group._inner.get_epoch_authenticator() == first.group.epoch_authenticator
    exported = group.export_secret(EXPORT_LABEL.encode(), algorithms.hash(EXPORT_CONTEXT), EXPORT_BYTES)
    assert exported == first.group.export(EXPORT_LABEL, EXPORT_CONTEXT, EXPORT_BYTES)
    for leaf, peer in ((0, first), (1, second)):
        for n in range(3):
            assert read(group, peer.protect(b"text %d" % n, b"")) == (leaf, b"text %d" % n)
