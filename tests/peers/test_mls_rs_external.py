"""External commits, of mls-rs and of ours, in one group: joins and resyncs in both directions.

mls-rs (in ``rine-mls``) and our FullGroups take turns in adding, removing, entering from outside and taking
their place anew. After each step every member writes a text that all others open, and ours agree on the epoch
authenticator. One member of ours is a passive client as well: what it saw is a case in the format of the
official vectors, which the check behind ``amanat vectors mls`` follows to the end.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from clients.conformance.kinds.passive_client import check
from crypto.errors import ValidationError
from crypto.mls_message import MLSMessage
from crypto.proposals import Add, Remove
from crypto.rfc9420.full_group import ApplicationReceived, CommitFollowed, FullGroup
from crypto.rfc9420.make import CommitOptions
from crypto.suites import suite
from crypto.tree_math import LeafIndex
from support import peer_rine
from support.peer_ours import FullPeer, read_adds
from support.peer_rine import CODE, RineMember

LARGEST = 7
PASSIVE = LeafIndex(1)


def as_message(joiner: FullPeer | RineMember) -> bytes:
    """MLSMessage(KeyPackage) of either kind."""
    if isinstance(joiner, RineMember):
        return joiner.key_package()
    return MLSMessage(body=joiner.bundle.key_package).to_bytes()


class Company:
    """Members of both kinds by leaf index; leaf 1 is the passive client: it stays, and commits nothing."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.ours: dict[int, FullPeer] = {}
        self.theirs: dict[int, RineMember] = {}
        self.texts = 0
        first, passive = self.new_theirs(), self.new_ours()
        key_package = as_message(passive)
        _, [welcome] = first.create(b"company", [key_package])
        passive.join(welcome, None)
        self.theirs[first.leaf] = first
        self.ours[PASSIVE] = passive
        self.case: dict[str, Any] = {
            "cipher_suite": CODE,
            "external_psks": [],
            "key_package": key_package.hex(),
            "signature_priv": passive.signature_private.hex(),
            "encryption_priv": passive.bundle.encryption_private.reveal().hex(),
            "init_priv": passive.bundle.init_private.reveal().hex(),
            "welcome": welcome.hex(),
            "ratchet_tree": None,
            "initial_epoch_authenticator": passive.group.epoch_authenticator.hex(),
            "epochs": [],
        }
        self.check()

    # -- members

    def new_ours(self) -> FullPeer:
        name = b"ours %d" % self.chance.randrange(1 << 30)
        return FullPeer(suite(CODE), name, self.chance.randbytes, public=bool(self.chance.randrange(2)))

    def new_theirs(self) -> RineMember:
        return RineMember(self.folder / str(self.chance.randrange(1 << 60)), self.chance.randbytes(32))

    def leaves(self) -> list[int]:
        return sorted([*self.ours, *self.theirs])

    def group_info(self) -> bytes:
        """Published by anybody."""
        leaf = self.chance.choice(self.leaves())
        if leaf in self.theirs:
            return self.theirs[leaf].group_info()
        return self.ours[leaf].group.group_info(self.chance.randbytes)

    # -- steps

    def commit(self, committer: int, *, adds: bool = False, removes: int | None = None) -> None:
        """A commit of a member: adds one of each kind, removes one, or (ours only) updates itself."""
        joiners: list[FullPeer | RineMember] = [self.new_ours(), self.new_theirs()] if adds else []
        packages = [as_message(joiner) for joiner in joiners]
        welcomes: list[bytes] = []
        if committer in self.theirs:
            member = self.theirs[committer]
            if adds:
                message, welcomes = member.add(packages)
            else:
                assert removes is not None
                message = member.remove(removes)
        else:
            message, welcomes = self.commit_of_ours(self.ours[committer], packages, removes)
        self.follow(committer, message)
        for joiner, welcome in zip(joiners, welcomes, strict=True):
            if isinstance(joiner, FullPeer):
                joiner.join(welcome, None)
                self.ours[joiner.group.own_leaf] = joiner
            else:
                joiner.join(welcome)
                self.theirs[joiner.leaf] = joiner
        self.check()

    def commit_of_ours(
        self, peer: FullPeer, packages: list[bytes], removes: int | None
    ) -> tuple[bytes, list[bytes]]:
        adds = [Add(key_package=package) for package in read_adds([data[4:] for data in packages])]
        gone = [] if removes is None else [Remove(removed=LeafIndex(removes))]
        made = peer.group.commit(
            [*gone, *adds],
            rng=peer.rng,
            options=CommitOptions(wire_format=peer.wire_format, with_path=bool(self.chance.randrange(2))),
        )
        peer.group = made.group
        return made.message, [made.welcome or b""] * len(adds)

    def enter_theirs(self) -> None:
        """A new member of mls-rs from outside."""
        member = self.new_theirs()
        self.follow(None, member.join_externally(self.group_info()))
        self.theirs[member.leaf] = member
        self.check()

    def enter_ours(self, replaces: int | None = None) -> None:
        """A new member of ours from outside, or an old one in its own place."""
        peer = self.new_ours() if replaces is None else self.ours.pop(replaces)
        group, message = FullGroup.join_externally(
            self.group_info(),
            leaf=peer.leaf_params(),
            rng=peer.rng,
            replaces=None if replaces is None else LeafIndex(replaces),
        )
        self.follow(None, message)
        peer.group = group
        self.ours[group.own_leaf] = peer
        self.check()

    def resync_theirs(self, leaf: int) -> None:
        """A member of mls-rs takes its own place anew."""
        info = self.group_info()
        member = self.theirs.pop(leaf)
        self.follow(None, member.resync(info))
        self.theirs[member.leaf] = member
        self.check()

    def follow(self, committer: int | None, message: bytes) -> None:
        """Everybody but its maker takes a commit in; whom it removes drops out."""
        for leaf, peer in list(self.ours.items()):
            if leaf == committer:
                continue
            received = peer.group.receive(message)
            assert isinstance(received, CommitFollowed)
            if received.group is None:
                del self.ours[leaf]
            else:
                peer.group = received.group
        for leaf, member in list(self.theirs.items()):
            if leaf != committer and not member.follow(message):
                del self.theirs[leaf]
        authenticator = self.ours[PASSIVE].group.epoch_authenticator
        epoch = {"proposals": [], "commit": message.hex(), "epoch_authenticator": authenticator.hex()}
        self.case["epochs"].append(epoch)

    def check(self) -> None:
        """All are in one epoch: ours show it, and each opens what any other writes."""
        assert len({peer.group.epoch_authenticator for peer in self.ours.values()}) == 1
        leaves = [member.leaf_index for member in self.ours[PASSIVE].group.members]
        assert leaves == self.leaves()
        for sender in leaves:
            self.texts += 1
            text = b"text %d" % self.texts
            if sender in self.theirs:
                message = self.theirs[sender].protect(text)
            else:
                message = self.ours[sender].protect(text, b"")
            for leaf, peer in self.ours.items():
                if leaf != sender:
                    got = peer.group.receive(message)
                    assert isinstance(got, ApplicationReceived)
                    assert (got.sender, got.plaintext) == (sender, text)
            for leaf, member in self.theirs.items():
                if leaf != sender:
                    assert member.open(message) == (sender, text)

    # -- a life

    def random_step(self) -> str:
        """One of the steps, if the group has room for it; gives its name."""
        leaves = self.leaves()
        committer = self.chance.choice([leaf for leaf in leaves if leaf != PASSIVE])
        victims = [leaf for leaf in leaves if leaf not in {committer, PASSIVE}]
        ours_to_go = [leaf for leaf in self.ours if leaf != PASSIVE]
        match self.chance.randrange(7):
            case 0 if len(leaves) < LARGEST:
                self.enter_theirs()
                return "join of theirs"
            case 1 if len(leaves) < LARGEST:
                self.enter_ours()
                return "join of ours"
            case 2 if self.theirs:
                self.resync_theirs(self.chance.choice(list(self.theirs)))
                return "resync of theirs"
            case 3 if ours_to_go:
                self.enter_ours(replaces=self.chance.choice(ours_to_go))
                return "resync of ours"
            case 4 if len(leaves) + 1 < LARGEST:
                self.commit(committer, adds=True)
                return f"add by {'theirs' if committer in self.theirs else 'ours'}"
            case 5 | 6 if victims and len(leaves) > 3:
                self.commit(committer, removes=self.chance.choice(victims))
                return f"remove by {'theirs' if committer in self.theirs else 'ours'}"
            case _ if ours_to_go:
                self.commit(self.chance.choice(ours_to_go))
                return "update of ours"
            case _:
                self.enter_ours()
                return "join of ours"


def life(folder: Path, seed: int, epochs: int) -> Counter[str]:
    reason = peer_rine.why_not()
    if reason is not None:
        pytest.skip(reason)
    company = Company(folder, seed)
    steps = Counter(company.random_step() for _ in range(epochs))
    assert len(company.case["epochs"]) == epochs
    check(company.case)
    return steps


def test_external_commits_in_both_directions(tmp_path: Path) -> None:
    steps = life(tmp_path, seed=3, epochs=60)
    wanted = {f"{what} of {whose}" for what in ("join", "resync") for whose in ("ours", "theirs")}
    wanted |= {f"{what} by {whose}" for what in ("add", "remove") for whose in ("ours", "theirs")}
    assert wanted <= set(steps)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 110))
def test_external_commits_in_both_directions_often(tmp_path: Path, seed: int) -> None:
    life(tmp_path, seed, epochs=200)


def test_whoever_is_removed_stays_outside(tmp_path: Path) -> None:
    """Until it enters anew: a former member of either kind opens nothing, and may come back from outside."""
    reason = peer_rine.why_not()
    if reason is not None:
        pytest.skip(reason)
    company = Company(tmp_path, seed=5)
    company.enter_theirs()
    company.enter_ours()
    theirs, ours = company.theirs[2], company.ours[3]
    company.commit(0, removes=3)
    company.commit(0, removes=2)
    message = company.ours[PASSIVE].protect(b"not for you", b"")
    with pytest.raises(theirs.rine.RineMlsError):
        theirs.open(message)
    with pytest.raises(ValidationError, match=r"message\.epoch"):
        ours.group.receive(message)
    company.follow(None, theirs.join_externally(company.group_info()))
    company.theirs[theirs.leaf] = theirs
    assert theirs.leaf == 2
    company.check()
    check(company.case)
