"""A living group of any size for `amanat bench mls`, made from the inside, and the Welcome into it.

``python -m clients.bench.mls_group SUITE MEMBERS`` reads ``{"key_packages": [hex, …]}`` from stdin and
prints ``{"welcome": hex}`` of one commit that adds their owners. Every second member has updated itself, so
that every parent above a member is set, as in a group that has lived for a while.

Played out by messages this would take each of those members a join that reads the whole tree: minutes for
1,000 members. So one process holds all signature keys and puts the paths into one tree; no message is made,
and the secrets of the epoch are random. Whoever joins judges the tree by all rules, as any other one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from crypto.codec import decode
from crypto.credentials import Credential
from crypto.group import Group
from crypto.group_context import GroupContext
from crypto.group_epoch import MemberPart, begin_epoch
from crypto.key_package import generate_key_package, read_key_package, secret
from crypto.key_schedule import epoch_secrets_from
from crypto.leaf_node import Capabilities, Lifetime
from crypto.ratchet_tree import RatchetTree
from crypto.secret_tree import RatchetPolicy
from crypto.suites import CipherSuite, suite
from crypto.tree_math import LeafIndex
from crypto.treekem import NewPath, create_path

GROUP_ID: Final = b"amanat bench mls"
HOUR: Final = 3600


def current_lifetime() -> Lifetime:
    """Of a KeyPackage, in UTC seconds: peers look at the clock."""
    now = int(time.time())
    return Lifetime(not_before=now - HOUR, not_after=now + 24 * HOUR)


def living_group(suite: CipherSuite, size: int) -> Group:
    """One member's group, of ``size`` members, every parent above one set.

    It is the last member who updated itself: its commit leaves nobody whom it adds unmerged in any parent.
    """
    capabilities = Capabilities(versions=(1,), cipher_suites=(suite.code,), credentials=(1,))
    tree = RatchetTree(suite, [])
    signature_privates: list[bytes] = []
    for index in range(size):
        private, _ = suite.generate_signature_key_pair(os.urandom)
        signature_privates.append(private)
        bundle = generate_key_package(
            suite=suite,
            signature_private=private,
            credential=Credential.basic(b"member %d" % index),
            capabilities=capabilities,
            lifetime=current_lifetime(),
            rng=os.urandom,
        )
        tree.add_leaf(bundle.key_package.leaf_node)
    # The committer last: so it knows the secret of each parent above it, the root's too.
    own_leaf = LeafIndex((size - 1) // 2 * 2)
    for index in range(0, own_leaf, 2):
        _update(suite, tree, LeafIndex(index), signature_privates[index])
    path = _update(suite, tree, own_leaf, signature_privates[own_leaf])
    context = GroupContext(
        cipher_suite=suite.code,
        group_id=GROUP_ID,
        epoch=size // 2,
        tree_hash=tree.tree_hash(),
        confirmed_transcript_hash=os.urandom(suite.nh),
    )
    begun = begin_epoch(
        suite,
        epoch_secrets_from(suite, os.urandom(suite.nh)),
        context=context,
        tree=tree,
        member=MemberPart(
            own_leaf=own_leaf,
            private_keys=path.private_keys,
            signature_private=secret(signature_privates[own_leaf]),
            ratchet_policy=RatchetPolicy(),
        ),
    )
    return Group(begun.state)


def _update(suite: CipherSuite, tree: RatchetTree, place: LeafIndex, signature_private: bytes) -> NewPath:
    """A fresh path of one member, put into the tree."""
    leaf = tree.leaf(place)
    if leaf is None:
        raise RuntimeError("a member is missing")
    return create_path(
        suite,
        tree,
        place,
        leaf=leaf,
        signature_private=secret(signature_private),
        group_id=GROUP_ID,
        rng=os.urandom,
    )


def welcome_into(suite: CipherSuite, size: int, key_packages: Sequence[bytes]) -> bytes:
    """The Welcome of one commit by which the owners of ``key_packages`` join a group of ``size``."""
    adds = [decode(key_package, read_key_package) for key_package in key_packages]
    made = living_group(suite, size).commit(adds=adds, removes=(), rng=os.urandom, authenticated_data=b"")
    if made.welcome is None:
        raise RuntimeError("a commit that adds has a Welcome")
    return made.welcome


def main(argv: Sequence[str]) -> int:
    """Entry point of the child; returns the exit code."""
    key_packages = [bytes.fromhex(encoded) for encoded in json.load(sys.stdin)["key_packages"]]
    welcome = welcome_into(suite(int(argv[0])), int(argv[1]), key_packages)
    print(json.dumps({"welcome": welcome.hex()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
