"""rfc9420/: passive clients follow active ones on every suite, by the check of the official vectors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clients.conformance.case import Mismatch
from clients.conformance.kinds.passive_client import check
from clients.conformance.registry import recognise
from crypto.errors import AuthenticationError, ValidationError
from crypto.private_message import PrivateMessage
from crypto.public_message import PublicMessage
from crypto.suites import SUITES
from support.passive_cases import (
    SCENARIOS,
    external_joins,
    joined_successor,
    many_proposals,
    random_walk,
    reinitialisation,
    removed,
    wire_formats,
)


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


def test_a_resumption_psk_is_found_under_any_name() -> None:
    case = joined_successor(1, 1)
    case["external_psks"][0]["psk_id"] = "00"
    case["external_psks"].insert(0, {"psk_id": "01", "psk": "02" * 32})
    check(case)
    del case["external_psks"][1]
    with pytest.raises(ValidationError, match=r"psk\.unknown"):
        check(case)


def test_an_additional_array_may_hold_resumption_psks() -> None:
    case = joined_successor(1, 0)
    given = case["external_psks"].pop(0)
    encoded = bytes.fromhex(given["psk_id"])
    epoch = int.from_bytes(encoded[-8:], "big")
    case["resumption_psks"] = [
        {"group_id": encoded[3:-8].hex(), "epoch": epoch, "psk": given["psk"]},
    ]
    check(case)


def test_a_commit_that_removes_the_client_ends_its_case() -> None:
    case = removed(1, 0)
    check(case)
    case["epochs"][-1]["epoch_authenticator"] = "00" * 32
    with pytest.raises(Mismatch, match="removes us"):
        check(case)


RAW_TYPES: dict[int, tuple[Any, Any]] = {
    1: (Ed25519PrivateKey, X25519PrivateKey),
    4: (Ed448PrivateKey, X448PrivateKey),
}


def p521(private: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int(private, 16), ec.SECP521R1())


def pkcs8(key: Any) -> str:
    encoded: bytes = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return encoded.hex()


def sec1(key: Any) -> str:
    encoded: bytes = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return encoded.hex()


@pytest.mark.parametrize("code", [1, 4, 5])
def test_keys_may_come_in_other_usual_forms(code: int) -> None:
    case = reinitialisation(code, 0)
    key = bytes.fromhex(case["signature_priv"])
    if code == 5:
        check(case | {name: pkcs8(p521(case[name])) for name in ("init_priv", "encryption_priv")})
        loaded = p521(case["signature_priv"])
        forms = [pkcs8(loaded), sec1(loaded), key.lstrip(b"\0").hex()]
    else:
        signature_type, init_type = RAW_TYPES[code]
        raw = signature_type.from_private_bytes(key)
        forms = [(key + raw.public_key().public_bytes_raw()).hex(), pkcs8(raw)]
        init = init_type.from_private_bytes(bytes.fromhex(case["init_priv"]))
        check(case | {"init_priv": pkcs8(init)})
    for form in forms:
        check(case | {"signature_priv": form})
    bare = {name: case[name][8:] for name in ("key_package", "welcome")}
    check(case | bare)


def test_what_is_empty_may_be_absent_or_null() -> None:
    case = many_proposals(1, 1)
    for epoch in case["epochs"]:
        if not epoch["proposals"]:
            del epoch["proposals"]
    check(case)
    for epoch in case["epochs"]:
        epoch["proposals"] = epoch.get("proposals")
    check(case | {"ratchet_tree": ""})
    joined = external_joins(1, 1)
    del joined["ratchet_tree"], joined["epochs"]
    for absent in ({}, {"external_psks": None, "epochs": None}):
        without = {name: value for name, value in joined.items() if name != "external_psks"} | absent
        check(without)
        kind = recognise([without], "external-joins")
        assert kind is not None
        assert kind.name == "passive-client"


def test_a_proposal_that_no_commit_names_may_be_anything() -> None:
    case = reinitialisation(1, 0)
    case["epochs"][0]["proposals"].append("00010001ff")
    check(case)
