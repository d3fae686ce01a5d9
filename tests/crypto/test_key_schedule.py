"""key_schedule.py, psk_secret.py and transcript.py: what the official vectors do not say."""

from __future__ import annotations

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
