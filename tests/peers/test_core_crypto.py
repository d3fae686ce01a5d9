"""core-crypto (OpenMLS) and ours in one group, each in both roles, on cipher suites 1, 2, 3, 5 and 7.

It shows one exported secret, which must be equal after every step. Its handshake messages are PublicMessages,
so our side is the FullGroup. It has no commit that adds and removes at once.
"""

from __future__ import annotations

import itertools
import random
from functools import partial

import pytest

from crypto.rfc9420.full_group import FullGroup
from crypto.suites import suite
from support.peer import Peer, PeerRefused
from support.peer_circle import Circle, random_life
from support.peer_core import CorePeer
from support.peer_lives import life_in_steps
from support.peer_ours import FullPeer
from support.peer_ts import Bridge

SUITES = (1, 2, 3, 5, 7)
OURS, THEIRS = "full", "core-crypto"


def some_at_length(*quick: int) -> pytest.MarkDecorator:
    """Every suite; all but these only with ``--long``."""
    codes = [code if code in quick else pytest.param(code, marks=pytest.mark.long) for code in SUITES]
    return pytest.mark.parametrize("code", codes)


class Maker:
    """Makes members by kind, on one suite; ours send PublicMessages."""

    def __init__(self, bridge: Bridge, code: int, *, keep_skipped: int = 0) -> None:
        self.bridge = bridge
        self.code = code
        self.keep_skipped = keep_skipped
        self.rng = random.Random(code).randbytes
        self._names = itertools.count()

    def __call__(self, kind: str) -> Peer:
        name = b"%s %d" % (kind.encode(), next(self._names))
        if kind == THEIRS:
            return CorePeer(self.bridge, self.code, name)
        return FullPeer(suite(self.code), name, self.rng, keep_skipped=self.keep_skipped, public=True)


@some_at_length(1)
@pytest.mark.parametrize(("creator", "other"), [(OURS, THEIRS), (THEIRS, OURS)])
def test_a_life_in_steps(core: Bridge, code: int, creator: str, other: str) -> None:
    make = Maker(core, code)
    life_in_steps(make, creator, other, in_one_commit=False)


@some_at_length(1, 7)
def test_external_commits_in_both_directions(core: Bridge, code: int) -> None:
    make = Maker(core, code)
    circle = Circle(make(OURS))
    circle.change(0, adds=[make(THEIRS), make(OURS)])
    newcomer = make(THEIRS)
    assert isinstance(newcomer, CorePeer)
    ours = circle.peers[0]
    assert isinstance(ours, FullPeer)
    message = newcomer.join_externally(ours.group.group_info(ours.rng))
    circle.enter(newcomer, 3, message)
    circle.texts()
    circle.change(3)
    peer = make(OURS)
    assert isinstance(peer, FullPeer)
    peer.group, message = FullGroup.join_externally(
        newcomer.group_info, leaf=peer.leaf_params(), rng=peer.rng
    )
    circle.enter(peer, 4, message)
    circle.texts()
    circle.change(1, removes=[0])
    circle.texts()


def test_update_proposals_of_ours_that_it_commits(core: Bridge) -> None:
    make = Maker(core, 1)
    circle = Circle(make(THEIRS))
    circle.change(0, adds=[make(OURS), make(THEIRS), make(OURS)])
    for proposer, committer in ((1, 0), (3, 2), (1, 2), (3, 1)):
        circle.update_by_proposal(proposer, committer)
        circle.texts()


def test_application_messages_out_of_order_and_with_losses(core: Bridge) -> None:
    make = Maker(core, 1, keep_skipped=10)
    circle = Circle(make(OURS))
    circle.change(0, adds=[make(THEIRS), make(OURS), make(THEIRS)])
    for sender in circle.peers:
        sent = [circle.peers[sender].protect(b"text %d" % n, b"data") for n in range(7)]
        for leaf, receiver in circle.peers.items():
            if leaf == sender:
                continue
            for n in (1, 0, 4, 3, 6):  # 2 and 5 are lost
                circle.check_text(receiver.process(sent[n], sender), sender, b"text %d" % n)
            for replayed in (1, 4, 6):
                with pytest.raises(PeerRefused):
                    receiver.process(sent[replayed], sender)
    circle.change(1)
    circle.texts()


@pytest.mark.parametrize(
    "size", [2, 3, *(pytest.param(size, marks=pytest.mark.long) for size in range(4, 9))]
)
def test_remove_every_index(core: Bridge, size: int) -> None:
    """Groups of 2 to 8: each leaf, 0 and the creator among them, is removed by either side and put back."""
    make = Maker(core, 1)
    kinds = (OURS, THEIRS)
    for first in (0, 1):
        circle = Circle(make(kinds[first]))
        circle.change(0, adds=[make(kinds[(first + n) % 2]) for n in range(1, size)])
        for victim in range(size):
            committer = (victim + 1) % size
            kind = circle.peers[victim].kind
            circle.change(committer, removes=[victim])
            circle.check_locked_out(circle.removed.pop())
            inviter = (victim + 2) % size if size > 2 else committer
            assert circle.admit(inviter, partial(make, kind)) == victim
        circle.texts()


def life(bridge: Bridge, code: int, epochs: int) -> None:
    make = Maker(bridge, code)
    circle = Circle(make(OURS))
    circle.change(0, adds=[make(THEIRS)])
    steps = random_life(circle, make, (OURS, THEIRS), seed=code, epochs=epochs, replaces=False)
    assert all(steps[step] >= epochs // 10 for step in ("update", "add", "remove"))
    circle.texts()


def test_some_random_epochs(core: Bridge) -> None:
    life(core, 1, 12)


@pytest.mark.long
@pytest.mark.parametrize("code", SUITES)
def test_two_hundred_random_epochs(core: Bridge, code: int) -> None:
    life(core, code, 200)
