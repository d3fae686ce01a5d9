"""Rules of ``crypto`` that no story of a group reaches: asked directly, so that each has a test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crypto.commit import Commit
from crypto.errors import GenerationUsedError, StateError, ValidationError
from crypto.framed_content import (
    AuthenticatedContent,
    ContentType,
    FramedContentAuthData,
    Sender,
    WireFormat,
    sign_framed_content,
)
from crypto.group_messages import open_message
from crypto.group_process import follow_commit, plan_commit
from crypto.labels import encrypt_with_label
from crypto.mls_message import MLSMessage
from crypto.private_message import protect_private
from crypto.proposals import Remove
from crypto.ratchet_tree import RatchetTree
from crypto.secret_tree import RatchetType, SecretTree
from crypto.sensitive import Secret
from crypto.suites import SUITES, suite
from crypto.transcript import next_confirmed_transcript_hash
from crypto.tree_math import LeafIndex, NodeIndex
from crypto.treekem import derive_path, open_path
from support.mls_groups import FAST, Circle, forge, opened_commit, pair, seeded


def refused(rule: str) -> pytest.RaisesExc[ValidationError]:
    return pytest.RaisesExc(ValidationError, check=lambda error: error.rule == rule)


def test_a_skip_beyond_the_limit() -> None:
    tree = SecretTree(FAST, 2, bytes(FAST.nh))
    tree.prepare(LeafIndex(0), RatchetType.APPLICATION, 4096)
    with refused("R11.max-forward"):
        tree.prepare(LeafIndex(0), RatchetType.APPLICATION, 4097)
    with refused("message.leaf-outside"):
        tree.prepare(LeafIndex(2), RatchetType.APPLICATION, 0)


def test_a_used_generation() -> None:
    with refused("R11.generation-used"):
        raise GenerationUsedError


def test_an_unknown_suite() -> None:
    for code in (0, 8, 0x0A0A, 0xF001):
        with refused("suite.unsupported"):
            suite(code)


@pytest.mark.parametrize("code", sorted(SUITES))
def test_a_public_key_that_is_none(code: int) -> None:
    suite = SUITES[code]
    for public in (b"", bytes(suite.hpke.n_public - 1)):
        with refused("hpke.public-key"):
            encrypt_with_label(suite, public, "label", b"", b"text", seeded(1))


def test_a_message_in_place_of_a_commit() -> None:
    alice, bob = pair(FAST)
    message = alice.protect(b"text", authenticated_data=b"", rng=seeded(1))
    with refused("commit.content-type"):
        bob.plan_commit(message)
    authenticated, _ = open_message(bob._state, message)
    with refused("transcript.not-a-commit"):
        next_confirmed_transcript_hash(FAST, b"", authenticated)
    with pytest.raises(StateError, match="no commit"):
        plan_commit(bob._state, authenticated)


def test_a_commit_of_another_epoch_or_group() -> None:
    alice, bob = pair(FAST)
    pending = alice.commit(adds=[], removes=[], rng=seeded(1), authenticated_data=b"")
    authenticated, _ = open_message(bob._state, pending.message)
    for change in ({"epoch": 9}, {"group_id": b"another"}):
        other = replace(authenticated, content=replace(authenticated.content, **change))
        with refused("commit.epoch"):
            plan_commit(bob._state, other)


def test_a_commit_of_our_own_is_merged_not_processed() -> None:
    alice, bob = pair(FAST)
    pending = alice.commit(adds=[], removes=[], rng=seeded(1), authenticated_data=b"")
    plan = bob.plan_commit(pending.message)
    with pytest.raises(StateError, match="merged, not processed"):
        follow_commit(alice._state, replace(plan, committer=LeafIndex(0)))


def test_a_standalone_proposal() -> None:
    alice, bob = pair(FAST)
    state = alice._state
    commit = forge(alice, Commit(proposals=(), path=None), seeded(1))
    content = replace(
        open_message(bob._state, commit)[0].content,
        content_type=ContentType.PROPOSAL,
        content=Remove(removed=LeafIndex(1)),
    )
    signature = sign_framed_content(
        FAST,
        state.signature_private.reveal(),
        wire_format=WireFormat.PRIVATE_MESSAGE,
        content=content,
        group_context=state.context.to_bytes(),
    )
    message = protect_private(
        FAST,
        AuthenticatedContent(
            wire_format=WireFormat.PRIVATE_MESSAGE,
            content=content,
            auth=FramedContentAuthData(signature=signature),
        ),
        sender_data_secret=state.sender_data_secret.reveal(),
        secret_tree=state.secret_tree,
        rng=seeded(1),
    )
    before = bob.to_bytes()
    with refused("message.proposal-refused"):
        bob.unprotect(MLSMessage(body=message).to_bytes())
    assert bob.to_bytes() == before


def test_a_sender_that_is_nobody() -> None:
    circle = Circle(FAST, 3)
    state = circle[0]._state
    state.own_leaf = LeafIndex(3)  # a blank leaf of the tree of four
    message = circle[0].protect(b"text", authenticated_data=b"", rng=circle.rng)
    with refused("message.sender-not-a-member"):
        circle[1].unprotect(message)
    with refused("message.sender-not-a-member"):
        circle[1].member(LeafIndex(3))
    assert Sender.member(LeafIndex(0)).leaf_index == 0


def test_a_blank_leaf_is_not_updated() -> None:
    tree: RatchetTree = Circle(FAST, 3)[0]._state.tree.copy()
    leaf = tree.leaf(LeafIndex(0))
    assert leaf is not None
    with refused("update.blank-leaf"):
        tree.update_leaf(LeafIndex(3), leaf)


def test_a_path_that_is_not_for_us() -> None:
    circle = Circle(FAST, 4)
    pending = circle.pending(0)
    path = opened_commit(circle[1], pending.message).path
    assert path is not None
    tree = pending.staged.group._state.tree

    def open_as(leaf: int, private_keys: dict[NodeIndex, Secret]) -> None:
        open_path(
            FAST,
            tree,
            LeafIndex(0),
            path,
            own_leaf=LeafIndex(leaf),
            private_keys=private_keys,
            context=b"",
            new_leaves=(),
        )

    with refused("path.no-ciphertext-for-us"):
        open_as(1, {})
    with refused("path.no-ciphertext-for-us"):
        open_as(0, {})
    with refused("path.no-such-node"):
        derive_path(FAST, tree, LeafIndex(0), lowest=NodeIndex(5), path_secret=Secret(bytes(32)))
