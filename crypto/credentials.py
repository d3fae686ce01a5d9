"""Credentials (RFC 9420 section 5.3). The product uses basic ones: their identity is a device certificate.

What a certificate means is not known here: ``keys/`` checks it, and :mod:`crypto.policy` asks through a
protocol. A credential of a type that RFC 9420 does not define cannot be decoded: its length is not on the
wire.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.code_points import CredentialType
from crypto.codec import CodecError, Reader, Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Either a basic credential (``identity``) or an X.509 chain (``certificates``, end entity first).

    ::

        struct {
            CredentialType credential_type;
            select (Credential.credential_type) {
                case basic: opaque identity<V>;
                case x509:  Certificate certificates<V>;
            };
        } Credential;
    """

    credential_type: CredentialType
    identity: bytes = b""
    certificates: tuple[bytes, ...] = ()

    @classmethod
    def basic(cls, identity: bytes) -> Credential:
        """A basic credential over an identity that the application defines."""
        return cls(credential_type=CredentialType.BASIC, identity=identity)


def read_credential(reader: Reader) -> Credential:
    """Read a Credential.

    Raises:
        CodecError: Malformed, or of a type whose syntax RFC 9420 does not define.
    """
    start = reader.offset
    match reader.u16():
        case CredentialType.BASIC:
            return Credential(credential_type=CredentialType.BASIC, identity=reader.opaque())
        case CredentialType.X509:
            return Credential(
                credential_type=CredentialType.X509, certificates=tuple(reader.vector(Reader.opaque))
            )
        case _:
            raise CodecError(start, "unknown credential type")


def write_credential(writer: Writer, credential: Credential) -> None:
    """Append a Credential."""
    writer.u16(credential.credential_type)
    if credential.credential_type is CredentialType.BASIC:
        writer.opaque(credential.identity)
    else:
        writer.vector(credential.certificates, Writer.opaque)
