"""ts-mls 1.6.4 checks our vectors for 0xF002, and a published DeriveKeyPair of ``cryptography-vectors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest

from support.peer import PeerRefused
from support.peer_ts import Bridge

HERE = Path(__file__).resolve().parents[1] / "vectors_0xf002"
KINDS = {
    "crypto-basics": "cryptoBasics",
    "key-schedule": "keySchedule",
    "psk_secret": "pskSecret",
    "secret-tree": "secretTree",
    "tree-operations": "treeOperations",
    "tree-validation": "treeValidation",
    "treekem": "treekem",
    "welcome": "welcome",
}


def cases(name: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((HERE / f"{name}.json").read_text())
    return read


def left_half_is_empty(case: dict[str, Any]) -> bool:
    leaves = [leaf["index"] for leaf in case["leaves_private"]]
    return min(leaves) >= 1 << (max(leaves).bit_length() - 1) if max(leaves) else False


@pytest.mark.parametrize("name", KINDS)
def test_ts_mls_finds_them_right(ts: Bridge, name: str) -> None:
    checked = 0
    for case in cases(name):
        if name == "treekem" and left_half_is_empty(case):  # docs/INTEROPERABILITY.md, T4
            with pytest.raises(PeerRefused, match="commit_secret"):
                ts.ask("call", name=KINDS[name], arguments=case)
            continue
        ts.ask("call", name=KINDS[name], arguments=case)
        checked += 1
    assert checked


@pytest.mark.parametrize("name", KINDS)
def test_ts_mls_finds_a_changed_one_wrong(ts: Bridge, name: str) -> None:
    """The checks can fail."""
    changed = {
        "crypto-basics": ("derive_secret", "out"),
        "key-schedule": ("epochs", 0, "external_pub"),
        "psk_secret": ("psk_secret",),
        "secret-tree": ("leaves", 0, 1, "handshake_nonce"),
        "tree-operations": ("tree_hash_after",),
        "tree-validation": ("tree_hashes", 1),
        "treekem": ("update_paths", 0, "commit_secret"),
        "welcome": ("signer_pub",),
    }[name]
    case: Any = cases(name)[0]
    place = case
    for key in changed[:-1]:
        place = place[key]
    last: Any = changed[-1]
    place[last] = ("00" if place[last][:2] != "00" else "01") + place[last][2:]
    with pytest.raises(PeerRefused):
        ts.ask("call", name=KINDS[name], arguments=case)


def test_the_override_of_derive_key_pair_is_that_of_the_draft(ts: Bridge) -> None:
    with cryptography_vectors.open_vector_file("HPKE/hpke-pq-test-vectors.json", "r") as file:
        published = [vector for vector in json.load(file) if vector["kem_id"] == 0x647A]
    assert published
    for vector in published:
        ts.ask("call", name="deriveKeyPair", arguments=vector)
