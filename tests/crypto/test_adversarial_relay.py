"""Groups of 2 to 12 members over a relay that does what it likes (issue 3, item 5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crypto.codec import Reader
from crypto.errors import GenerationUsedError
from crypto.group import Group, StagedCommit
from crypto.ratchet_tree import RatchetTree
from crypto.secret_tree import PreparedKey, RatchetType, SecretTree
from crypto.tree_math import LeafIndex
from support.adversary import MAX_MEMBERS, Participant, World

numbers = st.integers(0, 2**16)


class AdversarialRelay(RuleBasedStateMachine):
    """See :mod:`support.adversary` for what is asserted in each step."""

    world: World

    @initialize(seed=numbers, size=st.integers(1, 6))
    def begin(self, seed: int, size: int) -> None:
        world = self.world = World(seed)
        first = world.found(b"the first group")
        world.found(b"the second group", first.device)
        for who in list(world.participants):
            world.commit(who, adds=size)
            world.merge_own(who, 0)
            while world.invitations:
                world.welcome(0, 0)

    def _who(self, choice: int) -> Participant:
        alive = [who for who in self.world.participants if not who.removed]
        return alive[choice % len(alive)]

    @rule(who=numbers)
    def say(self, who: int) -> None:
        self.world.say(self._who(who))

    @rule(who=numbers)
    def update(self, who: int) -> None:
        self.world.commit(self._who(who))

    @rule(who=numbers, adds=st.integers(1, 3))
    def add(self, who: int, adds: int) -> None:
        committer = self._who(who)
        if len(committer.group.members) + adds <= MAX_MEMBERS and len(self.world.participants) < 40:
            self.world.commit(committer, adds=adds)

    @rule(who=numbers, whom=numbers, adds=st.integers(0, 1))
    def remove(self, who: int, whom: int, adds: int) -> None:
        committer = self._who(who)
        others = [m.leaf_index for m in committer.group.members if m.leaf_index != committer.group.own_leaf]
        if len(others) > 1:
            self.world.commit(committer, adds=adds, removes=[others[whom % len(others)]])

    @rule(who=numbers, choice=numbers)
    def win(self, who: int, choice: int) -> None:
        member = self._who(who)
        if member.own_commits:
            self.world.merge_own(member, choice)

    @precondition(lambda self: self.world.invitations)
    @rule(choice=numbers, damage=st.integers(0, 4))
    def welcome(self, choice: int, damage: int) -> None:
        self.world.welcome(choice, damage)

    @rule(who=numbers, choice=numbers, merge=st.booleans())
    def deliver_what_is_due(self, who: int, choice: int, merge: bool) -> None:
        member = self._who(who)
        due = self.world.due(member)
        if due:
            self.world.deliver(member, due[choice % len(due)], merge=merge)

    @rule(choice=numbers)
    def let_a_commit_win_everywhere(self, choice: int) -> None:
        commits = [sent for sent in self.world.sent if sent.plaintext is None]
        if not commits:
            return
        chosen = commits[choice % len(commits)]
        for member in list(self.world.participants):
            if not member.removed and member.view == chosen.view and member.group.own_leaf != chosen.leaf:
                self.world.deliver(member, chosen)

    @precondition(lambda self: self.world.sent)
    @rule(who=numbers, choice=numbers)
    def deliver_anything_to_anybody(self, who: int, choice: int) -> None:
        """Duplicates, replays across epochs, branches and groups; those who were removed too."""
        member = self.world.participants[who % len(self.world.participants)]
        self.world.deliver(member, self.world.sent[choice % len(self.world.sent)], merge=False)

    @precondition(lambda self: self.world.sent)
    @rule(who=numbers, choice=numbers, how=numbers)
    def deliver_damaged(self, who: int, choice: int, how: int) -> None:
        member = self._who(who)
        due = self.world.due(member) or self.world.sent
        damaged = self.world.damaged(due[choice % len(due)].message, how)
        if damaged not in self.world.genuine:
            self.world.refused(member, damaged)

    @precondition(lambda self: len(self.world.sent) > 1)
    @rule(who=numbers, first=numbers, second=numbers, fields=st.integers(1, 62))
    def deliver_spliced(self, who: int, first: int, second: int, fields: int) -> None:
        member = self._who(who)
        due = self.world.due(member) or self.world.sent
        other = self.world.sent[second % len(self.world.sent)]
        spliced = self.world.spliced(due[first % len(due)].message, other.message, fields)
        if spliced not in self.world.genuine:
            self.world.refused(member, spliced)

    @rule(who=numbers)
    def restart(self, who: int) -> None:
        self.world.restart(self._who(who))

    @invariant()
    def all_agree(self) -> None:
        self.world.check_agreement()

    def teardown(self) -> None:
        """At last everybody is given everything: nobody accepts what is not for it, the removed nothing."""
        if not hasattr(self, "world"):
            return
        for member in self.world.participants[:8]:
            for sent in self.world.sent[-12:]:
                self.world.deliver(member, sent, merge=False)
        self.world.check_agreement()


quick = settings(
    max_examples=6,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestAdversarialRelay = AdversarialRelay.TestCase
TestAdversarialRelay.settings = quick


class AdversarialRelayAtLength(AdversarialRelay):
    """The same at greater length and with fresh randomness."""


TestAdversarialRelayAtLength = pytest.mark.long(AdversarialRelayAtLength.TestCase)
TestAdversarialRelayAtLength.settings = settings(
    quick, max_examples=200, stateful_step_count=60, derandomize=False
)


def _consume_nothing(tree: SecretTree, prepared: PreparedKey) -> None:
    """A ratchet that lets a message be read again."""


def _blank_nothing(tree: RatchetTree, leaf_index: LeafIndex) -> None:
    """A Remove that leaves the keys of the removed on its path."""


def _prepare_and_consume(
    tree: SecretTree,
    leaf: LeafIndex,
    ratchet: RatchetType,
    generation: int,
    prepare: Callable[[SecretTree, LeafIndex, RatchetType, int], PreparedKey] = SecretTree.prepare,
    consume: Callable[[SecretTree, PreparedKey], None] = SecretTree.consume,
) -> PreparedKey:
    """A ratchet that has moved before the message is known to be genuine."""
    prepared = prepare(tree, leaf, ratchet, generation)
    consume(tree, prepared)
    return prepared


def _do_not_look_at_the_end(reader: Reader) -> None:
    """A decoder that takes what was lengthened."""


def _export_by_leaf(
    group: Group,
    label: str,
    context: bytes,
    length: int,
    export: Callable[[Group, str, bytes, int], bytes] = Group.export,
) -> bytes:
    """An epoch on which the members do not agree."""
    return export(group, label, context + bytes([group.own_leaf]), length)


def _remember_nothing(group: Group, staged: StagedCommit) -> Group:
    """A commit that, once merged, has changed nothing."""
    return group


@pytest.mark.parametrize(
    ("owner", "faults", "noticed"),
    [
        (SecretTree, {"consume": _consume_nothing}, "accepted"),
        (RatchetTree, {"blank_path": _blank_nothing}, "opens a path secret"),
        (
            SecretTree,
            {"prepare": _prepare_and_consume, "consume": _consume_nothing},
            "changed the state|generation-used",
        ),
        (Reader, {"finish": _do_not_look_at_the_end}, "accepted what was not sent"),
        (Group, {"export": _export_by_leaf}, "different groups"),
        (Group, {"merge": _remember_nothing}, "different logs agree|different groups"),
    ],
)
def test_the_machine_notices_a_broken_core(
    monkeypatch: pytest.MonkeyPatch, owner: type, faults: dict[str, object], noticed: str
) -> None:
    for name, broken in faults.items():
        monkeypatch.setattr(owner, name, broken)
    with pytest.raises((AssertionError, GenerationUsedError), match=noticed):
        run_state_machine_as_test(
            AdversarialRelay,
            settings=settings(quick, max_examples=100, phases=[Phase.generate], print_blob=False),
        )
