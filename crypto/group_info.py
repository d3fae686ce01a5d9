"""GroupInfo: a signed description of one epoch, for joiners (RFC 9420 section 12.4.3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from crypto.codec import Reader, Writer, encode, encode_opaque
from crypto.errors import AuthenticationError, ValidationError
from crypto.extensions import Extensions, read_extensions, write_extensions
from crypto.group_context import GroupContext, read_group_context, write_group_context
from crypto.labels import sign_with_label, verify_with_label
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.tree_math import LeafIndex

GROUP_INFO_TBS: Final = "GroupInfoTBS"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo:
    """What a joiner needs to know of the epoch, signed by the member at leaf ``signer``.

    ::

        struct {
            GroupContext group_context;
            Extension extensions<V>;
            MAC confirmation_tag;
            uint32 signer;
            opaque signature<V>;  /* SignWithLabel(., "GroupInfoTBS", GroupInfoTBS) */
        } GroupInfo;
    """

    group_context: GroupContext
    extensions: Extensions
    confirmation_tag: bytes
    signer: LeafIndex
    signature: bytes = b""
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """The encoding; of a decoded GroupInfo the very bytes that were decoded."""
        if self._encoded is not None:
            return self._encoded
        encoded = encode(self, _write_fields)
        object.__setattr__(self, "_encoded", encoded)
        return encoded

    def to_be_signed(self) -> bytes:
        """GroupInfoTBS: all fields but the signature."""
        encoded = self.to_bytes()
        return encoded[: len(encoded) - len(encode_opaque(self.signature))]


def sign_group_info(suite: CipherSuite, signature_private: Secret, group_info: GroupInfo) -> GroupInfo:
    """The same GroupInfo with the signature of its ``signer``."""
    content = replace(group_info, signature=b"").to_be_signed()
    signature = sign_with_label(suite, signature_private.reveal(), GROUP_INFO_TBS, content)
    return replace(group_info, signature=signature)


def verify_group_info(suite: CipherSuite, signature_key: bytes, group_info: GroupInfo) -> None:
    """Check the signature with the key of the leaf at ``signer``.

    Raises:
        ValidationError: ``group-info.signature``.
    """
    try:
        verify_with_label(
            suite, signature_key, GROUP_INFO_TBS, group_info.to_be_signed(), group_info.signature
        )
    except AuthenticationError:
        raise ValidationError("group-info.signature") from None


def read_group_info(reader: Reader) -> GroupInfo:
    """Read a GroupInfo.

    Raises:
        CodecError: Malformed.
    """
    start = reader.offset
    group_info = GroupInfo(
        group_context=read_group_context(reader),
        extensions=read_extensions(reader),
        confirmation_tag=reader.opaque(),
        signer=LeafIndex(reader.u32()),
        signature=reader.opaque(),
    )
    object.__setattr__(group_info, "_encoded", reader.since(start))
    return group_info


def write_group_info(writer: Writer, group_info: GroupInfo) -> None:
    """Append a GroupInfo."""
    writer.raw(group_info.to_bytes())


def _write_fields(writer: Writer, group_info: GroupInfo) -> None:
    write_group_context(writer, group_info.group_context)
    write_extensions(writer, group_info.extensions)
    writer.opaque(group_info.confirmation_tag).u32(group_info.signer).opaque(group_info.signature)
