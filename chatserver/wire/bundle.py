"""SignedBundle: how a therapist's contact bundle travels to the relay and to clients (DESIGN section 6).

The content (certificates, device list, inbox, KeyPackages) is opaque here; `keys.contact` reads it. The relay
checks the signature so that nobody can publish for another, the serial so that nobody can put an old one
back, and the day so that a forgotten one goes. The client checks everything again and trusts only the
fingerprint that it came with.
"""

from __future__ import annotations

from dataclasses import dataclass

from chatserver.wire.limits import IDENTITY_KEY_BYTES, MAX_BUNDLE_BYTES, SIGNATURE_BYTES
from crypto.codec import Reader, Writer, decode
from keys import signing


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBundle:
    """One therapist's contact bundle.

    Attributes:
        identity_key: 32 bytes, Ed25519; the bundle's bucket follows from its SHA-256.
        not_after_day: last whole UTC day since 1970 on which the relay serves it.
        serial: higher than that of every bundle published before by this identity.
        content: what `keys.contact` encodes.
        signature: 64 bytes by the identity key over `signed_content`, label "contact bundle".
    """

    identity_key: bytes
    not_after_day: int
    serial: int
    content: bytes
    signature: bytes

    def verify(self) -> None:
        """Check the signature.

        Raises:
            keys.signing.AuthenticationFailed: it does not match.
        """
        signing.verify(
            self.identity_key,
            signing.Label.CONTACT_BUNDLE,
            signed_content(self.identity_key, self.not_after_day, self.serial, self.content),
            self.signature,
        )

    def encode(self) -> bytes:
        """The bytes that PUBLISH carries and buckets hold."""
        writer = Writer()
        write_signed_bundle(writer, self)
        return writer.to_bytes()

    @classmethod
    def decode(cls, data: bytes) -> SignedBundle:
        """Decode exactly one bundle; the signature is not checked.

        Raises:
            CodecError: malformed, or longer than MAX_BUNDLE_BYTES.
        """
        if len(data) > MAX_BUNDLE_BYTES:
            raise Reader(b"").error("bundle is longer than allowed")
        return decode(data, read_signed_bundle)


def sign_bundle(private_seed: bytes, *, not_after_day: int, serial: int, content: bytes) -> SignedBundle:
    """Make a bundle; the caller publishes it while its inbox is open, and keeps the serial."""
    identity_key = signing.public_key(private_seed)
    signature = signing.sign(
        private_seed,
        signing.Label.CONTACT_BUNDLE,
        signed_content(identity_key, not_after_day, serial, content),
    )
    return SignedBundle(
        identity_key=identity_key,
        not_after_day=not_after_day,
        serial=serial,
        content=content,
        signature=signature,
    )


def signed_content(identity_key: bytes, not_after_day: int, serial: int, content: bytes) -> bytes:
    """Everything before the signature, as encoded."""
    return Writer().raw(identity_key).u32(not_after_day).u64(serial).opaque(content).to_bytes()


def read_signed_bundle(reader: Reader) -> SignedBundle:
    """`opaque identity_key[32]; u32 not_after_day; u64 serial; opaque content<V>; opaque signature[64]`."""
    return SignedBundle(
        identity_key=reader.bytes_(IDENTITY_KEY_BYTES),
        not_after_day=reader.u32(),
        serial=reader.u64(),
        content=reader.opaque(MAX_BUNDLE_BYTES),
        signature=reader.bytes_(SIGNATURE_BYTES),
    )


def write_signed_bundle(writer: Writer, bundle: SignedBundle) -> None:
    """The opposite of `read_signed_bundle`."""
    writer.raw(signed_content(bundle.identity_key, bundle.not_after_day, bundle.serial, bundle.content)).raw(
        bundle.signature
    )


def encode_bucket(encoded_bundles: tuple[bytes, ...]) -> bytes:
    """The body of `GET /v1/bundles/…`: `SignedBundle bundles<V>`, in the order of SHA-256(identity key)."""
    return Writer().opaque(b"".join(encoded_bundles)).to_bytes()


def decode_bucket(data: bytes, *, max_bytes: int) -> list[SignedBundle]:
    """The bundles of a bucket; signatures are not checked.

    Args:
        data: body of the answer.
        max_bytes: the longest bucket that the caller wants to handle, in bytes.

    Raises:
        CodecError: malformed or too long.
    """
    return decode(data, lambda reader: reader.vector(read_signed_bundle, max_bytes))
