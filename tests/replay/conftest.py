"""No test of the replay leaves its recorder behind: it would note every key that later tests make."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clients.replay import recorder
from crypto.group_context import GroupContext
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from keys.certificates import DeviceCertificate

RECORDED = (
    (Secret, "__init__"),
    (CipherSuite, "extract"),
    (CipherSuite, "expand"),
    (CipherSuite, "derive_key_pair"),
    (CipherSuite, "signature_key_pair_from_seed"),
    (DeviceCertificate, "__init__"),
    (GroupContext, "__init__"),
)


@pytest.fixture(autouse=True)
def no_recorder_left() -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name in RECORDED]
    yield
    for owner, name, original in before:
        setattr(owner, name, original)
    recorder._installed = None
