"""Makes vectors for cipher suite 0xF002 in the official JSON formats, one file for each kind.

    python tests/vectors_0xf002/generate.py [DIRECTORY]

Encapsulation and reuse guards are random, so two runs differ; the committed files are verified, not compared:
tests/conformance/test_vectors_0xf002.py. The formats are those of the MLS working group's test-vectors.md.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]  # importable wherever this is started

from clients.conformance.kinds.key_schedule import SECRETS as EPOCH_SECRETS  # noqa: E402
from clients.conformance.kinds.message_protection import _Epoch  # noqa: E402
from crypto import key_schedule, labels, transcript  # noqa: E402
from crypto.codec import encode  # noqa: E402
from crypto.commit import Commit  # noqa: E402
from crypto.framed_content import (  # noqa: E402
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    WireFormat,
    sign_framed_content,
    write_authenticated_content,
    write_content,
)
from crypto.group_context import GroupContext  # noqa: E402
from crypto.mls_message import MLSMessage  # noqa: E402
from crypto.private_message import protect_private, sender_data_key_nonce  # noqa: E402
from crypto.proposals import Remove  # noqa: E402
from crypto.psk_id import PreSharedKeyID, PSKType  # noqa: E402
from crypto.psk_secret import compute_psk_secret  # noqa: E402
from crypto.rfc9420.public_messages import protect_public  # noqa: E402
from crypto.secret_tree import MAX_GENERATION, RatchetPolicy, RatchetType, SecretTree  # noqa: E402
from crypto.suites import PRODUCT as SUITE  # noqa: E402
from crypto.tree_math import LeafIndex  # noqa: E402
from support import passive_cases  # noqa: E402
from vectors_0xf002 import trees  # noqa: E402

Case = dict[str, Any]
RNG = random.Random(0xF002).randbytes
HASH_BYTES = SUITE.nh


def crypto_basics() -> list[Case]:
    """One case."""
    value, secret, context = RNG(32), RNG(HASH_BYTES), RNG(32)
    signature_private, signature_public = SUITE.generate_signature_key_pair(RNG)
    private, public = SUITE.generate_key_pair(RNG)
    plaintext, content = RNG(32), RNG(32)
    kem_output, ciphertext = labels.encrypt_with_label(
        SUITE, public, "EncryptWithLabel", context, plaintext, RNG
    )
    return [
        {
            "cipher_suite": SUITE.code,
            "ref_hash": {
                "label": "RefHash",
                "value": value.hex(),
                "out": labels.ref_hash(SUITE, "RefHash", value).hex(),
            },
            "expand_with_label": {
                "secret": secret.hex(),
                "label": "ExpandWithLabel",
                "context": context.hex(),
                "length": 16,
                "out": labels.expand_with_label(SUITE, secret, "ExpandWithLabel", context, 16).hex(),
            },
            "derive_secret": {
                "secret": secret.hex(),
                "label": "DeriveSecret",
                "out": labels.derive_secret(SUITE, secret, "DeriveSecret").hex(),
            },
            "derive_tree_secret": {
                "secret": secret.hex(),
                "label": "DeriveTreeSecret",
                "generation": 2694881440,
                "length": 16,
                "out": labels.derive_tree_secret(SUITE, secret, "DeriveTreeSecret", 2694881440, 16).hex(),
            },
            "sign_with_label": {
                "priv": signature_private.hex(),
                "pub": signature_public.hex(),
                "content": content.hex(),
                "label": "SignWithLabel",
                "signature": labels.sign_with_label(SUITE, signature_private, "SignWithLabel", content).hex(),
            },
            "encrypt_with_label": {
                "priv": private.hex(),
                "pub": public.hex(),
                "label": "EncryptWithLabel",
                "context": context.hex(),
                "plaintext": plaintext.hex(),
                "kem_output": kem_output.hex(),
                "ciphertext": ciphertext.hex(),
            },
        }
    ]


def key_schedules() -> list[Case]:
    """A chain of five epochs."""
    group_id, init_secret = RNG(32), RNG(HASH_BYTES)
    case: Case = {
        "cipher_suite": SUITE.code,
        "group_id": group_id.hex(),
        "initial_init_secret": init_secret.hex(),
        "epochs": [],
    }
    for number in range(5):
        tree_hash, confirmed, commit_secret, psk_secret = (RNG(HASH_BYTES) for _ in range(4))
        context = GroupContext(
            cipher_suite=SUITE.code,
            group_id=group_id,
            epoch=number,
            tree_hash=tree_hash,
            confirmed_transcript_hash=confirmed,
        ).to_bytes()
        joiner_secret = key_schedule.derive_joiner_secret(
            SUITE, init_secret=init_secret, commit_secret=commit_secret, group_context=context
        )
        secrets = key_schedule.derive_epoch_secrets(
            SUITE, joiner_secret=joiner_secret, psk_secret=psk_secret, group_context=context
        )
        label, exporter_context = RNG(32).hex(), RNG(32)
        exported = key_schedule.mls_exporter(
            SUITE, secrets.exporter_secret, label=label, context=exporter_context, length=HASH_BYTES
        )
        welcome_secret = key_schedule.derive_welcome_secret(
            SUITE, joiner_secret=joiner_secret, psk_secret=psk_secret
        )
        _, external_pub = key_schedule.derive_external_key_pair(SUITE, secrets.external_secret)
        case["epochs"].append(
            {
                "tree_hash": tree_hash.hex(),
                "commit_secret": commit_secret.hex(),
                "psk_secret": psk_secret.hex(),
                "confirmed_transcript_hash": confirmed.hex(),
                "group_context": context.hex(),
                "joiner_secret": joiner_secret.hex(),
                "welcome_secret": welcome_secret.hex(),
                "external_pub": external_pub.hex(),
                "exporter": {
                    "label": label,
                    "context": exporter_context.hex(),
                    "length": HASH_BYTES,
                    "secret": exported.hex(),
                },
            }
            | {name: getattr(secrets, name).hex() for name in EPOCH_SECRETS}
        )
        init_secret = secrets.init_secret
    return [case]


def psk_secrets() -> list[Case]:
    """None to ten PSKs."""
    cases = []
    for count in range(11):
        psks = [(RNG(32), RNG(32), RNG(HASH_BYTES)) for _ in range(count)]
        named = [
            (PreSharedKeyID(psktype=PSKType.EXTERNAL, psk_id=psk_id, psk_nonce=nonce), psk)
            for psk_id, psk, nonce in psks
        ]
        cases.append(
            {
                "cipher_suite": SUITE.code,
                "psks": [
                    {"psk_id": psk_id.hex(), "psk": psk.hex(), "psk_nonce": nonce.hex()}
                    for psk_id, psk, nonce in psks
                ],
                "psk_secret": compute_psk_secret(SUITE, named).hex(),
            }
        )
    return cases


def secret_trees() -> list[Case]:
    """Trees of 1, 8 and 32 leaves, generations 0 and 15."""
    cases = []
    for size in (1, 8, 32):
        encryption_secret, sender_data_secret, ciphertext = RNG(HASH_BYTES), RNG(HASH_BYTES), RNG(77)
        tree = SecretTree(SUITE, size, encryption_secret, RatchetPolicy(max_forward=MAX_GENERATION))
        key, nonce = sender_data_key_nonce(SUITE, sender_data_secret, ciphertext)
        leaves = []
        for index in range(size):
            entries = []
            for generation in (0, 15):
                entry: Case = {"generation": generation}
                for ratchet in RatchetType:
                    prepared = tree.prepare(LeafIndex(index), ratchet, generation)
                    tree.consume(prepared)
                    entry[f"{ratchet.name.lower()}_key"] = prepared.key.key.hex()
                    entry[f"{ratchet.name.lower()}_nonce"] = prepared.key.nonce.hex()
                entries.append(entry)
            leaves.append(entries)
        cases.append(
            {
                "cipher_suite": SUITE.code,
                "encryption_secret": encryption_secret.hex(),
                "sender_data": {
                    "sender_data_secret": sender_data_secret.hex(),
                    "ciphertext": ciphertext.hex(),
                    "key": key.hex(),
                    "nonce": nonce.hex(),
                },
                "leaves": leaves,
            }
        )
    return cases


def message_protection() -> list[Case]:
    """A Remove, a commit of it, and application data, as the member at leaf 1 sends them."""
    signature_private, signature_public = SUITE.generate_signature_key_pair(RNG)
    context = GroupContext(
        cipher_suite=SUITE.code,
        group_id=RNG(32),
        epoch=1_184_274,
        tree_hash=RNG(HASH_BYTES),
        confirmed_transcript_hash=RNG(HASH_BYTES),
    )
    remove = Remove(removed=LeafIndex(2))
    contents = {
        "proposal": (ContentType.PROPOSAL, encode(remove, write_content)),
        "commit": (ContentType.COMMIT, encode(Commit(proposals=(remove,), path=None), write_content)),
        "application": (ContentType.APPLICATION, RNG(77)),
    }
    case: Case = {
        "cipher_suite": SUITE.code,
        "group_id": context.group_id.hex(),
        "epoch": context.epoch,
        "tree_hash": context.tree_hash.hex(),
        "confirmed_transcript_hash": context.confirmed_transcript_hash.hex(),
        "signature_priv": signature_private.hex(),
        "signature_pub": signature_public.hex(),
        "encryption_secret": RNG(HASH_BYTES).hex(),
        "sender_data_secret": RNG(HASH_BYTES).hex(),
        "membership_key": RNG(HASH_BYTES).hex(),
    }
    epoch = _Epoch(suite=SUITE, context=context, context_bytes=context.to_bytes(), case=case)
    for name, (kind, raw) in contents.items():
        tag = RNG(HASH_BYTES) if kind is ContentType.COMMIT else None
        case[name] = raw.hex()
        private = protect_private(
            SUITE,
            epoch.sign(raw, kind, WireFormat.PRIVATE_MESSAGE, tag),
            sender_data_secret=bytes.fromhex(case["sender_data_secret"]),
            secret_tree=epoch.secret_tree(),
            rng=RNG,
        )
        case[f"{name}_priv"] = MLSMessage(body=private).to_bytes().hex()
        if kind is not ContentType.APPLICATION:
            public = protect_public(
                SUITE,
                epoch.sign(raw, kind, WireFormat.PUBLIC_MESSAGE, tag),
                membership_key=bytes.fromhex(case["membership_key"]),
                group_context=epoch.context_bytes,
            )
            case[f"{name}_pub"] = MLSMessage(body=public).to_bytes().hex()
    return [case]


def transcript_hashes() -> list[Case]:
    """A signed commit, the two hashes after it and its tag."""
    before, confirmation_key = RNG(HASH_BYTES), RNG(HASH_BYTES)
    signature_private, _ = SUITE.generate_signature_key_pair(RNG)
    content = FramedContent(
        group_id=RNG(32),
        epoch=86,
        sender=Sender.member(LeafIndex(3)),
        authenticated_data=RNG(16),
        content_type=ContentType.COMMIT,
        content=Commit(proposals=(Remove(removed=LeafIndex(1)),), path=None),
    )
    signature = sign_framed_content(
        SUITE,
        signature_private,
        wire_format=WireFormat.PUBLIC_MESSAGE,
        content=content,
        group_context=RNG(64),
    )
    unsealed = AuthenticatedContent(
        wire_format=WireFormat.PUBLIC_MESSAGE,
        content=content,
        auth=FramedContentAuthData(signature=signature),
    )
    confirmed = transcript.next_confirmed_transcript_hash(SUITE, before, unsealed)
    tag = transcript.compute_confirmation_tag(SUITE, confirmation_key, confirmed)
    sealed = AuthenticatedContent(
        wire_format=WireFormat.PUBLIC_MESSAGE,
        content=content,
        auth=FramedContentAuthData(signature=signature, confirmation_tag=tag),
    )
    return [
        {
            "cipher_suite": SUITE.code,
            "confirmation_key": confirmation_key.hex(),
            "interim_transcript_hash_before": before.hex(),
            "authenticated_content": encode(sealed, write_authenticated_content).hex(),
            "confirmed_transcript_hash_after": confirmed.hex(),
            "interim_transcript_hash_after": transcript.next_interim_transcript_hash(
                SUITE, confirmed, tag
            ).hex(),
        }
    ]


def welcomes() -> list[Case]:
    """A Welcome to a group of one, by its creator."""
    world = passive_cases.Scenario(SUITE.code, 1)
    world.begin(tree=True, size=1)
    case = world.finished()
    signer = world.groups[LeafIndex(0)].members[0].leaf_node.signature_key
    return [
        {
            "cipher_suite": SUITE.code,
            "init_priv": case["init_priv"],
            "key_package": case["key_package"],
            "signer_pub": signer.hex(),
            "welcome": case["welcome"],
        }
    ]


def passive_welcomes() -> list[Case]:
    """Joins with and without the tree in the Welcome, with and without a PSK."""
    cases = []
    for seed, (tree, psk) in enumerate([(True, False), (False, False), (True, True), (False, True)]):
        world = passive_cases.Scenario(SUITE.code, seed)
        world.begin(tree=tree, psk=psk)
        cases.append(world.finished())
    return cases


def passive_commits() -> list[Case]:
    """One case of each scenario that needs no second group of another suite."""
    names = [name for name in passive_cases.SCENARIOS if "random" not in name]
    return [passive_cases.SCENARIOS[name](SUITE.code, 0) for name in names]


def passive_random() -> list[Case]:
    """One long walk."""
    return [passive_cases.random_walk(SUITE.code, 7, epochs=20)]


def kinds() -> dict[str, Callable[[], list[Case]]]:
    """File name to maker."""
    return {
        "crypto-basics": crypto_basics,
        "key-schedule": key_schedules,
        "message-protection": message_protection,
        "passive-client-handling-commit": passive_commits,
        "passive-client-random": passive_random,
        "passive-client-welcome": passive_welcomes,
        "psk_secret": psk_secrets,
        "secret-tree": secret_trees,
        "transcript-hashes": transcript_hashes,
        "tree-operations": lambda: list(trees.tree_operations(SUITE, RNG)),
        "tree-validation": lambda: [trees.tree_validation(grower) for grower in trees.grown(SUITE, RNG)],
        "treekem": lambda: [trees.treekem(grower) for grower in trees.grown(SUITE, RNG)],
        "welcome": welcomes,
    }


def main(arguments: list[str]) -> None:
    """Write all files."""
    directory = Path(arguments[0]) if arguments else HERE
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in kinds().items():
        (directory / f"{name}.json").write_text(json.dumps(make(), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
