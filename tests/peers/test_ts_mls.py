"""ts-mls 1.6.4 and ours in one group, each in both roles, on cipher suites 1, 2, 3 and 0xF002.

After every step ``Circle`` compares epoch authenticators, exported secrets, tree and transcript hashes.
"""

from __future__ import annotations

import itertools
import random

import pytest

from crypto.suites import suite
from support.peer import Peer, PeerRefused
from support.peer_circle import Circle, random_life
from support.peer_lives import life_in_steps, remove_every_index, texts_out_of_order_and_with_losses
from support.peer_ours import FullPeer, ProductPeer
from support.peer_ts import Bridge, TsPeer

SUITES = (1, 2, 3, 0xF002)
OURS = ("product", "full")


class Maker:
    """Makes members by kind, on one suite, seeded on our side."""

    def __init__(self, bridge: Bridge, code: int, *, keep_skipped: int = 0, public: bool = False) -> None:
        self.bridge = bridge
        self.code = code
        self.rng = random.Random(code).randbytes
        self.keep_skipped = keep_skipped
        self.public = public
        self._names = itertools.count()

    def __call__(self, kind: str) -> Peer:
        name = b"%s %d" % (kind.encode(), next(self._names))
        if kind == "product":
            return ProductPeer(suite(self.code), name, self.rng, keep_skipped=self.keep_skipped)
        if kind == "full":
            return FullPeer(
                suite(self.code), name, self.rng, keep_skipped=self.keep_skipped, public=self.public
            )
        return TsPeer(self.bridge, self.code, name, keep_skipped=self.keep_skipped, public=self.public)


both_roles = pytest.mark.parametrize(
    ("creator", "other"),
    [("product", "ts-mls"), ("ts-mls", "product"), ("full", "ts-mls"), ("ts-mls", "full")],
)
every_suite = pytest.mark.parametrize("code", SUITES, ids=hex)


@every_suite
@both_roles
def test_a_life_in_steps(ts: Bridge, code: int, creator: str, other: str) -> None:
    make = Maker(ts, code)
    life_in_steps(make, creator, other)


@pytest.mark.parametrize(
    ("code", "size"),
    [
        *((1, size) for size in range(2, 9)),
        *((0xF002, size) for size in range(2, 5)),
        *(pytest.param(0xF002, size, marks=pytest.mark.long) for size in range(5, 9)),
    ],
)
def test_remove_every_index(ts: Bridge, code: int, size: int) -> None:
    """Groups of 2 to 8: each leaf, 0 and the creator among them, is removed by either side and put back."""
    make = Maker(ts, code)
    remove_every_index(make, ("product", "ts-mls"), size)


@every_suite
@pytest.mark.parametrize("inviter", ["ts-mls", "full"])
def test_join_without_the_tree_in_the_welcome(ts: Bridge, code: int, inviter: str) -> None:
    make = Maker(ts, code)
    circle = Circle(make(inviter))
    kinds = ("ts-mls", "product", "full")
    circle.change(0, adds=[make(kind) for kind in kinds], tree_in_welcome=False)
    circle.texts()
    circle.change(0, removes=[1])
    circle.change(0, adds=[make(kind) for kind in kinds], removes=[3], tree_in_welcome=False)
    circle.texts()


@every_suite
def test_application_messages_out_of_order_and_with_losses(ts: Bridge, code: int) -> None:
    make = Maker(ts, code, keep_skipped=10)
    circle = Circle(make("product"))
    circle.change(0, adds=[make("ts-mls"), make("full"), make("ts-mls")])
    texts_out_of_order_and_with_losses(circle)


@pytest.mark.parametrize("code", [1, 0xF002], ids=hex)
def test_with_r11_a_skipped_message_is_gone_on_both_sides(ts: Bridge, code: int) -> None:
    make = Maker(ts, code)
    circle = Circle(make("product"))
    circle.change(0, adds=[make("ts-mls")])
    for sender, receiver in ((0, circle.peers[1]), (1, circle.peers[0])):
        first, second, third = (circle.peers[sender].protect(b"%d" % n, b"data") for n in range(3))
        circle.check_text(receiver.process(second, sender), sender, b"1")
        with pytest.raises(PeerRefused):
            receiver.process(first, sender)
        circle.check_text(receiver.process(third, sender), sender, b"2")


@every_suite
@pytest.mark.parametrize("public", [False, True])
def test_update_proposals(ts: Bridge, code: int, public: bool) -> None:
    """An Update of either side, committed by either side, as PrivateMessage and as PublicMessage."""
    make = Maker(ts, code, public=public)
    circle = Circle(make("full"))
    circle.change(0, adds=[make("ts-mls"), make("full"), make("ts-mls")])
    for proposer, committer in ((1, 0), (0, 1), (3, 1), (2, 0), (1, 2), (3, 0), (2, 3)):
        circle.update_by_proposal(proposer, committer)
        circle.text(proposer)
    circle.change(1, removes=[0])
    circle.texts()


@pytest.mark.parametrize("code", [1, 0xF002], ids=hex)
def test_public_handshakes(ts: Bridge, code: int) -> None:
    make = Maker(ts, code, public=True)
    circle = Circle(make("ts-mls"))
    circle.change(0, adds=[make("full"), make("ts-mls"), make("full")])
    circle.change(1, removes=[0])
    circle.change(2)
    circle.change(3, adds=[make("ts-mls")], removes=[2])
    circle.texts()


def life(ts: Bridge, code: int, seed: int, epochs: int) -> None:
    make = Maker(ts, code)
    circle = Circle(make("product"))
    kinds = ("product", "full", "ts-mls")
    circle.change(0, adds=[make("full"), make("ts-mls")])
    counts = random_life(circle, make, kinds, seed=seed, epochs=epochs)
    assert min(counts.values()) > epochs // 20


@pytest.mark.parametrize("code", [1, 0xF002], ids=hex)
def test_two_hundred_random_epochs(ts: Bridge, code: int) -> None:
    life(ts, code, seed=code, epochs=200)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
@every_suite
def test_two_hundred_random_epochs_of_every_suite(ts: Bridge, code: int, seed: int) -> None:
    life(ts, code, seed=1000 + seed, epochs=200)
