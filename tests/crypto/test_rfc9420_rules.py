"""rfc9420/: each rule by a message that breaks it, well signed by somebody who does not keep the rules."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from crypto.codec import CodecError, decode
from crypto.commit import Commit, ProposalOrRef, ProposalRef
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, GenerationUsedError, StateError, ValidationError
from crypto.extensions import Extension, RequiredCapabilities
from crypto.framed_content import ContentType, FramedContent, Sender, SenderType, WireFormat
from crypto.group import OwnLeafParams
from crypto.group_commit import NewLeaf
from crypto.group_info import GroupInfo, sign_group_info
from crypto.leaf_node import LeafNodeSource, sign_leaf_node
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from crypto.psk_id import PreSharedKeyID, PSKType, ResumptionPSKUsage
from crypto.public_message import PublicMessage
from crypto.rfc9420.external_commit import propose_from_outside, propose_oneself
from crypto.rfc9420.external_extensions import ExternalSender, external_senders_extension
from crypto.rfc9420.full_group import (
    ApplicationReceived,
    CommitFollowed,
    FullGroup,
    ProposalReceived,
    own_device,
)
from crypto.rfc9420.make import CommitOptions
from crypto.rfc9420.messages import protect, protect_external, sign_content
from crypto.rfc9420.psks import PskStore
from crypto.rfc9420.state import Device as SharedDevice
from crypto.rfc9420.successors import Predecessor, check_successor, linking_psk
from crypto.sensitive import Secret
from crypto.suites import X25519_CHACHA
from crypto.tree_math import LeafIndex
from crypto.update_path import UpdatePath
from support.mls_groups import FAST, Device, seeded

PUBLIC = WireFormat.PUBLIC_MESSAGE
NONCE = b"n" * FAST.nh


def external_psk(psk_id: bytes = b"shared", nonce: bytes = NONCE) -> PreSharedKeyID:
    return PreSharedKeyID(psktype=PSKType.EXTERNAL, psk_id=psk_id, psk_nonce=nonce)


class Ring:
    """Four members at the leaves 0 to 3, an external sender, one store of PSKs for all."""

    def __init__(self) -> None:
        self.rng = seeded()
        self.outsider = Device.make(FAST, "outsider", self.rng)
        self.shared: SharedDevice = own_device()
        self.shared.psks.add_external(b"shared", b"a secret")
        self.senders = external_senders_extension(
            [
                ExternalSender(
                    signature_key=FAST.signature_public_key(self.outsider.signature_private),
                    credential=Credential.basic(b"outsider"),
                )
            ]
        )
        self.devices = [Device.make(FAST, f"device {number}", self.rng) for number in range(4)]
        first = FullGroup.create(
            suite=FAST,
            group_id=b"ring",
            leaf=self.leaf(self.devices[0]),
            rng=self.rng,
            device=self.shared,
            extensions=(self.senders,),
        )
        bundles = [device.key_package(self.rng) for device in self.devices[1:]]
        made = first.commit([Add(key_package=bundle.key_package) for bundle in bundles], rng=self.rng)
        assert made.welcome is not None
        self.groups = [made.group]
        for device, bundle in zip(self.devices[1:], bundles, strict=True):
            self.groups.append(
                FullGroup.join(
                    welcome=made.welcome,
                    bundle=bundle,
                    signature_private=device.signature_private,
                    device=self.shared,
                )
            )

    def leaf(self, device: Device) -> OwnLeafParams:
        return OwnLeafParams(
            signature_private=device.signature_private,
            credential=Credential.basic(device.identity),
            capabilities=device.capabilities,
        )

    def new_device(self, name: str = "new") -> Device:
        return Device.make(FAST, name, self.rng)

    def add(self) -> Add:
        return Add(key_package=self.new_device().key_package(self.rng).key_package)

    def forged(self, by: int, proposals: Sequence[ProposalOrRef], path: UpdatePath | None = None) -> bytes:
        """A commit by a member, with a made up confirmation tag."""
        state = self.groups[by]._state
        signed = sign_content(
            FAST,
            state.core.signature_private,
            context=state.core.context,
            sender=Sender.member(LeafIndex(by)),
            content=Commit(proposals=tuple(proposals), path=path),
            authenticated_data=b"",
            wire_format=PUBLIC,
        )
        tagged = replace(signed, auth=replace(signed.auth, confirmation_tag=b"made up"))
        return protect(state, tagged, self.rng)

    def from_outside(self, sender: Sender, content: Proposal | Commit, signature_private: bytes) -> bytes:
        """A message by somebody who is no member; a commit gets a made up confirmation tag."""
        context = self.groups[0].context
        signed = sign_content(
            FAST,
            Secret(signature_private),
            context=context,
            sender=sender,
            content=content,
            authenticated_data=b"",
            wire_format=PUBLIC,
        )
        if isinstance(content, Commit):
            signed = replace(signed, auth=replace(signed.auth, confirmation_tag=b"made up"))
        return protect_external(FAST, signed, context)

    def refused(self, message: bytes, rule: str, *, by: int = 1) -> None:
        group = self.groups[by]
        before = (group.epoch_authenticator, group.ratchet_tree())
        with pytest.raises(ValidationError) as caught:
            group.receive(message)
        assert caught.value.rule == rule
        assert (group.epoch_authenticator, group.ratchet_tree()) == before

    def refused_list(self, rule: str, *proposals: Proposal) -> None:
        """Others refuse it, and we do not make it."""
        self.refused(self.forged(0, proposals), rule)
        with pytest.raises(ValidationError) as caught:
            self.groups[0].commit(proposals, rng=self.rng)
        assert caught.value.rule == rule

    def reference(self, receiver: int, message: bytes) -> ProposalRef:
        received = self.groups[receiver].receive(message)
        assert isinstance(received, ProposalReceived)
        return ProposalRef(reference=received.reference)


@pytest.fixture
def ring() -> Ring:
    return Ring()


# -- lists of proposals in a member's commit (RFC 9420 section 12.2)


def test_an_external_init_is_for_joiners(ring: Ring) -> None:
    ring.refused_list("proposal.external-init-by-member", ExternalInit(kem_output=bytes(32)))


def test_a_committer_neither_removes_nor_updates_itself(ring: Ring) -> None:
    ring.refused_list("proposal.remove-committer", Remove(removed=LeafIndex(0)))
    leaf = ring.groups[0]._state.core.own_leaf_node()
    ring.refused_list("proposal.update-by-committer", Update(leaf_node=leaf))


def test_one_proposal_touches_a_leaf(ring: Ring) -> None:
    remove = Remove(removed=LeafIndex(2))
    ring.refused_list("proposal.leaf-touched-twice", remove, remove)
    update = ring.reference(1, ring.groups[2].propose_update(rng=ring.rng))
    ring.refused(ring.forged(0, [update, remove]), "proposal.leaf-touched-twice")


def test_extensions_are_replaced_once(ring: Ring) -> None:
    change = GroupContextExtensions(extensions=(ring.senders,))
    ring.refused_list("proposal.context-extensions-repeated", change, change)
    twice = GroupContextExtensions(extensions=(ring.senders, ring.senders))
    ring.refused_list("extensions.duplicate-type", twice)


def test_a_reinit_stands_alone_and_does_not_go_back(ring: Ring) -> None:
    reinit = ReInit(group_id=b"next", cipher_suite=FAST.code)
    ring.refused_list("proposal.reinit-not-alone", reinit, ring.add())
    ring.refused_list("reinit.version", replace(reinit, version=0))


def test_psks_have_fresh_nonces_of_the_right_size_and_a_known_use(ring: Ring) -> None:
    psk = PreSharedKey(psk=external_psk())
    ring.refused_list("psk.repeated", psk, psk)
    ring.refused_list("psk.nonce-size", PreSharedKey(psk=external_psk(nonce=b"short")))
    for usage in (ResumptionPSKUsage.REINIT, ResumptionPSKUsage.BRANCH):
        name = replace(ring.groups[0].resumption_psk(ring.rng), usage=usage)
        ring.refused_list("psk.usage", PreSharedKey(psk=name))
    ring.refused_list("psk.unknown", PreSharedKey(psk=external_psk(b"unheard of")))


def test_the_same_psk_may_be_used_again_under_another_nonce(ring: Ring) -> None:
    other = external_psk(nonce=b"m" * FAST.nh)
    made = ring.groups[0].commit([PreSharedKey(psk=external_psk()), PreSharedKey(psk=other)], rng=ring.rng)
    received = ring.groups[1].receive(made.message)
    assert isinstance(received, CommitFollowed)
    assert received.group is not None
    assert received.group.epoch_authenticator == made.group.epoch_authenticator


def test_old_resumption_psks_go() -> None:
    psks = PskStore(max_past_epochs=2)
    for epoch in range(3):
        psks.add_resumption(b"group", epoch, b"psk")
    name = PreSharedKeyID(
        psktype=PSKType.RESUMPTION,
        usage=ResumptionPSKUsage.APPLICATION,
        psk_group_id=b"group",
        psk_nonce=NONCE,
    )
    with pytest.raises(ValidationError, match=r"psk\.unknown"):
        psks.find(name)
    assert psks.find(replace(name, psk_epoch=2)) == Secret(b"psk")


def test_a_reference_must_be_known(ring: Ring) -> None:
    ring.refused(ring.forged(0, [ProposalRef(reference=bytes(32))]), "proposal.reference-unknown")


def test_a_path_is_left_out_only_for_adds_psks_and_reinits(ring: Ring) -> None:
    update = ring.reference(1, ring.groups[2].propose_update(rng=ring.rng))
    for proposals in ([], [Remove(removed=LeafIndex(3))], [update]):
        ring.refused(ring.forged(0, proposals), "commit.path-missing")
    for proposal in (ring.add(), PreSharedKey(psk=external_psk()), ReInit(group_id=b"n", cipher_suite=1)):
        made = ring.groups[0].commit(
            [proposal], rng=ring.rng, references=(), options=CommitOptions(with_path=False)
        )
        received = ring.groups[1].receive(made.message)
        assert isinstance(received, CommitFollowed)
        assert received.group is not None
        assert received.group.epoch_authenticator == made.group.epoch_authenticator


def test_new_extensions_are_committed_with_a_path_and_taken_without(ring: Ring) -> None:
    change = GroupContextExtensions(extensions=(ring.senders,))
    made = ring.groups[0].commit([change], rng=ring.rng, options=CommitOptions(with_path=False))
    body = decode(made.message, read_mls_message).body
    assert isinstance(body, PublicMessage)
    assert isinstance(body.content.content, Commit)
    assert body.content.content.path is not None
    with pytest.raises(AuthenticationError):  # only its made up confirmation tag is wrong
        ring.groups[1].receive(ring.forged(0, [change]))


def test_new_extensions_bind_members_old_and_new(ring: Ring) -> None:
    unknown = Extension(extension_type=0xF123, extension_data=b"")
    ring.refused_list("leaf.group-extension", GroupContextExtensions(extensions=(unknown,)))
    required = RequiredCapabilities(proposal_types=(0xF123,)).to_extension()
    ring.refused_list("leaf.required-capabilities", GroupContextExtensions(extensions=(required,)))


def test_an_update_has_a_new_key_and_its_own_source(ring: Ring) -> None:
    leaf = ring.groups[2]._state.core.own_leaf_node()
    private = ring.groups[2]._state.core.signature_private

    def update(encryption_key: bytes, source: LeafNodeSource) -> ProposalRef:
        signed = sign_leaf_node(
            FAST,
            private,
            replace(leaf, encryption_key=encryption_key, leaf_node_source=source, lifetime=None),
            group_id=b"ring",
            leaf_index=LeafIndex(2),
        )
        return ring.reference(1, ring.groups[2].propose(Update(leaf_node=signed), rng=ring.rng))

    unchanged = update(leaf.encryption_key, LeafNodeSource.UPDATE)
    ring.refused(ring.forged(0, [unchanged]), "update.key-unchanged")
    wrong = update(FAST.generate_key_pair(ring.rng)[1], LeafNodeSource.COMMIT)
    ring.refused(ring.forged(0, [wrong]), "leaf.source")


def test_a_removed_leaf_cannot_be_removed_or_updated(ring: Ring) -> None:
    ring.refused_list("remove.blank-leaf", Remove(removed=LeafIndex(6)))
    update = ring.groups[2].propose_update(rng=ring.rng)
    tree = ring.groups[1]._state.core.tree
    reference = ring.reference(1, update)
    tree.remove_leaf(LeafIndex(2))
    with pytest.raises(ValidationError, match=r"update\.blank-leaf"):
        ring.groups[1].receive(ring.forged(0, [reference]))


# -- credentials (RFC 9420 section 5.3.1)


def test_a_new_credential_must_succeed_the_old_one(ring: Ring) -> None:
    message = ring.groups[2].propose_update(rng=ring.rng, credential=Credential.basic(b"somebody else"))
    reference = ring.reference(1, message)
    ring.refused(ring.forged(0, [reference]), "credential.successor")
    made = ring.groups[0].commit(
        rng=ring.rng,
        options=CommitOptions(new_leaf=NewLeaf(credential=Credential.basic(b"somebody else"))),
    )
    ring.refused(made.message, "credential.successor")


# -- messages and senders (RFC 9420 sections 6.1 and 12.1.8)


def test_only_messages_of_this_epoch_and_kind_are_taken(ring: Ring) -> None:
    other = Ring()
    made = ring.groups[0].commit(rng=ring.rng)
    received = ring.groups[1].receive(made.message)
    assert isinstance(received, CommitFollowed)
    assert received.group is not None
    with pytest.raises(ValidationError, match=r"message\.epoch"):
        received.group.receive(made.message)
    stranger = FullGroup.create(
        suite=FAST, group_id=b"another", leaf=other.leaf(other.devices[0]), rng=other.rng
    )
    ring.refused(stranger.propose(ring.add(), rng=ring.rng), "message.group-id")
    private = stranger.propose(ring.add(), rng=ring.rng, wire_format=WireFormat.PRIVATE_MESSAGE)
    ring.refused(private, "message.group-id")
    ring.refused(ring.groups[0].group_info(ring.rng), "message.wire-format")


def test_public_messages_are_bound_to_members_and_senders_to_contents(ring: Ring) -> None:
    message = ring.groups[0].propose(ring.add(), rng=ring.rng)
    body = decode(message, read_mls_message).body
    assert isinstance(body, PublicMessage)
    for tag in (b"", bytes(32)):
        with pytest.raises(AuthenticationError):
            ring.groups[1].receive(MLSMessage(body=replace(body, membership_tag=tag)).to_bytes())
    content: FramedContent = replace(body.content, content_type=ContentType.APPLICATION, content=b"text")
    ring.refused(MLSMessage(body=replace(body, content=content)).to_bytes(), "message.content-of-sender")


def test_an_external_sender_is_listed_and_proposes_only_some_types(ring: Ring) -> None:
    context, key = ring.groups[0].context, ring.outsider.signature_private
    remove = Remove(removed=LeafIndex(2))
    ring.reference(1, propose_from_outside(context, remove, sender_index=0, signature_private=key))
    unknown = propose_from_outside(context, remove, sender_index=1, signature_private=key)
    ring.refused(unknown, "external-sender.unknown")
    with pytest.raises(AuthenticationError):
        ring.groups[1].receive(
            propose_from_outside(
                context, remove, sender_index=0, signature_private=ring.new_device().signature_private
            )
        )
    sender = Sender(sender_type=SenderType.EXTERNAL, index=0)
    for proposal in (ExternalInit(kem_output=b""), Update(leaf_node=ring.groups[0].members[0].leaf_node)):
        with pytest.raises(ValidationError, match=r"external-sender\.proposal-type"):
            propose_from_outside(context, proposal, sender_index=0, signature_private=key)
        ring.refused(ring.from_outside(sender, proposal, key), "external-sender.proposal-type")


def test_without_the_extension_nobody_outside_proposes(ring: Ring) -> None:
    made = ring.groups[0].commit([GroupContextExtensions(extensions=())], rng=ring.rng)
    received = ring.groups[1].receive(made.message)
    assert isinstance(received, CommitFollowed)
    assert received.group is not None
    message = propose_from_outside(
        made.group.context, ring.add(), sender_index=0, signature_private=ring.outsider.signature_private
    )
    with pytest.raises(ValidationError, match=r"external-sender\.unknown"):
        received.group.receive(message)


def test_a_new_member_proposes_itself_alone(ring: Ring) -> None:
    applicant = ring.new_device()
    add = Add(key_package=applicant.key_package(ring.rng).key_package)
    context = ring.groups[0].context
    ring.reference(1, propose_oneself(context, add, signature_private=applicant.signature_private))
    with pytest.raises(AuthenticationError):
        ring.groups[1].receive(
            propose_oneself(context, add, signature_private=ring.outsider.signature_private)
        )
    sender = Sender(sender_type=SenderType.NEW_MEMBER_PROPOSAL)
    message = ring.from_outside(sender, Remove(removed=LeafIndex(1)), applicant.signature_private)
    ring.refused(message, "new-member-proposal.type")


# -- external commits (RFC 9420 sections 12.2 and 12.4.3.2)


@dataclass(frozen=True, kw_only=True)
class Joining:
    """A genuine external commit, taken apart."""

    device: Device
    commit: Commit
    message: bytes

    def altered(self, ring: Ring, *proposals: ProposalOrRef, path: bool = True) -> bytes:
        commit = Commit(proposals=proposals, path=self.commit.path if path else None)
        sender = Sender(sender_type=SenderType.NEW_MEMBER_COMMIT)
        return ring.from_outside(sender, commit, self.device.signature_private)


def joining(ring: Ring, device: Device | None = None, replaces: LeafIndex | None = None) -> Joining:
    who = device or ring.new_device()
    _, message = FullGroup.join_externally(
        ring.groups[0].group_info(ring.rng),
        leaf=ring.leaf(who),
        rng=ring.rng,
        device=ring.shared,
        replaces=replaces,
    )
    body = decode(message, read_mls_message).body
    assert isinstance(body, PublicMessage)
    assert isinstance(body.content.content, Commit)
    return Joining(device=who, commit=body.content.content, message=message)


def test_an_external_commit_has_one_external_init_at_most_one_remove_and_psks(ring: Ring) -> None:
    joins = joining(ring)
    init = joins.commit.proposals[0]
    ring.refused(joins.altered(ring), "external-commit.external-init")
    ring.refused(joins.altered(ring, init, init), "external-commit.external-init")
    removes = [Remove(removed=LeafIndex(leaf)) for leaf in (2, 3)]
    ring.refused(joins.altered(ring, init, *removes), "external-commit.removes")
    leaf = ring.groups[0].members[0].leaf_node
    forbidden: list[Proposal] = [
        ring.add(),
        ReInit(group_id=b"n", cipher_suite=1),
        GroupContextExtensions(extensions=()),
    ]
    for proposal in forbidden:
        ring.refused(joins.altered(ring, init, proposal), "external-commit.proposal-type")
    ring.refused(joins.altered(ring, init, Update(leaf_node=leaf)), "message.sender-not-a-member")
    bad = PreSharedKey(psk=external_psk(nonce=b""))
    ring.refused(joins.altered(ring, init, bad), "psk.nonce-size")


def test_an_external_commit_names_nothing_by_reference_and_has_a_path(ring: Ring) -> None:
    joins = joining(ring)
    reference = ring.reference(1, ring.groups[0].propose(Remove(removed=LeafIndex(2)), rng=ring.rng))
    ring.refused(joins.altered(ring, joins.commit.proposals[0], reference), "external-commit.reference")
    ring.refused(joins.altered(ring, joins.commit.proposals[0], path=False), "external-commit.path-missing")


def test_an_external_commit_is_signed_by_the_key_in_its_path(ring: Ring) -> None:
    joins = joining(ring)
    sender = Sender(sender_type=SenderType.NEW_MEMBER_COMMIT)
    with pytest.raises(AuthenticationError):
        ring.groups[1].receive(ring.from_outside(sender, joins.commit, ring.outsider.signature_private))


def test_who_rejoins_is_held_to_what_an_update_would_be(ring: Ring) -> None:
    impostor = joining(ring, ring.new_device("impostor"), LeafIndex(2))
    ring.refused(impostor.message, "credential.successor")
    received = ring.groups[1].receive(joining(ring, ring.devices[2], LeafIndex(2)).message)
    assert isinstance(received, CommitFollowed)
    assert received.group is not None
    removed = ring.groups[2].receive(joining(ring, ring.devices[2], LeafIndex(2)).message)
    assert isinstance(removed, CommitFollowed)
    assert removed.group is None


def test_a_joiner_judges_the_group_info(ring: Ring) -> None:
    def joined(message: bytes, ratchet_tree: bytes | None = None) -> str:
        with pytest.raises(ValidationError) as caught:
            FullGroup.join_externally(
                message, leaf=ring.leaf(ring.new_device()), rng=ring.rng, ratchet_tree=ratchet_tree
            )
        return caught.value.rule

    def resigned(info: GroupInfo) -> bytes:
        private = ring.groups[0]._state.core.signature_private
        return MLSMessage(body=sign_group_info(FAST, private, info)).to_bytes()

    group = ring.groups[0]
    assert joined(group.propose(ring.add(), rng=ring.rng)) == "group-info.wire-format"
    assert joined(group.group_info(ring.rng, with_external_pub=False)) == "group-info.no-external-pub"
    assert joined(group.group_info(ring.rng, with_tree=False)) == "welcome.no-ratchet-tree"
    info = decode(group.group_info(ring.rng), read_mls_message).body
    assert isinstance(info, GroupInfo)
    assert joined(resigned(replace(info, signer=LeafIndex(5)))) == "group-info.signer-blank"
    assert joined(MLSMessage(body=replace(info, signature=bytes(64))).to_bytes()) == "group-info.signature"
    other = replace(info.group_context, tree_hash=bytes(32))
    assert joined(resigned(replace(info, group_context=other))) == "group-info.tree-hash"


# -- Welcomes with PSKs, and groups that continue another one (RFC 9420 sections 11.2, 11.3, 12.4.3.1)


def test_a_welcome_is_a_welcome(ring: Ring) -> None:
    device = ring.new_device()
    with pytest.raises(ValidationError, match=r"welcome\.wire-format"):
        FullGroup.join(
            welcome=ring.groups[0].group_info(ring.rng),
            bundle=device.key_package(ring.rng),
            signature_private=device.signature_private,
        )


def test_a_welcome_links_to_one_group_at_most(ring: Ring) -> None:
    name = replace(ring.groups[0].resumption_psk(ring.rng), usage=ResumptionPSKUsage.BRANCH)
    assert linking_psk(FAST, [name, external_psk()]) == name
    assert linking_psk(FAST, [external_psk()]) is None
    with pytest.raises(ValidationError, match=r"welcome\.linking-psks"):
        linking_psk(FAST, [name, replace(name, usage=ResumptionPSKUsage.REINIT)])
    with pytest.raises(ValidationError, match=r"psk\.repeated"):
        linking_psk(FAST, [external_psk(), external_psk()])
    with pytest.raises(ValidationError, match=r"psk\.nonce-size"):
        linking_psk(FAST, [external_psk(nonce=b"")])


def test_a_joiner_without_the_psk_stays_out(ring: Ring) -> None:
    device = ring.new_device()
    bundle = device.key_package(ring.rng)
    made = ring.groups[0].commit(
        [Add(key_package=bundle.key_package), PreSharedKey(psk=external_psk())], rng=ring.rng
    )
    assert made.welcome is not None
    with pytest.raises(ValidationError, match=r"psk\.unknown"):
        FullGroup.join(welcome=made.welcome, bundle=bundle, signature_private=device.signature_private)


def ended(ring: Ring, reinit: ReInit) -> list[FullGroup]:
    made = ring.groups[0].commit([reinit], rng=ring.rng)
    groups = [made.group]
    for group in ring.groups[1:]:
        received = group.receive(made.message)
        assert isinstance(received, CommitFollowed)
        assert received.group is not None
        groups.append(received.group)
    return groups


def test_after_a_reinit_nothing_is_sent(ring: Ring) -> None:
    group = ended(ring, ReInit(group_id=b"next", cipher_suite=FAST.code))[0]
    assert group.reinit is not None
    with pytest.raises(StateError, match="ended"):
        group.commit(rng=ring.rng)
    with pytest.raises(StateError, match="ended"):
        group.propose(ring.add(), rng=ring.rng)
    with pytest.raises(StateError, match="ended"):
        group.protect(b"text", rng=ring.rng)
    with pytest.raises(StateError, match="ended"):
        group.group_info(ring.rng)


def test_application_data_waits_for_proposals(ring: Ring) -> None:
    ring.groups[0].receive(ring.groups[1].propose(Remove(removed=LeafIndex(2)), rng=ring.rng))
    with pytest.raises(StateError, match="committed"):
        ring.groups[0].protect(b"text", rng=ring.rng)


def test_a_reinitialised_group_is_what_the_reinit_said(ring: Ring) -> None:
    groups = ended(ring, ReInit(group_id=b"next", cipher_suite=FAST.code, extensions=(ring.senders,)))
    bundles = [device.key_package(ring.rng) for device in ring.devices[1:]]
    packages = [bundle.key_package for bundle in bundles]
    with pytest.raises(ValidationError, match=r"successor\.members-missing"):
        groups[0].reinitialize(leaf=ring.leaf(ring.devices[0]), key_packages=packages[1:], rng=ring.rng)
    made = groups[0].reinitialize(leaf=ring.leaf(ring.devices[0]), key_packages=packages, rng=ring.rng)
    assert made.welcome is not None
    joined = FullGroup.join(
        welcome=made.welcome,
        bundle=bundles[0],
        signature_private=ring.devices[1].signature_private,
        device=ring.shared,
        predecessor=groups[1],
    )
    assert joined.epoch_authenticator == made.group.epoch_authenticator

    def judged(predecessor: Predecessor, **changes: object) -> str:
        context = replace(joined.context, **changes)  # type: ignore[arg-type]  # fields of several types
        psk = predecessor.psk_id(ResumptionPSKUsage.REINIT, NONCE)
        with pytest.raises(ValidationError) as caught:
            check_successor(
                psk,
                context,
                joined._state.core.tree,
                predecessor=Predecessor.of(groups[1]._state),
                service=ring.shared.service,
            )
        return caught.value.rule

    old = Predecessor.of(groups[1]._state)
    assert judged(old, epoch=2) == "successor.epoch"
    assert judged(old, cipher_suite=X25519_CHACHA.code) == "successor.parameters"
    assert judged(old, group_id=b"other") == "successor.parameters"
    assert judged(old, extensions=()) == "successor.parameters"
    assert judged(Predecessor.of(ring.groups[1]._state)) == "successor.predecessor"
    with pytest.raises(ValidationError, match=r"successor\.no-reinit"):
        check_successor(
            Predecessor.of(ring.groups[1]._state).psk_id(ResumptionPSKUsage.REINIT, NONCE),
            joined.context,
            joined._state.core.tree,
            predecessor=Predecessor.of(ring.groups[1]._state),
            service=ring.shared.service,
        )


def test_a_branch_has_only_members_of_its_trunk_and_their_suite(ring: Ring) -> None:
    creator = ring.leaf(ring.devices[0])
    member = ring.devices[1].key_package(ring.rng)
    made = ring.groups[0].branch(
        group_id=b"branch", leaf=creator, key_packages=[member.key_package], rng=ring.rng
    )
    assert made.welcome is not None
    FullGroup.join(
        welcome=made.welcome,
        bundle=member,
        signature_private=ring.devices[1].signature_private,
        device=ring.shared,
        predecessor=ring.groups[1],
    )
    with pytest.raises(ValidationError, match=r"successor\.members-foreign"):
        ring.groups[0].branch(
            group_id=b"branch", leaf=creator, key_packages=[ring.add().key_package], rng=ring.rng
        )
    old = Predecessor.of(ring.groups[0]._state)
    with pytest.raises(ValidationError, match=r"successor\.cipher-suite"):
        check_successor(
            old.psk_id(ResumptionPSKUsage.BRANCH, NONCE),
            replace(made.group.context, cipher_suite=X25519_CHACHA.code),
            made.group._state.core.tree,
            predecessor=old,
            service=ring.shared.service,
        )


# -- the rest of a group's life


def test_members_talk_and_export_alike(ring: Ring) -> None:
    first, second = ring.groups[:2]
    message = first.protect(b"text", rng=ring.rng, authenticated_data=b"data")
    received = second.receive(message)
    assert received == ApplicationReceived(sender=LeafIndex(0), authenticated_data=b"data", plaintext=b"text")
    with pytest.raises(GenerationUsedError):
        second.receive(message)
    assert first.export("label", b"context", 20) == second.export("label", b"context", 20)
    assert repr(second) == "FullGroup(epoch=1, own_leaf=1)"


def test_an_own_commit_is_not_received(ring: Ring) -> None:
    made = ring.groups[0].commit(rng=ring.rng)
    with pytest.raises(StateError, match="merged"):
        ring.groups[0].receive(made.message)


def test_without_a_reinit_there_is_no_successor(ring: Ring) -> None:
    with pytest.raises(StateError, match="no ReInit"):
        ring.groups[0].reinitialize(leaf=ring.leaf(ring.devices[0]), key_packages=[], rng=ring.rng)


def test_a_flipped_bit_fails_closed_and_changes_nothing(ring: Ring) -> None:
    genuine = [
        ring.groups[0].propose(ring.add(), rng=ring.rng),
        ring.groups[0].propose(ring.add(), rng=ring.rng, wire_format=WireFormat.PRIVATE_MESSAGE),
        ring.groups[0].propose_update(rng=ring.rng),
        ring.groups[0].commit([Remove(removed=LeafIndex(2))], rng=ring.rng, references=()).message,
        joining(ring).message,
        propose_from_outside(
            ring.groups[0].context,
            Remove(removed=LeafIndex(2)),
            sender_index=0,
            signature_private=ring.outsider.signature_private,
        ),
    ]
    receiver = ring.groups[1]
    before = (receiver.epoch_authenticator, receiver.ratchet_tree(), dict(receiver._state.proposals))
    chance = random.Random(7)
    for message in genuine:
        for _ in range(60):
            damaged = bytearray(message)
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            with pytest.raises((CodecError, ValidationError, AuthenticationError)):
                receiver.receive(bytes(damaged))
    assert before == (receiver.epoch_authenticator, receiver.ratchet_tree(), receiver._state.proposals)
    for message in genuine:
        receiver.receive(message)
