"""The official vectors of trees, TreeKEM, Welcome and messages (``../shared/vectors/mls``)."""

from __future__ import annotations

import pytest

from clients.conformance.case import Case, Mismatch
from clients.conformance.kinds import messages, tree_operations, tree_validation, treekem, welcome
from support.vectors import vector_cases

SUITES = range(1, 8)


@pytest.mark.workload
def test_tree_operations() -> None:
    cases = vector_cases("tree-operations.json")
    assert len(cases) == 5
    for case in cases:
        tree_operations.check(case)


@pytest.mark.workload
@pytest.mark.parametrize("suite", SUITES)
def test_tree_validation(suite: int) -> None:
    for case in of_suite("tree-validation.json", suite):
        tree_validation.check(case)


@pytest.mark.workload
@pytest.mark.parametrize("suite", SUITES)
def test_treekem(suite: int) -> None:
    for case in of_suite("treekem.json", suite):
        treekem.check(case)


@pytest.mark.workload
@pytest.mark.parametrize("suite", SUITES)
def test_welcome(suite: int) -> None:
    for case in of_suite("welcome.json", suite):
        welcome.check(case)


@pytest.mark.workload
def test_messages() -> None:
    cases = vector_cases("messages.json")
    assert len(cases) == 300
    for case in cases:
        messages.check(case)


@pytest.mark.workload
def test_the_checks_notice_a_wrong_vector() -> None:
    case = dict(vector_cases("tree-operations.json")[0])
    for field in ("tree_hash_before", "tree_after", "tree_hash_after"):
        with pytest.raises(Mismatch, match=field):
            tree_operations.check({**case, field: "00"})
    case = dict(vector_cases("tree-validation.json")[0])
    with pytest.raises(Mismatch, match="tree hash of node 0"):
        tree_validation.check({**case, "tree_hashes": ["00"] * len(case["tree_hashes"])})
    case = dict(vector_cases("treekem.json")[1])
    wrong = [{**entry, "commit_secret": "00"} for entry in case["update_paths"]]
    with pytest.raises(Mismatch, match="commit_secret"):
        treekem.check({**case, "update_paths": wrong})


def of_suite(name: str, suite: int) -> list[Case]:
    cases: list[Case] = [case for case in vector_cases(name) if case["cipher_suite"] == suite]
    assert cases
    return cases
