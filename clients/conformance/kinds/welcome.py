"""welcome: opening a Welcome, its signature and its confirmation tag (RFC 9420 section 12.4.3.1)."""

from __future__ import annotations

from clients.conformance.case import Case, Mismatch, expect_equal, integer, unhex
from crypto.codec import decode
from crypto.group_info import verify_group_info
from crypto.key_package import KeyPackage
from crypto.key_schedule import derive_epoch_secrets, derive_welcome_secret
from crypto.mls_message import MLSMessage, read_mls_message
from crypto.psk_secret import no_psk_secret
from crypto.sensitive import Secret
from crypto.suites import suite
from crypto.transcript import verify_confirmation_tag
from crypto.welcome import Welcome, open_group_info, open_group_secrets


def _message(case: Case, name: str) -> MLSMessage:
    encoded = unhex(case, name)
    message = decode(encoded, read_mls_message)
    expect_equal(f"{name}, encoded again", message.to_bytes(), encoded)
    return message


def check(case: Case) -> None:
    """Open the Welcome with the KeyPackage's init key; verify GroupInfo and confirmation tag."""
    algorithms = suite(integer(case, "cipher_suite"))
    key_package, welcome = _message(case, "key_package").body, _message(case, "welcome").body
    if not isinstance(key_package, KeyPackage) or not isinstance(welcome, Welcome):
        raise Mismatch("field key_package or welcome holds another message")
    secrets = open_group_secrets(
        algorithms, welcome, key_package=key_package, init_private=Secret(unhex(case, "init_priv"))
    )
    joiner_secret, psk_secret = secrets.joiner_secret.reveal(), no_psk_secret(algorithms)
    welcome_secret = derive_welcome_secret(algorithms, joiner_secret=joiner_secret, psk_secret=psk_secret)
    group_info = open_group_info(algorithms, Secret(welcome_secret), welcome.encrypted_group_info)
    verify_group_info(algorithms, unhex(case, "signer_pub"), group_info)
    context = group_info.group_context
    epoch = derive_epoch_secrets(
        algorithms, joiner_secret=joiner_secret, psk_secret=psk_secret, group_context=context.to_bytes()
    )
    verify_confirmation_tag(
        algorithms,
        epoch.confirmation_key,
        context.confirmed_transcript_hash,
        group_info.confirmation_tag,
    )
