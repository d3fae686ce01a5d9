"""The extensions ``external_pub`` and ``external_senders`` (RFC 9420 sections 12.4.3.2 and 12.1.8.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crypto.code_points import ExtensionType
from crypto.codec import Reader, Writer, decode, encode_opaque
from crypto.credentials import Credential, read_credential, write_credential
from crypto.extensions import Extension, Extensions, find_extension


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalSender:
    """``struct { SignaturePublicKey signature_key; Credential credential; } ExternalSender;``."""

    signature_key: bytes
    credential: Credential


def _read_external_sender(reader: Reader) -> ExternalSender:
    return ExternalSender(signature_key=reader.opaque(), credential=read_credential(reader))


def _write_external_sender(writer: Writer, sender: ExternalSender) -> None:
    writer.opaque(sender.signature_key)
    write_credential(writer, sender.credential)


def external_senders_extension(senders: Sequence[ExternalSender]) -> Extension:
    """Wrap ``ExternalSender external_senders<V>`` as an extension of the GroupContext."""
    writer = Writer()
    writer.vector(senders, _write_external_sender)
    return Extension(extension_type=ExtensionType.EXTERNAL_SENDERS, extension_data=writer.to_bytes())


def external_senders(group_extensions: Extensions) -> tuple[ExternalSender, ...]:
    """Who may send external proposals to a group with these GroupContext extensions; empty: nobody.

    Raises:
        CodecError: The extension is there and malformed.
    """
    data = find_extension(group_extensions, ExtensionType.EXTERNAL_SENDERS)
    if data is None:
        return ()
    return tuple(decode(data, lambda reader: reader.vector(_read_external_sender)))


def external_pub_extension(public_key: bytes) -> Extension:
    """Wrap ``struct { HPKEPublicKey external_pub; } ExternalPub;`` as an extension of a GroupInfo."""
    return Extension(extension_type=ExtensionType.EXTERNAL_PUB, extension_data=encode_opaque(public_key))


def external_pub(group_info_extensions: Extensions) -> bytes | None:
    """The external public key in a GroupInfo's extensions, or None.

    Raises:
        CodecError: The extension is there and malformed.
    """
    data = find_extension(group_info_extensions, ExtensionType.EXTERNAL_PUB)
    return None if data is None else decode(data, Reader.opaque)
