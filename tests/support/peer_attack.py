"""What a removed member can do with everything it has: the test of tests/peers/test_removed_member.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from crypto.codec import CodecError
from crypto.commit import Commit
from crypto.errors import AuthenticationError, ValidationError
from crypto.group_context import GroupContext
from crypto.group_epoch import epoch_secrets
from crypto.group_state import GroupState
from crypto.key_schedule import derive_joiner_secret, mls_exporter
from crypto.labels import decrypt_with_label, derive_secret
from crypto.proposals import Remove
from crypto.rfc9420.full_group import FullGroup
from crypto.rfc9420.messages import open_any
from crypto.sensitive import Secret
from crypto.transcript import next_confirmed_transcript_hash
from crypto.treekem import merge_path
from support.peer import EXPORT_BYTES, EXPORT_CONTEXT, EXPORT_LABEL


def stolen_secrets(group: FullGroup, message: bytes) -> list[bytes]:
    """Every exported secret of the next epoch that a member removed by ``message`` can compute.

    It knows the whole last epoch: init_secret, all its HPKE keys, and, being able to read the commit, the new
    tree and transcript. Only commit_secret is missing: it tries zero, as for a commit without a path, and
    every path secret that any of its keys opens, with all that follow from it.
    """
    core = group._state.core
    suite = core.suite
    authenticated = open_any(group._state, message)
    commit = authenticated.content.content
    assert isinstance(commit, Commit)
    tree = core.tree.copy()
    for proposal in commit.proposals:
        assert isinstance(proposal, Remove)
        tree.remove_leaf(proposal.removed)
    if commit.path is not None:
        merge_path(suite, tree, authenticated.content.sender.leaf_index, commit.path, new_leaves=())
    provisional = replace(core.context, epoch=core.context.epoch + 1, tree_hash=tree.tree_hash())
    confirmed = next_confirmed_transcript_hash(suite, core.interim_transcript_hash, authenticated)
    context = replace(provisional, confirmed_transcript_hash=confirmed)
    stolen = []
    for commit_secret in _commit_secrets(core, commit, provisional):
        joiner_secret = derive_joiner_secret(
            suite,
            init_secret=core.init_secret.reveal(),
            commit_secret=commit_secret,
            group_context=context.to_bytes(),
        )
        exporter_secret = epoch_secrets(suite, Secret(joiner_secret), context).exporter_secret
        stolen.append(
            mls_exporter(
                suite, exporter_secret, label=EXPORT_LABEL, context=EXPORT_CONTEXT, length=EXPORT_BYTES
            )
        )
    return stolen


def _commit_secrets(core: GroupState, commit: Commit, provisional: GroupContext) -> Iterator[bytes]:
    suite = core.suite
    yield bytes(suite.nh)
    nodes = () if commit.path is None else commit.path.nodes
    for number, node in enumerate(nodes):
        for ciphertext in node.encrypted_path_secret:
            for private in core.private_keys.values():
                try:
                    path_secret = decrypt_with_label(
                        suite,
                        private.reveal(),
                        "UpdatePathNode",
                        provisional.to_bytes(),
                        ciphertext.kem_output,
                        ciphertext.ciphertext,
                    )
                except (AuthenticationError, ValidationError, CodecError):
                    continue
                for _ in range(len(nodes) - number):
                    path_secret = derive_secret(suite, path_secret, "path")
                    yield path_secret
