"""The product's MLS profile, and the predicate P of R14 that judges a closing cell's commit.

P uses epoch state and bytes alone: no clock, directory or network, so that all devices judge alike. It adds
to the rules of RFC 9420 what this product allows: who may add and remove whom, with what, and how many.

How the rule is read where its text is short:

* P1 includes every check of RFC 9420 that public state allows (:func:`crypto.group_process.plan_commit`).
  What only our own secrets show (a path secret that does not open, a confirmation tag) is processing: R15.
* P2 and P3: a *replacement* pairs one removed leaf with one added leaf of the same identity. Leaves of
  another identity than the committer's change in no other way, so both numbers must be equal. The certificate
  of an added leaf must verify and be for that leaf's signature key, and its capabilities be exact,
  replacement or not: an unsigned certificate would be no identity at all.
* P4: a removed primary leaf is replaced by a primary leaf, else the replacement would take the role away.
* P5: the path leaf keeps the committer's identity under a certificate that verifies for the leaf's key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from crypto.code_points import CredentialType, ProtocolVersion
from crypto.errors import AuthenticationError, CodecError, StateError, ValidationError
from crypto.group import CommitReceived, Group
from crypto.group_process import CommitPlan
from crypto.leaf_node import Capabilities, LeafNode
from crypto.suites import PRODUCT, CipherSuite

MAX_LEAVES: Final = 4
"""Of a group (R2, R14): more do not fit a Welcome into one cell."""
MAX_IDENTITIES: Final = 2
"""Of a line (R14): one client, one therapist."""


class ProcessingError(Exception):
    """P holds, but this device cannot follow the commit (R15): FAULT, it is alone and goes to R18."""

    def __init__(self) -> None:
        super().__init__("a commit that the others accept cannot be processed here")


class CertificateView(Protocol):
    """What P needs of a device certificate; ``keys.certificates.DeviceCertificate`` is one."""

    @property
    def identity_key(self) -> bytes:
        """The person's public identity key."""

    @property
    def device_key(self) -> bytes:
        """The signature key that the certificate is for."""

    @property
    def primary(self) -> bool:
        """Whether it names its person's primary device."""

    def verify(self) -> None:
        """Check the signature by ``identity_key``, without a clock. Raises AuthenticationError."""


ReadCertificate = Callable[[bytes], CertificateView]
"""Decodes the identity of a basic credential; raises CodecError if it is no certificate."""


def product_capabilities(suite: CipherSuite = PRODUCT) -> Capabilities:
    """Exactly what every leaf of the product says of itself: MLS 1.0, suite 0xF002, basic credentials.

    Args:
        suite: Another one in simulations only, whose randomness is seeded.
    """
    return Capabilities(
        versions=(ProtocolVersion.MLS10,),
        cipher_suites=(suite.code,),
        extensions=(),
        proposals=(),
        credentials=(CredentialType.BASIC,),
    )


def evaluate_predicate(group: Group, message: bytes, read_certificate: ReadCertificate) -> CommitReceived:
    """Judge the commit in a closing cell (R14) and, if P holds, prepare to follow it.

    Nothing changes in ``group``; the commit takes effect in ``group.merge``. The commit of this very device
    is not for this function: it is recognised by its bytes and merged from the staged state (R13).

    Args:
        group: In the epoch that the cell's channel belongs to.
        message: The MLSMessage in the cell.
        read_certificate: How a leaf's credential is read.

    Raises:
        ValidationError: ``P1`` … ``P5``: the first part of P that fails; all devices move to the next turn.
        ProcessingError: P holds and processing fails (R15).
    """
    plan = _p1_is_a_valid_commit(group, message)
    before = {member.leaf_index: _Leaf(member.leaf_node, read_certificate) for member in group.members}
    committer = before[plan.committer]
    added = [_Leaf(member.key_package.leaf_node, read_certificate) for member in plan.applied.added]
    removed = [before[member.leaf_index] for member in plan.applied.removed]
    _p2_added_leaves(committer, added, removed, product_capabilities(group.suite))
    _p3_removed_leaves(committer, added, removed)
    _p4_primary_stays(added, removed)
    _p5_path_and_limits(plan, committer, read_certificate)
    try:
        return group.follow_commit(plan)
    except (ValidationError, AuthenticationError, CodecError, StateError):
        raise ProcessingError from None


class _Leaf:
    """A leaf read as the product reads it; unreadable certificates have no identity and equal none."""

    __slots__ = ("certificate", "node")

    def __init__(self, node: LeafNode, read_certificate: ReadCertificate) -> None:
        self.node = node
        self.certificate: CertificateView | None = None
        if node.credential.credential_type is CredentialType.BASIC:
            try:
                self.certificate = read_certificate(node.credential.identity)
            except (CodecError, ValidationError):
                self.certificate = None

    @property
    def identity(self) -> bytes | None:
        return None if self.certificate is None else self.certificate.identity_key

    @property
    def primary(self) -> bool:
        return self.certificate is not None and self.certificate.primary

    def check_certificate(self, rule: str) -> None:
        """Demand a genuine certificate for this very leaf's signature key.

        Raises:
            ValidationError: ``rule``.
        """
        if self.certificate is None or self.certificate.device_key != self.node.signature_key:
            raise ValidationError(rule)
        try:
            self.certificate.verify()
        except (AuthenticationError, ValidationError):
            raise ValidationError(rule) from None


def _p1_is_a_valid_commit(group: Group, message: bytes) -> CommitPlan:
    """P1: it decrypts and verifies as a commit of this epoch by a member."""
    try:
        return group.plan_commit(message)
    except (CodecError, ValidationError, AuthenticationError):
        raise ValidationError("P1") from None


def _p2_added_leaves(
    committer: _Leaf, added: list[_Leaf], removed: list[_Leaf], capabilities: Capabilities
) -> None:
    """P2: an added leaf has the committer's identity, or replaces a removed leaf of the same identity."""
    for leaf in added:
        leaf.check_certificate("P2")
        if leaf.node.capabilities != capabilities or leaf.node.extensions:
            raise ValidationError("P2")
    removed_of, added_of = _by_identity(removed), _by_identity(added)
    for identity, count in added_of.items():
        if identity != committer.identity and count > removed_of[identity]:
            raise ValidationError("P2")


def _p3_removed_leaves(committer: _Leaf, added: list[_Leaf], removed: list[_Leaf]) -> None:
    """P3: a removed leaf has the committer's identity, or is replaced by one of its own identity."""
    removed_of, added_of = _by_identity(removed), _by_identity(added)
    for identity, count in removed_of.items():
        if identity != committer.identity and count > added_of[identity]:
            raise ValidationError("P3")


def _p4_primary_stays(added: list[_Leaf], removed: list[_Leaf]) -> None:
    """P4: a primary device's leaf is removed only as a replacement."""
    gone = _by_identity([leaf for leaf in removed if leaf.primary])
    come = _by_identity([leaf for leaf in added if leaf.primary])
    for identity, count in gone.items():
        if count > come[identity]:
            raise ValidationError("P4")


def _p5_path_and_limits(plan: CommitPlan, committer: _Leaf, read_certificate: ReadCertificate) -> None:
    """P5: there is a path, the committer stays who it was, at most two identities and 4 leaves remain."""
    if plan.path is None:
        raise ValidationError("P5")
    leaf = _Leaf(plan.path.leaf_node, read_certificate)
    leaf.check_certificate("P5")
    if leaf.identity != committer.identity:
        raise ValidationError("P5")
    after = [_Leaf(node, read_certificate) for _, node in plan.tree.members()]
    if len(after) > MAX_LEAVES or len(_by_identity(after)) > MAX_IDENTITIES:
        raise ValidationError("P5")


def _by_identity(leaves: list[_Leaf]) -> Counter[bytes | None]:
    return Counter(leaf.identity for leaf in leaves)
