"""rfc9420/state_codec.py and the stored form of PSKs: what is stored comes back whole, and damage is seen."""

from __future__ import annotations

import hashlib

import pytest

from crypto.codec import CodecError
from crypto.credentials import Credential
from crypto.errors import StateError, ValidationError
from crypto.framed_content import WireFormat
from crypto.group import OwnLeafParams
from crypto.group_codec import GROUP_MAGIC, VERSION, seal_stored
from crypto.proposals import Add, PreSharedKey, ReInit
from crypto.psk_id import PreSharedKeyID, PSKType
from crypto.rfc9420.full_group import ApplicationReceived, CommitFollowed, FullGroup, own_device
from crypto.rfc9420.psks import PskStore
from crypto.rfc9420.state_codec import FULL_MAGIC
from crypto.suites import PRODUCT, CipherSuite
from support.mls_groups import FAST, Device, seeded


def reseal(data: bytes) -> bytes:
    """Data with a digest that fits."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


class Pair:
    """Two members of a group, each with PSKs of its own device, stored and loaded again on demand."""

    def __init__(self, suite: CipherSuite = FAST) -> None:
        self.rng = seeded(5)
        one, two = Device.make(suite, "one", self.rng), Device.make(suite, "two", self.rng)
        bundle = two.key_package(self.rng)
        self.shared = [own_device(), own_device()]
        for shared in self.shared:
            shared.psks.add_external(b"name", b"an external psk")
        self.leaf = OwnLeafParams(
            signature_private=one.signature_private,
            credential=Credential.basic(one.identity),
            capabilities=one.capabilities,
        )
        first = FullGroup.create(
            suite=suite, group_id=b"pair", leaf=self.leaf, rng=self.rng, device=self.shared[0]
        )
        made = first.commit([Add(key_package=bundle.key_package)], rng=self.rng)
        assert made.welcome is not None
        second = FullGroup.join(
            welcome=made.welcome,
            bundle=bundle,
            signature_private=two.signature_private,
            device=self.shared[1],
        )
        self.groups = [made.group, second]

    def again(self) -> None:
        """Store both members and their PSKs, and go on with what is loaded."""
        for index, (group, shared) in enumerate(zip(self.groups, self.shared, strict=True)):
            stored, psks = group.to_bytes(), shared.psks.to_bytes()
            self.shared[index] = own_device(PskStore.from_bytes(psks))
            self.groups[index] = FullGroup.from_bytes(stored, self.shared[index])
            assert self.groups[index].to_bytes() == stored
            assert self.shared[index].psks.to_bytes() == psks


@pytest.mark.parametrize("suite", [FAST, PRODUCT], ids=["suite 1", "0xF002"])
@pytest.mark.parametrize("wire_format", [WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE])
def test_a_group_goes_on_where_it_was_stored(suite: CipherSuite, wire_format: WireFormat) -> None:
    pair = Pair(suite)
    pair.again()
    # An Update that waits for a commit: its private keys come back, and at the other one the proposal.
    new_private, new_public = suite.generate_signature_key_pair(pair.rng)
    update = pair.groups[0].propose_update(
        rng=pair.rng, wire_format=wire_format, signature_private=new_private
    )
    pair.groups[1].receive(update)
    past = pair.groups[1].resumption_psk(pair.rng)
    pair.again()
    external = PreSharedKeyID(psktype=PSKType.EXTERNAL, psk_id=b"name", psk_nonce=pair.rng(suite.nh))
    made = pair.groups[1].commit([PreSharedKey(psk=past), PreSharedKey(psk=external)], rng=pair.rng)
    pair.again()  # what is made is not part of it
    followed = pair.groups[0].receive(made.message)
    assert isinstance(followed, CommitFollowed)
    assert followed.group is not None
    pair.groups = [followed.group, made.group]
    pair.again()
    assert pair.groups[0].epoch_authenticator == pair.groups[1].epoch_authenticator
    assert pair.groups[0].members[0].leaf_node.signature_key == new_public
    received = pair.groups[1].receive(pair.groups[0].protect(b"text", rng=pair.rng))
    assert isinstance(received, ApplicationReceived)
    assert received.plaintext == b"text"


def test_a_group_that_was_ended_stays_ended() -> None:
    pair = Pair()
    reinit = ReInit(group_id=b"next", cipher_suite=FAST.code)
    pair.groups[0] = pair.groups[0].commit([reinit], rng=pair.rng).group
    pair.again()
    assert pair.groups[0].reinit == reinit
    with pytest.raises(StateError, match="ended"):
        pair.groups[0].protect(b"text", rng=pair.rng)


def test_damage_is_seen_and_a_newer_version_named() -> None:
    pair = Pair()
    for data, load in (
        (pair.groups[0].to_bytes(), FullGroup.from_bytes),
        (pair.shared[0].psks.to_bytes(), PskStore.from_bytes),
    ):
        for place in (0, 9, 40, len(data) // 2, len(data) - 1):
            with pytest.raises(CodecError):
                load(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        for cut in (0, 1, 41, len(data) - 1):
            with pytest.raises(CodecError):
                load(data[:cut])
        newer = data[:8] + (VERSION + 1).to_bytes(2, "big") + data[10:]
        with pytest.raises(StateError, match="newer version"):
            load(reseal(newer))
        with pytest.raises(CodecError, match="unknown version"):
            load(reseal(data[:8] + bytes(2) + data[10:]))
        with pytest.raises(CodecError, match="of this kind"):
            load(reseal(GROUP_MAGIC + data[8:]))
        with pytest.raises(CodecError):
            load(reseal(data[:-32] + b"\0" + bytes(32)))


def test_a_state_that_fits_its_digest_only_is_refused() -> None:
    pair = Pair()
    body = pair.groups[0].to_bytes()[10:-32]
    tag = pair.groups[0]._state.confirmation_tag
    shorter = body.replace(bytes([len(tag)]) + tag, bytes([len(tag) - 1]) + tag[1:])
    with pytest.raises(CodecError, match="wrong size"):
        FullGroup.from_bytes(seal_stored(FULL_MAGIC, shorter))
    remove = b"\x01" + bytes.fromhex("0003") + bytes(4)
    with pytest.raises(CodecError, match="no ReInit"):
        FullGroup.from_bytes(seal_stored(FULL_MAGIC, body[:-1] + remove))
    with pytest.raises((CodecError, ValidationError)):
        FullGroup.from_bytes(seal_stored(FULL_MAGIC, body[:20] + b"\xff" + body[21:]))


def test_the_limit_of_past_epochs_holds_for_what_is_loaded() -> None:
    store = PskStore()
    for epoch in range(5):
        store.add_resumption(b"group", epoch, b"psk %d" % epoch)
    fewer = PskStore.from_bytes(store.to_bytes(), max_past_epochs=2)
    assert list(fewer._resumption) == [(b"group", 3), (b"group", 4)]


def test_no_secret_shows_in_a_repr() -> None:
    pair = Pair()
    shown = repr([pair.groups[0], pair.shared[0].psks, pair.groups[0]._state])
    assert pair.groups[0]._state.membership_key.reveal().hex() not in shown
    assert "an external psk" not in shown
