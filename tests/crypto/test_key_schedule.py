"""key_schedule.py, psk_secret.py and transcript.py: what the official vectors do not say."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from crypto import key_schedule
from crypto.errors import AuthenticationError, ValidationError
from crypto.psk_secret import compute_psk_secret, no_psk_secret
from crypto.suites import PRODUCT
from crypto.transcript import (
    compute_confirmation_tag,
    next_confirmed_transcript_hash,
    verify_confirmation_tag,
)
from crypto.tree_math import LeafIndex
from support.mls_epoch import Member

JOINER = b"j" * PRODUCT.nh


def test_the_secrets_of_an_epoch_are_all_different_and_never_shown() -> None:
    secrets = key_schedule.derive_epoch_secrets(
        PRODUCT, joiner_secret=JOINER, psk_secret=no_psk_secret(PRODUCT), group_context=b"context"
    )
    values = [getattr(secrets, name) for name in secrets.__dataclass_fields__]
    assert len(set(values)) == len(values) == 9
    assert all(len(value) == PRODUCT.nh for value in values)
    assert repr(secrets) == "EpochSecrets()"


def test_the_group_context_changes_every_secret() -> None:
    first, second = (
        key_schedule.derive_epoch_secrets(
            PRODUCT, joiner_secret=JOINER, psk_secret=no_psk_secret(PRODUCT), group_context=context
        )
        for context in (b"one", b"two")
    )
    for name in first.__dataclass_fields__:
        assert getattr(first, name) != getattr(second, name)


def test_no_psks_give_the_zero_secret() -> None:
    assert compute_psk_secret(PRODUCT, []) == no_psk_secret(PRODUCT) == bytes(PRODUCT.nh)


def test_exported_values_depend_on_label_and_context_and_have_any_length() -> None:
    def export(label: str, context: bytes, length: int) -> bytes:
        return key_schedule.mls_exporter(PRODUCT, JOINER, label=label, context=context, length=length)

    assert len({export("a", b"", 32), export("b", b"", 32), export("a", b"x", 32)}) == 3
    assert [len(export("a", b"", length)) for length in (0, 1, 48, 1000)] == [0, 1, 48, 1000]


def test_a_confirmation_tag_fails_closed() -> None:
    tag = compute_confirmation_tag(PRODUCT, b"key", b"hash")
    verify_confirmation_tag(PRODUCT, b"key", b"hash", tag)
    for key, transcript, wrong in (
        (b"key", b"hash", None),
        (b"key", b"hash", b""),
        (b"key", b"hasH", tag),
        (b"kez", b"hash", tag),
    ):
        with pytest.raises(AuthenticationError):
            verify_confirmation_tag(PRODUCT, key, transcript, wrong)


def test_only_a_commit_enters_the_transcript() -> None:
    with pytest.raises(ValidationError, match="not-a-commit"):
        next_confirmed_transcript_hash(PRODUCT, b"", Member(leaf=LeafIndex(0)).sign(b"x"))


# What follows derives the schedule a second time from the RFC's text, with nothing of ours but the sizes:
# SHA-384 and AES-256 are those of 0xF002.

NH = 48


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract (RFC 5869)."""
    return hmac.digest(salt, secret, "sha384")


def expand_with_label(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """ExpandWithLabel (RFC 9420 section 8); every length here fits into one byte of prefix or one block."""
    full = b"MLS 1.0 " + label
    info = length.to_bytes(2, "big") + bytes([len(full)]) + full + bytes([len(context)]) + context
    assert length <= NH
    return hmac.digest(secret, info + b"\x01", "sha384")[:length]


def derive(secret: bytes, label: bytes) -> bytes:
    """DeriveSecret (RFC 9420 section 8)."""
    return expand_with_label(secret, label, b"", NH)


def test_the_joiner_secret_is_that_of_section_8() -> None:
    init_secret, commit_secret = b"i" * NH, b"c" * NH
    expected = expand_with_label(extract(init_secret, commit_secret), b"joiner", b"context", NH)
    assert expected == key_schedule.derive_joiner_secret(
        PRODUCT, init_secret=init_secret, commit_secret=commit_secret, group_context=b"context"
    )


def test_each_secret_of_the_epoch_has_the_label_of_table_4() -> None:
    psk_secret = b"p" * NH
    secrets = key_schedule.derive_epoch_secrets(
        PRODUCT, joiner_secret=JOINER, psk_secret=psk_secret, group_context=b"context"
    )
    epoch_secret = expand_with_label(extract(JOINER, psk_secret), b"epoch", b"context", NH)
    assert {name: getattr(secrets, name) for name in secrets.__dataclass_fields__} == {
        "sender_data_secret": derive(epoch_secret, b"sender data"),
        "encryption_secret": derive(epoch_secret, b"encryption"),
        "exporter_secret": derive(epoch_secret, b"exporter"),
        "external_secret": derive(epoch_secret, b"external"),
        "confirmation_key": derive(epoch_secret, b"confirm"),
        "membership_key": derive(epoch_secret, b"membership"),
        "resumption_psk": derive(epoch_secret, b"resumption"),
        "epoch_authenticator": derive(epoch_secret, b"authentication"),
        "init_secret": derive(epoch_secret, b"init"),
    }


def test_the_welcome_key_is_that_of_section_12_4_3_1() -> None:
    psk_secret = b"p" * NH
    welcome_secret = derive(extract(JOINER, psk_secret), b"welcome")
    assert welcome_secret == key_schedule.derive_welcome_secret(
        PRODUCT, joiner_secret=JOINER, psk_secret=psk_secret
    )
    assert key_schedule.derive_welcome_key_nonce(PRODUCT, welcome_secret) == (
        expand_with_label(welcome_secret, b"key", b"", 32),
        expand_with_label(welcome_secret, b"nonce", b"", 12),
    )


def test_the_exporter_is_that_of_section_8_5() -> None:
    derived = derive(JOINER, b"label")
    context_hash = hashlib.sha384(b"context").digest()
    assert key_schedule.mls_exporter(PRODUCT, JOINER, label="label", context=b"context", length=32) == (
        expand_with_label(derived, b"exported", context_hash, 32)
    )


def test_the_external_key_pair_is_derived_from_the_external_secret() -> None:
    assert key_schedule.derive_external_key_pair(PRODUCT, JOINER) == PRODUCT.derive_key_pair(JOINER)
