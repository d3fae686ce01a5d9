"""crypto-basics: the labelled operations (RFC 9420 sections 5.1.2, 5.1.3, 5.2, 8 and 9.1)."""

from __future__ import annotations

import os

from clients.conformance.case import Case, expect_equal, field, integer, text, unhex
from crypto import labels
from crypto.suites import CipherSuite, suite


def check(case: Case) -> None:
    """Check all six operations."""
    algorithms = suite(integer(case, "cipher_suite"))
    _check_derivations(algorithms, case)
    _check_signature(algorithms, field(case, "sign_with_label"))
    _check_encryption(algorithms, field(case, "encrypt_with_label"))


def _check_derivations(algorithms: CipherSuite, case: Case) -> None:
    part = field(case, "ref_hash")
    out = labels.ref_hash(algorithms, text(part, "label"), unhex(part, "value"))
    expect_equal("ref_hash", out, unhex(part, "out"))

    part = field(case, "expand_with_label")
    out = labels.expand_with_label(
        algorithms,
        unhex(part, "secret"),
        text(part, "label"),
        unhex(part, "context"),
        integer(part, "length"),
    )
    expect_equal("expand_with_label", out, unhex(part, "out"))

    part = field(case, "derive_secret")
    out = labels.derive_secret(algorithms, unhex(part, "secret"), text(part, "label"))
    expect_equal("derive_secret", out, unhex(part, "out"))

    part = field(case, "derive_tree_secret")
    out = labels.derive_tree_secret(
        algorithms,
        unhex(part, "secret"),
        text(part, "label"),
        integer(part, "generation"),
        integer(part, "length"),
    )
    expect_equal("derive_tree_secret", out, unhex(part, "out"))


def _check_signature(algorithms: CipherSuite, part: Case) -> None:
    private, public = unhex(part, "priv"), unhex(part, "pub")
    label, content = text(part, "label"), unhex(part, "content")
    labels.verify_with_label(algorithms, public, label, content, unhex(part, "signature"))
    ours = labels.sign_with_label(algorithms, private, label, content)
    labels.verify_with_label(algorithms, public, label, content, ours)


def _check_encryption(algorithms: CipherSuite, part: Case) -> None:
    private, public = unhex(part, "priv"), unhex(part, "pub")
    label, context, plaintext = text(part, "label"), unhex(part, "context"), unhex(part, "plaintext")
    theirs = unhex(part, "kem_output"), unhex(part, "ciphertext")
    ours = labels.encrypt_with_label(algorithms, public, label, context, plaintext, os.urandom)
    for whose, (kem_output, ciphertext) in (("the vector's", theirs), ("our", ours)):
        opened = labels.decrypt_with_label(algorithms, private, label, context, kem_output, ciphertext)
        expect_equal(f"plaintext of {whose} ciphertext", opened, plaintext)
