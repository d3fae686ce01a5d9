"""hpke.py and dhkem.py against RFC 9180's own vectors (in the package ``cryptography-vectors``)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import cryptography_vectors
import pytest

from crypto import dhkem
from crypto.aead import AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305
from crypto.dhkem import DHKEM_P256, DHKEM_P384, DHKEM_P521, DHKEM_X448, DHKEM_X25519
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.hpke import ComposedHpke
from crypto.kdf import SHA256, SHA384, SHA512
from crypto.suites import SUITES

KEMS = {kem.kem_id: kem for kem in (DHKEM_P256, DHKEM_P384, DHKEM_P521, DHKEM_X25519, DHKEM_X448)}
KDFS = {kdf.kdf_id: kdf for kdf in (SHA256, SHA384, SHA512)}
AEADS = {aead.aead_id: aead for aead in (AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305)}
COMPOSED = [suite for suite in SUITES.values() if isinstance(suite.hpke, ComposedHpke)]


def published() -> list[dict[str, Any]]:
    with cryptography_vectors.open_vector_file("HPKE/test-vectors.json", "r") as file:
        vectors = json.load(file)
    return [
        vector
        for vector in vectors
        if vector["mode"] == 0 and vector["kem_id"] in KEMS and vector["aead_id"] in AEADS
    ]


def fixed(value: bytes) -> Callable[[int], bytes]:
    return lambda _size: value


def test_base_mode_agrees_with_the_published_vectors() -> None:
    seen = set()
    for vector in published():
        kem, kdf, aead = KEMS[vector["kem_id"]], KDFS[vector["kdf_id"]], AEADS[vector["aead_id"]]
        seen.add(kem.kem_id)
        hpke = ComposedHpke(kem=kem, kdf=kdf, aead=aead)
        info, private = bytes.fromhex(vector["info"]), bytes.fromhex(vector["skRm"])
        ephemeral = bytes.fromhex(vector["ikmE"])
        pair = hpke.derive_key_pair(bytes.fromhex(vector["ikmR"]))
        assert pair == (private, bytes.fromhex(vector["pkRm"]))
        assert hpke.public_key(private) == pair[1]
        first = vector["encryptions"][0]
        aad, plaintext = bytes.fromhex(first["aad"]), bytes.fromhex(first["pt"])
        enc, ciphertext = hpke.seal(pair[1], info=info, aad=aad, plaintext=plaintext, rng=fixed(ephemeral))
        assert (enc.hex(), ciphertext.hex()) == (vector["enc"], first["ct"])
        assert hpke.open(private, enc, info=info, aad=aad, ciphertext=ciphertext) == plaintext
        for export in vector["exports"]:
            context, length = bytes.fromhex(export["exporter_context"]), export["L"]
            secret = hpke.export_receive(private, enc, info=info, context=context, length=length)
            assert secret.hex() == export["exported_value"]
            assert hpke.export_send(
                pair[1], info=info, context=context, length=length, rng=fixed(ephemeral)
            ) == (enc, secret)
    assert seen >= {0x0010, 0x0012, 0x0020, 0x0021}


@pytest.mark.parametrize("suite", COMPOSED, ids=lambda suite: suite.name)
def test_every_suite_seals_and_opens_and_fails_closed(suite: Any) -> None:
    private, public = suite.generate_key_pair(os.urandom)
    enc, ciphertext = suite.hpke_seal(public, info=b"i", plaintext=b"p", rng=os.urandom)
    assert suite.hpke_open(private, enc, info=b"i", ciphertext=ciphertext) == b"p"
    for broken_enc, broken in (
        (enc, bytes([ciphertext[0] ^ 1]) + ciphertext[1:]),
        (enc[:-1] + bytes([enc[-1] ^ 1]), ciphertext),
        (enc[:-1], ciphertext),
        (b"", ciphertext),
        (enc, b""),
    ):
        with pytest.raises(AuthenticationError):
            suite.hpke_open(private, broken_enc, info=b"i", ciphertext=broken)
    with pytest.raises(ValidationError):
        suite.hpke_seal(public[:-1], info=b"", plaintext=b"", rng=os.urandom)
    with pytest.raises(StateError):
        suite.hpke_public_key(b"")


@pytest.mark.parametrize("suite", [COMPOSED[0], COMPOSED[3]], ids=["X25519", "X448"])
def test_a_public_key_of_low_order_is_refused(suite: Any) -> None:
    with pytest.raises(ValidationError):
        suite.hpke_seal(bytes(suite.hpke.n_public), info=b"", plaintext=b"", rng=os.urandom)
    private, _ = suite.generate_key_pair(os.urandom)
    with pytest.raises(AuthenticationError):
        suite.hpke_open(private, bytes(suite.hpke.n_public), info=b"", ciphertext=bytes(16))


def test_a_compressed_point_is_refused() -> None:
    suite = SUITES[2]
    _, public = suite.derive_key_pair(bytes(32))
    compressed = bytes([2 + (public[-1] & 1)]) + public[1:33]
    with pytest.raises(ValidationError):
        suite.hpke_seal(compressed, info=b"", plaintext=b"", rng=os.urandom)


def test_a_derivation_that_never_hits_the_range_is_said() -> None:
    with pytest.raises(StateError):
        dhkem.DHKEM_P256.group.derive_private(lambda _label, _info: b"\xff" * 32)
