"""What is fuzzed: every decoder of ``crypto``, and a member given whatever an outsider or insider makes.

A target takes bytes and returns nothing. Documented exceptions it swallows; any other one leaves it, and so
does an AssertionError where something was accepted, or changed, that must not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from chatserver.wire.bundle import SignedBundle
from chatserver.wire.client_frames import Hello
from chatserver.wire.frames import decode_client, decode_server
from crypto import (
    commit,
    credentials,
    extensions,
    framed_content,
    group_context,
    group_info,
    key_package,
    leaf_node,
    mls_message,
    private_message,
    proposals,
    psk_id,
    public_message,
    tree_nodes,
    update_path,
    welcome,
)
from crypto.codec import CodecError, Reader, Writer, decode, encode
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.extensions import RequiredCapabilities
from crypto.framed_content import ContentType, Sender, WireFormat
from crypto.group import Group, StagedCommit
from crypto.group_codec import GROUP_MAGIC, STAGED_MAGIC, seal_stored
from crypto.mls_message import MLSMessage
from crypto.policy import ProcessingError, evaluate_predicate
from crypto.private_message import PrivateMessage, sender_data_key_nonce
from crypto.proposals import Add, GroupContextExtensions, PreSharedKey, ReInit, Remove, Update
from crypto.ratchet_tree import from_ratchet_tree
from crypto.rfc9420.full_group import CommitFollowed, FullGroup
from crypto.rfc9420.make import CommitOptions
from crypto.rfc9420.messages import protect, sign_content
from crypto.rfc9420.psks import PSKS_MAGIC, PskStore
from crypto.rfc9420.state_codec import FULL_MAGIC
from crypto.secret_tree import RatchetType
from crypto.tree_math import LeafIndex
from crypto.tree_validation import check_tree
from keys.certificates import DeviceCertificate, DeviceRole
from support.mls_groups import FAST, Circle, Device, forge, seeded
from support.peer_ours import FullPeer
from support.persons import Person

Target = Callable[[bytes], None]
HELLO_BYTES = 3
DAMAGE = (CodecError, ValidationError)
REFUSALS = (CodecError, ValidationError, AuthenticationError)


def _round_trip(read: Callable[[Reader], Any], write: Callable[[Writer, Any], object]) -> Target:
    """A decoder: what it takes, its encoder gives back byte by byte."""

    def target(data: bytes) -> None:
        try:
            value = decode(data, read)
        except DAMAGE:
            return
        assert encode(value, write) == data

    return target


def _decoded(read: Callable[[bytes], Any]) -> Target:
    """A decoder with an encoder of its own."""

    def target(data: bytes) -> None:
        try:
            value = read(data)
        except DAMAGE:
            return
        assert value.encode() == data

    return target


def _client_frame(data: bytes) -> None:
    """A frame of a client. HELLO alone may be followed by bytes, which later versions may use."""
    try:
        frame = decode_client(data)
    except DAMAGE:
        return
    assert frame.encode() == (data[:HELLO_BYTES] if isinstance(frame, Hello) else data)


def _ratchet_tree(data: bytes) -> None:
    """A tree from a stranger: decoded, hashed and judged."""
    try:
        tree = from_ratchet_tree(FAST, decode(data, tree_nodes.read_ratchet_tree))
        tree.tree_hash()
        check_tree(FAST, tree, group_id=b"g", group_extensions=())
    except DAMAGE:
        return
    assert tree.to_bytes() == data


def _group_state(data: bytes) -> None:
    """A damaged store whose digest fits."""
    try:
        group = Group.from_bytes(seal_stored(GROUP_MAGIC, data))
    except DAMAGE:
        return
    assert Group.from_bytes(group.to_bytes()).to_bytes() == group.to_bytes()


def _staged_commit(data: bytes) -> None:
    try:
        StagedCommit.from_bytes(seal_stored(STAGED_MAGIC, data))
    except DAMAGE:
        return


@cache
def _pair() -> tuple[bytes, bytes]:
    """Stored forms of the two members of a group on the quickest suite."""
    circle = Circle(FAST, 2, seed=7)
    return circle[0].to_bytes(), circle[1].to_bytes()


@cache
def _line() -> tuple[bytes, bytes, Device]:
    """Stored forms of a client's and a therapist's member with real certificates, on 0xF002."""
    rng = seeded(8)
    client, therapist = Person(rng).device(DeviceRole.PRIMARY), Person(rng).device(DeviceRole.PRIMARY)
    circle = Circle(client.suite, 1, seed=9, first=client)
    circle.add(0, therapist)
    return circle[0].to_bytes(), circle[1].to_bytes(), therapist


def _unprotect(group: Group, message: bytes) -> bool:
    """Whether it is accepted; refused, it must have changed nothing."""
    before = group.to_bytes()
    try:
        group.unprotect(message)
    except REFUSALS:
        assert group.to_bytes() == before
        return False
    return True


def _outsider(data: bytes) -> None:
    """Bytes from the relay."""
    assert not _unprotect(Group.from_bytes(_pair()[1]), data)


def sealed_inside(group: Group, kind: ContentType, inner: bytes, authenticated_data: bytes = b"") -> bytes:
    """Any bytes at all, encrypted as a member's message."""
    state = group._state
    suite, context = state.suite, state.context
    ratchet = RatchetType.APPLICATION if kind is ContentType.APPLICATION else RatchetType.HANDSHAKE
    key = state.secret_tree.take_next(state.own_leaf, ratchet)
    header = Writer().opaque(context.group_id).u64(context.epoch).u8(kind)
    aad = Writer().raw(header.to_bytes()).opaque(authenticated_data).to_bytes()
    ciphertext = suite.aead_seal(key.key, key.nonce, aad, inner)
    data_key, data_nonce = sender_data_key_nonce(suite, state.sender_data_secret.reveal(), ciphertext)
    sender_data = Writer().u32(state.own_leaf).u32(key.generation).raw(bytes(4)).to_bytes()
    message = PrivateMessage(
        group_id=context.group_id,
        epoch=context.epoch,
        content_type=kind,
        authenticated_data=authenticated_data,
        encrypted_sender_data=suite.aead_seal(data_key, data_nonce, header.to_bytes(), sender_data),
        ciphertext=ciphertext,
    )
    return MLSMessage(body=message).to_bytes()


def _insider_bytes(data: bytes) -> None:
    """A member's plaintext that no honest program would write; it cannot be well signed."""
    sender, receiver = (Group.from_bytes(stored) for stored in _pair())
    kind = ContentType(data[0] % 3 + 1) if data else ContentType.APPLICATION
    assert not _unprotect(receiver, sealed_inside(sender, kind, data[1:]))


def _insider_sender_data(data: bytes) -> None:
    """Sender data that no honest program would write: leaf, generation and length are the attacker's."""
    sender, receiver = (Group.from_bytes(stored) for stored in _pair())
    state = sender._state
    header = Writer().opaque(state.context.group_id).u64(state.context.epoch).u8(ContentType.APPLICATION)
    ciphertext = data[-48:]
    key, nonce = sender_data_key_nonce(state.suite, state.sender_data_secret.reveal(), ciphertext)
    message = PrivateMessage(
        group_id=state.context.group_id,
        epoch=state.context.epoch,
        content_type=ContentType.APPLICATION,
        authenticated_data=b"",
        encrypted_sender_data=state.suite.aead_seal(key, nonce, header.to_bytes(), data[:-48]),
        ciphertext=ciphertext,
    )
    assert not _unprotect(receiver, MLSMessage(body=message).to_bytes())


def _insider_commit(data: bytes) -> None:
    """A well-signed commit of a member, with any content; its confirmation tag is made up."""
    try:
        content = decode(data, commit.read_commit)
    except DAMAGE:
        return
    sender, receiver = (Group.from_bytes(stored) for stored in _pair())
    message = forge(sender, content, seeded(1))
    before = receiver.to_bytes()
    try:
        received = receiver.unprotect(message)
    except REFUSALS:
        pass
    else:
        # Only the commit that removes the reader needs no confirmation tag: there is nothing left to confirm.
        assert getattr(received, "staged", object()) is None
    assert receiver.to_bytes() == before


def _predicate(data: bytes) -> None:
    """P of R14 over any bytes, and over well-signed commits of any content (first byte odd)."""
    client, therapist, _ = _line()
    group = Group.from_bytes(client)
    message = data[1:]
    if data[:1] and data[0] % 2:
        try:
            content = decode(data[1:], commit.read_commit)
        except DAMAGE:
            return
        message = forge(Group.from_bytes(therapist), content, seeded(1))
    try:
        evaluate_predicate(group, message, DeviceCertificate.decode)
    except ValidationError as error:
        assert error.rule in {"P1", "P2", "P3", "P4", "P5"}  # noqa: PT017 - the rule is what is asserted
    except ProcessingError:
        pass
    else:
        raise AssertionError("a forged commit was accepted")
    assert group.to_bytes() == client


def _join(data: bytes) -> None:
    """A Welcome from a stranger."""
    bundle = _newcomer()[1].key_package(seeded(3))
    try:
        _newcomer()[1].join(data, bundle)
    except REFUSALS:
        return
    assert data == _newcomer()[0]


@cache
def _newcomer() -> tuple[bytes, Device]:
    """A genuine Welcome and whom it is for."""
    circle = Circle(FAST, 2, seed=11)
    device = circle.new_device()
    pending = circle.pending(0, adds=[device.key_package(seeded(3)).key_package])
    assert pending.welcome is not None
    return pending.welcome, device


@cache
def _full_pair() -> tuple[FullGroup, FullGroup]:
    """Two members with all of RFC 9420; each input gets copies."""
    first, second = (FullPeer(FAST, b"member %d" % seed, seeded(seed)) for seed in (13, 14))
    first.create(b"g")
    made = first.commit(adds=[second.key_package()])
    assert made.welcome is not None
    second.join(made.welcome, None)
    return first.group, second.group


def _twins() -> tuple[FullGroup, FullGroup]:
    """Both members once more, so that an input changes nothing for the next one."""
    first, second = (FullGroup.from_bytes(group.to_bytes()) for group in _full_pair())
    return first, second


def _full_outsider(data: bytes) -> None:
    """Bytes from the network, of any wire format."""
    group = _twins()[1]
    before = group.to_bytes()
    try:
        group.receive(data)
    except REFUSALS:
        assert group.to_bytes() == before
        return
    raise AssertionError("accepted what nobody sent")


def _full_insider(data: bytes) -> None:
    """A member's well-signed proposal or commit of any content, as either kind of message.

    What is then committed with such a proposal is refused where it is made, or followed by the other side;
    only an Update is nobody's to follow, since its key is made up.
    """
    if not data:
        return
    sender, receiver = _twins()
    wire_format = WireFormat.PUBLIC_MESSAGE if data[0] & 1 else WireFormat.PRIVATE_MESSAGE
    before = receiver.ratchet_tree(), receiver.epoch_authenticator
    try:
        if data[0] & 2:
            content = decode(data[1:], commit.read_commit)
            received = receiver.receive(_forged_commit(sender, content, wire_format))
            assert isinstance(received, CommitFollowed)
            assert received.group is None, "a commit with a made-up confirmation tag was followed"
        else:
            proposal = decode(data[1:], proposals.read_proposal)
            receiver.receive(sender.propose(proposal, rng=seeded(1), wire_format=wire_format))
            made = receiver.commit(rng=seeded(2))
            try:
                sender.receive(made.message)
            except REFUSALS:
                assert isinstance(proposal, Update)
    except (*REFUSALS, StateError):
        pass
    assert (receiver.ratchet_tree(), receiver.epoch_authenticator) == before


def _full_state(data: bytes) -> None:
    """A damaged store of a member with all of RFC 9420, whose digest fits."""
    try:
        group = FullGroup.from_bytes(seal_stored(FULL_MAGIC, data))
    except DAMAGE:
        return
    assert FullGroup.from_bytes(group.to_bytes()).to_bytes() == group.to_bytes()


def _psk_store(data: bytes) -> None:
    """Damaged PSKs of a device, whose digest fits."""
    try:
        psks = PskStore.from_bytes(seal_stored(PSKS_MAGIC, data))
    except DAMAGE:
        return
    assert PskStore.from_bytes(psks.to_bytes()).to_bytes() == psks.to_bytes()


def _forged_commit(sender: FullGroup, content: commit.Commit, wire_format: WireFormat) -> bytes:
    state = sender._state
    signed = sign_content(
        FAST,
        state.core.signature_private,
        context=state.core.context,
        sender=Sender.member(state.core.own_leaf),
        content=content,
        authenticated_data=b"",
        wire_format=wire_format,
    )
    auth = replace(signed.auth, confirmation_tag=bytes(FAST.nh))
    return protect(state, replace(signed, auth=auth), seeded(3))


TARGETS: dict[str, Target] = {
    "authenticated_content": _round_trip(
        framed_content.read_authenticated_content, framed_content.write_authenticated_content
    ),
    "capabilities": _round_trip(leaf_node.read_capabilities, leaf_node.write_capabilities),
    "commit": _round_trip(commit.read_commit, commit.write_commit),
    "credential": _round_trip(credentials.read_credential, credentials.write_credential),
    "extensions": _round_trip(extensions.read_extensions, extensions.write_extensions),
    "group_context": _round_trip(group_context.read_group_context, group_context.write_group_context),
    "group_info": _round_trip(group_info.read_group_info, group_info.write_group_info),
    "group_secrets": _round_trip(welcome.read_group_secrets, welcome.write_group_secrets),
    "key_package": _round_trip(key_package.read_key_package, key_package.write_key_package),
    "leaf_node": _round_trip(leaf_node.read_leaf_node, leaf_node.write_leaf_node),
    "mls_message": _round_trip(mls_message.read_mls_message, mls_message.write_mls_message),
    "private_message": _round_trip(
        private_message.read_private_message, private_message.write_private_message
    ),
    "proposal": _round_trip(proposals.read_proposal, proposals.write_proposal),
    "psk_id": _round_trip(psk_id.read_psk_id, psk_id.write_psk_id),
    "public_message": _round_trip(public_message.read_public_message, public_message.write_public_message),
    "required_capabilities": _round_trip(
        extensions.read_required_capabilities, extensions.write_required_capabilities
    ),
    "update_path": _round_trip(update_path.read_update_path, update_path.write_update_path),
    "welcome": _round_trip(welcome.read_welcome, welcome.write_welcome),
    "ratchet_tree": _ratchet_tree,
    "group_state": _group_state,
    "staged_commit": _staged_commit,
    "certificate": _decoded(DeviceCertificate.decode),
    "signed_bundle": _decoded(SignedBundle.decode),
    "client_frame": _client_frame,
    "server_frame": _decoded(decode_server),
    "outsider": _outsider,
    "insider_bytes": _insider_bytes,
    "insider_sender_data": _insider_sender_data,
    "insider_commit": _insider_commit,
    "full_state": _full_state,
    "psk_store": _psk_store,
    "full_outsider": _full_outsider,
    "full_insider": _full_insider,
    "predicate": _predicate,
    "join": _join,
}


def _body(stored: bytes) -> bytes:
    """A stored form without magic, version and digest."""
    return stored[10:-32]


def seeds() -> Iterator[tuple[str, bytes]]:
    """Valid inputs from which the corpus began: (target, bytes). Made by us, the same each time."""
    circle = Circle(FAST, 3, seed=5)
    device = circle.new_device()
    package = device.key_package(seeded(4)).key_package
    pending = circle.pending(0, adds=[package], removes=[1])
    state = circle[0]._state
    yield "group_state", _body(_pair()[1])
    yield "staged_commit", _body(pending.staged.to_bytes())
    yield "key_package", package.to_bytes()
    yield "leaf_node", package.leaf_node.to_bytes()
    yield "leaf_node", state.own_leaf_node().to_bytes()
    yield "credential", encode(package.leaf_node.credential, credentials.write_credential)
    yield "capabilities", encode(package.leaf_node.capabilities, leaf_node.write_capabilities)
    yield "ratchet_tree", state.tree.to_bytes()
    yield "group_context", state.context.to_bytes()
    for target in ("mls_message", "outsider"):
        yield target, pending.message
        yield target, circle[0].protect(b"text", authenticated_data=b"ad", rng=circle.rng, padding=9)
    assert pending.welcome is not None
    yield "mls_message", pending.welcome
    yield "welcome", pending.welcome[4:]
    yield "private_message", pending.message[4:]
    yield "join", _newcomer()[0]
    pair = Circle(FAST, 2, seed=7)
    for made in (pair.pending(0), pair.pending(0, removes=[1]), pair.pending(0, adds=[package])):
        content = _opened(pair[1], made.message)
        yield "commit", content
        yield "insider_commit", content
        yield "insider_bytes", b"\x02" + content
    update = decode(_opened(pair[1], pair.pending(0).message), commit.read_commit).path
    assert update is not None
    yield "update_path", encode(update, update_path.write_update_path)
    yield "proposal", b"\x00\x03\x00\x00\x00\x01"
    yield "insider_bytes", b"\x00\x04text\x00\x00\x00"
    yield "insider_sender_data", bytes(12) + bytes(48)
    yield "full_state", _body(_full_pair()[0].to_bytes())
    store = PskStore()
    store.add_external(b"name", b"psk")
    store.add_resumption(b"group", 7, b"psk")
    yield "psk_store", _body(store.to_bytes())
    for wire_format in (WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE):
        options = CommitOptions(wire_format=wire_format)
        yield "full_outsider", _spoilt(_twins()[0].commit(rng=seeded(6), options=options).message)
        remove = Remove(removed=LeafIndex(0))
        yield "full_outsider", _spoilt(_twins()[0].propose(remove, rng=seeded(6), wire_format=wire_format))
    for proposal in _proposals(_full_pair()[0], package):
        yield "full_insider", b"\x01" + encode(proposal, proposals.write_proposal)
        committed = commit.Commit(proposals=(proposal,), path=update)
        yield "full_insider", b"\x02" + encode(committed, commit.write_commit)
    yield "predicate", b"\x00" + pending.message
    line = Group.from_bytes(_line()[1])
    made = line.commit(adds=(), removes=(), rng=seeded(2), authenticated_data=b"")
    yield "predicate", b"\x01" + _opened(Group.from_bytes(_line()[0]), made.message)
    yield "certificate", line.member(line.own_leaf).leaf_node.credential.identity
    yield "client_frame", b"\x01\x00\x01"
    yield "server_frame", b"\x81\x00\x01\x08\x00\x00"


def _spoilt(message: bytes) -> bytes:
    """A message whose MAC no longer fits."""
    return message[:-1] + bytes([message[-1] ^ 1])


def _proposals(group: FullGroup, package: key_package.KeyPackage) -> Iterator[proposals.Proposal]:
    """One of each type that members send."""
    yield Add(key_package=package)
    yield Update(leaf_node=group.members[0].leaf_node)
    yield Remove(removed=LeafIndex(1))
    yield PreSharedKey(psk=group.resumption_psk(seeded(6)))
    yield ReInit(group_id=b"n", cipher_suite=FAST.code, extensions=())
    yield GroupContextExtensions(extensions=(RequiredCapabilities().to_extension(),))


def _opened(receiver: Group, message: bytes) -> bytes:
    """The encoded Commit in a message."""
    from support.mls_groups import opened_commit

    return encode(opened_commit(receiver, message), commit.write_commit)
