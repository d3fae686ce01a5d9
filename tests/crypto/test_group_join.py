"""group_join.py and welcome.py: each step of joining by a Welcome that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from crypto.code_points import GREASE_VALUES, ExtensionType
from crypto.codec import CodecError, decode, encode
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.extensions import Extension
from crypto.group import Group, PendingCommit
from crypto.group_context import GroupContext
from crypto.group_info import GroupInfo, read_group_info, sign_group_info, write_group_info
from crypto.key_package import KeyPackageBundle
from crypto.key_schedule import derive_welcome_secret
from crypto.labels import encrypt_with_label
from crypto.leaf_node import LeafNodeSource, sign_leaf_node
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.psk_id import PreSharedKeyID, PSKType
from crypto.psk_secret import no_psk_secret
from crypto.ratchet_tree import RatchetTree, from_ratchet_tree
from crypto.sensitive import Secret
from crypto.suites import PRODUCT, CipherSuite
from crypto.tree_math import LeafIndex, NodeIndex
from crypto.tree_nodes import read_ratchet_tree
from crypto.update_path import HPKECiphertext
from crypto.welcome import (
    GroupSecrets,
    Welcome,
    open_group_info,
    open_group_secrets,
    seal_group_info,
    write_group_secrets,
)
from support.mls_groups import FAST, Circle, Device


class Scene:
    """A group of three whose member 1 adds a fourth, with the Welcome in our hands."""

    def __init__(self, suite: CipherSuite = FAST) -> None:
        self.suite = suite
        self.circle = Circle(suite, 3)
        self.device = self.circle.new_device()
        self.bundle: KeyPackageBundle = self.device.key_package(self.circle.rng)
        self.pending: PendingCommit = self.circle.pending(1, adds=[self.bundle.key_package])
        assert self.pending.welcome is not None
        self.welcome = self.pending.welcome
        body = decode(self.welcome, read_mls_message).body
        assert isinstance(body, Welcome)
        self.body = body
        self.secrets = open_group_secrets(
            suite, body, key_package=self.bundle.key_package, init_private=self.bundle.init_private
        )
        self.welcome_secret = Secret(
            derive_welcome_secret(
                suite,
                joiner_secret=self.secrets.joiner_secret.reveal(),
                psk_secret=no_psk_secret(suite),
            )
        )
        self.info = open_group_info(suite, self.welcome_secret, body.encrypted_group_info)
        self.committer_key = self.pending.staged.group._state.signature_private

    def join(self, welcome: bytes) -> Group:
        return self.device.join(welcome, self.bundle)

    def forged(self, info: GroupInfo, *, secrets: GroupSecrets | None = None, resign: bool = True) -> bytes:
        """A Welcome by member 1 with another content."""
        if resign:
            info = sign_group_info(self.suite, self.committer_key, info)
        sealed = seal_group_info(self.suite, self.welcome_secret, info)
        kem_output, ciphertext = encrypt_with_label(
            self.suite,
            self.bundle.key_package.init_key,
            "Welcome",
            sealed,
            encode(secrets or self.secrets, write_group_secrets),
            self.circle.rng,
        )
        entry = replace(
            self.body.secrets[0],
            encrypted_group_secrets=HPKECiphertext(kem_output=kem_output, ciphertext=ciphertext),
        )
        body = replace(self.body, secrets=(entry,), encrypted_group_info=sealed)
        return MLSMessage(body=body).to_bytes()

    def tree(self) -> RatchetTree:
        return self.pending.staged.group._state.tree.copy()

    def with_tree(self, tree: RatchetTree) -> GroupInfo:
        """The GroupInfo that signs another tree."""
        extension = Extension(extension_type=ExtensionType.RATCHET_TREE, extension_data=tree.to_bytes())
        context = replace(self.info.group_context, tree_hash=tree.tree_hash())
        return replace(self.info, group_context=context, extensions=(extension,))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_genuine_welcome_and_its_forged_copy_open(scene: Scene) -> None:
    for welcome in (scene.welcome, scene.forged(scene.info)):
        joined = scene.join(welcome)
        assert (joined.own_leaf, joined.signer, joined.epoch) == (3, 1, 3)
        assert joined.epoch_authenticator == scene.pending.staged.group.epoch_authenticator


def test_the_group_info_carries_the_tree_and_one_grease_extension(scene: Scene) -> None:
    types = [extension.extension_type for extension in scene.info.extensions]
    assert types[0] == ExtensionType.RATCHET_TREE
    assert types[1] in GREASE_VALUES
    assert len(types) == 2


def test_a_tree_can_come_beside_the_welcome(scene: Scene) -> None:
    welcome = scene.forged(replace(scene.info, extensions=()))
    with pytest.raises(ValidationError, match=r"welcome\.no-ratchet-tree"):
        scene.join(welcome)
    joined = Group.join(
        welcome=welcome,
        key_package=scene.bundle.key_package,
        init_private=scene.bundle.init_private,
        encryption_private=scene.bundle.encryption_private,
        signature_private=scene.device.signature_private,
        ratchet_tree=scene.tree().to_bytes(),
    )
    assert joined.own_leaf == 3


def refused(scene: Scene, info: GroupInfo, rule: str, *, resign: bool = True) -> None:
    with pytest.raises(ValidationError) as caught:
        scene.join(scene.forged(info, resign=resign))
    assert caught.value.rule == rule


def test_a_welcome_for_somebody_else_does_not_open(scene: Scene) -> None:
    other = scene.device.key_package(scene.circle.rng)
    with pytest.raises(ValidationError, match=r"welcome\.not-for-us"):
        scene.device.join(scene.welcome, other)
    stolen = replace(scene.bundle, init_private=other.init_private)
    with pytest.raises(AuthenticationError):
        scene.device.join(scene.welcome, stolen)


def test_private_keys_of_another_key_package_are_our_own_mistake(scene: Scene) -> None:
    other = scene.device.key_package(scene.circle.rng)
    with pytest.raises(StateError, match="do not belong"):
        scene.device.join(scene.welcome, replace(scene.bundle, encryption_private=other.encryption_private))
    stranger = Device.make(FAST, "stranger", scene.circle.rng)
    with pytest.raises(StateError, match="do not belong"):
        stranger.join(scene.welcome, scene.bundle)


def test_a_welcome_of_another_suite_is_refused(scene: Scene) -> None:
    body = replace(scene.body, cipher_suite=PRODUCT.code)
    with pytest.raises(ValidationError, match=r"welcome\.cipher-suite"):
        scene.join(MLSMessage(body=body).to_bytes())
    context = replace(scene.info.group_context, cipher_suite=PRODUCT.code)
    refused(scene, replace(scene.info, group_context=context), "group-info.cipher-suite")


def test_a_psk_is_refused(scene: Scene) -> None:
    psk = PreSharedKeyID(psktype=PSKType.EXTERNAL, psk_id=b"x", psk_nonce=bytes(32))
    welcome = scene.forged(scene.info, secrets=replace(scene.secrets, psks=(psk,)))
    with pytest.raises(ValidationError, match=r"welcome\.psk-refused"):
        scene.join(welcome)


def test_the_signer_is_a_member_and_signed(scene: Scene) -> None:
    refused(scene, replace(scene.info, signer=LeafIndex(9)), "group-info.signer-blank")
    refused(scene, replace(scene.info, signer=LeafIndex(0)), "group-info.signature")
    refused(scene, replace(scene.info, signature=bytes(64)), "group-info.signature", resign=False)


def test_we_do_not_sign_our_own_welcome(scene: Scene) -> None:
    scene.committer_key = Secret(scene.device.signature_private)
    refused(scene, replace(scene.info, signer=LeafIndex(3)), "welcome.signed-by-own-leaf")


def test_extensions_do_not_repeat(scene: Scene) -> None:
    twice = scene.info.extensions * 2
    refused(scene, replace(scene.info, extensions=twice), "extensions.duplicate-type")
    grease = (Extension(extension_type=0x0A0A, extension_data=b""),) * 2
    context = replace(scene.info.group_context, extensions=grease)
    refused(scene, replace(scene.info, group_context=context), "extensions.duplicate-type")


def test_an_extension_of_the_group_that_we_do_not_support_keeps_us_out(scene: Scene) -> None:
    unknown = (Extension(extension_type=0xFF00, extension_data=b""),)
    context = replace(scene.info.group_context, extensions=unknown)
    refused(scene, replace(scene.info, group_context=context), "leaf.group-extension")


@pytest.mark.parametrize(
    "change",
    [
        lambda context: replace(context, epoch=context.epoch + 1),
        lambda context: replace(context, group_id=b"another"),
        lambda context: replace(context, confirmed_transcript_hash=bytes(32)),
    ],
)
def test_a_context_that_the_key_schedule_does_not_confirm_is_not_authentic(
    scene: Scene, change: Callable[[GroupContext], GroupContext]
) -> None:
    context = change(scene.info.group_context)
    with pytest.raises((AuthenticationError, ValidationError)):
        scene.join(scene.forged(replace(scene.info, group_context=context)))


def test_a_made_up_confirmation_tag_is_not_authentic(scene: Scene) -> None:
    with pytest.raises(AuthenticationError):
        scene.join(scene.forged(replace(scene.info, confirmation_tag=bytes(32))))


def test_a_path_secret_must_fit_the_tree(scene: Scene) -> None:
    for path_secret, rule in ((bytes(32), "path.key-mismatch"), (b"short", "path.secret-size")):
        secrets = replace(scene.secrets, path_secret=Secret(path_secret))
        with pytest.raises(ValidationError, match=rule.replace(".", r"\.")):
            scene.join(scene.forged(scene.info, secrets=secrets))


def test_a_decoded_group_info_is_not_encoded_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(scene.info, write_group_info)
    info = decode(encoded, read_group_info)
    monkeypatch.setattr("crypto.group_info.encode", None)
    monkeypatch.setattr("crypto.group_context.encode", None)
    assert info.to_bytes() == encoded
    assert encoded.startswith(info.to_be_signed())
    assert encoded.startswith(info.group_context.to_bytes())


# -- the tree (RFC 9420 section 12.4.3.1)


def test_the_tree_is_the_signed_one(scene: Scene) -> None:
    other = Extension(
        extension_type=ExtensionType.RATCHET_TREE, extension_data=scene.circle[0]._state.tree.to_bytes()
    )
    refused(scene, replace(scene.info, extensions=(other,)), "group-info.tree-hash")


def test_our_leaf_is_in_the_tree(scene: Scene) -> None:
    tree = scene.tree()
    tree.set_leaf(LeafIndex(3), None)
    tree = from_ratchet_tree(FAST, decode(tree.to_bytes(), read_ratchet_tree))
    # Without us node 3's list of unmerged leaves is as good as before; the parents stay valid.
    with pytest.raises(ValidationError, match=r"tree\.|welcome\.own-leaf-missing"):
        scene.join(scene.forged(scene.with_tree(tree)))


def test_every_leaf_of_the_tree_is_signed(scene: Scene) -> None:
    tree = scene.tree()
    leaf = tree.leaf(LeafIndex(1))  # the committer's own: no parent hash covers its signature
    assert leaf is not None
    tree.set_leaf(LeafIndex(1), replace(leaf, signature=bytes(64)))
    refused(scene, scene.with_tree(tree), "leaf.signature")


def test_a_leaf_that_expired_in_the_tree_does_not_keep_us_out() -> None:
    """PITFALLS: lifetimes are judged only when a KeyPackage is consumed (all here ended in 1970)."""
    circle = Circle(FAST, 3)
    lifetimes = [member.leaf_node.lifetime for member in circle[0].members]
    assert lifetimes[2] is not None
    circle.add(0)


def test_parents_are_linked_to_leaves_by_their_hashes(scene: Scene) -> None:
    tree = scene.tree()
    parent = tree.parent_node(tree.root)
    assert parent is not None
    tree.set_parents(LeafIndex(0), {tree.root: replace(parent, encryption_key=bytes(32))})
    refused(scene, scene.with_tree(tree), "tree.parent-hash")


def test_a_leaf_that_pretends_to_a_path_of_somebody_else_is_found(scene: Scene) -> None:
    """A leaf's parent hash must chain up to each parent; here the committer's leaf loses its own."""
    tree = scene.tree()
    leaf = tree.leaf(LeafIndex(1))
    assert leaf is not None
    signed = sign_leaf_node(
        FAST,
        scene.committer_key,
        replace(leaf, parent_hash=bytes(32), leaf_node_source=LeafNodeSource.COMMIT),
        group_id=scene.info.group_context.group_id,
        leaf_index=LeafIndex(1),
    )
    tree.set_leaf(LeafIndex(1), signed)
    refused(scene, scene.with_tree(tree), "tree.parent-hash")


def test_keys_do_not_repeat_in_the_tree(scene: Scene) -> None:
    tree = scene.tree()
    leaf = tree.leaf(LeafIndex(0))
    assert leaf is not None
    parent = tree.parent_node(tree.root)
    assert parent is not None
    tree.set_parents(LeafIndex(0), {tree.root: replace(parent, encryption_key=leaf.encryption_key)})
    refused(scene, scene.with_tree(tree), "tree.encryption-key-repeated")


def test_signature_keys_do_not_repeat_in_the_tree(scene: Scene) -> None:
    tree = scene.tree()
    first, last = tree.leaf(LeafIndex(0)), tree.leaf(LeafIndex(3))
    assert first is not None
    assert last is not None
    tree.set_leaf(LeafIndex(0), replace(first, signature_key=last.signature_key))
    refused(scene, scene.with_tree(tree), "tree.signature-key-repeated")


@pytest.mark.parametrize(
    ("listed", "rule"),
    [
        ((3, 2), "tree.unmerged-unsorted"),
        ((3, 3), "tree.unmerged-unsorted"),
        ((9,), "tree.unmerged-not-below"),
        ((2, 3), "tree.unmerged-between"),
    ],
)
def test_unmerged_leaves_are_sorted_below_and_listed_on_the_way(
    scene: Scene, listed: tuple[int, ...], rule: str
) -> None:
    tree = scene.tree()
    root = tree.parent_node(tree.root)
    assert root is not None
    lower = replace(root, encryption_key=b"k" * 32, unmerged_leaves=())
    unmerged = tuple(LeafIndex(leaf) for leaf in listed)
    tree.set_parents(LeafIndex(3), {NodeIndex(5): lower, tree.root: replace(root, unmerged_leaves=unmerged)})
    refused(scene, scene.with_tree(tree), rule)


def test_an_unmerged_leaf_is_not_blank() -> None:
    scene = Scene()
    tree = scene.tree()
    root = tree.parent_node(tree.root)
    assert root is not None
    tree.set_leaf(LeafIndex(2), None)
    tree.set_parents(LeafIndex(0), {tree.root: replace(root, unmerged_leaves=(LeafIndex(2),))})
    refused(scene, scene.with_tree(tree), "tree.unmerged-blank")


def test_a_malformed_tree_is_refused(scene: Scene) -> None:
    tree = scene.tree().to_bytes()
    for data in (b"", tree[:-1], tree + b"\0"):
        extension = Extension(extension_type=ExtensionType.RATCHET_TREE, extension_data=data)
        with pytest.raises(CodecError):
            scene.join(scene.forged(replace(scene.info, extensions=(extension,))))
    empty = Extension(extension_type=ExtensionType.RATCHET_TREE, extension_data=b"\0")
    refused(scene, replace(scene.info, extensions=(empty,)), "tree.empty")


@pytest.mark.parametrize("suite", [FAST, PRODUCT], ids=lambda suite: suite.name)
def test_a_flipped_bit_in_a_welcome_fails_closed(suite: CipherSuite) -> None:
    scene = Scene(suite)
    for position in range(0, len(scene.welcome), 1 if suite is FAST else 23):
        damaged = bytearray(scene.welcome)
        damaged[position] ^= 1 << position % 8
        with pytest.raises((CodecError, ValidationError, AuthenticationError)):
            scene.join(bytes(damaged))


def test_one_welcome_serves_several_joiners_and_shows_each_its_own_secrets() -> None:
    circle = Circle(FAST, 1)
    devices = [circle.new_device() for _ in range(3)]
    bundles = [device.key_package(circle.rng) for device in devices]
    pending = circle.pending(0, adds=[bundle.key_package for bundle in bundles])
    circle.apply(0, pending)
    assert pending.welcome is not None
    for index, (device, bundle) in enumerate(zip(devices, bundles, strict=True)):
        circle.groups[LeafIndex(index + 1)] = device.join(pending.welcome, bundle)
    circle.check()
    circle.update(3)
