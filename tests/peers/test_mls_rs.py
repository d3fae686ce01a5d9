"""mls-rs and ours in one group, each in both roles, on cipher suite 1.

The binding shows neither epoch authenticators nor Update proposals: after every step the exported secrets are
compared, and a self-update commit of mls-rs, which all others must be able to follow, stands for the rest.
Its handshake messages are PublicMessages, so our side is the FullGroup, which reads and writes both kinds.
"""

from __future__ import annotations

import itertools
import random

import pytest

from crypto.suites import suite
from support.peer import Peer
from support.peer_circle import Circle, random_life
from support.peer_lives import life_in_steps, remove_every_index, texts_out_of_order_and_with_losses
from support.peer_ours import FullPeer
from support.peer_rs import RsPeer

pytestmark = pytest.mark.usefixtures("rs")

PUBLIC_OR_NOT = pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
BOTH_ROLES = pytest.mark.parametrize(("creator", "other"), [("full", "mls-rs"), ("mls-rs", "full")])


class Maker:
    """Makes members by kind; ``public`` says which handshake messages ours send."""

    def __init__(
        self, *, public: bool = False, keep_skipped: int = 0, tree_in_welcome: bool = True, path: bool = False
    ) -> None:
        self.public = public
        self.keep_skipped = keep_skipped
        self.tree_in_welcome = tree_in_welcome
        self.path = path
        self.rng = random.Random(9420).randbytes
        self._names = itertools.count()

    def __call__(self, kind: str) -> Peer:
        name = b"%s %d" % (kind.encode(), next(self._names))
        if kind == "mls-rs":
            return RsPeer(name, tree_in_welcome=self.tree_in_welcome)
        return FullPeer(
            suite(1),
            name,
            self.rng,
            keep_skipped=self.keep_skipped,
            public=self.public,
            path_always=self.path,
        )


@PUBLIC_OR_NOT
@BOTH_ROLES
def test_a_life_in_steps(creator: str, other: str, public: bool) -> None:
    make = Maker(public=public)
    life_in_steps(make, creator, other, in_one_commit=False)


@pytest.mark.parametrize(
    ("path", "size"),
    [
        *((False, size) for size in range(2, 9)),
        *((True, size) for size in range(2, 5)),
        *(pytest.param(True, size, marks=pytest.mark.long) for size in range(5, 9)),
    ],
)
def test_remove_every_index(size: int, path: bool) -> None:
    """Groups of 2 to 8: each leaf, 0 and the creator among them, is removed by either side and put back."""
    make = Maker(path=path)
    remove_every_index(make, ("full", "mls-rs"), size)


@pytest.mark.parametrize("inviter", ["full", "mls-rs"])
def test_join_without_the_tree_in_the_welcome(inviter: str) -> None:
    make = Maker(tree_in_welcome=False)
    circle = Circle(make(inviter))
    circle.change(0, adds=[make("full"), make("mls-rs"), make("full")], tree_in_welcome=False)
    circle.texts()
    circle.change(0, removes=[1])
    circle.change(0, adds=[make("mls-rs"), make("full")], tree_in_welcome=False)
    circle.texts()


def test_application_messages_out_of_order_and_with_losses() -> None:
    make = Maker(keep_skipped=10)
    circle = Circle(make("full"))
    circle.change(0, adds=[make("mls-rs"), make("full"), make("mls-rs")])
    texts_out_of_order_and_with_losses(circle)


def life(seed: int, *, public: bool) -> None:
    make = Maker(public=public)
    circle = Circle(make("full"))
    circle.change(0, adds=[make("mls-rs"), make("full"), make("mls-rs")])
    counts = random_life(circle, make, ("full", "mls-rs"), seed=seed, epochs=200)
    assert min(counts.values()) > 10
    assert circle.joins_that_ts_mls_would_refuse > 0  # docs/INTEROPERABILITY.md, T2


@pytest.mark.parametrize("public", [False, pytest.param(True, marks=pytest.mark.long)])
def test_two_hundred_random_epochs(public: bool) -> None:
    life(int(public), public=public)


@pytest.mark.long
@PUBLIC_OR_NOT
@pytest.mark.parametrize("seed", range(10, 20))
def test_two_hundred_random_epochs_often(seed: int, public: bool) -> None:
    life(seed, public=public)
