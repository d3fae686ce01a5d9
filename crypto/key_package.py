"""KeyPackage: what a device publishes so that others can add it (RFC 9420 section 10).

``generate_key_package`` makes one, ``check_key_package`` is section 10.1, ``check_lifetime`` is asked only
when a KeyPackage is consumed: the lifetime of a leaf that already sits in a tree is never judged (it would
break joining).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from crypto.code_points import ProtocolVersion
from crypto.codec import CodecError, Reader, Writer, encode, encode_opaque
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, ValidationError
from crypto.extensions import Extensions, check_unique_types, read_extensions, write_extensions
from crypto.labels import make_key_package_ref, sign_with_label, verify_with_label
from crypto.leaf_node import (
    Capabilities,
    LeafNode,
    LeafNodeSource,
    Lifetime,
    read_leaf_node,
    sign_leaf_node,
    write_leaf_node,
)
from crypto.sensitive import Secret
from crypto.suites import CipherSuite

KEY_PACKAGE_TBS: Final = "KeyPackageTBS"
MAX_LIFETIME_SECONDS: Final = 3 * 86_400 + 2 * 26 * 3_600
"""Widest lifetime accepted: 3 days (DESIGN section 6) and 26 hours of tolerance at either end (section 8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPackage:
    """A device's offer to be added.

    ::

        struct {
            ProtocolVersion version;
            CipherSuite cipher_suite;
            HPKEPublicKey init_key;
            LeafNode leaf_node;
            Extension extensions<V>;
            opaque signature<V>;  /* SignWithLabel(., "KeyPackageTBS", KeyPackageTBS) */
        } KeyPackage;
    """

    version: int = ProtocolVersion.MLS10
    cipher_suite: int
    init_key: bytes
    leaf_node: LeafNode
    extensions: Extensions = ()
    signature: bytes = b""
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """The encoding; of a decoded KeyPackage the very bytes that were decoded."""
        if self._encoded is not None:
            return self._encoded
        encoded = encode(self, _write_fields)
        object.__setattr__(self, "_encoded", encoded)
        return encoded

    def to_be_signed(self) -> bytes:
        """KeyPackageTBS: all fields but the signature."""
        encoded = self.to_bytes()
        return encoded[: len(encoded) - len(encode_opaque(self.signature))]

    def ref(self, suite: CipherSuite) -> bytes:
        """KeyPackageRef (RFC 9420 section 5.2), ``Nh`` bytes."""
        return make_key_package_ref(suite, self.to_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPackageBundle:
    """A KeyPackage and its two HPKE private keys. Delete ``init_private`` once the KeyPackage was used."""

    key_package: KeyPackage
    init_private: Secret
    encryption_private: Secret


def generate_key_package(
    *,
    suite: CipherSuite,
    signature_private: bytes | Secret,
    credential: Credential,
    capabilities: Capabilities,
    lifetime: Lifetime,
    rng: Callable[[int], bytes],
    leaf_extensions: Extensions = (),
    extensions: Extensions = (),
) -> KeyPackageBundle:
    """Make a KeyPackage (RFC 9420 section 10).

    Args:
        suite: The one cipher suite that the KeyPackage is for.
        signature_private: The device's signature key; its public half goes into the leaf.
        credential: What binds the signature key to a person; for the product, the device certificate.
        capabilities: Exactly ``policy.product_capabilities()`` in the product.
        lifetime: UTC seconds.
        rng: Returns that many random bytes.
        leaf_extensions: Types beyond the default ones must be listed in ``capabilities``.
        extensions: Of the KeyPackage itself; a GREASE extension may stand here.

    Returns:
        The KeyPackage with its private keys: store them before publishing.
    """
    private = secret(signature_private)
    init_private, init_key = suite.generate_key_pair(rng)
    encryption_private, encryption_key = suite.generate_key_pair(rng)
    leaf = sign_leaf_node(
        suite,
        private,
        LeafNode(
            encryption_key=encryption_key,
            signature_key=suite.signature_public_key(private.reveal()),
            credential=credential,
            capabilities=capabilities,
            leaf_node_source=LeafNodeSource.KEY_PACKAGE,
            lifetime=lifetime,
            extensions=leaf_extensions,
        ),
    )
    unsigned = KeyPackage(cipher_suite=suite.code, init_key=init_key, leaf_node=leaf, extensions=extensions)
    signature = sign_with_label(suite, private.reveal(), KEY_PACKAGE_TBS, unsigned.to_be_signed())
    return KeyPackageBundle(
        key_package=replace(unsigned, signature=signature),
        init_private=Secret(init_private),
        encryption_private=Secret(encryption_private),
    )


def secret(value: bytes | Secret) -> Secret:
    """Wrap key bytes that a caller holds bare."""
    return value if isinstance(value, Secret) else Secret(value)


def check_key_package(suite: CipherSuite, key_package: KeyPackage) -> None:
    """Check what needs no group (RFC 9420 section 10.1); the leaf itself is for ``leaf_validation``.

    Raises:
        ValidationError: ``key-package.*`` names the rule broken.
    """
    if key_package.version != ProtocolVersion.MLS10:
        raise ValidationError("key-package.version")
    if key_package.cipher_suite != suite.code:
        raise ValidationError("key-package.cipher-suite")
    if key_package.leaf_node.leaf_node_source is not LeafNodeSource.KEY_PACKAGE:
        raise ValidationError("key-package.leaf-source")
    if key_package.init_key == key_package.leaf_node.encryption_key:
        raise ValidationError("key-package.init-key-reused")
    check_unique_types(key_package.extensions)
    try:
        verify_with_label(
            suite,
            key_package.leaf_node.signature_key,
            KEY_PACKAGE_TBS,
            key_package.to_be_signed(),
            key_package.signature,
        )
    except AuthenticationError:
        raise ValidationError("key-package.signature") from None
    if len(key_package.init_key) != suite.hpke.n_public:
        raise ValidationError("key-package.init-key")


def check_lifetime(
    key_package: KeyPackage,
    *,
    now: float,
    tolerance_seconds: float = 26 * 3_600,
    max_seconds: int = MAX_LIFETIME_SECONDS,
) -> None:
    """Judge window and width of the lifetime of a KeyPackage about to be consumed (RFC 9420 section 7.3).

    Args:
        key_package: The one that is about to be added.
        now: UTC seconds; for a KeyPackage used earlier, the day of its use.
        tolerance_seconds: Disagreement of clocks allowed at both ends.
        max_seconds: Widest window accepted.

    Raises:
        ValidationError: ``lifetime.expired``, ``lifetime.not-yet-valid``, ``lifetime.too-wide``,
            ``lifetime.reversed`` or ``lifetime.absent``.
    """
    lifetime = key_package.leaf_node.lifetime
    if lifetime is None:
        raise ValidationError("lifetime.absent")
    if lifetime.not_after < lifetime.not_before:
        raise ValidationError("lifetime.reversed")
    if lifetime.not_after - lifetime.not_before > max_seconds:
        raise ValidationError("lifetime.too-wide")
    if now < lifetime.not_before - tolerance_seconds:
        raise ValidationError("lifetime.not-yet-valid")
    if now > lifetime.not_after + tolerance_seconds:
        raise ValidationError("lifetime.expired")


# -- codec


def read_key_package(reader: Reader) -> KeyPackage:
    """Read a KeyPackage.

    Raises:
        CodecError: Malformed, or of another version than MLS 1.0 (whose syntax nobody knows).
    """
    start = reader.offset
    if reader.u16() != ProtocolVersion.MLS10:
        raise CodecError(start, "protocol version is not MLS 1.0")
    key_package = KeyPackage(
        cipher_suite=reader.u16(),
        init_key=reader.opaque(),
        leaf_node=read_leaf_node(reader),
        extensions=read_extensions(reader),
        signature=reader.opaque(),
    )
    object.__setattr__(key_package, "_encoded", reader.since(start))
    return key_package


def write_key_package(writer: Writer, key_package: KeyPackage) -> None:
    """Append a KeyPackage."""
    writer.raw(key_package.to_bytes())


def _write_fields(writer: Writer, key_package: KeyPackage) -> None:
    writer.u16(key_package.version).u16(key_package.cipher_suite).opaque(key_package.init_key)
    write_leaf_node(writer, key_package.leaf_node)
    write_extensions(writer, key_package.extensions)
    writer.opaque(key_package.signature)
