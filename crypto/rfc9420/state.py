"""One member's state of one epoch, with the secrets that only all of RFC 9420 needs.

Beyond :class:`crypto.group_state.GroupState`: the membership key (PublicMessages), the external secret
(external commits), the confirmation tag (GroupInfo), proposals received, one's own Updates that nobody has
committed yet. The product keeps none of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from crypto.codec import encode
from crypto.framed_content import AuthenticatedContent, write_authenticated_content
from crypto.group_epoch import BegunEpoch
from crypto.group_state import GroupState
from crypto.key_schedule import derive_external_key_pair
from crypto.labels import make_proposal_ref
from crypto.proposals import ReInit
from crypto.ratchet_tree import RatchetTree
from crypto.rfc9420.authentication import AuthenticationService
from crypto.rfc9420.proposals import SentProposal
from crypto.rfc9420.psks import PskStore
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex, NodeIndex, leaf_to_node
from crypto.treekem import keys_that_fit


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnUpdate:
    """The private keys behind an Update that we proposed; ``signature_private`` is None if it stays."""

    encryption_private: Secret
    signature_private: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What all groups of a device share."""

    psks: PskStore
    service: AuthenticationService


@dataclass(slots=True, kw_only=True)
class FullState:
    """See the module.

    Attributes:
        core: What the product keeps too.
        device: What all our groups share.
        membership_key: MACs PublicMessages of members.
        external_secret: Gives the key pair of external commits.
        confirmation_tag: Of the commit that began this epoch.
        proposals: Received or sent in this epoch, by reference.
        own_updates: By the encryption key in the Update's leaf.
        reinit: The commit that began this epoch ended the group: nothing may be sent any more.
    """

    core: GroupState
    device: Device
    membership_key: Secret = field(repr=False)
    external_secret: Secret = field(repr=False)
    confirmation_tag: bytes = field(repr=False)
    proposals: dict[bytes, SentProposal] = field(default_factory=dict, repr=False)
    own_updates: dict[bytes, OwnUpdate] = field(default_factory=dict, repr=False)
    reinit: ReInit | None = None

    @property
    def suite(self) -> CipherSuite:
        """The group's cipher suite."""
        return self.core.suite

    def external_public_key(self) -> bytes:
        """What ``external_pub`` publishes (section 12.4.3.2)."""
        return derive_external_key_pair(self.suite, self.external_secret.reveal())[1]

    def remember(self, authenticated: AuthenticatedContent, sent: SentProposal) -> bytes:
        """Keep a proposal for the commit that names it; gives its reference (section 5.2)."""
        reference = make_proposal_ref(self.suite, encode(authenticated, write_authenticated_content))
        self.proposals[reference] = sent
        return reference

    def keys_after(self, unmerged: RatchetTree) -> tuple[GroupState, Mapping[NodeIndex, Secret]]:
        """Our core state and private keys once the proposals that led to ``unmerged`` are applied.

        An Update of our own that was among them brings its keys in.
        """
        core, own = self.core, LeafIndex(self.core.own_leaf)
        private_keys = keys_that_fit(core.tree, unmerged, core.private_keys)
        leaf = unmerged.leaf(own)
        update = None if leaf is None else self.own_updates.get(leaf.encryption_key)
        if update is not None:
            private_keys[leaf_to_node(own)] = update.encryption_private
            if update.signature_private is not None:
                core = replace(core, signature_private=update.signature_private)
        return core, private_keys


def full_state(begun: BegunEpoch, device: Device, *, reinit: ReInit | None = None) -> FullState:
    """Keep of a begun epoch what is needed here, its resumption PSK among the device's PSKs."""
    context = begun.state.context
    device.psks.add_resumption(context.group_id, context.epoch, begun.secrets.resumption_psk)
    return FullState(
        core=begun.state,
        device=device,
        membership_key=Secret(begun.secrets.membership_key),
        external_secret=Secret(begun.secrets.external_secret),
        confirmation_tag=begun.confirmation_tag,
        reinit=reinit,
    )
