"""Extensions: typed data in KeyPackages, leaf nodes, GroupInfo and GroupContext (RFC 9420 section 13.4).

Invariants: order and content of extensions survive decoding and encoding byte for byte, whether we know their
types or not. Only ``required_capabilities`` has content that this module reads; ``ratchet_tree`` is read by
:mod:`crypto.ratchet_tree`. ``external_pub`` and ``external_senders`` stay opaque: nothing here processes
external commits or external proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crypto.code_points import ExtensionType
from crypto.codec import Reader, Writer, decode, encode
from crypto.errors import ValidationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """One extension; ``extension_type`` may be unknown to us or GREASE.

    ::

        struct {
            ExtensionType extension_type;
            opaque extension_data<V>;
        } Extension;
    """

    extension_type: int
    extension_data: bytes


Extensions = tuple[Extension, ...]


def read_extension(reader: Reader) -> Extension:
    """Read one Extension.

    Raises:
        CodecError: Malformed.
    """
    return Extension(extension_type=reader.u16(), extension_data=reader.opaque())


def write_extension(writer: Writer, extension: Extension) -> None:
    """Append one Extension."""
    writer.u16(extension.extension_type).opaque(extension.extension_data)


def read_extensions(reader: Reader) -> Extensions:
    """Read ``Extension extensions<V>``. That types do not repeat is for :func:`check_unique_types`.

    Raises:
        CodecError: Malformed.
    """
    return tuple(reader.vector(read_extension))


def write_extensions(writer: Writer, extensions: Extensions) -> None:
    """Append ``Extension extensions<V>``."""
    writer.vector(extensions, write_extension)


def check_unique_types(extensions: Extensions) -> None:
    """Refuse a list that has two extensions of one type (RFC 9420 section 13.4).

    Raises:
        ValidationError: ``extensions.duplicate-type``.
    """
    if len({extension.extension_type for extension in extensions}) != len(extensions):
        raise ValidationError("extensions.duplicate-type")


def find_extension(extensions: Extensions, extension_type: ExtensionType) -> bytes | None:
    """The data of the extension of that type, or None. Call :func:`check_unique_types` before."""
    for extension in extensions:
        if extension.extension_type == extension_type:
            return extension.extension_data
    return None


# -- required_capabilities (RFC 9420 section 11.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredCapabilities:
    """What each member of the group must support.

    ::

        struct {
            ExtensionType extension_types<V>;
            ProposalType proposal_types<V>;
            CredentialType credential_types<V>;
        } RequiredCapabilities;
    """

    extension_types: tuple[int, ...] = ()
    proposal_types: tuple[int, ...] = ()
    credential_types: tuple[int, ...] = ()

    def to_extension(self) -> Extension:
        """Wrap as the GroupContext extension ``required_capabilities``."""
        return Extension(
            extension_type=ExtensionType.REQUIRED_CAPABILITIES,
            extension_data=encode(self, write_required_capabilities),
        )


def read_code_points(reader: Reader) -> tuple[int, ...]:
    """Read a vector of uint16 code points.

    Raises:
        CodecError: Malformed.
    """
    return tuple(reader.vector(Reader.u16))


def write_code_points(writer: Writer, code_points: Sequence[int]) -> None:
    """Append a vector of uint16 code points."""
    writer.vector(code_points, Writer.u16)


def read_required_capabilities(reader: Reader) -> RequiredCapabilities:
    """Read the content of a ``required_capabilities`` extension.

    Raises:
        CodecError: Malformed.
    """
    return RequiredCapabilities(
        extension_types=read_code_points(reader),
        proposal_types=read_code_points(reader),
        credential_types=read_code_points(reader),
    )


def write_required_capabilities(writer: Writer, required: RequiredCapabilities) -> None:
    """Append the content of a ``required_capabilities`` extension."""
    write_code_points(writer, required.extension_types)
    write_code_points(writer, required.proposal_types)
    write_code_points(writer, required.credential_types)


def required_capabilities(extensions: Extensions) -> RequiredCapabilities | None:
    """What a group with these GroupContext extensions requires, or None.

    Raises:
        CodecError: The extension is there and malformed.
    """
    data = find_extension(extensions, ExtensionType.REQUIRED_CAPABILITIES)
    return None if data is None else decode(data, read_required_capabilities)
