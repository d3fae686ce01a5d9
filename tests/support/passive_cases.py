"""Makes passive-client cases in the official format, by driving ``crypto.rfc9420`` as all active members.

``python tests/support/passive_cases.py OUT.json [SEEDS]`` writes the cases of every scenario on every suite;
``amanat vectors mls OUT.json`` checks them. No case is checked in: ECDSA apart, the two sides are one code,
so these cases show that active and passive agree, not that either is right. That is for the official vectors
and the peers to show.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crypto.code_points import CredentialType
from crypto.codec import Writer, decode
from crypto.credentials import Credential
from crypto.extensions import Extension, RequiredCapabilities
from crypto.framed_content import WireFormat
from crypto.group import OwnLeafParams
from crypto.group_commit import NewLeaf
from crypto.key_package import KeyPackageBundle, generate_key_package
from crypto.leaf_node import Capabilities, Lifetime
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.proposals import Add, GroupContextExtensions, PreSharedKey, Proposal, ReInit, Remove
from crypto.psk_id import PreSharedKeyID, PSKType, ResumptionPSKUsage, write_psk_id
from crypto.rfc9420.external_commit import propose_from_outside, propose_oneself
from crypto.rfc9420.external_extensions import ExternalSender, external_senders_extension
from crypto.rfc9420.full_group import CommitFollowed, CommitMade, FullGroup, own_device
from crypto.rfc9420.make import CommitOptions
from crypto.rfc9420.psks import PskStore
from crypto.rfc9420.state import Device
from crypto.sensitive import Secret
from crypto.suites import SUITES, CipherSuite
from crypto.suites import suite as suite_of
from crypto.tree_math import LeafIndex

Case = dict[str, Any]

LIFETIME = Lifetime(not_before=0, not_after=1 << 40)
GREASE = 0x3A3A


@dataclass(kw_only=True)
class Client:
    """A member to be: credential, signature key, PSKs."""

    suite: CipherSuite
    name: str
    credential: Credential
    signature_private: bytes = field(repr=False)
    device: Device

    def leaf(self) -> OwnLeafParams:
        return OwnLeafParams(
            signature_private=self.signature_private,
            credential=self.credential,
            capabilities=capabilities(self.suite),
            lifetime=LIFETIME,
            extensions=(Extension(extension_type=GREASE, extension_data=b"grease"),),
        )

    def bundle(self, rng: Callable[[int], bytes]) -> KeyPackageBundle:
        return generate_key_package(
            suite=self.suite,
            signature_private=self.signature_private,
            credential=self.credential,
            capabilities=capabilities(self.suite),
            lifetime=LIFETIME,
            rng=rng,
            leaf_extensions=self.leaf().extensions,
            extensions=(Extension(extension_type=GREASE, extension_data=b""),),
        )


def capabilities(suite: CipherSuite) -> Capabilities:
    """What everybody supports, with GREASE in each list that may have it."""
    return Capabilities(
        versions=(1,),
        cipher_suites=(0x1A1A, suite.code, *(code for code in SUITES if code != suite.code)),
        extensions=(GREASE, 0xF00A),
        proposals=(0x4A4A,),
        credentials=(0x5A5A, CredentialType.BASIC, CredentialType.X509),
    )


class Scenario:
    """All members but the passive client, and the case as it grows."""

    def __init__(self, code: int, seed: int) -> None:
        self.suite = suite_of(code)
        self.random = random.Random(seed)
        self.rng: Callable[[int], bytes] = self.random.randbytes
        self.external_psks: dict[bytes, bytes] = {}
        # One store for all: a member has even the resumption PSKs of epochs before it joined.
        self.device = own_device(PskStore())
        self.resumption: list[tuple[int, PreSharedKeyID]] = []
        self.count = 0
        self.groups: dict[LeafIndex, FullGroup] = {}
        self.clients: dict[LeafIndex, Client] = {}
        self.outsider_private, self.outsider_public = self.suite.generate_signature_key_pair(self.rng)
        self.passive = self.client("passive")
        self.passive_bundle = self.passive.bundle(self.rng)
        self.case: Case = {}
        self.waiting: list[bytes] = []
        creator = self.client()
        self.take_in(
            creator,
            FullGroup.create(
                suite=self.suite,
                group_id=self.rng(16),
                leaf=creator.leaf(),
                rng=self.rng,
                device=creator.device,
                extensions=(self.senders(),),
            ),
        )

    # -- people and keys

    def client(self, name: str | None = None) -> Client:
        self.count += 1
        private, _ = self.suite.generate_signature_key_pair(self.rng)
        name = name or f"client {self.count}"
        credential = Credential.basic(name.encode())
        if self.count % 3 == 0:
            credential = Credential(credential_type=CredentialType.X509, certificates=(b"leaf", b"root"))
        return Client(
            suite=self.suite,
            name=name,
            credential=credential,
            signature_private=private,
            device=self.device,
        )

    def senders(self) -> Extension:
        sender = ExternalSender(signature_key=self.outsider_public, credential=Credential.basic(b"outsider"))
        return external_senders_extension([sender])

    def take_in(self, client: Client, group: FullGroup) -> None:
        self.clients[group.own_leaf] = client
        self.groups[group.own_leaf] = group

    def new_external_psk(self) -> PreSharedKeyID:
        psk_id, psk = self.rng(12), self.rng(32)
        self.external_psks[psk_id] = psk
        self.device.psks.add_external(psk_id, psk)
        return PreSharedKeyID(psktype=PSKType.EXTERNAL, psk_id=psk_id, psk_nonce=self.rng(self.suite.nh))

    def any_leaf(self) -> LeafIndex:
        return self.random.choice(sorted(self.groups))

    def any_group(self) -> FullGroup:
        return self.groups[self.any_leaf()]

    def wire_format(self) -> WireFormat:
        return self.random.choice([WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE])

    # -- the case

    def begin(self, *, tree: bool = True, psk: bool = False, size: int = 4, path: bool = True) -> None:
        """Bring the group to ``size`` members, then add the passive client."""
        while len(self.groups) < size:
            self.step(adds=1)
        proposals: list[Proposal] = [Add(key_package=self.passive_bundle.key_package)]
        if psk:
            proposals.append(PreSharedKey(psk=self.new_external_psk()))
        joiner = self.client()
        joiner_bundle = joiner.bundle(self.rng)
        proposals.append(Add(key_package=joiner_bundle.key_package))
        leaf = self.any_leaf()
        made = self.groups[leaf].commit(
            proposals,
            rng=self.rng,
            options=CommitOptions(tree_in_welcome=tree, with_path=path, wire_format=self.wire_format()),
        )
        self.deliver(leaf, made)
        self.enter(joiner, joiner_bundle, made)
        self.start_case(made, tree=tree)

    def start_case(self, made: CommitMade, *, tree: bool = True) -> None:
        assert made.welcome is not None
        bundle = self.passive_bundle
        self.case = {
            "cipher_suite": self.suite.code,
            "external_psks": [],
            "key_package": MLSMessage(body=bundle.key_package).to_bytes().hex(),
            "signature_priv": self.passive.signature_private.hex(),
            "encryption_priv": bundle.encryption_private.reveal().hex(),
            "init_priv": bundle.init_private.reveal().hex(),
            "welcome": made.welcome.hex(),
            "ratchet_tree": None if tree else made.ratchet_tree.hex(),
            "initial_epoch_authenticator": made.group.epoch_authenticator.hex(),
            "epochs": [],
        }
        self.remember_resumption()

    def finished(self) -> Case:
        self.case["external_psks"] = [
            {"psk_id": psk_id.hex(), "psk": psk.hex()} for psk_id, psk in self.external_psks.items()
        ]
        return self.case

    def remember_resumption(self) -> None:
        """Note the present epoch's PSK: one that the passive client has too."""
        group = self.any_group()
        self.resumption.append((group.epoch, group.resumption_psk(self.rng)))

    def record(self, commit: bytes, group: FullGroup) -> None:
        if not self.case:
            self.waiting = []
            return
        self.case["epochs"].append(
            {
                "proposals": [message.hex() for message in self.waiting],
                "commit": commit.hex(),
                "epoch_authenticator": group.epoch_authenticator.hex(),
            }
        )
        self.waiting = []
        self.remember_resumption()

    # -- what happens in an epoch

    def publish(self, message: bytes, sender: LeafIndex | None) -> None:
        """Everybody hears a proposal."""
        self.waiting.append(message)
        for leaf, group in self.groups.items():
            if leaf != sender:
                group.receive(message)

    def deliver(self, committer: LeafIndex, made: CommitMade) -> None:
        self.hear(made.message, committer)
        self.groups[committer] = made.group
        self.agree()
        self.record(made.message, made.group)

    def hear(self, commit: bytes, committer: LeafIndex | None) -> None:
        for leaf, group in list(self.groups.items()):
            if leaf == committer:
                continue
            received = group.receive(commit)
            assert isinstance(received, CommitFollowed)
            if received.group is None:
                del self.groups[leaf], self.clients[leaf]
            else:
                self.groups[leaf] = received.group

    def agree(self) -> None:
        assert len({group.epoch_authenticator for group in self.groups.values()}) == 1

    def enter(
        self, client: Client, bundle: KeyPackageBundle, made: CommitMade, old: FullGroup | None = None
    ) -> None:
        assert made.welcome is not None
        group = FullGroup.join(
            welcome=made.welcome,
            bundle=bundle,
            signature_private=client.signature_private,
            device=client.device,
            ratchet_tree=made.ratchet_tree,
            predecessor=old,
        )
        assert group.epoch_authenticator == made.group.epoch_authenticator
        self.take_in(client, group)

    def step(
        self,
        *proposals: Proposal,
        adds: int = 0,
        committer: LeafIndex | None = None,
        path: bool = True,
        new_leaf: NewLeaf | None = None,
    ) -> None:
        """Commit whatever was proposed, and these proposals by value; ``adds`` new clients."""
        leaf = self.any_leaf() if committer is None else committer
        joiners = [self.client() for _ in range(adds)]
        bundles = [joiner.bundle(self.rng) for joiner in joiners]
        made = self.groups[leaf].commit(
            [*proposals, *(Add(key_package=bundle.key_package) for bundle in bundles)],
            rng=self.rng,
            options=CommitOptions(
                with_path=path,
                wire_format=self.wire_format(),
                authenticated_data=self.rng(self.random.randrange(5)),
                new_leaf=new_leaf or NewLeaf(),
                tree_in_welcome=bool(self.random.randrange(2)),
            ),
        )
        self.deliver(leaf, made)
        for joiner, bundle in zip(joiners, bundles, strict=True):
            self.enter(joiner, bundle, made)

    def victim(self, *spared: LeafIndex) -> LeafIndex:
        return self.random.choice([leaf for leaf in sorted(self.groups) if leaf not in spared])

    def propose(self, leaf: LeafIndex, proposal: Proposal) -> None:
        message = self.groups[leaf].propose(proposal, rng=self.rng, wire_format=self.wire_format())
        self.publish(message, leaf)

    def propose_update(self, leaf: LeafIndex, *, new_identity: bool = False) -> None:
        client = self.clients[leaf]
        signature_private = None
        if new_identity:
            signature_private, _ = self.suite.generate_signature_key_pair(self.rng)
            client.signature_private = signature_private
        message = self.groups[leaf].propose_update(
            rng=self.rng, wire_format=self.wire_format(), signature_private=signature_private
        )
        self.publish(message, leaf)

    def propose_outside(self, proposal: Proposal) -> None:
        message = propose_from_outside(
            self.any_group().context, proposal, sender_index=0, signature_private=self.outsider_private
        )
        self.publish(message, None)

    def external_join(
        self, *, replaces: LeafIndex | None = None, psks: Sequence[PreSharedKeyID] = ()
    ) -> None:
        sponsor = self.any_group()
        client = self.client() if replaces is None else self.clients[replaces]
        tree = bool(self.random.randrange(2))
        joined, message = FullGroup.join_externally(
            sponsor.group_info(self.rng, with_tree=tree),
            leaf=client.leaf(),
            rng=self.rng,
            device=client.device,
            ratchet_tree=None if tree else sponsor.ratchet_tree(),
            replaces=replaces,
            psks=psks,
        )
        self.hear(message, None)
        self.take_in(client, joined)
        self.agree()
        self.record(message, joined)


# -- scenarios


def external_joins(code: int, seed: int) -> Case:
    """Join, rejoin in another's and in one's own place, with PSKs of both kinds; commits in between."""
    world = Scenario(code, seed)
    world.begin(tree=bool(seed % 2))
    world.external_join()
    world.step()
    world.external_join(psks=[world.new_external_psk()])
    world.external_join(replaces=world.any_leaf())
    world.step(Remove(removed=world.victim(LeafIndex(0))), committer=LeafIndex(0))
    world.external_join()
    world.external_join(replaces=world.any_leaf(), psks=[world.new_external_psk(), world.new_external_psk()])
    world.propose_update(world.any_leaf())
    world.external_join()
    world.step(adds=2)
    return world.finished()


def external_proposals(code: int, seed: int) -> Case:
    """All five types by an external sender, and clients who propose themselves."""
    world = Scenario(code, seed)
    world.begin(psk=True, path=False)
    joiner = world.client()
    bundle = joiner.bundle(world.rng)
    world.propose_outside(Add(key_package=bundle.key_package))
    made = world.groups[LeafIndex(0)].commit(rng=world.rng, options=CommitOptions(with_path=False))
    world.deliver(LeafIndex(0), made)
    world.enter(joiner, bundle, made)
    committer = world.any_leaf()
    world.propose_outside(Remove(removed=world.victim(committer)))
    world.propose_outside(PreSharedKey(psk=world.new_external_psk()))
    world.step(committer=committer)
    required = RequiredCapabilities(extension_types=(0xF00A,), credential_types=(1,)).to_extension()
    more = Extension(extension_type=0xF00A, extension_data=b"of the group")
    world.propose_outside(GroupContextExtensions(extensions=(world.senders(), required, more)))
    world.step(adds=1)
    applicant = world.client()
    application = applicant.bundle(world.rng)
    world.publish(
        propose_oneself(
            world.any_group().context,
            Add(key_package=application.key_package),
            signature_private=applicant.signature_private,
        ),
        None,
    )
    committer = world.any_leaf()
    made = world.groups[committer].commit(
        rng=world.rng, options=CommitOptions(wire_format=WireFormat.PRIVATE_MESSAGE, tree_in_welcome=False)
    )
    world.deliver(committer, made)
    world.enter(applicant, application, made)
    world.propose_outside(ReInit(group_id=b"next", cipher_suite=code, extensions=(world.senders(),)))
    world.step()
    return world.finished()


def many_proposals(code: int, seed: int) -> Case:
    """Members' proposals by reference, in both wire formats: updates, removes, PSKs, some never committed."""
    world = Scenario(code, seed)
    world.begin(tree=bool(seed % 2), psk=True, size=5)
    updater = world.any_leaf()
    world.propose_update(updater, new_identity=True)
    world.propose(world.victim(updater), PreSharedKey(psk=world.new_external_psk()))
    world.step(committer=world.victim(updater), adds=1)
    world.propose(world.any_leaf(), PreSharedKey(psk=world.resumption[-1][1]))
    world.propose(world.any_leaf(), PreSharedKey(psk=world.resumption[0][1]))
    world.step(path=False)
    hanging = world.any_leaf()
    world.propose(hanging, Remove(removed=world.victim(hanging)))
    made = world.groups[hanging].commit(rng=world.rng, references=())
    world.deliver(hanging, made)
    for _ in range(3):
        committer = world.any_leaf()
        removed = world.victim(committer)
        world.propose(removed, Remove(removed=removed))
        for leaf in sorted(world.groups):
            if leaf not in {committer, removed}:
                world.propose_update(leaf)
        world.step(committer=committer, adds=2)
    private, _ = world.suite.generate_signature_key_pair(world.rng)
    committer = world.any_leaf()
    world.clients[committer].signature_private = private
    world.step(committer=committer, new_leaf=NewLeaf(signature_private=Secret(private)))
    world.step()
    return world.finished()


def random_walk(code: int, seed: int, epochs: int = 25) -> Case:
    """Anything that the rules allow, many times over."""
    world = Scenario(code, seed)
    world.begin(tree=bool(seed % 2), psk=bool(seed % 3), size=3)
    for _ in range(epochs):
        match world.random.randrange(10):
            case 0:
                world.external_join()
            case 1:
                world.external_join(replaces=world.any_leaf(), psks=[world.new_external_psk()])
            case 2 if len(world.groups) > 2:
                committer = world.any_leaf()
                world.propose_outside(Remove(removed=world.victim(committer)))
                world.step(committer=committer)
            case 3:
                world.propose_outside(
                    GroupContextExtensions(
                        extensions=(
                            world.senders(),
                            Extension(extension_type=0xF00A, extension_data=world.rng(3)),
                        )
                    )
                )
                world.step()
            case 4:
                _, psk_id = world.random.choice(world.resumption)
                world.step(
                    PreSharedKey(psk=replace(psk_id, psk_nonce=world.rng(world.suite.nh))),
                    PreSharedKey(psk=world.new_external_psk()),
                    path=bool(world.random.randrange(2)),
                )
            case 5 if len(world.groups) > 2:
                committer = world.any_leaf()
                for leaf in sorted(world.groups):
                    if leaf != committer and world.random.randrange(2):
                        world.propose_update(leaf, new_identity=bool(world.random.randrange(2)))
                world.step(committer=committer)
            case 6 if len(world.groups) > 3:
                committer = world.any_leaf()
                first = world.victim(committer)
                second = world.victim(committer, first)
                world.propose(first, Remove(removed=first))
                world.step(Remove(removed=second), committer=committer, adds=world.random.randrange(3))
            case 7:
                world.step(adds=1 + world.random.randrange(3), path=False)
            case _:
                world.step(adds=world.random.randrange(2))
    return world.finished()


def reinitialisation(code: int, seed: int) -> Case:
    """The group ends with a ReInit; nothing may follow in it."""
    world = Scenario(code, seed)
    world.begin(tree=bool(seed % 2))
    world.step(adds=1)
    codes = sorted(SUITES)
    new_code = codes[(codes.index(code) + 1) % len(codes)]
    reinit = ReInit(group_id=world.rng(8), cipher_suite=new_code, extensions=())
    if seed % 2:
        world.propose(world.any_leaf(), reinit)
        world.step(path=False)
    else:
        world.step(reinit)
    return world.finished()


def removed(code: int, seed: int) -> Case:
    """The last commit removes the passive client, which can know no further authenticator."""
    world = Scenario(code, seed)
    world.begin()
    world.step()
    members = world.any_group().members
    key = world.passive_bundle.key_package.leaf_node.signature_key
    leaf = next(member.leaf_index for member in members if member.leaf_node.signature_key == key)
    world.step(Remove(removed=leaf))
    world.case["epochs"][-1]["epoch_authenticator"] = None
    return world.finished()


def _successor(code: int, seed: int, *, branch: bool) -> tuple[Scenario, CommitMade, PreSharedKeyID]:
    world = Scenario(code, seed)
    world.begin(size=3)
    world.step()
    leaf = world.any_leaf()
    group_id = world.rng(16)
    if not branch:
        world.step(ReInit(group_id=group_id, cipher_suite=code, extensions=(world.senders(),)))
    old = world.groups[leaf]
    others = {other: client for other, client in world.clients.items() if other != leaf}
    bundles = {other: client.bundle(world.rng) for other, client in others.items()}
    key_packages = [world.passive_bundle.key_package, *(b.key_package for b in bundles.values())]
    creator = world.clients[leaf]
    if branch:
        made = old.branch(
            group_id=group_id,
            leaf=creator.leaf(),
            key_packages=key_packages,
            rng=world.rng,
            extensions=(world.senders(),),
        )
    else:
        made = old.reinitialize(leaf=creator.leaf(), key_packages=key_packages, rng=world.rng)
    before = dict(world.groups)
    world.groups, world.clients = {}, {}
    world.take_in(creator, made.group)
    for other, client in others.items():
        world.enter(client, bundles[other], made, before[other])
    usage = ResumptionPSKUsage.BRANCH if branch else ResumptionPSKUsage.REINIT
    psk_id = PreSharedKeyID(
        psktype=PSKType.RESUMPTION,
        usage=usage,
        psk_group_id=old.group_id,
        psk_epoch=old.epoch,
        psk_nonce=b"",
    )
    psk = creator.device.psks.find(psk_id)
    writer = Writer()
    write_psk_id(writer, psk_id)
    world.external_psks[writer.to_bytes()[:-1]] = psk.reveal()
    return world, made, psk_id


def joined_successor(code: int, seed: int) -> Case:
    """The case begins with the Welcome of a branch, or of a re-initialised group."""
    world, made, _ = _successor(code, seed, branch=bool(seed % 2))
    world.start_case(made)
    world.resumption = world.resumption[-1:]
    world.step(adds=1)
    world.external_join()
    return world.finished()


def followed_successor(code: int, seed: int) -> Case:
    """The case goes on from the old group into its branch, or into its successor."""
    world, made, _ = _successor(code, seed, branch=bool(seed % 2))
    world.external_psks.popitem()
    assert made.welcome is not None
    world.record(made.welcome, made.group)
    world.step(adds=1)
    world.external_join()
    return world.finished()


SCENARIOS: dict[str, Callable[[int, int], Case]] = {
    "external_joins": external_joins,
    "external_proposals": external_proposals,
    "many_proposals": many_proposals,
    "random_walk": random_walk,
    "reinitialisation": reinitialisation,
    "joined_successor": joined_successor,
    "followed_successor": followed_successor,
}


def wire_formats(case: Case) -> set[type]:
    """Types of the handshake messages of a case."""
    return {
        type(decode(bytes.fromhex(message), read_mls_message).body)
        for epoch in case["epochs"]
        for message in [*epoch["proposals"], epoch["commit"]]
    }


def main(arguments: Sequence[str]) -> None:
    seeds = int(arguments[1]) if len(arguments) > 1 else 1
    cases = [make(code, seed) for make in SCENARIOS.values() for code in SUITES for seed in range(seeds)]
    Path(arguments[0]).write_text(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
