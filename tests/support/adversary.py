"""An adversarial relay between the members of several groups, and a model of what they may accept.

The relay holds every message ever sent, in every group, epoch and branch, and gives any of them, changed or
not, to any member at any time. The model knows for each delivery the only right outcome; a delivery that ends
otherwise is an AssertionError. A *view* is a group with the list of commits that led to the present epoch:
the log prefix on which members must agree.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from crypto.codec import decode
from crypto.errors import AuthenticationError, CodecError, ValidationError
from crypto.group import ApplicationMessage, CommitReceived, Group, StagedCommit
from crypto.key_package import KeyPackageBundle
from crypto.labels import decrypt_with_label
from crypto.leaf_node import LeafNode
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.private_message import PrivateMessage
from crypto.tree_math import LeafIndex
from crypto.treekem import UPDATE_PATH_NODE
from support.mls_groups import FAST, Device, seeded

REFUSALS = (CodecError, ValidationError, AuthenticationError)
"""All that may leave ``unprotect`` and ``join`` because of others' bytes (GenerationUsedError is one)."""

MAX_MEMBERS = 12

View = tuple[bytes, ...]
"""Group id, then the commits in their order."""


@dataclass(kw_only=True)
class Participant:
    """A device in a group."""

    name: str
    device: Device
    group: Group
    view: View
    used: dict[LeafIndex, int] = field(default_factory=dict)
    """For each sender of this epoch: the lowest generation that may still be accepted."""
    accepted: set[bytes] = field(default_factory=set)
    own_commits: list[tuple[View, StagedCommit]] = field(default_factory=list)
    removed: bool = False


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A genuine message."""

    message: bytes
    view: View
    leaf: LeafIndex
    plaintext: bytes | None
    generation: int
    removes: tuple[LeafIndex, ...] = ()

    @property
    def leads_to(self) -> View:
        """The view after this commit."""
        return (*self.view, self.message)


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """A Welcome under way."""

    welcome: bytes
    bundle: KeyPackageBundle
    device: Device
    view: View


def _fingerprint(group: Group) -> tuple[object, ...]:
    exported = group.export("agreement", b"", 32)
    members = tuple((member.leaf_index, member.leaf_node.to_bytes()) for member in group.members)
    return group.epoch, group.tree_hash, group.confirmed_transcript_hash, exported, members


class World:
    """Members, messages, and the relay's power over them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rng = seeded(seed)
        self.participants: list[Participant] = []
        self.sent: list[Sent] = []
        self.invitations: list[Invitation] = []
        self.genuine: set[bytes] = set()
        self._names = 0

    # -- what members do

    def found(self, group_id: bytes, device: Device | None = None) -> Participant:
        device = device or self._device()
        founder = Participant(
            name=device.identity.decode(),
            device=device,
            group=device.create(self.rng, group_id),
            view=(group_id,),
        )
        self.participants.append(founder)
        return founder

    def _device(self) -> Device:
        self._names += 1
        return Device.make(FAST, f"device {self._names}", self.rng)

    def say(self, who: Participant) -> None:
        plaintext = self.rng(self.random.randrange(40))
        generation = who.group.next_generation()
        message = who.group.protect(plaintext, authenticated_data=b"ad", rng=self.rng)
        self.genuine.add(message)
        self.sent.append(
            Sent(
                message=message,
                view=who.view,
                leaf=who.group.own_leaf,
                plaintext=plaintext,
                generation=generation,
            )
        )

    def commit(self, who: Participant, *, adds: int = 0, removes: Sequence[LeafIndex] = ()) -> None:
        devices = [self._device() for _ in range(adds)]
        bundles = [device.key_package(self.rng) for device in devices]
        pending = who.group.commit(
            adds=[bundle.key_package for bundle in bundles],
            removes=removes,
            rng=self.rng,
            authenticated_data=b"ad",
        )
        sent = Sent(
            message=pending.message,
            view=who.view,
            leaf=who.group.own_leaf,
            plaintext=None,
            generation=0,
            removes=tuple(removes),
        )
        self.genuine.add(pending.message)
        self.sent.append(sent)
        staged = StagedCommit.from_bytes(pending.staged.to_bytes())
        who.own_commits.append((sent.leads_to, staged))
        for device, bundle in zip(devices, bundles, strict=True):
            assert pending.welcome is not None
            self.genuine.add(pending.welcome)
            self.invitations.append(
                Invitation(welcome=pending.welcome, bundle=bundle, device=device, view=sent.leads_to)
            )

    def merge_own(self, who: Participant, choice: int) -> None:
        """The relay says that one of our pending commits won (to others it may say otherwise)."""
        view, staged = who.own_commits[choice % len(who.own_commits)]
        self._enter(who, view, staged)

    def _enter(self, who: Participant, view: View, staged: StagedCommit) -> None:
        who.group = who.group.merge(staged)
        who.view, who.used, who.own_commits = view, {}, []

    def restart(self, who: Participant) -> None:
        stored = who.group.to_bytes()
        who.group = Group.from_bytes(stored)
        assert who.group.to_bytes() == stored

    # -- what the relay does

    def welcome(self, choice: int, damage: int) -> None:
        """Deliver a Welcome, or first a damaged one, which must be refused."""
        index = choice % len(self.invitations)
        invitation = self.invitations[index]
        if damage:
            damaged = self.damaged(invitation.welcome, damage)
            if damaged in self.genuine:
                return
            try:
                joined = invitation.device.join(damaged, invitation.bundle)
            except REFUSALS:
                return
            # A Welcome is no signed whole: the part of another joiner may be damaged without harm to us.
            assert (
                joined.to_bytes() == invitation.device.join(invitation.welcome, invitation.bundle).to_bytes()
            )
            return
        del self.invitations[index]
        group = invitation.device.join(invitation.welcome, invitation.bundle)
        name = invitation.device.identity.decode()
        self.participants.append(
            Participant(name=name, device=invitation.device, group=group, view=invitation.view)
        )

    def due(self, who: Participant) -> list[Sent]:
        """What an honest relay would still deliver."""
        return [sent for sent in self.sent if self._is_acceptable(who, sent)]

    def _is_acceptable(self, who: Participant, sent: Sent) -> bool:
        # Who was removed stays in the epoch before: what was sent to it there is still its own to read.
        if sent.view != who.view or sent.leaf == who.group.own_leaf:
            return False
        return sent.plaintext is None or sent.generation >= who.used.get(sent.leaf, 0)

    def deliver(self, who: Participant, sent: Sent, *, merge: bool = True) -> None:
        """Give a genuine message to anybody, once more perhaps; the model says what must come of it."""
        if not self._is_acceptable(who, sent):
            self.refused(who, sent.message)
            return
        received = who.group.unprotect(sent.message)
        if isinstance(received, ApplicationMessage):
            assert (received.sender, received.generation) == (sent.leaf, sent.generation)
            assert (received.plaintext, received.authenticated_data) == (sent.plaintext, b"ad")
            assert sent.message not in who.accepted, "accepted twice"
            who.accepted.add(sent.message)
            who.used[sent.leaf] = sent.generation + 1
            return
        assert isinstance(received, CommitReceived)
        assert (received.sender, received.authenticated_data) == (sent.leaf, b"ad")
        if who.group.own_leaf in sent.removes:
            assert received.staged is None
            self._cannot_follow(who, sent.message)
            if merge:
                who.removed = True
        elif merge:
            assert received.staged is not None
            self._enter(who, sent.leads_to, StagedCommit.from_bytes(received.staged.to_bytes()))

    def refused(self, who: Participant, message: bytes) -> None:
        """Whatever this is, it must be refused by a documented error and leave the state as it was."""
        before = who.group.to_bytes()
        try:
            who.group.unprotect(message)
        except REFUSALS:
            pass
        else:
            raise AssertionError("accepted what was not sent, or not to be accepted here")
        assert who.group.to_bytes() == before, "a refused message changed the state"

    def _cannot_follow(self, who: Participant, message: bytes) -> None:
        """None of the keys of the removed opens any path secret of the commit that removes it."""
        plan = who.group.plan_commit(message)
        assert plan.path is not None
        context = plan.provisional.to_bytes()
        for private in who.group._state.private_keys.values():
            for node in plan.path.nodes:
                for sealed in node.encrypted_path_secret:
                    try:
                        decrypt_with_label(
                            FAST,
                            private.reveal(),
                            UPDATE_PATH_NODE,
                            context,
                            sealed.kem_output,
                            sealed.ciphertext,
                        )
                    except AuthenticationError:
                        continue
                    raise AssertionError("the removed member opens a path secret")

    def damaged(self, message: bytes, how: int) -> bytes:
        """The message with one flipped bit, cut off, lengthened, or with a stretch overwritten."""
        position = self.random.randrange(len(message))
        match how % 4:
            case 0:
                flipped = bytearray(message)
                flipped[position] ^= 1 << self.random.randrange(8)
                return bytes(flipped)
            case 1:
                return message[:position]
            case 2:
                return message + self.rng(1 + position % 8)
            case _:
                stretch = self.rng(min(8, len(message) - position))
                return message[:position] + stretch + message[position + len(stretch) :]

    def spliced(self, first: bytes, second: bytes, fields: int) -> bytes:
        """A PrivateMessage with some fields of one genuine message and the others of another one."""
        base, other = (decode(message, read_mls_message).body for message in (first, second))
        assert isinstance(base, PrivateMessage)
        assert isinstance(other, PrivateMessage)
        names = [
            "group_id",
            "epoch",
            "content_type",
            "authenticated_data",
            "encrypted_sender_data",
            "ciphertext",
        ]
        taken = {name: getattr(other, name) for bit, name in enumerate(names) if fields >> bit & 1}
        return MLSMessage(body=replace(base, **taken)).to_bytes()

    # -- what must always hold

    def check_agreement(self) -> None:
        """Same view: same group. Different views: nothing in common that could be mistaken."""
        by_view: dict[View, tuple[object, ...]] = {}
        by_authenticator: dict[bytes, View] = {}
        for who in self.participants:
            if who.removed:
                continue
            found = _fingerprint(who.group)
            assert by_view.setdefault(who.view, found) == found, "same log prefix, different groups"
            authenticator = who.group.epoch_authenticator
            assert by_authenticator.setdefault(authenticator, who.view) == who.view, "different logs agree"
            assert isinstance(who.group.member(who.group.own_leaf).leaf_node, LeafNode)
