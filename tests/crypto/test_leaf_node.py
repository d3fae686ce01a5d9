"""leaf_node.py, key_package.py, credentials.py, extensions.py, proposals.py: structs, signatures, times."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.code_points import GREASE_VALUES, CredentialType
from crypto.codec import CodecError, Reader, Writer, decode, encode
from crypto.commit import Commit, ProposalRef, read_commit, write_commit
from crypto.credentials import Credential, read_credential, write_credential
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.extensions import (
    Extension,
    RequiredCapabilities,
    read_extensions,
    required_capabilities,
    write_extensions,
)
from crypto.grease import grease_extension, grease_value
from crypto.group_context import GroupContext, read_group_context, write_group_context
from crypto.key_package import check_key_package, check_lifetime, read_key_package
from crypto.leaf_node import (
    Capabilities,
    LeafNode,
    LeafNodeSource,
    Lifetime,
    read_capabilities,
    read_leaf_node,
    sign_leaf_node,
    verify_leaf_signature,
    write_capabilities,
    write_leaf_node,
)
from crypto.proposals import read_proposal
from crypto.psk_id import PreSharedKeyID, PSKType, ResumptionPSKUsage, read_psk_id, write_psk_id
from crypto.sensitive import Secret
from crypto.suites import PRODUCT
from crypto.tree_math import LeafIndex
from support.mls_groups import FAST, LIFETIME, Device, seeded

code_points = st.lists(st.integers(0, 0xFFFF) | st.sampled_from(GREASE_VALUES), max_size=6).map(tuple)
opaque = st.binary(max_size=80)
capabilities = st.builds(
    Capabilities,
    versions=code_points,
    cipher_suites=code_points,
    extensions=code_points,
    proposals=code_points,
    credentials=code_points,
)
extensions = st.lists(
    st.builds(Extension, extension_type=st.integers(0, 0xFFFF), extension_data=opaque), max_size=4
).map(tuple)
credentials = st.builds(Credential.basic, opaque) | st.builds(
    Credential,
    credential_type=st.just(CredentialType.X509),
    certificates=st.lists(opaque, max_size=3).map(tuple),
)
uint64 = st.integers(0, 2**64 - 1)


@st.composite
def leaves(draw: st.DrawFn) -> LeafNode:
    source = draw(st.sampled_from(LeafNodeSource))
    lifetime = st.builds(Lifetime, not_before=uint64, not_after=uint64)
    return LeafNode(
        encryption_key=draw(opaque),
        signature_key=draw(opaque),
        credential=draw(credentials),
        capabilities=draw(capabilities),
        leaf_node_source=source,
        lifetime=draw(lifetime) if source is LeafNodeSource.KEY_PACKAGE else None,
        parent_hash=draw(opaque) if source is LeafNodeSource.COMMIT else b"",
        extensions=draw(extensions),
        signature=draw(opaque),
    )


psk_ids = st.builds(
    PreSharedKeyID, psktype=st.just(PSKType.EXTERNAL), psk_id=opaque, psk_nonce=opaque
) | st.builds(
    PreSharedKeyID,
    psktype=st.just(PSKType.RESUMPTION),
    usage=st.sampled_from(ResumptionPSKUsage),
    psk_group_id=opaque,
    psk_epoch=uint64,
    psk_nonce=opaque,
)
contexts = st.builds(
    GroupContext,
    cipher_suite=st.integers(0, 0xFFFF),
    group_id=opaque,
    epoch=uint64,
    tree_hash=opaque,
    confirmed_transcript_hash=opaque,
    extensions=extensions,
)

STRUCTS: list[
    tuple[str, st.SearchStrategy[Any], Callable[[Reader], Any], Callable[[Writer, Any], object]]
] = [
    ("capabilities", capabilities, read_capabilities, write_capabilities),
    ("extensions", extensions, read_extensions, write_extensions),
    ("credential", credentials, read_credential, write_credential),
    ("leaf", leaves(), read_leaf_node, write_leaf_node),
    ("psk id", psk_ids, read_psk_id, write_psk_id),
    ("group context", contexts, read_group_context, write_group_context),
]


@pytest.mark.parametrize(("name", "strategy", "read", "write"), STRUCTS, ids=[row[0] for row in STRUCTS])
def test_structs_survive_the_round_trip(
    name: str,
    strategy: st.SearchStrategy[Any],
    read: Callable[[Reader], Any],
    write: Callable[[Writer, Any], object],
) -> None:
    @given(value=strategy)
    def round_trip(value: Any) -> None:
        encoded = encode(value, write)
        again = decode(encoded, read)
        assert again == value
        assert encode(again, write) == encoded
        with pytest.raises(CodecError):
            decode(encoded + b"\0", read)
        with pytest.raises(CodecError):
            decode(encoded[:-1], read)

    round_trip()


@given(data=st.binary(max_size=60))
def test_any_bytes_decode_or_are_malformed(data: bytes) -> None:
    for read in (read_leaf_node, read_proposal, read_commit, read_psk_id, read_key_package):
        with contextlib.suppress(CodecError):
            decode(data, read)


@pytest.mark.parametrize(
    ("data", "read", "reason"),
    [
        (b"\x00\x03\x00", read_credential, "unknown credential type"),
        (b"\x00\x08", read_proposal, "unknown proposal type"),
        (b"\x0a\x0a\x00", read_proposal, "unknown proposal type"),
        (b"\x00\x02", read_key_package, "not MLS 1.0"),
        (b"\x00\x02", read_group_context, "not MLS 1.0"),
        (b"\x03", read_psk_id, "unknown PSK type"),
        (b"\x02\x04", read_psk_id, "unknown usage"),
        (b"\x02\x03\x00\x00", read_commit, "neither a proposal nor a reference"),
    ],
)
def test_unknown_kinds_whose_length_nobody_knows_are_malformed(
    data: bytes, read: Callable[[Reader], object], reason: str
) -> None:
    with pytest.raises(CodecError, match=reason):
        decode(data, read)


def test_a_commit_with_a_reference_survives_the_round_trip() -> None:
    commit = Commit(proposals=(ProposalRef(reference=b"ref"),), path=None)
    assert decode(encode(commit, write_commit), read_commit) == commit


# -- leaves


def leaf_of(source: LeafNodeSource) -> tuple[Device, LeafNode]:
    device = Device.make(PRODUCT, "device", seeded(1))
    leaf = device.key_package(seeded(2)).key_package.leaf_node
    if source is not LeafNodeSource.KEY_PACKAGE:
        leaf = replace(leaf, leaf_node_source=source, lifetime=None)
    return device, leaf


@pytest.mark.parametrize("source", LeafNodeSource)
def test_the_signature_covers_content_and_place(source: LeafNodeSource) -> None:
    device, leaf = leaf_of(source)
    place = {"group_id": b"group", "leaf_index": LeafIndex(0)}
    signed = sign_leaf_node(PRODUCT, Secret(device.signature_private), leaf, **place)  # type: ignore[arg-type]  # mixed values
    verify_leaf_signature(PRODUCT, signed, group_id=b"group", leaf_index=LeafIndex(0))
    changed = replace(signed, credential=Credential.basic(b"somebody else"))
    with pytest.raises(AuthenticationError):
        verify_leaf_signature(PRODUCT, changed, group_id=b"group", leaf_index=LeafIndex(0))
    if source is LeafNodeSource.KEY_PACKAGE:
        verify_leaf_signature(PRODUCT, signed, group_id=None, leaf_index=None)
        return
    for group_id, leaf_index in ((b"other", 0), (b"group", 1)):
        with pytest.raises(AuthenticationError):
            verify_leaf_signature(PRODUCT, signed, group_id=group_id, leaf_index=LeafIndex(leaf_index))
    with pytest.raises(StateError):
        sign_leaf_node(PRODUCT, Secret(device.signature_private), leaf)


def test_a_decoded_leaf_keeps_its_bytes_and_a_changed_one_does_not() -> None:
    _, leaf = leaf_of(LeafNodeSource.KEY_PACKAGE)
    encoded = leaf.to_bytes()
    decoded = decode(encoded, read_leaf_node)
    assert decoded.to_bytes() == encoded
    assert replace(decoded, encryption_key=b"other").to_bytes() != encoded


def test_a_leaf_for_a_key_package_has_a_lifetime() -> None:
    _, leaf = leaf_of(LeafNodeSource.KEY_PACKAGE)
    with pytest.raises(StateError):
        replace(leaf, lifetime=None).to_bytes()


# -- KeyPackages


def test_a_fresh_key_package_is_valid_and_its_keys_fit() -> None:
    bundle = Device.make(PRODUCT, "device", seeded(1)).key_package(seeded(2))
    key_package = bundle.key_package
    check_key_package(PRODUCT, key_package)
    assert PRODUCT.hpke_public_key(bundle.init_private.reveal()) == key_package.init_key
    assert PRODUCT.hpke_public_key(bundle.encryption_private.reveal()) == key_package.leaf_node.encryption_key
    decoded = decode(key_package.to_bytes(), read_key_package)
    assert decoded == key_package
    assert decoded.to_be_signed() == key_package.to_be_signed()
    assert len(key_package.ref(PRODUCT)) == 48
    assert "redacted" in repr(bundle)


def test_a_key_package_of_a_future_version_is_refused() -> None:
    key_package = Device.make(FAST, "device", seeded(1)).key_package(seeded(2)).key_package
    with pytest.raises(ValidationError, match=r"key-package\.version"):
        check_key_package(FAST, replace(key_package, version=2))


@pytest.mark.parametrize(
    ("now", "rule"),
    [
        (LIFETIME.not_before, None),
        (LIFETIME.not_after, None),
        (LIFETIME.not_before - 26 * 3_600, None),
        (LIFETIME.not_after + 26 * 3_600, None),
        (LIFETIME.not_before - 26 * 3_600 - 1, "lifetime.not-yet-valid"),
        (LIFETIME.not_after + 26 * 3_600 + 1, "lifetime.expired"),
    ],
)
def test_a_lifetime_is_judged_with_26_hours_of_tolerance(now: int, rule: str | None) -> None:
    key_package = Device.make(FAST, "device", seeded(1)).key_package(seeded(2)).key_package
    if rule is None:
        check_lifetime(key_package, now=now)
        return
    with pytest.raises(ValidationError) as caught:
        check_lifetime(key_package, now=now)
    assert caught.value.rule == rule


def test_a_lifetime_is_not_too_wide_and_not_absent() -> None:
    key_package = Device.make(FAST, "device", seeded(1)).key_package(seeded(2)).key_package
    wide = Lifetime(not_before=0, not_after=30 * 86_400)
    for leaf, rule in (
        (replace(key_package.leaf_node, lifetime=wide), "lifetime.too-wide"),
        (replace(key_package.leaf_node, lifetime=Lifetime(not_before=9, not_after=8)), "lifetime.reversed"),
        (replace(key_package.leaf_node, lifetime=None), "lifetime.absent"),
    ):
        with pytest.raises(ValidationError) as caught:
            check_lifetime(replace(key_package, leaf_node=leaf), now=8)
        assert caught.value.rule == rule


# -- extensions and GREASE


def test_required_capabilities_are_read_from_their_extension() -> None:
    required = RequiredCapabilities(extension_types=(1,), proposal_types=(2,), credential_types=(3,))
    assert required_capabilities((required.to_extension(),)) == required
    assert required_capabilities(()) is None
    with pytest.raises(CodecError):
        required_capabilities((Extension(extension_type=3, extension_data=b"\x01"),))


def test_grease_values_are_those_of_the_rfc() -> None:
    assert [f"{value:04X}" for value in GREASE_VALUES[:3]] == ["0A0A", "1A1A", "2A2A"]
    assert GREASE_VALUES[-1] == 0xEAEA
    rng = seeded(1)
    assert {grease_value(rng) for _ in range(500)} == set(GREASE_VALUES)
    assert {len(grease_extension(rng).extension_data) for _ in range(500)} == set(range(16))
