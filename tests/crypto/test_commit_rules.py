"""proposal_list.py, leaf_validation.py, treekem.py, group_process.py: each rule by a commit that breaks it.

The commits are well signed and well encrypted by a member who does not keep the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from crypto.code_points import CredentialType
from crypto.commit import Commit, ProposalOrRef, ProposalRef
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, ValidationError
from crypto.extensions import Extension, RequiredCapabilities
from crypto.group import Group, OwnLeafParams
from crypto.key_package import KEY_PACKAGE_TBS, KeyPackage, KeyPackageBundle
from crypto.labels import sign_with_label
from crypto.leaf_node import Capabilities, LeafNode, LeafNodeSource, sign_leaf_node
from crypto.parent_hash import set_path_keys
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
from crypto.psk_id import PreSharedKeyID, PSKType
from crypto.sensitive import Secret
from crypto.tree_math import LeafIndex
from crypto.treekem import NewPath, create_path, encrypt_path
from crypto.update_path import HPKECiphertext, UpdatePath, UpdatePathNode
from support.mls_groups import FAST, LIFETIME, Circle, Device, capabilities_of, forge, opened_commit, seeded


@pytest.fixture
def circle() -> Circle:
    return Circle(FAST, 4)


def refused(circle: Circle, commit: Commit, rule: str, *, by: int = 0) -> None:
    """All others refuse the commit by that rule, and nothing changes."""
    message = forge(circle[by], commit, circle.rng)
    for leaf, group in circle.groups.items():
        if leaf == by:
            continue
        before = group.to_bytes()
        with pytest.raises(ValidationError) as caught:
            group.unprotect(message)
        assert caught.value.rule == rule
        assert group.to_bytes() == before


def genuine(circle: Circle, *, adds: Sequence[KeyPackage] = (), removes: Sequence[int] = ()) -> Commit:
    """A commit by leaf 0 that keeps all rules."""
    return opened_commit(circle[1], circle.pending(0, adds=adds, removes=removes).message)


def with_proposals(circle: Circle, *proposals: ProposalOrRef) -> Commit:
    return replace(genuine(circle), proposals=proposals)


# -- lists of proposals (RFC 9420 section 12.2)


def test_a_committer_does_not_remove_itself(circle: Circle) -> None:
    refused(circle, with_proposals(circle, Remove(removed=LeafIndex(0))), "proposal.remove-committer")


def test_nobody_is_removed_twice(circle: Circle) -> None:
    twice = [Remove(removed=LeafIndex(3))] * 2
    refused(circle, with_proposals(circle, *twice), "proposal.remove-repeated")


@pytest.mark.parametrize("leaf", [4, 7, 2**32 - 1])
def test_nobody_is_removed_who_is_not_there(circle: Circle, leaf: int) -> None:
    refused(circle, with_proposals(circle, Remove(removed=LeafIndex(leaf))), "remove.blank-leaf")


def test_a_removed_leaf_is_not_removed_again(circle: Circle) -> None:
    circle.remove(0, 2)
    refused(circle, with_proposals(circle, Remove(removed=LeafIndex(2))), "remove.blank-leaf")


def test_nobody_is_added_twice(circle: Circle) -> None:
    device = circle.new_device()
    adds = [Add(key_package=device.key_package(circle.rng).key_package) for _ in range(2)]
    refused(circle, with_proposals(circle, *adds), "proposal.add-repeated")


@pytest.mark.parametrize("leaf", [0, 1, 3])
def test_nobody_is_added_who_is_there(circle: Circle, leaf: int) -> None:
    key_package = circle.devices[LeafIndex(leaf)].key_package(circle.rng).key_package
    refused(circle, with_proposals(circle, Add(key_package=key_package)), "proposal.add-present-member")


def test_an_update_by_value_is_refused(circle: Circle) -> None:
    leaf = circle[0].member(LeafIndex(0)).leaf_node
    refused(circle, with_proposals(circle, Update(leaf_node=leaf)), "proposal.update-by-committer")


def test_a_reference_is_refused(circle: Circle) -> None:
    refused(circle, with_proposals(circle, ProposalRef(reference=bytes(32))), "proposal.reference-refused")


@pytest.mark.parametrize(
    "proposal",
    [
        PreSharedKey(psk=PreSharedKeyID(psktype=PSKType.EXTERNAL, psk_id=b"x", psk_nonce=bytes(32))),
        ReInit(group_id=b"next", cipher_suite=1),
        ExternalInit(kem_output=b"x"),
        GroupContextExtensions(extensions=()),
    ],
    ids=lambda proposal: type(proposal).__name__,
)
def test_kinds_that_the_next_issue_brings_are_refused(circle: Circle, proposal: Proposal) -> None:
    refused(circle, with_proposals(circle, proposal), "proposal.type-refused")


def test_a_path_is_needed_for_an_empty_commit_and_for_a_remove(circle: Circle) -> None:
    refused(circle, Commit(proposals=(), path=None), "commit.path-missing")
    remove = Remove(removed=LeafIndex(2))
    refused(circle, Commit(proposals=(remove,), path=None), "commit.path-missing")


def test_an_add_without_a_path_is_a_matter_of_policy_not_of_the_rfc(circle: Circle) -> None:
    add = Add(key_package=circle.new_device().key_package(circle.rng).key_package)
    message = forge(circle[0], Commit(proposals=(add,), path=None), circle.rng)
    with pytest.raises(AuthenticationError):  # it goes as far as the made-up confirmation tag
        circle[1].unprotect(message)


# -- KeyPackages and leaves (sections 7.3, 10.1)


def signed_again(device: Device, bundle: KeyPackageBundle, *, leaf: LeafNode | None = None) -> KeyPackage:
    """The KeyPackage with another leaf, both signed by the device."""
    private = Secret(device.signature_private)
    new_leaf = sign_leaf_node(FAST, private, leaf or bundle.key_package.leaf_node)
    unsigned = replace(bundle.key_package, leaf_node=new_leaf, signature=b"")
    return sealed(device, unsigned)


def sealed(device: Device, key_package: KeyPackage) -> KeyPackage:
    unsigned = replace(key_package, signature=b"")
    tbs = unsigned.to_be_signed()
    return replace(unsigned, signature=sign_with_label(FAST, device.signature_private, KEY_PACKAGE_TBS, tbs))


def capabilities(**change: tuple[int, ...]) -> Capabilities:
    return replace(capabilities_of(FAST), **change)


LeafChange = Callable[[LeafNode], LeafNode]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda leaf: replace(leaf, encryption_key=bytes(31)), "leaf.encryption-key-size"),
        (lambda leaf: replace(leaf, capabilities=capabilities(versions=(2,))), "leaf.version"),
        (lambda leaf: replace(leaf, capabilities=capabilities(cipher_suites=(2,))), "leaf.cipher-suite"),
        (
            lambda leaf: replace(leaf, capabilities=capabilities(credentials=(2,))),
            "leaf.credential-not-listed",
        ),
        (
            lambda leaf: replace(leaf, extensions=(Extension(extension_type=0x0A0A, extension_data=b""),)),
            "leaf.extension-not-listed",
        ),
        (
            lambda leaf: replace(leaf, extensions=(Extension(extension_type=1, extension_data=b""),) * 2),
            "extensions.duplicate-type",
        ),
    ],
)
def test_a_joiner_whose_leaf_breaks_a_rule_is_not_added(
    circle: Circle, change: LeafChange, rule: str
) -> None:
    device = circle.new_device()
    bundle = device.key_package(circle.rng)
    bad = signed_again(device, bundle, leaf=change(bundle.key_package.leaf_node))
    refused(circle, with_proposals(circle, Add(key_package=bad)), rule)
    with pytest.raises(ValidationError, match=rule):
        circle.pending(0, adds=[bad])


def test_a_leaf_that_does_not_name_its_group_is_not_from_a_key_package(circle: Circle) -> None:
    device = circle.new_device()
    bundle = device.key_package(circle.rng)
    leaf = replace(bundle.key_package.leaf_node, leaf_node_source=LeafNodeSource.UPDATE, lifetime=None)
    bad = sealed(device, replace(bundle.key_package, leaf_node=leaf))
    refused(circle, with_proposals(circle, Add(key_package=bad)), "key-package.leaf-source")


def test_a_leaf_with_a_false_signature_is_not_added(circle: Circle) -> None:
    device = circle.new_device()
    bundle = device.key_package(circle.rng)
    leaf = replace(bundle.key_package.leaf_node, signature=bytes(64))
    bad = sealed(device, replace(bundle.key_package, leaf_node=leaf))
    refused(circle, with_proposals(circle, Add(key_package=bad)), "leaf.signature")


def test_key_packages_that_break_a_rule_are_not_added(circle: Circle) -> None:
    device = circle.new_device()
    good = device.key_package(circle.rng).key_package
    twice = (Extension(extension_type=0x0A0A, extension_data=b""),) * 2
    for bad, rule in (
        (sealed(device, replace(good, cipher_suite=2)), "key-package.cipher-suite"),
        (
            sealed(device, replace(good, init_key=good.leaf_node.encryption_key)),
            "key-package.init-key-reused",
        ),
        (sealed(device, replace(good, init_key=b"short")), "key-package.init-key"),
        (sealed(device, replace(good, extensions=twice)), "extensions.duplicate-type"),
        (replace(good, signature=bytes(64)), "key-package.signature"),
    ):
        refused(circle, with_proposals(circle, Add(key_package=bad)), rule)


def test_unknown_and_grease_values_are_ignored(circle: Circle) -> None:
    device = circle.new_device()
    device.capabilities = capabilities(
        versions=(1, 0x0A0A),
        cipher_suites=(0x1A1A, 1, 77),
        extensions=(0x2A2A, 0xFF00),
        proposals=(0x3A3A, 9),
        credentials=(0x4A4A, 1),
    )
    bundle = device.key_package(circle.rng)
    grease = (Extension(extension_type=0x2A2A, extension_data=b"anything"),)
    leaf = replace(bundle.key_package.leaf_node, extensions=grease)
    key_package = sealed(device, replace(signed_again(device, bundle, leaf=leaf), extensions=grease))
    pending = circle.pending(0, adds=[key_package])
    circle.apply(0, pending)
    assert pending.welcome is not None
    joined = device.join(pending.welcome, replace(bundle, key_package=key_package))
    circle.groups[joined.own_leaf] = joined
    circle.check()
    circle.update(joined.own_leaf)
    leaf_after = circle[0].member(joined.own_leaf).leaf_node
    assert (leaf_after.extensions, leaf_after.capabilities) == (grease, device.capabilities)


def test_what_the_group_requires_is_demanded_of_joiners() -> None:
    required = RequiredCapabilities(
        extension_types=(0xFF01, 1), proposal_types=(0xFF02, 3), credential_types=(1,)
    )
    rng = seeded(1)
    full = Capabilities(
        versions=(1,), cipher_suites=(1,), extensions=(0xFF01,), proposals=(0xFF02,), credentials=(1,)
    )
    creator = Device.make(FAST, "creator", rng)

    def create(capabilities: Capabilities) -> Group:
        return Group.create(
            suite=FAST,
            group_id=b"id",
            leaf=OwnLeafParams(
                signature_private=creator.signature_private,
                credential=creator.key_package(rng).key_package.leaf_node.credential,
                capabilities=capabilities,
                lifetime=LIFETIME,
            ),
            rng=rng,
            extensions=(required.to_extension(),),
        )

    for lacking in (
        replace(full, extensions=()),
        replace(full, proposals=(1,)),
        replace(full, credentials=(1, 2), extensions=(0xFF02,)),
    ):
        with pytest.raises(ValidationError, match=r"leaf\.required-capabilities"):
            create(lacking)
    group = create(full)
    joiner = Device.make(FAST, "joiner", rng)
    with pytest.raises(ValidationError, match=r"leaf\.required-capabilities"):
        group.commit(adds=[joiner.key_package(rng).key_package], removes=[], rng=rng, authenticated_data=b"")
    joiner.capabilities = full
    bundle = joiner.key_package(rng)
    pending = group.commit(adds=[bundle.key_package], removes=[], rng=rng, authenticated_data=b"")
    assert pending.welcome is not None
    assert joiner.join(pending.welcome, bundle).extensions == (required.to_extension(),)


def test_an_extension_of_the_group_must_be_supported() -> None:
    device = Device.make(FAST, "creator", seeded(1))
    with pytest.raises(ValidationError, match=r"leaf\.group-extension"):
        Group.create(
            suite=FAST,
            group_id=b"id",
            leaf=OwnLeafParams(
                signature_private=device.signature_private,
                credential=device.key_package(seeded(1)).key_package.leaf_node.credential,
                capabilities=capabilities_of(FAST),
            ),
            rng=seeded(1),
            extensions=(Extension(extension_type=0xFF01, extension_data=b""),),
        )


# -- paths (sections 7.5, 7.6, 12.4.2)


PathChange = Callable[[UpdatePath], UpdatePath]


def changed_leaf(circle: Circle, path: UpdatePath, leaf: LeafNode) -> UpdatePath:
    """The path with another leaf, signed by the committer for its place."""
    signed = sign_leaf_node(
        FAST,
        circle[0]._state.signature_private,
        leaf,
        group_id=circle[0].group_id,
        leaf_index=LeafIndex(0),
    )
    return replace(path, leaf_node=signed)


def refused_path(circle: Circle, change: PathChange, rule: str) -> None:
    commit = genuine(circle)
    assert commit.path is not None
    refused(circle, replace(commit, path=change(commit.path)), rule)


def test_a_path_has_the_length_of_the_filtered_path(circle: Circle) -> None:
    refused_path(circle, lambda path: replace(path, nodes=path.nodes[:-1]), "path.length")
    refused_path(circle, lambda path: replace(path, nodes=path.nodes + path.nodes[-1:]), "path.length")


def test_a_path_has_a_ciphertext_for_each_receiver(circle: Circle) -> None:
    def more(path: UpdatePath) -> UpdatePath:
        node = path.nodes[0]
        extra = HPKECiphertext(kem_output=b"", ciphertext=b"")
        nodes = (replace(node, encrypted_path_secret=(*node.encrypted_path_secret, extra)), *path.nodes[1:])
        return replace(path, nodes=nodes)

    def fewer(path: UpdatePath) -> UpdatePath:
        return replace(path, nodes=(replace(path.nodes[0], encrypted_path_secret=()), *path.nodes[1:]))

    refused_path(circle, more, "path.ciphertext-count")
    refused_path(circle, fewer, "path.ciphertext-count")


def test_the_keys_of_a_path_are_fresh(circle: Circle) -> None:
    present = circle[0].member(LeafIndex(3)).leaf_node.encryption_key

    def known(path: UpdatePath) -> UpdatePath:
        return replace(path, nodes=(replace(path.nodes[0], encryption_key=present), *path.nodes[1:]))

    def repeated(path: UpdatePath) -> UpdatePath:
        last = replace(path.nodes[-1], encryption_key=path.nodes[0].encryption_key)
        return replace(path, nodes=(*path.nodes[:-1], last))

    refused_path(circle, known, "path.key-not-fresh")
    refused_path(circle, repeated, "path.key-not-fresh")
    own = circle[0].member(LeafIndex(0)).leaf_node.encryption_key
    refused_path(
        circle,
        lambda path: changed_leaf(circle, path, replace(path.leaf_node, encryption_key=own)),
        "path.leaf-key-unchanged",
    )


def test_the_keys_of_a_path_have_the_right_size(circle: Circle) -> None:
    def short(path: UpdatePath) -> UpdatePath:
        return replace(path, nodes=(replace(path.nodes[0], encryption_key=b"short"), *path.nodes[1:]))

    refused_path(circle, short, "path.key-size")


def test_the_leaf_of_a_path_is_made_for_its_place(circle: Circle) -> None:
    refused_path(
        circle,
        lambda path: replace(path, leaf_node=replace(path.leaf_node, signature=bytes(64))),
        "leaf.signature",
    )
    refused_path(
        circle,
        lambda path: changed_leaf(
            circle, path, replace(path.leaf_node, leaf_node_source=LeafNodeSource.UPDATE)
        ),
        "leaf.source",
    )
    refused_path(
        circle,
        lambda path: changed_leaf(circle, path, replace(path.leaf_node, parent_hash=bytes(32))),
        "path.parent-hash",
    )


def test_nobody_takes_the_signature_key_of_another(circle: Circle) -> None:
    pending = circle.pending(0)
    commit = opened_commit(circle[1], pending.message)
    assert commit.path is not None
    other = circle[2]._state.signature_private
    leaf = replace(commit.path.leaf_node, signature_key=FAST.signature_public_key(other.reveal()))
    signed = sign_leaf_node(FAST, other, leaf, group_id=circle[0].group_id, leaf_index=LeafIndex(0))
    bad = replace(commit, path=replace(commit.path, leaf_node=signed))
    refused(circle, bad, "tree.signature-key-repeated")


def test_a_credential_type_is_used_only_if_all_support_it(circle: Circle) -> None:
    commit = genuine(circle)
    assert commit.path is not None
    leaf = replace(
        commit.path.leaf_node,
        credential=Credential(credential_type=CredentialType.X509, certificates=(b"x",)),
        capabilities=capabilities(credentials=(1, 2)),
    )
    bad = replace(commit, path=changed_leaf(circle, commit.path, leaf))
    refused(circle, bad, "tree.credential-type")


def test_a_path_secret_that_does_not_fit_the_public_keys_is_found(circle: Circle) -> None:
    """A committer who sends another secret than it derived the tree from."""
    commit = genuine(circle)
    assert commit.path is not None
    other_key = FAST.generate_key_pair(circle.rng)[1]
    # A root key that no path secret leads to; the parent hash is made to fit.
    tree = circle[0]._state.tree.copy()
    keys = [*(node.encryption_key for node in commit.path.nodes[:-1]), other_key]
    parent_hash = set_path_keys(FAST, tree, LeafIndex(0), tree.filtered_direct_path(LeafIndex(0)), keys)
    nodes: list[UpdatePathNode] = [
        replace(node, encryption_key=key) for node, key in zip(commit.path.nodes, keys, strict=True)
    ]
    path = replace(commit.path, nodes=tuple(nodes))
    path = changed_leaf(circle, path, replace(path.leaf_node, parent_hash=parent_hash))
    # The provisional context has another tree hash now, so the old ciphertexts do not open at all ...
    message = forge(circle[0], replace(commit, path=path), circle.rng)
    with pytest.raises(AuthenticationError):
        circle[1].unprotect(message)
    # ... and encrypted anew they open and do not fit.
    tree.set_leaf(LeafIndex(0), path.leaf_node)
    lie = NewPath(
        leaf=path.leaf_node,
        path=tuple(tree.filtered_direct_path(LeafIndex(0))),
        public_keys=tuple(keys),
        path_secrets=tuple(Secret(circle.rng(32)) for _ in keys),
        private_keys={},
        commit_secret=Secret(bytes(32)),
    )
    state = circle[0]._state
    context = replace(state.context, epoch=state.context.epoch + 1, tree_hash=tree.tree_hash())
    update_path = encrypt_path(FAST, tree, lie, context=context.to_bytes(), new_leaves=(), rng=circle.rng)
    refused(circle, replace(commit, path=update_path), "path.key-mismatch")


def test_a_path_secret_of_a_wrong_size_is_found(circle: Circle) -> None:
    state = circle[0]._state
    tree = state.tree.copy()
    new_path = create_path(
        FAST,
        tree,
        LeafIndex(0),
        leaf=state.own_leaf_node(),
        signature_private=state.signature_private,
        group_id=state.context.group_id,
        rng=circle.rng,
    )
    short = replace(new_path, path_secrets=tuple(Secret(b"short") for _ in new_path.path_secrets))
    context = replace(state.context, epoch=state.context.epoch + 1, tree_hash=tree.tree_hash())
    update_path = encrypt_path(FAST, tree, short, context=context.to_bytes(), new_leaves=(), rng=circle.rng)
    refused(circle, Commit(proposals=(), path=update_path), "path.secret-size")


def test_a_made_up_confirmation_tag_is_not_authentic(circle: Circle) -> None:
    message = forge(circle[0], genuine(circle), circle.rng)
    for leaf in (1, 2, 3):
        before = circle[leaf].to_bytes()
        with pytest.raises(AuthenticationError):
            circle[leaf].unprotect(message)
        assert circle[leaf].to_bytes() == before
