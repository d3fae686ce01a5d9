"""GroupContext: what a group agrees on in one epoch (RFC 9420 section 8.1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto.code_points import ProtocolVersion
from crypto.codec import CodecError, Reader, Writer, encode
from crypto.extensions import Extensions, read_extensions, write_extensions


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupContext:
    """Input to the key schedule, to signatures of members and to the encryption of path secrets.

    ::

        struct {
            ProtocolVersion version = mls10;
            CipherSuite cipher_suite;
            opaque group_id<V>;
            uint64 epoch;
            opaque tree_hash<V>;
            opaque confirmed_transcript_hash<V>;
            Extension extensions<V>;
        } GroupContext;
    """

    cipher_suite: int
    group_id: bytes
    epoch: int
    tree_hash: bytes
    confirmed_transcript_hash: bytes
    extensions: Extensions = ()
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """The encoding, as it is hashed and signed: once for an epoch, not once for each message."""
        if self._encoded is not None:
            return self._encoded
        encoded = encode(self, _write_fields)
        object.__setattr__(self, "_encoded", encoded)
        return encoded


def read_group_context(reader: Reader) -> GroupContext:
    """Read a GroupContext.

    Raises:
        CodecError: Malformed, or of another version than MLS 1.0.
    """
    start = reader.offset
    if reader.u16() != ProtocolVersion.MLS10:
        raise CodecError(start, "protocol version is not MLS 1.0")
    context = GroupContext(
        cipher_suite=reader.u16(),
        group_id=reader.opaque(),
        epoch=reader.u64(),
        tree_hash=reader.opaque(),
        confirmed_transcript_hash=reader.opaque(),
        extensions=read_extensions(reader),
    )
    object.__setattr__(context, "_encoded", reader.since(start))
    return context


def write_group_context(writer: Writer, context: GroupContext) -> None:
    """Append a GroupContext."""
    writer.raw(context.to_bytes())


def _write_fields(writer: Writer, context: GroupContext) -> None:
    writer.u16(ProtocolVersion.MLS10).u16(context.cipher_suite).opaque(context.group_id).u64(context.epoch)
    writer.opaque(context.tree_hash).opaque(context.confirmed_transcript_hash)
    write_extensions(writer, context.extensions)
