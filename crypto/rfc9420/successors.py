"""Groups that continue another one: reinitialization, branches (RFC 9420 sections 11.2, 11.3, 12.4.3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crypto.code_points import ProtocolVersion
from crypto.errors import ValidationError
from crypto.group_context import GroupContext
from crypto.leaf_node import LeafNode
from crypto.proposals import ReInit
from crypto.psk_id import PreSharedKeyID, PSKType, ResumptionPSKUsage
from crypto.ratchet_tree import RatchetTree
from crypto.rfc9420.authentication import AuthenticationService
from crypto.rfc9420.proposals import check_psk
from crypto.rfc9420.state import FullState
from crypto.suites import CipherSuite


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """What a successor is compared with: the old group in the epoch that the resumption PSK names."""

    context: GroupContext
    members: tuple[LeafNode, ...]
    reinit: ReInit | None

    @classmethod
    def of(cls, state: FullState) -> Predecessor:
        """The present epoch of a group."""
        return cls(
            context=state.core.context,
            members=tuple(leaf for _, leaf in state.core.tree.members()),
            reinit=state.reinit,
        )

    def psk_id(self, usage: ResumptionPSKUsage, nonce: bytes) -> PreSharedKeyID:
        """The name of this epoch's resumption PSK; ``nonce`` is fresh, of ``Nh`` bytes of the new suite."""
        return PreSharedKeyID(
            psktype=PSKType.RESUMPTION,
            usage=usage,
            psk_group_id=self.context.group_id,
            psk_epoch=self.context.epoch,
            psk_nonce=nonce,
        )


def linking_psk(suite: CipherSuite, psks: Sequence[PreSharedKeyID]) -> PreSharedKeyID | None:
    """The PSK of a Welcome that links the new group to an old one, or None; all PSKs must be well formed.

    Raises:
        ValidationError: ``welcome.linking-psks``: more than one; ``psk.nonce-size``, ``psk.repeated``.
    """
    linking = [
        psk_id for psk_id in psks if psk_id.usage in {ResumptionPSKUsage.REINIT, ResumptionPSKUsage.BRANCH}
    ]
    if len(linking) > 1:
        raise ValidationError("welcome.linking-psks")
    for psk_id in psks:
        check_psk(suite, psk_id, psk_id.usage)
    if len(set(psks)) != len(psks):
        raise ValidationError("psk.repeated")
    return linking[0] if linking else None


def check_successor(
    psk_id: PreSharedKeyID,
    context: GroupContext,
    tree: RatchetTree,
    *,
    predecessor: Predecessor | None,
    service: AuthenticationService,
) -> None:
    """Check that a group joined by a Welcome is what its linking PSK promises (section 12.4.3.1, last step).

    Args:
        psk_id: Of :func:`linking_psk`.
        context: Of the new group.
        tree: Of the new group.
        predecessor: None if the old group is not known: then only the epoch can be judged.
        service: Tells whether two credentials mean the same client.

    Raises:
        ValidationError: ``successor.*`` names the rule broken.
    """
    if context.epoch != 1:
        raise ValidationError("successor.epoch")
    if predecessor is None:
        return
    old = predecessor.context
    if (psk_id.psk_group_id, psk_id.psk_epoch) != (old.group_id, old.epoch):
        raise ValidationError("successor.predecessor")
    members = tuple(leaf for _, leaf in tree.members())
    if psk_id.usage is ResumptionPSKUsage.REINIT:
        _check_reinit(predecessor.reinit, context)
        if not _all_in(service, predecessor.members, members):
            raise ValidationError("successor.members-missing")
    else:
        if context.cipher_suite != old.cipher_suite:
            raise ValidationError("successor.cipher-suite")
        if not _all_in(service, members, predecessor.members):
            raise ValidationError("successor.members-foreign")


def _check_reinit(reinit: ReInit | None, context: GroupContext) -> None:
    if reinit is None:
        raise ValidationError("successor.no-reinit")
    wanted = (reinit.version, reinit.cipher_suite, reinit.group_id, reinit.extensions)
    if wanted != (ProtocolVersion.MLS10, context.cipher_suite, context.group_id, context.extensions):
        raise ValidationError("successor.parameters")


def _all_in(service: AuthenticationService, some: Sequence[LeafNode], others: Sequence[LeafNode]) -> bool:
    return all(
        any(service.same_client(leaf.credential, other.credential) for other in others) for leaf in some
    )
