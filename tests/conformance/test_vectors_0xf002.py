"""Our own vectors for 0xF002: the committed files hold, cover every kind, and can be made anew.

That they are right is for others to say: tests/peers/test_vectors_by_ts_mls.py has ts-mls check them, and the
KEM below them is compared with the published vectors of ``cryptography-vectors``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cryptography_vectors
import pytest

from clients.conformance.runner import run
from crypto.labels import derive_secret
from crypto.suites import PRODUCT

HERE = Path(__file__).resolve().parents[1] / "vectors_0xf002"
CASES = {
    "crypto-basics": 1,
    "key-schedule": 1,
    "message-protection": 1,
    "passive-client-handling-commit": 6,
    "passive-client-random": 1,
    "passive-client-welcome": 4,
    "psk_secret": 11,
    "secret-tree": 3,
    "transcript-hashes": 1,
    "tree-operations": 5,
    "tree-validation": 8,
    "treekem": 8,
    "welcome": 1,
}
"""File and number of cases; tree-math, deserialization and messages name no suite."""


def check(directory: Path) -> None:
    report = run(sorted(directory.glob("*.json")))
    assert {Path(file.path).stem: file.total.passed for file in report.files} == CASES
    for file in report.files:
        assert (file.total.failed, file.total.skipped) == (0, 0), file.reasons
        assert set(file.suites) == {str(0xF002)}


def test_the_committed_vectors_hold() -> None:
    check(HERE)


@pytest.mark.workload
@pytest.mark.parametrize("name", CASES)
def test_their_form_is_that_of_the_official_ones(name: str) -> None:
    official = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "mls" / f"{name}.json"
    if not official.is_file():
        pytest.skip("../shared is not beside this checkout")
    theirs, ours = json.loads(official.read_text()), json.loads((HERE / f"{name}.json").read_text())
    assert {frozenset(case) for case in ours} <= {frozenset(case) for case in theirs}


def test_the_script_still_makes_good_ones(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(HERE / "generate.py"), str(tmp_path)], check=True, timeout=120, cwd=tmp_path
    )
    check(tmp_path)


def test_the_published_vectors_of_the_kem_hold() -> None:
    """DeriveKeyPair, on which all tree keys stand: draft-ietf-hpke-pq, KEM 0x647A."""
    with cryptography_vectors.open_vector_file("HPKE/hpke-pq-test-vectors.json", "r") as file:
        published = [vector for vector in json.load(file) if vector["kem_id"] == 0x647A]
    assert published
    for vector in published:
        private, public = PRODUCT.derive_key_pair(bytes.fromhex(vector["ikmR"]))
        assert (private.hex(), public.hex()) == (vector["skRm"], vector["pkRm"])


def test_tree_keys_are_derived_so() -> None:
    """Each path secret of the treekem cases gives a public key that stands in the tree."""
    for case in json.loads((HERE / "treekem.json").read_text()):
        for leaf in case["leaves_private"]:
            for known in leaf["path_secrets"]:
                node_secret = derive_secret(PRODUCT, bytes.fromhex(known["path_secret"]), "node")
                _, public = PRODUCT.derive_key_pair(node_secret)
                assert public.hex() in case["ratchet_tree"]
