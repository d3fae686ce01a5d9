"""group.py: the life of groups of 2 to 8 members, told as stories."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crypto.codec import CodecError
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, GenerationUsedError, StateError, ValidationError
from crypto.group import ApplicationMessage, CommitReceived, Group, OwnMessage, StagedCommit
from crypto.group_messages import open_message
from crypto.group_process import follow_commit
from crypto.key_package import KeyPackageBundle
from crypto.suites import PRODUCT, SUITES, CipherSuite
from crypto.tree_math import LeafIndex
from support.mls_groups import FAST, GROUP_ID, Circle, Device, forge, pair, seeded, staged_of

SIZES = range(2, 9)


@pytest.mark.parametrize("code", sorted(SUITES))
def test_every_suite_carries_a_group_through_add_update_and_remove(code: int) -> None:
    circle = Circle(SUITES[code], 3)
    circle.update(1)
    circle.remove(2, 1)
    circle.add(0)


@pytest.mark.parametrize("size", SIZES)
def test_everybody_commits_in_turn(size: int) -> None:
    circle = Circle(FAST, size)
    for leaf in range(size):
        circle.update(leaf)


@pytest.mark.parametrize(("size", "removed"), [(size, leaf) for size in SIZES for leaf in range(size)])
def test_any_leaf_can_be_removed_even_leaf_0_and_the_creator(size: int, removed: int) -> None:
    circle = Circle(FAST, size, seed=removed)
    circle.remove((removed + 1) % size, removed)
    assert removed not in circle.groups
    if size > 2:
        circle.update(next(iter(circle.groups)))


@pytest.mark.parametrize("removed", range(4))
def test_a_removed_member_comes_back_into_the_free_leaf(removed: int) -> None:
    circle = Circle(FAST, 4)
    device = circle.devices[LeafIndex(removed)]
    committer = (removed + 2) % 4
    circle.remove(committer, removed)
    assert circle.add(committer, device) == removed
    circle.update(removed)


def test_a_member_is_replaced_in_one_commit() -> None:
    circle = Circle(PRODUCT, 2)
    device = circle.devices[LeafIndex(1)]
    assert circle.add(0, device, removes=[1]) == 1


def test_leaf_0_is_replaced_by_another_member_in_one_commit() -> None:
    circle = Circle(PRODUCT, 2)
    device = circle.devices[LeafIndex(0)]
    assert circle.add(1, device, removes=[0]) == 0
    circle.update(0)


def test_several_members_come_and_go_in_one_commit() -> None:
    circle = Circle(FAST, 5)
    devices = [circle.new_device() for _ in range(3)]
    bundles = [device.key_package(circle.rng) for device in devices]
    pending = circle.pending(4, adds=[bundle.key_package for bundle in bundles], removes=[0, 2])
    circle.apply(4, pending)
    assert pending.welcome is not None
    assert [member.leaf_index for member in pending.staged.added] == [0, 2, 5]
    assert [member.leaf_index for member in pending.staged.removed] == [0, 2]
    for device, bundle in zip(devices, bundles, strict=True):
        joined = device.join(pending.welcome, bundle)
        circle.groups[joined.own_leaf] = joined
        circle.devices[joined.own_leaf] = device
    circle.check()
    for leaf in list(circle.groups):
        circle.update(leaf)


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_a_removed_member_is_locked_out(removed: int) -> None:
    circle = Circle(PRODUCT, 3)
    committer = (removed + 1) % 3
    before = circle[removed].to_bytes()
    pending = circle.pending(committer, removes=[removed])
    received = circle[removed].unprotect(pending.message)
    assert isinstance(received, CommitReceived)
    assert received.staged is None
    assert [member.leaf_index for member in received.removes] == [removed]
    circle.apply(committer, pending)
    # The removed device keeps all it had, and can neither read on nor be heard.
    outsider = Group.from_bytes(before)
    secret = circle[committer].protect(b"not for you", authenticated_data=b"", rng=circle.rng)
    with pytest.raises(ValidationError, match=r"message\.epoch"):
        outsider.unprotect(secret)
    # Even if it pretends to be in the new epoch: none of its keys opens the path of the commit.
    outsider._state.context = circle[committer]._state.context
    with pytest.raises(AuthenticationError):
        outsider.unprotect(secret)
    with pytest.raises((ValidationError, AuthenticationError)):
        circle[committer].unprotect(outsider.protect(b"me", authenticated_data=b"", rng=circle.rng))


def test_a_path_opens_for_no_key_of_a_removed_member() -> None:
    """PITFALLS: a bare Remove without a path would leave the removed member able to read on."""
    circle = Circle(PRODUCT, 3)
    gone = circle[2]
    pending = circle.pending(0, removes=[2])
    plan = gone.plan_commit(pending.message)
    assert plan.path is not None
    assert plan.removes_us
    with pytest.raises(StateError):
        follow_commit(gone._state, plan)


def test_a_commit_without_adds_has_no_welcome() -> None:
    circle = Circle(FAST, 2)
    assert circle.pending(0).welcome is None


def test_a_group_of_one_refreshes_its_keys() -> None:
    circle = Circle(PRODUCT, 1)
    before = circle[0].tree_hash
    circle.update(0)
    assert circle[0].epoch == 1
    assert circle[0].tree_hash != before


# -- staging


def test_a_commit_changes_nothing_before_it_is_merged_but_the_own_handshake_ratchet() -> None:
    alice, bob = pair(FAST)
    rng = seeded(5)
    at_bob = bob.to_bytes()
    pending = alice.commit(adds=[], removes=[], rng=rng, authenticated_data=b"")
    assert alice.epoch == 1
    received = bob.unprotect(pending.message)
    assert bob.to_bytes() == at_bob
    # Both can go on in the old epoch.
    message = alice.protect(b"still here", authenticated_data=b"", rng=rng)
    assert isinstance(bob.unprotect(message), ApplicationMessage)
    assert (
        alice.merge(pending.staged).epoch_authenticator == bob.merge(staged_of(received)).epoch_authenticator
    )


def test_r07_a_commit_that_lost_the_race_shares_no_generation_with_the_next() -> None:
    alice, bob = pair(FAST)
    rng = seeded(5)
    first = alice.commit(adds=[], removes=[], rng=rng, authenticated_data=b"")
    alice = Group.from_bytes(alice.to_bytes())
    second = alice.commit(adds=[], removes=[], rng=rng, authenticated_data=b"")
    generations = [open_message(bob._state, m)[1].generation for m in (first.message, second.message)]
    assert generations == [0, 1]


def test_of_two_rival_commits_either_can_win() -> None:
    for winner in (0, 1):
        circle = Circle(FAST, 3)
        rivals = [circle.pending(0), circle.pending(1)]
        circle.apply(winner, rivals[winner])
        circle.check()
        with pytest.raises(StateError, match="does not follow"):
            circle[1 - winner].merge(rivals[1 - winner].staged)


def test_an_own_commit_is_not_applied_twice() -> None:
    alice, bob = pair(FAST)
    pending = alice.commit(adds=[], removes=[], rng=seeded(5), authenticated_data=b"")
    # It comes back before it was merged: it is known as our own, and does not count as a commit to process.
    with pytest.raises(GenerationUsedError):
        alice.unprotect(pending.message)
    merged = alice.merge(pending.staged)
    with pytest.raises(StateError, match="does not follow"):
        merged.merge(pending.staged)
    with pytest.raises(ValidationError, match=r"message\.epoch"):
        merged.unprotect(pending.message)
    with pytest.raises(StateError, match="another group"):
        bob.merge(pending.staged)


def test_a_commit_of_another_group_is_not_merged() -> None:
    alice, _ = pair(FAST)
    device = Device.make(FAST, "other", seeded(3))
    other = device.create(seeded(3), b"another id")
    other = other.merge(other.commit(adds=[], removes=[], rng=seeded(4), authenticated_data=b"").staged)
    pending = other.commit(adds=[], removes=[], rng=seeded(5), authenticated_data=b"")
    with pytest.raises(StateError, match="another group"):
        alice.merge(pending.staged)


def test_a_failed_commit_leaves_the_old_state_whole() -> None:
    circle = Circle(FAST, 2)
    before = circle[0].to_bytes()
    stranger = circle.new_device().key_package(circle.rng).key_package
    for adds, removes in (([], [0]), ([], [7]), ([], [1, 1]), ([stranger, stranger], [])):
        with pytest.raises(ValidationError):
            circle.pending(0, adds=adds, removes=removes)
        assert circle[0].to_bytes() == before


def test_a_commit_can_bring_a_new_signature_key_and_credential() -> None:
    circle = Circle(PRODUCT, 2)
    private, public = PRODUCT.generate_signature_key_pair(circle.rng)
    pending = circle[0].commit(
        adds=[],
        removes=[],
        rng=circle.rng,
        authenticated_data=b"",
        signature_private=private,
        credential=Credential.basic(b"renewed"),
    )
    circle.apply(0, pending)
    circle.check()
    leaf = circle[1].member(LeafIndex(0)).leaf_node
    assert (leaf.signature_key, leaf.credential.identity) == (public, b"renewed")
    circle.update(0)
    circle.add(0)


def test_a_staged_commit_survives_storage() -> None:
    circle = Circle(FAST, 3)
    bundle = circle.new_device().key_package(circle.rng)
    pending = circle.pending(1, adds=[bundle.key_package], removes=[0])
    stored = StagedCommit.from_bytes(pending.staged.to_bytes())
    assert stored.added == pending.staged.added
    assert stored.removed == pending.staged.removed
    assert circle[1].merge(stored).to_bytes() == pending.staged.group.to_bytes()
    with pytest.raises(CodecError):
        StagedCommit.from_bytes(pending.staged.group.to_bytes())


# -- messages


def test_messages_carry_authenticated_data_generation_and_padding() -> None:
    alice, bob = pair(PRODUCT)
    rng = seeded(9)
    for generation in range(3):
        assert alice.next_generation() == generation + 1  # the circle's check sent one
        message = alice.protect(b"text", authenticated_data=b"n, H_n", rng=rng, padding=100)
        received = bob.unprotect(message)
        assert "text" not in repr(received)
        assert received == ApplicationMessage(
            sender=LeafIndex(0),
            generation=generation + 1,
            authenticated_data=b"n, H_n",
            plaintext=b"text",
        )


def test_a_replay_is_told_apart_and_changes_nothing() -> None:
    alice, bob = pair(FAST)
    message = alice.protect(b"once", authenticated_data=b"", rng=seeded(1))
    bob.unprotect(message)
    before = bob.to_bytes()
    with pytest.raises(GenerationUsedError):
        bob.unprotect(message)
    assert bob.to_bytes() == before


def test_r09_an_own_message_that_we_did_not_send_shows_a_clone() -> None:
    alice, _ = pair(FAST)
    clone = Group.from_bytes(alice.to_bytes())
    known = alice.protect(b"one", authenticated_data=b"", rng=seeded(1))
    with pytest.raises(GenerationUsedError):
        alice.unprotect(known)
    clone.protect(b"uno", authenticated_data=b"", rng=seeded(2))
    unknown = clone.protect(b"dos", authenticated_data=b"by the clone", rng=seeded(2))
    before = alice.to_bytes()
    generation = alice.next_generation()
    assert alice.unprotect(unknown) == OwnMessage(
        generation=generation, authenticated_data=b"by the clone", is_commit=False
    )
    assert alice.to_bytes() == before
    commit = clone.commit(adds=[], removes=[], rng=seeded(3), authenticated_data=b"")
    received = alice.unprotect(commit.message)
    assert isinstance(received, OwnMessage)
    assert received.is_commit


@pytest.mark.parametrize("suite", [FAST, PRODUCT], ids=lambda suite: suite.name)
def test_a_flipped_bit_anywhere_fails_closed_and_changes_nothing(suite: CipherSuite) -> None:
    alice, bob = pair(suite)
    message = alice.protect(b"text", authenticated_data=b"data", rng=seeded(1))
    before = bob.to_bytes()
    for position in range(len(message)):
        damaged = bytearray(message)
        damaged[position] ^= 1 << position % 8
        with pytest.raises((CodecError, ValidationError, AuthenticationError)):
            bob.unprotect(bytes(damaged))
        assert bob.to_bytes() == before
    assert isinstance(bob.unprotect(message), ApplicationMessage)


def test_a_message_signed_by_another_key_is_refused() -> None:
    circle = Circle(FAST, 3)
    other = circle[1]._state.signature_private
    forged = forge(circle[0], b"text", circle.rng, signature_private=other)
    with pytest.raises(AuthenticationError):
        circle[2].unprotect(forged)


def test_only_messages_of_this_group_are_taken() -> None:
    alice, bob = pair(FAST)
    elsewhere = Device.make(FAST, "x", seeded(4)).create(seeded(4), b"another group")
    with pytest.raises(ValidationError, match=r"message\.group-id"):
        bob.unprotect(elsewhere.protect(b"", authenticated_data=b"", rng=seeded(4)))
    circle = Circle(FAST, 1)
    pending = circle.pending(0, adds=[circle.new_device().key_package(circle.rng).key_package])
    assert pending.welcome is not None
    with pytest.raises(ValidationError, match=r"message\.wire-format"):
        bob.unprotect(pending.welcome)
    with pytest.raises(ValidationError, match=r"welcome\.wire-format"):
        _join_with(alice.protect(b"", authenticated_data=b"", rng=seeded(4)))


def _join_with(welcome: bytes) -> None:
    device = Device.make(FAST, "y", seeded(4))
    bundle: KeyPackageBundle = device.key_package(seeded(5))
    device.join(welcome, bundle)


def test_the_exporter_can_be_wiped_and_stays_wiped() -> None:
    alice, bob = pair(FAST)
    assert alice.export("label", b"context", 40) == bob.export("label", b"context", 40)
    assert alice.export("label", b"context", 40) != alice.export("label", b"other", 40)
    alice.delete_exporter()
    for group in (alice, Group.from_bytes(alice.to_bytes())):
        with pytest.raises(StateError, match="wiped"):
            group.export("label", b"context", 40)


def test_what_a_group_says_of_itself() -> None:
    alice, bob = pair(PRODUCT)
    assert (alice.suite, alice.group_id, alice.epoch, alice.extensions) == (PRODUCT, GROUP_ID, 1, ())
    assert (alice.own_leaf, bob.own_leaf) == (0, 1)
    assert (alice.signer, bob.signer) == (None, 0)
    assert [member.leaf_node.credential.identity for member in bob.members] == [b"device 0", b"device 1"]
    assert repr(alice) == "Group(epoch=1, own_leaf=0)"
    with pytest.raises(ValidationError, match="sender-not-a-member"):
        alice.member(LeafIndex(5))
    with pytest.raises(StateError, match="needs an id"):
        Device.make(FAST, "x", seeded(1)).create(seeded(1), b"")


# -- any order of events


class AnyOrder(RuleBasedStateMachine):
    """Adds, removes and updates by anybody in any order: after each, all agree and read each other."""

    def __init__(self) -> None:
        super().__init__()
        self.circle = Circle(FAST, 2)

    def _pick(self, data: st.DataObject, *, besides: int | None = None) -> int:
        return data.draw(st.sampled_from([leaf for leaf in self.circle.groups if leaf != besides]))

    @precondition(lambda self: len(self.circle.groups) < 8)
    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        self.circle.add(self._pick(data))

    @precondition(lambda self: len(self.circle.groups) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        committer = self._pick(data)
        self.circle.remove(committer, self._pick(data, besides=committer))

    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        self.circle.update(self._pick(data))

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        leaf = self._pick(data)
        self.circle.groups[LeafIndex(leaf)] = Group.from_bytes(self.circle[leaf].to_bytes())

    @invariant()
    def agree(self) -> None:
        self.circle.check()


AnyOrder.TestCase.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyOrder = AnyOrder.TestCase
