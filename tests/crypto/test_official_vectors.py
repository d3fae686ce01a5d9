"""The official MLS vectors, through the runner of ``amanat vectors mls`` (``../shared/vectors/mls``)."""

from __future__ import annotations

import pytest

from clients.conformance.runner import run_file
from support.vectors import vector_file

ALL_SUITES = {str(code) for code in range(1, 8)}

KINDS = {
    "tree-math": {"none"},
    "crypto-basics": ALL_SUITES,
    "deserialization": {"none"},
    "key-schedule": ALL_SUITES,
    "secret-tree": ALL_SUITES,
    "transcript-hashes": ALL_SUITES,
    "message-protection": ALL_SUITES,
    "psk_secret": ALL_SUITES,
    "tree-operations": {"1"},
    "tree-validation": ALL_SUITES,
    "treekem": ALL_SUITES,
    "welcome": ALL_SUITES,
    "messages": {"none"},
    "passive-client-welcome": ALL_SUITES,
    "passive-client-handling-commit": ALL_SUITES,
    "passive-client-random": {"1"},
}


@pytest.mark.workload
@pytest.mark.parametrize("kind", KINDS)
def test_the_official_vectors_pass_on_every_suite(kind: str) -> None:
    report = run_file(vector_file(f"{kind}.json"))
    assert kind.startswith(str(report.kind))
    assert report.reasons == []
    assert set(report.suites) == KINDS[kind]
    assert report.total.passed > 0
    assert (report.total.failed, report.total.skipped) == (0, 0)
