"""The start of an epoch: from its secrets to a :class:`GroupState`.

Here the secrets of the key schedule part ways (RFC 9420 section 8): each goes to its only user, and those
that the epoch has no use for are dropped on return (section 9.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crypto.group_context import GroupContext
from crypto.group_state import GroupState
from crypto.key_schedule import EpochSecrets, derive_epoch_secrets
from crypto.psk_secret import no_psk_secret
from crypto.ratchet_tree import RatchetTree
from crypto.secret_tree import RatchetPolicy, SecretTree
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.transcript import compute_confirmation_tag, next_interim_transcript_hash
from crypto.tree_math import LeafIndex, NodeIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPart:
    """The parts of an epoch that are one member's own."""

    own_leaf: LeafIndex
    private_keys: Mapping[NodeIndex, Secret] = field(repr=False)
    signature_private: Secret = field(repr=False)
    ratchet_policy: RatchetPolicy
    signer: LeafIndex | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunEpoch:
    """A state together with the confirmation tag that its commit must carry.

    ``secrets`` are all of the epoch: whoever receives this object takes the state out and drops the rest.
    """

    state: GroupState
    confirmation_tag: bytes
    secrets: EpochSecrets = field(repr=False)


def epoch_secrets(
    suite: CipherSuite, joiner_secret: Secret, context: GroupContext, psk_secret: bytes | None = None
) -> EpochSecrets:
    """The key schedule; ``psk_secret`` is None without PSKs, as in the product."""
    return derive_epoch_secrets(
        suite,
        joiner_secret=joiner_secret.reveal(),
        psk_secret=no_psk_secret(suite) if psk_secret is None else psk_secret,
        group_context=context.to_bytes(),
    )


def begin_epoch(
    suite: CipherSuite,
    secrets: EpochSecrets,
    *,
    context: GroupContext,
    tree: RatchetTree,
    member: MemberPart,
) -> BegunEpoch:
    """Put a state together. The caller drops ``secrets`` and checks or sends the confirmation tag."""
    tag = compute_confirmation_tag(suite, secrets.confirmation_key, context.confirmed_transcript_hash)
    state = GroupState(
        suite=suite,
        context=context,
        tree=tree,
        own_leaf=member.own_leaf,
        private_keys=member.private_keys,
        signature_private=member.signature_private,
        interim_transcript_hash=next_interim_transcript_hash(suite, context.confirmed_transcript_hash, tag),
        sender_data_secret=Secret(secrets.sender_data_secret),
        init_secret=Secret(secrets.init_secret),
        exporter_secret=Secret(secrets.exporter_secret),
        epoch_authenticator=secrets.epoch_authenticator,
        secret_tree=SecretTree(suite, tree.n_leaves, secrets.encryption_secret, member.ratchet_policy),
        ratchet_policy=member.ratchet_policy,
        signer=member.signer,
    )
    return BegunEpoch(state=state, confirmation_tag=tag, secrets=secrets)
