"""key-schedule: the secrets of a chain of epochs (RFC 9420 section 8)."""

from __future__ import annotations

from clients.conformance.case import (
    Case,
    expect_equal,
    field,
    integer,
    items,
    text,
    unhex,
    unhex_optional,
)
from crypto import key_schedule
from crypto.group_context import GroupContext
from crypto.psk_secret import no_psk_secret
from crypto.suites import CipherSuite, suite

SECRETS = (
    "init_secret",
    "sender_data_secret",
    "encryption_secret",
    "exporter_secret",
    "epoch_authenticator",
    "external_secret",
    "confirmation_key",
    "membership_key",
    "resumption_psk",
)


def check(case: Case) -> None:
    """Run the schedule through all epochs."""
    algorithms = suite(integer(case, "cipher_suite"))
    group_id = unhex(case, "group_id")
    init_secret = unhex(case, "initial_init_secret")
    for number, epoch in enumerate(items(case, "epochs")):
        init_secret = _check_epoch(algorithms, group_id, number, epoch, init_secret)


def _check_epoch(
    algorithms: CipherSuite, group_id: bytes, number: int, epoch: Case, init_secret: bytes
) -> bytes:
    group_context = GroupContext(
        cipher_suite=algorithms.code,
        group_id=group_id,
        epoch=number,
        tree_hash=unhex(epoch, "tree_hash"),
        confirmed_transcript_hash=unhex(epoch, "confirmed_transcript_hash"),
    ).to_bytes()
    where = f"of epoch {number}"
    expect_equal(f"group_context {where}", group_context, unhex(epoch, "group_context"))
    joiner_secret = key_schedule.derive_joiner_secret(
        algorithms,
        init_secret=init_secret,
        commit_secret=unhex(epoch, "commit_secret"),
        group_context=group_context,
    )
    expect_equal(f"joiner_secret {where}", joiner_secret, unhex(epoch, "joiner_secret"))
    psk_secret = unhex_optional(epoch, "psk_secret") or no_psk_secret(algorithms)
    welcome_secret = key_schedule.derive_welcome_secret(
        algorithms, joiner_secret=joiner_secret, psk_secret=psk_secret
    )
    expect_equal(f"welcome_secret {where}", welcome_secret, unhex(epoch, "welcome_secret"))
    secrets = key_schedule.derive_epoch_secrets(
        algorithms, joiner_secret=joiner_secret, psk_secret=psk_secret, group_context=group_context
    )
    for name in SECRETS:
        expect_equal(f"{name} {where}", getattr(secrets, name), unhex(epoch, name))
    _, external_pub = key_schedule.derive_external_key_pair(algorithms, secrets.external_secret)
    expect_equal(f"external_pub {where}", external_pub, unhex(epoch, "external_pub"))
    exporter = field(epoch, "exporter")
    exported = key_schedule.mls_exporter(
        algorithms,
        secrets.exporter_secret,
        label=text(exporter, "label"),
        context=unhex(exporter, "context"),
        length=integer(exporter, "length"),
    )
    expect_equal(f"exporter.secret {where}", exported, unhex(exporter, "secret"))
    return secrets.init_secret
