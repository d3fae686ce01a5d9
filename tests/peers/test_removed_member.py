"""A removed member can derive nothing of the next epoch, whoever removed it.

The victim is ours and attacks with all that it has (``support.peer_attack``). The same test is run against
ts-mls 2.0.0-rc.10, which sends a lone Remove without a path: there it must fail, which shows that it can.
"""

from __future__ import annotations

import random

import pytest

from crypto.suites import suite
from support.peer import Peer
from support.peer_attack import stolen_secrets
from support.peer_circle import Circle
from support.peer_ours import FullPeer, ProductPeer
from support.peer_rs import RsPeer
from support.peer_ts import Bridge, TsPeer

RNG = random.Random(1).randbytes
SIZE = 5


def make(kind: str, code: int, name: bytes, bridge: Bridge | None) -> Peer:
    if kind == "product":
        return ProductPeer(suite(code), name, RNG)
    if kind == "mls-rs":
        return RsPeer(name)
    if kind == "ts-mls":
        assert bridge is not None
        return TsPeer(bridge, code, name)
    return FullPeer(suite(code), name, RNG)


def removed_member_derives_nothing(kind: str, code: int, victim: int, bridge: Bridge | None = None) -> None:
    """Members of one kind and one victim, at any index; one of the others removes it."""
    peers = [make("full" if leaf == victim else kind, code, b"%d" % leaf, bridge) for leaf in range(SIZE)]
    circle = Circle(peers[0])
    circle.change(0, adds=peers[1:])
    attacker = circle.peers[victim]
    assert isinstance(attacker, FullPeer)
    if kind != "ts-mls":
        circle.change((victim + 2) % SIZE)  # a full path, so that the victim knows parents too
    circle.text(victim)
    committer = (victim + 1) % SIZE
    made = circle.peers[committer].commit(removes=[victim])
    del circle.peers[victim]
    circle.follow(committer, made.message)
    exported = circle.check_agreement().exported
    stolen = stolen_secrets(attacker.group, made.message)
    assert stolen
    assert exported not in stolen, "the removed member computes the next epoch"
    circle.check_locked_out(attacker)


every_index = pytest.mark.parametrize("victim", range(SIZE))


@every_index
@pytest.mark.parametrize("code", [1, 0xF002], ids=hex)
@pytest.mark.parametrize("kind", ["product", "full"])
def test_removed_by_ours(kind: str, code: int, victim: int) -> None:
    removed_member_derives_nothing(kind, code, victim)


@every_index
@pytest.mark.parametrize("code", [1, 0xF002], ids=hex)
def test_removed_by_ts_mls(ts: Bridge, code: int, victim: int) -> None:
    removed_member_derives_nothing("ts-mls", code, victim, ts)


@every_index
@pytest.mark.usefixtures("rs")
def test_removed_by_mls_rs(victim: int) -> None:
    removed_member_derives_nothing("mls-rs", 1, victim)


@every_index
def test_negative_control_the_release_candidate_fails(ts_rc: Bridge, victim: int) -> None:
    with pytest.raises(AssertionError, match="the removed member computes the next epoch"):
        removed_member_derives_nothing("ts-mls", 1, victim, ts_rc)


def theirs_stays_in_its_epoch(kind: str, remover: str, code: int, bridge: Bridge | None = None) -> None:
    circle = Circle(make(remover, code, b"0", bridge))
    circle.change(0, adds=[make(kind, code, b"1", bridge), make(kind, code, b"2", bridge)])
    before = circle.check_agreement().exported
    circle.change(0, removes=[1])
    [removed] = circle.removed
    assert circle.check_agreement().exported != before
    assert removed.view().exported == before
    circle.check_locked_out(removed)


@pytest.mark.parametrize("code", [1, 0xF002], ids=hex)
def test_a_removed_member_of_ts_mls_stays_in_its_epoch(ts: Bridge, code: int) -> None:
    theirs_stays_in_its_epoch("ts-mls", "product", code, ts)


@pytest.mark.usefixtures("rs")
def test_a_removed_member_of_mls_rs_stays_in_its_epoch() -> None:
    theirs_stays_in_its_epoch("mls-rs", "full", 1)
