"""rfc9420/: passive clients follow active ones on every suite, by the check of the official vectors."""

from __future__ import annotations

import copy

import pytest

from clients.conformance.case import Mismatch
from clients.conformance.kinds.passive_client import check
from crypto.errors import AuthenticationError, ValidationError
from crypto.private_message import PrivateMessage
from crypto.public_message import PublicMessage
from crypto.suites import SUITES
from support.passive_cases import SCENARIOS, many_proposals, random_walk, reinitialisation, wire_formats


@pytest.mark.parametrize("code", sorted(SUITES))
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_passive_clients_follow_active_ones(scenario: str, code: int) -> None:
    if scenario == "random_walk":
        check(random_walk(code, code, epochs=6))
    else:
        check(SCENARIOS[scenario](code, code % 2))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 13))
def test_passive_clients_follow_long_random_walks(seed: int) -> None:
    check(random_walk(1, seed, epochs=40))


def test_the_cases_have_both_wire_formats() -> None:
    assert wire_formats(many_proposals(1, 1)) == {PublicMessage, PrivateMessage}


def test_a_wrong_authenticator_a_missing_proposal_and_an_unknown_psk_are_seen() -> None:
    case = many_proposals(1, 1)
    wrong = copy.deepcopy(case)
    wrong["epochs"][2]["epoch_authenticator"] = "00" * 32
    with pytest.raises(Mismatch, match="epoch_authenticator of epoch 2"):
        check(wrong)
    missing = copy.deepcopy(case)
    missing["epochs"][0]["proposals"] = []
    with pytest.raises(ValidationError, match=r"proposal\.reference-unknown"):
        check(missing)
    unknown = copy.deepcopy(case)
    unknown["external_psks"] = []
    with pytest.raises(ValidationError, match=r"psk\.unknown"):
        check(unknown)
    other = copy.deepcopy(case)
    other["external_psks"][0]["psk"] = "00" * 32
    with pytest.raises(AuthenticationError):
        check(other)
    stranger = copy.deepcopy(case)
    stranger["init_priv"] = "11" * 32
    with pytest.raises(Mismatch, match="init_priv"):
        check(stranger)


def test_a_proposal_that_no_commit_names_may_be_anything() -> None:
    case = reinitialisation(1, 0)
    case["epochs"][0]["proposals"].append("00010001ff")
    check(case)
