"""One group whose members are held by different implementations: all take every step, and must agree."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import pytest

from crypto.ratchet_tree import RatchetTree
from crypto.tree_math import LeafIndex, NodeIndex, direct_path, leaf_to_node
from support.peer import Event, Made, Peer, PeerRefused, Proposer, Text, View
from support.peer_core import CorePeer
from support.peer_ours import FullPeer, ProductPeer

GROUP_ID = b"a group of many implementations"


def sameness(view: View) -> tuple[object, ...]:
    """What must be equal for all members; the leaf is one's own."""
    shared = replace(view, leaf=None)
    return (
        shared.epoch,
        shared.authenticator,
        shared.tree_hash,
        shared.transcript_hash,
        shared.leaves,
        shared.exported,
        shared.exported_plain,
    )


def check_views(peers: Iterable[tuple[int, Peer]]) -> View:
    """All views are equal wherever they show something; returns the fullest of them."""
    views = [(leaf, peer.view()) for leaf, peer in peers]
    assert views
    for leaf, view in views:
        assert view.leaf in {None, leaf}
    merged: list[object] = []
    for column in zip(*(sameness(view) for _, view in views), strict=True):
        shown = {item for item in column if item is not None}
        assert len(shown) <= 1, f"members disagree: {[type(peer).__name__ for _, peer in peers]}"
        merged.append(next(iter(shown), None))
    return next((view for _, view in views if view.authenticator is not None), views[0][1])


def ts_mls_refuses(tree: RatchetTree) -> bool:
    """Whether ts-mls 1.6.4 turns a joiner away although the tree is a good one: docs/INTEROPERABILITY.md, T2.

    RFC 9420 section 12.4.3.1 wants an unmerged leaf listed in every non-blank node between it and the node
    that lists it. ts-mls wants the whole lists of all non-blank nodes on that leaf's direct path to be equal.
    """
    for index in range(1, 2 * tree.n_leaves - 1, 2):
        node = tree.parent_node(NodeIndex(index))
        for leaf in () if node is None else node.unmerged_leaves:
            for above in direct_path(leaf_to_node(LeafIndex(leaf)), tree.n_leaves):
                other = tree.parent_node(above)
                if node is not None and other is not None and other.unmerged_leaves != node.unmerged_leaves:
                    return True
    return False


def left_half_empty(leaves: Collection[int]) -> bool:
    """Whether the left half of a tree with these members is blank: no filtered direct path has its root then.

    ts-mls derives one path secret too many there: docs/INTEROPERABILITY.md, T4.
    """
    last = max(leaves)
    return last > 0 and min(leaves) >= 1 << (last.bit_length() - 1)


class Circle:
    """The members by leaf index. Leaves are given out as RFC 9420 says: the leftmost blank one first."""

    def __init__(self, first: Peer) -> None:
        first.create(GROUP_ID)
        self.peers: dict[int, Peer] = {0: first}
        self.removed: list[Peer] = []
        self.turned_away = 0
        self.joins_that_ts_mls_would_refuse = 0
        self._texts = 0
        self.check_agreement()

    def __len__(self) -> int:
        return len(self.peers)

    def kinds(self) -> set[str]:
        return {peer.kind for peer in self.peers.values()}

    # -- steps

    def change(
        self,
        committer: int,
        *,
        adds: Sequence[Peer] = (),
        removes: Sequence[int] = (),
        tree_in_welcome: bool = True,
    ) -> list[int]:
        """One commit, taken in by everybody; returns the leaves of those who have joined.

        Whom ts-mls wrongly lets stand outside (``ts_mls_refuses``) is removed again by a further commit.
        """
        for leaf in removes:
            if leaf in self.peers:
                self._introduce(leaf, committer)
        made = self.peers[committer].commit(
            adds=[peer.key_package() for peer in adds], removes=removes, tree_in_welcome=tree_in_welcome
        )
        for proposal in made.proposals:
            self.propose(committer, proposal)
        new = self._leaves_for(len(adds), set(self.peers) - set(removes))
        self.follow(committer, made.message, replaced=set(removes) & set(new))
        assert self.peers.keys().isdisjoint(removes)
        outside = self._welcome(made, dict(zip(new, adds, strict=True)), with_tree=tree_in_welcome)
        self.check_agreement()
        if outside:
            self.turned_away += len(outside)
            self.change(committer, removes=outside)
        return [leaf for leaf in new if leaf not in outside]

    def admit(self, committer: int, make: Callable[[], Peer]) -> int:
        """Add one member; if ts-mls stays outside, all update, and ts-mls adds it without a path."""
        joined = self.change(committer, adds=[make()])
        if not joined:
            for leaf in list(self.peers):
                self.change(leaf)
            without_path = next(leaf for leaf, peer in self.peers.items() if peer.kind == "ts-mls")
            joined = self.change(without_path, adds=[make()])
        return joined[0]

    def enter(self, newcomer: Peer, leaf: int, message: bytes) -> None:
        """Everybody takes in the external commit of somebody new."""
        self.follow(leaf, message)
        self.peers[leaf] = newcomer
        self.check_agreement()

    def follow(self, committer: int, message: bytes, *, replaced: Collection[int] = ()) -> None:
        """Everybody but its maker takes a commit in; whoever is removed by it drops out.

        ``replaced`` are leaves that the commit removes and gives to somebody new. ts-mls does not see that it
        was removed from such a leaf, and stops with an error of its own (docs/INTEROPERABILITY.md, T3).
        """
        for leaf, peer in list(self.peers.items()):
            if leaf == committer:
                continue
            if peer.kind == "ts-mls" and leaf in replaced:
                with pytest.raises(PeerRefused, match="No overlap between provided private keys"):
                    peer.process(message, committer)
                self.removed.append(self.peers.pop(leaf))
                continue
            event = peer.process(message, committer)
            assert isinstance(event, Event)
            if event.kind == "removed":
                self.removed.append(self.peers.pop(leaf))
            else:
                assert event.kind == "commit"

    def update_by_proposal(self, proposer: int, committer: int) -> None:
        """An Update proposal of one member that another one commits."""
        maker: Proposer = self.peers[proposer]  # type: ignore[assignment]  # the caller knows that it can
        self.propose(proposer, maker.propose_update())
        self.change(committer)

    def propose(self, proposer: int, proposal: bytes) -> None:
        """Everybody but its maker takes a proposal in."""
        for leaf, peer in self.peers.items():
            if leaf != proposer:
                event = peer.process(proposal, proposer)
                assert isinstance(event, Event)
                assert event.kind == "proposal"

    @staticmethod
    def _leaves_for(count: int, taken: set[int]) -> list[int]:
        blank = (leaf for leaf in range(len(taken) + count) if leaf not in taken)
        return [next(blank) for _ in range(count)]

    def _welcome(self, made: Made, joiners: dict[int, Peer], *, with_tree: bool) -> list[int]:
        """Let them in; returns the leaves of those who were turned away."""
        if not joiners:
            return []
        assert made.welcome is not None
        ratchet_tree = None if with_tree else made.ratchet_tree
        assert with_tree or ratchet_tree is not None
        tree = self._tree()
        outside = []
        for leaf, peer in joiners.items():
            if not with_tree:
                with pytest.raises(PeerRefused):
                    peer.join(made.welcome, None)
            doubtful = tree is not None and ts_mls_refuses(tree)
            if peer.kind == "ts-mls" and doubtful:
                with pytest.raises(PeerRefused, match="must list leaf node in its unmerged_leaves"):
                    peer.join(made.welcome, ratchet_tree)
                outside.append(leaf)
            else:
                peer.join(made.welcome, ratchet_tree)
                self.peers[leaf] = peer
                self.joins_that_ts_mls_would_refuse += doubtful and peer.kind == "mls-rs"
        return outside

    def _tree(self) -> RatchetTree | None:
        """The tree of this epoch, if one of the members is ours."""
        ours = (peer for peer in self.peers.values() if isinstance(peer, ProductPeer | FullPeer))
        return next((peer.tree() for peer in ours), None)

    # -- checks

    def check_agreement(self) -> View:
        """Epoch authenticators, exported secrets and all else that is shown are equal."""
        return check_views(list(self.peers.items()))

    def text(self, sender: int, receivers: Iterable[int] | None = None) -> None:
        """One application message from one member to all (or some) others."""
        self._texts += 1
        plaintext = b"text %d" % self._texts
        message = self.peers[sender].protect(plaintext, b"data")
        for leaf in self.peers if receivers is None else receivers:
            if leaf != sender:
                self.check_text(self.peers[leaf].process(message, sender), sender, plaintext)

    @staticmethod
    def check_text(event: Text | Event, sender: int, plaintext: bytes) -> None:
        assert isinstance(event, Text)
        assert event.plaintext == plaintext
        assert event.sender in {None, sender}
        assert event.authenticated_data in {None, b"data", b""}

    def texts(self) -> None:
        """Everybody writes to everybody."""
        for sender in self.peers:
            self.text(sender)

    def _introduce(self, leaf: int, committer: int) -> None:
        """mls-rs can name only a member that it has heard; core-crypto names members by identity."""
        maker = self.peers[committer]
        if isinstance(maker, CorePeer):
            peer = self.peers[leaf]
            assert isinstance(peer, CorePeer | FullPeer)
            maker.identities[leaf] = peer.identity
        if self.peers[committer].kind == "mls-rs" and leaf != committer:
            self.text(leaf)

    def check_locked_out(self, peer: Peer) -> None:
        """A former member opens no text of this epoch and takes in none of its commits."""
        sender = next(iter(self.peers))
        message = self.peers[sender].protect(b"not for you", b"")
        for leaf, other in self.peers.items():
            if leaf != sender:
                assert isinstance(other.process(message, sender), Text)
        with pytest.raises(PeerRefused):
            peer.process(message, sender)


def random_life(
    circle: Circle,
    make: Callable[[str], Peer],
    kinds: Sequence[str],
    *,
    seed: int,
    epochs: int,
    largest: int = 8,
    replaces: bool = True,
) -> dict[str, int]:
    """``epochs`` random commits by random members; each kind of ``kinds`` stays in the group.

    Without ``replaces`` no commit adds and removes at once.

    Returns:
        How often each kind of step was taken.
    """
    chance = random.Random(seed)
    counts = {"update": 0, "add": 0, "remove": 0, "replace": 0}
    for _ in range(epochs):
        leaves = list(circle.peers)
        committer = chance.choice(leaves)
        step = chance.choice(
            ["update", "update", "add", "add", "remove", "replace" if replaces else "remove"]
        )
        removes: list[int] = []
        if step in {"remove", "replace"}:
            others = [leaf for leaf in leaves if leaf != committer]
            chance.shuffle(others)
            for leaf in others[: chance.choice([1, 1, 2])]:
                stay = [kept for kept in leaves if kept not in {leaf, *removes}]
                if "ts-mls" in kinds and left_half_empty(stay):
                    continue
                if set(kinds) <= {circle.peers[kept].kind for kept in stay}:
                    removes.append(leaf)
        room = largest - len(circle) + len(removes)
        adds: list[Peer] = []
        if step in {"add", "replace"}:
            adds = [make(chance.choice(kinds)) for _ in range(min(room, chance.choice([1, 1, 2, 3])))]
        done = {(False, False): "update", (True, False): "add", (False, True): "remove"}
        counts[done.get((bool(adds), bool(removes)), "replace")] += 1
        circle.change(committer, adds=adds, removes=removes)
        circle.text(chance.choice(list(circle.peers)))
    return counts
