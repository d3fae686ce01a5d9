"""Labelled operations of RFC 9420: the one place where "MLS 1.0 " is put in front of a label.

Sections 5.1.2 (SignWithLabel), 5.1.3 (EncryptWithLabel), 5.2 (references), 8 (ExpandWithLabel), 9.1
(DeriveTreeSecret). Labels are strings without the prefix, encoded in UTF-8 (all of the RFC's are ASCII).
"""

from __future__ import annotations

from functools import cache
from typing import Final

from crypto.codec import encode_length, encode_opaque
from crypto.dhkem import Rng
from crypto.signatures import Signer
from crypto.suites import CipherSuite

PREFIX: Final = b"MLS 1.0 "


@cache
def _prefixed(label: str) -> bytes:
    """``opaque label<V>`` with the prefix in front; labels are few and no secrets."""
    return encode_opaque(PREFIX + label.encode("utf-8"))


def _labelled(label: str, content: bytes) -> bytes:
    """``struct { opaque label<V>; opaque content<V>; }`` with the prefix put in front of the label."""
    return b"".join((_prefixed(label), encode_length(len(content)), content))


@cache
def _kdf_label_head(label: str, length: int) -> bytes:
    """``uint16 length; opaque label<V>;`` of KDFLabel: labels and lengths are few and no secrets."""
    return length.to_bytes(2, "big") + _prefixed(label)


def expand_with_label(suite: CipherSuite, secret: bytes, label: str, context: bytes, length: int) -> bytes:
    """ExpandWithLabel (section 8): ``length`` bytes."""
    return suite.expand(secret, _kdf_label_head(label, length) + encode_opaque(context), length)


def derive_secret(suite: CipherSuite, secret: bytes, label: str) -> bytes:
    """DeriveSecret (section 8): ``suite.nh`` bytes."""
    return expand_with_label(suite, secret, label, b"", suite.nh)


def derive_tree_secret(suite: CipherSuite, secret: bytes, label: str, generation: int, length: int) -> bytes:
    """DeriveTreeSecret (section 9.1): ``length`` bytes."""
    return expand_with_label(suite, secret, label, generation.to_bytes(4, "big"), length)


def sign_content(label: str, content: bytes) -> bytes:
    """SignContent (section 5.1.2): the bytes that are signed."""
    return _labelled(label, content)


def sign_with_label(suite: CipherSuite, private: bytes | Signer, label: str, content: bytes) -> bytes:
    """SignWithLabel, with a private key or one loaded by ``suite.signer``.

    Raises:
        StateError: ``private`` is no key of the suite.
    """
    signer = suite.signer(private) if isinstance(private, bytes) else private
    return signer(sign_content(label, content))


def verify_with_label(
    suite: CipherSuite, public: bytes, label: str, content: bytes, signature: bytes
) -> None:
    """VerifyWithLabel.

    Raises:
        AuthenticationError: The signature does not fit, or ``public`` is no key.
    """
    suite.verify(public, sign_content(label, content), signature)


def encrypt_with_label(
    suite: CipherSuite, public: bytes, label: str, context: bytes, plaintext: bytes, rng: Rng
) -> tuple[bytes, bytes]:
    """EncryptWithLabel: (kem_output, ciphertext).

    Raises:
        ValidationError: ``public`` is no key of the suite.
    """
    return suite.hpke_seal(public, info=_labelled(label, context), plaintext=plaintext, rng=rng)


def decrypt_with_label(
    suite: CipherSuite, private: bytes, label: str, context: bytes, kem_output: bytes, ciphertext: bytes
) -> bytes:
    """DecryptWithLabel.

    Raises:
        AuthenticationError: Anything does not fit.
    """
    return suite.hpke_open(private, kem_output, info=_labelled(label, context), ciphertext=ciphertext)


def ref_hash(suite: CipherSuite, label: str, value: bytes) -> bytes:
    """RefHash (section 5.2). ``label`` is the whole label: this function puts no prefix in front."""
    return suite.hash(encode_opaque(label.encode("utf-8")) + encode_opaque(value))


def make_key_package_ref(suite: CipherSuite, key_package: bytes) -> bytes:
    """MakeKeyPackageRef of an encoded KeyPackage."""
    return ref_hash(suite, "MLS 1.0 KeyPackage Reference", key_package)


def make_proposal_ref(suite: CipherSuite, authenticated_content: bytes) -> bytes:
    """MakeProposalRef of the encoded AuthenticatedContent that carries the proposal."""
    return ref_hash(suite, "MLS 1.0 Proposal Reference", authenticated_content)
