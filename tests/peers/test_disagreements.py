"""Each disagreement with ts-mls 1.6.4 that docs/INTEROPERABILITY.md names (T1 to T7), pinned down.

If one fails after an update of ts-mls, the fault has probably been mended: strike it from the document.
"""

from __future__ import annotations

import itertools
import random

import pytest

from crypto.suites import suite
from support.peer import Made, Peer, PeerRefused, Text
from support.peer_circle import GROUP_ID, Circle, left_half_empty, ts_mls_refuses
from support.peer_ours import FullPeer, ProductPeer
from support.peer_rs import RsPeer
from support.peer_ts import Bridge, TsPeer

RNG = random.Random(3).randbytes
NAMES = itertools.count()
both_suites = pytest.mark.parametrize("code", [1, 0xF002], ids=hex)


def ours(code: int) -> ProductPeer:
    return ProductPeer(suite(code), b"ours %d" % next(NAMES), RNG)


def theirs(bridge: Bridge, code: int) -> TsPeer:
    return TsPeer(bridge, code, b"theirs %d" % next(NAMES))


def test_t1_p256_keys_are_compressed(ts: Bridge) -> None:
    """RFC 9420 section 5.1.1 wants the uncompressed form; the bridge makes such keys instead."""
    as_it_is = TsPeer(ts, 2, b"as it is", library_keys=True)
    circle = Circle(ours(2))
    with pytest.raises(PeerRefused, match=r"key-package\.signature"):
        circle.peers[0].commit(adds=[as_it_is.key_package()])
    circle.change(0, adds=[theirs(ts, 2)])


@both_suites
def test_t2_a_rightful_tree_is_refused(ts: Bridge, code: int) -> None:
    """The joiner is unmerged in its parent but not in the root: a commit with a path from the other half."""
    circle = Circle(ours(code))
    circle.change(0, adds=[ours(code) for _ in range(6)])
    for leaf in (4, 6):
        circle.change(leaf)
    circle.change(0, removes=[5])
    circle.change(4)
    assert circle.change(0, adds=[theirs(ts, code)]) == []
    assert circle.turned_away == 1
    assert circle.change(0, adds=[ours(code)]) == [5]


@both_suites
def test_t2_cannot_occur_with_four_leaves(code: int) -> None:
    """At most 4 leaves and a path in every commit (R14, P5): no leaf is ever unmerged there."""
    chance = random.Random(code)
    circle = Circle(ours(code))
    for _ in range(60):
        committer = chance.choice(list(circle.peers))
        others = [leaf for leaf in circle.peers if leaf != committer]
        removes = chance.sample(others, chance.randint(0, len(others)))
        adds = [ours(code) for _ in range(chance.randint(0, 4 - len(circle) + len(removes)))]
        circle.change(committer, adds=adds, removes=removes)
        tree = next(iter(circle.peers.values())).tree()  # type: ignore[attr-defined]  # all are ours
        assert not ts_mls_refuses(tree)


@both_suites
def test_t3_removed_and_replaced_in_one_commit(ts: Bridge, code: int) -> None:
    """ts-mls looks at its leaf only after the Adds; it errs, but learns nothing and stays where it was."""
    circle = Circle(ours(code))
    circle.change(0, adds=[theirs(ts, code)])
    old = circle.peers[1]
    before = old.view()
    assert circle.change(0, adds=[theirs(ts, code)], removes=[1]) == [1]
    assert circle.removed == [old]
    assert old.view() == before
    circle.check_locked_out(old)
    circle.texts()


def half_empty(committer: Peer, other: Peer, fill: list[Peer]) -> tuple[Circle, Made]:
    """Four leaves, of which 2 (the committer) and 3 stay."""
    circle = Circle(fill[0])
    circle.change(0, adds=[fill[1], committer, other])
    circle.change(2)
    circle.text(0)
    circle.text(1)
    del circle.peers[0], circle.peers[1]
    return circle, committer.commit(removes=[0, 1])


@both_suites
def test_t4_one_path_secret_too_many(ts: Bridge, code: int) -> None:
    """The root over an empty left half is in no filtered direct path; ts-mls derives a secret for it."""
    assert left_half_empty([2, 3])
    circle, made = half_empty(theirs(ts, code), ours(code), [ours(code), ours(code)])
    with pytest.raises(PeerRefused, match="AuthenticationError"):
        circle.peers[3].process(made.message, 2)
    circle, made = half_empty(ours(code), theirs(ts, code), [ours(code), ours(code)])
    with pytest.raises(PeerRefused, match="Could not verify confirmation tag"):
        circle.peers[3].process(made.message, 2)
    circle, made = half_empty(theirs(ts, code), theirs(ts, code), [ours(code), ours(code)])
    circle.follow(2, made.message)
    circle.check_agreement()


@pytest.mark.usefixtures("rs")
@pytest.mark.parametrize("committer", ["mls-rs", "full"])
def test_t4_mls_rs_derives_as_we_do(committer: str) -> None:
    full = [FullPeer(suite(1), b"ours %d" % n, RNG) for n in range(3)]
    pair: list[Peer] = [RsPeer(b"theirs"), full[2]]
    first, second = pair if committer == "mls-rs" else pair[::-1]
    circle, made = half_empty(first, second, [full[0], full[1]])
    circle.follow(2, made.message)
    circle.check_agreement()
    circle.texts()


@pytest.mark.parametrize(("keep", "kept"), [(0, 6), (1, 1), (4, 4)])
def test_t5_to_keep_no_epochs_keeps_them_all(ts: Bridge, keep: int, kept: int) -> None:
    """``retainKeysForEpochs: 0`` keeps every past epoch; the caller must drop them itself (R11)."""
    circle = Circle(ours(1))
    member = TsPeer(ts, 1, b"keeps", keep_epochs=keep)
    circle.change(0, adds=[member])
    for _ in range(6):
        circle.change(0)
    assert member.epochs_kept() == kept


def test_t6_adds_come_without_a_path(ts: Bridge) -> None:
    """The RFC allows it and our core follows, but the product's predicate does not (R14, P5)."""
    circle = Circle(theirs(ts, 1))
    member = FullPeer(suite(1), b"ours", RNG)
    circle.change(0, adds=[member])
    made = circle.peers[0].commit(adds=[ours(1).key_package()])
    assert made.message != b""
    before = member.tree().leaf(member.group.members[0].leaf_index)
    assert not isinstance(member.process(made.message, 0), Text)
    assert member.tree().leaf(member.group.members[0].leaf_index) == before


def test_t7_lengths_longer_than_needed_are_taken(ts: Bridge) -> None:
    """RFC 9420 section 2.1.2 wants the shortest length; ours refuses any other."""
    circle = Circle(ours(1))
    circle.change(0, adds=[theirs(ts, 1), ours(1)])
    message = circle.peers[0].protect(b"text", b"data")
    assert message[:5] == bytes([0, 1, 0, 2, len(GROUP_ID)])
    longer = message[:4] + bytes([0x40, len(GROUP_ID)]) + message[5:]
    with pytest.raises(PeerRefused, match="CodecError"):
        circle.peers[2].process(longer, 0)
    circle.check_text(circle.peers[1].process(longer, 0), 0, b"text")
    circle.check_text(circle.peers[2].process(message, 0), 0, b"text")
