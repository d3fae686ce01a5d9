"""policy.py: the product's profile, and the predicate P of R14 with real certificates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from crypto.code_points import CredentialType
from crypto.codec import encode
from crypto.commit import Commit
from crypto.credentials import Credential
from crypto.errors import ValidationError
from crypto.group import CommitReceived, Group
from crypto.key_package import KeyPackage, generate_key_package
from crypto.leaf_node import Capabilities, write_capabilities
from crypto.policy import ProcessingError, _Leaf, evaluate_predicate, product_capabilities
from crypto.proposals import Add
from crypto.suites import PRODUCT
from crypto.tree_math import LeafIndex
from crypto.update_path import HPKECiphertext
from keys.certificates import DeviceCertificate, DeviceRole
from support.mls_groups import LIFETIME, Circle, Device, forge, opened_commit, seeded
from support.persons import Person

CLIENT, PRIMARY, SECONDARY = 0, 1, 2
"""The leaves of :class:`Line`."""


class Line(Circle):
    """A client's device and two devices of a therapist, made without asking P."""

    def __init__(self, secondaries: int = 1) -> None:
        rng = seeded(3)
        self.client, self.therapist = Person(rng), Person(rng)
        super().__init__(PRODUCT, first=self.client.device())
        self.add(CLIENT, self.therapist.device())
        for _ in range(secondaries):
            self.add(PRIMARY, self.therapist.device(DeviceRole.SECONDARY))

    def key_package(self, device: Device) -> KeyPackage:
        return device.key_package(self.rng).key_package

    def verdict(self, message: bytes, *, by: int) -> str:
        """What all other members think of a commit; they must think the same, twice, and change nothing."""
        verdicts: set[str] = set()
        for leaf, group in self.groups.items():
            if leaf == by:
                continue
            before = group.to_bytes()
            for _ in range(2):
                verdicts.add(judge(group, message))
            assert group.to_bytes() == before
        (verdict,) = verdicts
        return verdict

    def verdict_on(self, by: int, adds: Sequence[Device] = (), removes: Sequence[int] = ()) -> str:
        pending = self.pending(by, adds=[self.key_package(device) for device in adds], removes=removes)
        return self.verdict(pending.message, by=by)


def judge(group: Group, message: bytes) -> str:
    try:
        received = evaluate_predicate(group, message, DeviceCertificate.decode)
    except ValidationError as error:
        return error.rule
    except ProcessingError:
        return "FAULT"
    assert isinstance(received, CommitReceived)
    return "P"


# -- what is allowed


def test_r14_a_self_update_holds() -> None:
    line = Line()
    for leaf in (CLIENT, PRIMARY, SECONDARY):
        assert line.verdict_on(leaf) == "P"


def test_r14_a_person_adds_and_removes_own_devices() -> None:
    line = Line()
    assert line.verdict_on(PRIMARY, adds=[line.therapist.device(DeviceRole.SECONDARY)]) == "P"
    assert line.verdict_on(PRIMARY, removes=[SECONDARY]) == "P"
    assert line.verdict_on(CLIENT, adds=[line.client.device(DeviceRole.SECONDARY)]) == "P"


def test_r14_anybody_replaces_a_stranded_device_of_anybody() -> None:
    line = Line()
    for committer, stranded in ((CLIENT, PRIMARY), (CLIENT, SECONDARY), (PRIMARY, CLIENT)):
        device = line.devices[LeafIndex(stranded)]
        assert line.verdict_on(committer, adds=[device], removes=[stranded]) == "P"


def test_r14_what_p_allows_can_be_merged() -> None:
    line = Line()
    pending = line.pending(PRIMARY)
    received = evaluate_predicate(line[CLIENT], pending.message, DeviceCertificate.decode)
    assert received.staged is not None
    merged = line[CLIENT].merge(received.staged)
    assert merged.epoch_authenticator == pending.staged.group.epoch_authenticator


def test_r14_who_is_removed_judges_too() -> None:
    line = Line()
    pending = line.pending(PRIMARY, removes=[SECONDARY])
    received = evaluate_predicate(line[SECONDARY], pending.message, DeviceCertificate.decode)
    assert received.staged is None


# -- P1


def test_r14_p1_garbage_and_messages_are_no_commits() -> None:
    line = Line()
    message = line[PRIMARY].protect(b"text", authenticated_data=b"", rng=line.rng)
    for data in (b"", b"garbage", message, line.pending(PRIMARY).message + b"\0"):
        assert line.verdict(data, by=PRIMARY) == "P1"


def test_r14_p1_a_commit_of_another_epoch_is_refused() -> None:
    line = Line()
    late = line.pending(PRIMARY).message
    line.update(CLIENT)
    assert line.verdict(late, by=PRIMARY) == "P1"


def test_r14_p1_a_commit_that_breaks_a_public_rule_is_refused_by_all_alike() -> None:
    line = Line()
    commit = opened_commit(line[CLIENT], line.pending(PRIMARY).message)
    assert commit.path is not None
    leaf = replace(commit.path.leaf_node, parent_hash=b"another")
    bad = replace(commit, path=replace(commit.path, leaf_node=leaf))
    assert line.verdict(forge(line[PRIMARY], bad, line.rng), by=PRIMARY) == "P1"


def test_r14_p1_reading_a_refused_commit_does_not_change_the_verdict_on_the_next() -> None:
    line = Line()
    refused = line.pending(PRIMARY, removes=[CLIENT]).message
    allowed = line.pending(PRIMARY).message
    judge(line[CLIENT], refused)
    assert line.verdict(allowed, by=PRIMARY) == "P"
    assert line.verdict(refused, by=PRIMARY) == "P3"


# -- P2


def test_r14_p2_nobody_adds_a_device_of_somebody_else() -> None:
    line = Line()
    assert line.verdict_on(CLIENT, adds=[line.therapist.device(DeviceRole.SECONDARY)]) == "P2"
    assert line.verdict_on(PRIMARY, adds=[line.client.device(DeviceRole.SECONDARY)]) == "P2"
    assert line.verdict_on(PRIMARY, adds=[Person(line.rng).device()]) == "P2"


def test_r14_p2_one_removed_leaf_is_replaced_by_one() -> None:
    line = Line()
    adds = [line.devices[LeafIndex(SECONDARY)], line.therapist.device(DeviceRole.SECONDARY)]
    assert line.verdict_on(CLIENT, adds=adds, removes=[SECONDARY]) == "P2"


@pytest.mark.parametrize("replacement", [False, True])
def test_r14_p2_a_certificate_that_the_identity_did_not_sign_is_refused(replacement: bool) -> None:
    line = Line()
    device = line.therapist.device(DeviceRole.SECONDARY)
    certificate = DeviceCertificate.decode(device.identity)
    device.identity = replace(certificate, signature=bytes(64)).encode()
    committer, removes = (CLIENT, [SECONDARY]) if replacement else (PRIMARY, [])
    assert line.verdict_on(committer, adds=[device], removes=removes) == "P2"


def test_r14_p2_a_certificate_of_another_device_is_refused() -> None:
    line = Line()
    device = line.therapist.device(DeviceRole.SECONDARY)
    device.identity = line.therapist.device(DeviceRole.SECONDARY).identity
    assert line.verdict_on(PRIMARY, adds=[device]) == "P2"


def test_r14_p2_a_credential_that_is_no_certificate_is_refused() -> None:
    line = Line()
    device = line.therapist.device(DeviceRole.SECONDARY)
    device.identity = b"trust me"
    assert line.verdict_on(PRIMARY, adds=[device]) == "P2"


def test_r14_p2_a_credential_of_another_type_is_refused() -> None:
    line = Line()
    device = line.therapist.device(DeviceRole.SECONDARY)
    chain = Credential(credential_type=CredentialType.X509, certificates=(device.identity,))
    key_package = generate_key_package(
        suite=PRODUCT,
        signature_private=device.signature_private,
        credential=chain,
        capabilities=replace(product_capabilities(), credentials=(1, 2)),
        lifetime=LIFETIME,
        rng=line.rng,
    ).key_package
    # RFC 9420 itself refuses it, since not all members support the type; P has no identity for it either.
    with pytest.raises(ValidationError, match=r"tree\.credential-type"):
        line.pending(PRIMARY, adds=[key_package])
    assert _Leaf(key_package.leaf_node, DeviceCertificate.decode).identity is None


@pytest.mark.parametrize(
    "change",
    [
        {"proposals": (8,)},
        {"extensions": (0x0A0A,)},
        {"cipher_suites": (0xF002, 1)},
        {"cipher_suites": (0x0A0A, 0xF002)},
        {"credentials": (1, 2)},
        {"versions": (1, 2)},
    ],
    ids=str,
)
def test_r14_p2_capabilities_are_exact(change: dict[str, tuple[int, ...]]) -> None:
    line = Line()
    device = line.therapist.device(DeviceRole.SECONDARY)
    device.capabilities = replace(product_capabilities(), **change)
    assert line.verdict_on(PRIMARY, adds=[device]) == "P2"


# -- P3


def test_r14_p3_nobody_removes_a_device_of_somebody_else() -> None:
    line = Line()
    assert line.verdict_on(CLIENT, removes=[SECONDARY]) == "P3"
    assert line.verdict_on(SECONDARY, removes=[CLIENT]) == "P3"
    adds = [line.devices[LeafIndex(SECONDARY)]]
    assert line.verdict_on(CLIENT, adds=adds, removes=[PRIMARY, SECONDARY]) == "P3"


# -- P4


def test_r14_p4_the_primary_device_is_only_replaced() -> None:
    line = Line()
    assert line.verdict_on(SECONDARY, removes=[PRIMARY]) == "P4"
    primary = line.devices[LeafIndex(PRIMARY)]
    assert line.verdict_on(SECONDARY, adds=[primary], removes=[PRIMARY]) == "P"
    other = line.therapist.device(DeviceRole.SECONDARY)
    assert line.verdict_on(SECONDARY, adds=[other], removes=[PRIMARY]) == "P4"
    assert line.verdict_on(CLIENT, adds=[other], removes=[PRIMARY]) == "P4"


# -- P5


def test_r14_p5_a_commit_has_a_path() -> None:
    line = Line()
    add = Add(key_package=line.key_package(line.therapist.device(DeviceRole.SECONDARY)))
    without = forge(line[PRIMARY], Commit(proposals=(add,), path=None), line.rng)
    assert line.verdict(without, by=PRIMARY) == "P5"


def test_r14_p5_the_committer_stays_who_it_was() -> None:
    line = Line()
    private, public = PRODUCT.generate_signature_key_pair(line.rng)
    for certificate, verdict in (
        (line.therapist.certificate(public), "P"),
        (line.client.certificate(public), "P5"),
        (replace(line.therapist.certificate(public), signature=bytes(64)), "P5"),
        (line.therapist.certificate(bytes(32)), "P5"),
    ):
        pending = line[PRIMARY].commit(
            adds=[],
            removes=[],
            rng=line.rng,
            authenticated_data=b"",
            signature_private=private,
            credential=Credential.basic(certificate.encode()),
        )
        assert line.verdict(pending.message, by=PRIMARY) == verdict


def test_r14_p5_a_group_has_at_most_four_leaves() -> None:
    line = Line(secondaries=1)
    fourth = line.therapist.device(DeviceRole.SECONDARY)
    assert line.verdict_on(PRIMARY, adds=[fourth]) == "P"
    line.add(PRIMARY, fourth)
    assert line.verdict_on(PRIMARY, adds=[line.therapist.device(DeviceRole.SECONDARY)]) == "P5"
    assert line.verdict_on(PRIMARY, adds=[fourth], removes=[3]) == "P"


def test_r14_p5_a_group_has_at_most_two_identities() -> None:
    line = Line()
    line.add(PRIMARY, Person(line.rng).device())  # made without asking P
    assert line.verdict_on(PRIMARY) == "P5"


# -- R15


def test_r15_a_path_that_does_not_open_for_us_is_a_fault_of_ours_alone() -> None:
    line = Line()
    commit = opened_commit(line[CLIENT], line.pending(PRIMARY).message)
    assert commit.path is not None
    nodes = tuple(
        replace(
            node,
            encrypted_path_secret=tuple(
                HPKECiphertext(kem_output=sealed.kem_output, ciphertext=bytes(len(sealed.ciphertext)))
                for sealed in node.encrypted_path_secret
            ),
        )
        for node in commit.path.nodes
    )
    bad = replace(commit, path=replace(commit.path, nodes=nodes))
    assert line.verdict(forge(line[PRIMARY], bad, line.rng), by=PRIMARY) == "FAULT"


def test_r15_a_confirmation_tag_that_does_not_fit_is_a_fault() -> None:
    line = Line()
    commit = opened_commit(line[CLIENT], line.pending(PRIMARY).message)
    assert line.verdict(forge(line[PRIMARY], commit, line.rng), by=PRIMARY) == "FAULT"


def test_r15_a_commit_by_our_clone_is_a_fault_of_ours_alone() -> None:
    line = Line()
    clone = Group.from_bytes(line[PRIMARY].to_bytes())
    commit = clone.commit(adds=[], removes=[], rng=line.rng, authenticated_data=b"").message
    assert judge(line[PRIMARY], commit) == "FAULT"
    assert line.verdict(commit, by=PRIMARY) == "P"


# -- the profile


def test_the_profile_is_exact_on_the_encoded_bytes() -> None:
    """PITFALLS: versions 1; suites 0xF002; no extensions, no proposals; credentials 1 (basic)."""
    encoded = encode(product_capabilities(), write_capabilities)
    assert encoded.hex() == "020001" + "02f002" + "00" + "00" + "020001"
    assert isinstance(product_capabilities(), Capabilities)
