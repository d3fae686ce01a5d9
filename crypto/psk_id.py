"""PreSharedKeyID: the name of a pre-shared key (RFC 9420 section 8.4). The product refuses all of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from crypto.codec import CodecError, Reader, Writer


class PSKType(IntEnum):
    """RFC 9420 section 8.4."""

    EXTERNAL = 1
    RESUMPTION = 2


class ResumptionPSKUsage(IntEnum):
    """RFC 9420 section 8.4."""

    APPLICATION = 1
    REINIT = 2
    BRANCH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PreSharedKeyID:
    """Names an external PSK by ``psk_id``, or a resumption PSK by usage, group and epoch.

    ::

        struct {
            PSKType psktype;
            select (PreSharedKeyID.psktype) {
                case external:   opaque psk_id<V>;
                case resumption: ResumptionPSKUsage usage; opaque psk_group_id<V>; uint64 psk_epoch;
            };
            opaque psk_nonce<V>;
        } PreSharedKeyID;
    """

    psktype: PSKType
    psk_id: bytes = b""
    usage: ResumptionPSKUsage | None = None
    psk_group_id: bytes = b""
    psk_epoch: int = 0
    psk_nonce: bytes


def read_psk_id(reader: Reader) -> PreSharedKeyID:
    """Read a PreSharedKeyID.

    Raises:
        CodecError: Malformed.
    """
    start = reader.offset
    match reader.u8():
        case PSKType.EXTERNAL:
            return PreSharedKeyID(psktype=PSKType.EXTERNAL, psk_id=reader.opaque(), psk_nonce=reader.opaque())
        case PSKType.RESUMPTION:
            try:
                usage = ResumptionPSKUsage(reader.u8())
            except ValueError:
                raise CodecError(start, "unknown usage of a resumption PSK") from None
            return PreSharedKeyID(
                psktype=PSKType.RESUMPTION,
                usage=usage,
                psk_group_id=reader.opaque(),
                psk_epoch=reader.u64(),
                psk_nonce=reader.opaque(),
            )
        case _:
            raise CodecError(start, "unknown PSK type")


def write_psk_id(writer: Writer, psk_id: PreSharedKeyID) -> None:
    """Append a PreSharedKeyID."""
    writer.u8(psk_id.psktype)
    if psk_id.psktype is PSKType.EXTERNAL:
        writer.opaque(psk_id.psk_id)
    else:
        writer.u8(psk_id.usage or 0).opaque(psk_id.psk_group_id).u64(psk_id.psk_epoch)
    writer.opaque(psk_id.psk_nonce)
