"""x509_authentication.py: certificate chains as credentials (RFC 9420 section 5.3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from clients.conformance.x509_authentication import X509Authentication
from crypto.code_points import CredentialType
from crypto.credentials import Credential
from crypto.errors import ValidationError
from crypto.group import OwnLeafParams
from crypto.key_package import generate_key_package
from crypto.leaf_node import Capabilities
from crypto.proposals import Add
from crypto.rfc9420.authentication import AuthenticationService
from crypto.rfc9420.full_group import FullGroup, own_device
from crypto.suites import P256_AES128
from support.mls_groups import LIFETIME, seeded

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    def __init__(self, text: str = "root") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name(text)
        self.certificate = self._issue(self.name, self.key.public_key(), ca=True)

    def _issue(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
        *,
        ca: bool = False,
        days: int = 30,
        host: str | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + days * DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        if ca:
            usage = x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
                encipher_only=False, decipher_only=False,
            )  # fmt: skip
            builder = builder.add_extension(usage, critical=True)
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def credential(
        self,
        key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
        text: str = "alice",
        *,
        days: int = 30,
        host: str | None = "alice.example",
    ) -> Credential:
        leaf = self._issue(name(text), key, days=days, host=host)
        return Credential(
            credential_type=CredentialType.X509, certificates=(leaf.public_bytes(Encoding.DER),)
        )


def octets(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


ROOT = Authority()
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key()
SERVICE = X509Authentication([ROOT.certificate], now=NOW)


def refused(credential: Credential, signature_key: bytes) -> str:
    with pytest.raises(ValidationError) as caught:
        SERVICE.validate(credential, signature_key)
    return caught.value.rule


def test_a_chain_to_a_trust_anchor_for_the_leafs_key_is_valid() -> None:
    SERVICE.validate(ROOT.credential(PUBLIC), octets(PUBLIC))


def test_a_certificate_for_another_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert refused(ROOT.credential(PUBLIC), octets(other)) == "credential.signature-key"


def test_an_unknown_issuer_and_an_expired_certificate_are_refused() -> None:
    assert refused(Authority("other").credential(PUBLIC), octets(PUBLIC)) == "credential.chain"
    assert refused(Authority().credential(PUBLIC), octets(PUBLIC)) == "credential.chain"
    late = X509Authentication([ROOT.certificate], now=NOW + 20 * DAY)
    with pytest.raises(ValidationError, match=r"credential\.chain"):
        late.validate(ROOT.credential(PUBLIC, days=10), octets(PUBLIC))


def test_what_is_no_certificate_is_refused() -> None:
    empty = Credential(credential_type=CredentialType.X509)
    assert refused(empty, octets(PUBLIC)) == "credential.malformed"
    garbage = Credential(credential_type=CredentialType.X509, certificates=(b"garbage",))
    assert refused(garbage, octets(PUBLIC)) == "credential.malformed"
    assert refused(Credential.basic(b"alice"), octets(PUBLIC)) == "credential.type"


def test_an_ed25519_key_may_be_certified_too() -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    SERVICE.validate(ROOT.credential(key), key.public_bytes_raw())


def test_clients_are_told_apart_by_what_their_certificates_present() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    alice = ROOT.credential(PUBLIC)
    assert SERVICE.same_client(alice, ROOT.credential(other))
    assert not SERVICE.same_client(alice, ROOT.credential(PUBLIC, host="bob.example"))
    assert SERVICE.same_client(ROOT.credential(PUBLIC, host=None), ROOT.credential(other, host=None))
    assert not SERVICE.same_client(
        ROOT.credential(PUBLIC, host=None), ROOT.credential(PUBLIC, "bob", host=None)
    )


def test_a_group_takes_in_only_whom_the_service_accepts() -> None:
    rng, suite = seeded(), P256_AES128
    service: AuthenticationService = SERVICE
    capabilities = Capabilities(versions=(1,), cipher_suites=(suite.code,), credentials=(1, 2))
    private = KEY.private_numbers().private_value.to_bytes(32, "big")
    group = FullGroup.create(
        suite=suite,
        group_id=b"x509",
        leaf=OwnLeafParams(
            signature_private=private, credential=ROOT.credential(PUBLIC), capabilities=capabilities
        ),
        rng=rng,
        device=own_device(service=service),
    )
    for authority, accepted in ((ROOT, True), (Authority("other"), False)):
        joiner = ec.generate_private_key(ec.SECP256R1())
        package = generate_key_package(
            suite=suite,
            signature_private=joiner.private_numbers().private_value.to_bytes(32, "big"),
            credential=authority.credential(joiner.public_key(), "bob"),
            capabilities=capabilities,
            lifetime=LIFETIME,
            rng=rng,
        ).key_package
        if accepted:
            assert len(group.commit([Add(key_package=package)], rng=rng).group.members) == 2
        else:
            with pytest.raises(ValidationError, match=r"credential\.chain"):
                group.commit([Add(key_package=package)], rng=rng)
