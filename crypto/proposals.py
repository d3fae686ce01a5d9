"""Proposals (RFC 9420 section 12.1): structs of all seven types.

Only Add, Update and Remove are ever applied here (:mod:`crypto.proposal_list`); the others decode, encode,
and are refused by rule. A proposal of another type has no length on the wire and cannot be decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from crypto.code_points import ProposalType, ProtocolVersion
from crypto.codec import CodecError, Reader, Writer
from crypto.extensions import Extensions, read_extensions, write_extensions
from crypto.key_package import KeyPackage, read_key_package, write_key_package
from crypto.leaf_node import LeafNode, read_leaf_node, write_leaf_node
from crypto.psk_id import PreSharedKeyID, read_psk_id, write_psk_id
from crypto.tree_math import LeafIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """``struct { KeyPackage key_package; } Add;`` (section 12.1.1)."""

    key_package: KeyPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """``struct { LeafNode leaf_node; } Update;`` (section 12.1.2)."""

    leaf_node: LeafNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """``struct { uint32 removed; } Remove;`` (section 12.1.3)."""

    removed: LeafIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class PreSharedKey:
    """``struct { PreSharedKeyID psk; } PreSharedKey;`` (section 12.1.4)."""

    psk: PreSharedKeyID


@dataclass(frozen=True, slots=True, kw_only=True)
class ReInit:
    """A request to go on in a new group (section 12.1.5).

    ::

        struct {
            opaque group_id<V>;
            ProtocolVersion version;
            CipherSuite cipher_suite;
            Extension extensions<V>;
        } ReInit;
    """

    group_id: bytes
    version: int = ProtocolVersion.MLS10
    cipher_suite: int
    extensions: Extensions = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalInit:
    """``struct { opaque kem_output<V>; } ExternalInit;`` (section 12.1.6)."""

    kem_output: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupContextExtensions:
    """``struct { Extension extensions<V>; } GroupContextExtensions;`` (section 12.1.7)."""

    extensions: Extensions


Proposal = Add | Update | Remove | PreSharedKey | ReInit | ExternalInit | GroupContextExtensions


def proposal_type(proposal: Proposal) -> ProposalType:
    """The code point of a proposal."""
    match proposal:
        case Add():
            return ProposalType.ADD
        case Update():
            return ProposalType.UPDATE
        case Remove():
            return ProposalType.REMOVE
        case PreSharedKey():
            return ProposalType.PSK
        case ReInit():
            return ProposalType.REINIT
        case ExternalInit():
            return ProposalType.EXTERNAL_INIT
        case GroupContextExtensions():
            return ProposalType.GROUP_CONTEXT_EXTENSIONS
        case _:
            assert_never(proposal)


def read_proposal(reader: Reader) -> Proposal:
    """Read a Proposal: its type, then the struct of that type.

    Raises:
        CodecError: Malformed, or of a type that RFC 9420 does not define.
    """
    start = reader.offset
    try:
        kind = ProposalType(reader.u16())
    except ValueError:
        raise CodecError(start, "unknown proposal type") from None
    return read_proposal_body(reader, kind)


def read_proposal_body(reader: Reader, kind: ProposalType) -> Proposal:
    """Read the struct of one proposal type, without the type in front.

    Raises:
        CodecError: Malformed.
    """
    match kind:
        case ProposalType.ADD:
            return Add(key_package=read_key_package(reader))
        case ProposalType.UPDATE:
            return Update(leaf_node=read_leaf_node(reader))
        case ProposalType.REMOVE:
            return Remove(removed=LeafIndex(reader.u32()))
        case ProposalType.PSK:
            return PreSharedKey(psk=read_psk_id(reader))
        case ProposalType.REINIT:
            return ReInit(
                group_id=reader.opaque(),
                version=reader.u16(),
                cipher_suite=reader.u16(),
                extensions=read_extensions(reader),
            )
        case ProposalType.EXTERNAL_INIT:
            return ExternalInit(kem_output=reader.opaque())
        case ProposalType.GROUP_CONTEXT_EXTENSIONS:
            return GroupContextExtensions(extensions=read_extensions(reader))
        case _:
            assert_never(kind)


def write_proposal(writer: Writer, proposal: Proposal) -> None:
    """Append a Proposal: its type, then the struct."""
    writer.u16(proposal_type(proposal))
    write_proposal_body(writer, proposal)


def write_proposal_body(writer: Writer, proposal: Proposal) -> None:
    """Append the struct of a proposal without its type in front."""
    match proposal:
        case Add(key_package=key_package):
            write_key_package(writer, key_package)
        case Update(leaf_node=leaf_node):
            write_leaf_node(writer, leaf_node)
        case Remove(removed=removed):
            writer.u32(removed)
        case PreSharedKey(psk=psk):
            write_psk_id(writer, psk)
        case ReInit():
            writer.opaque(proposal.group_id).u16(proposal.version).u16(proposal.cipher_suite)
            write_extensions(writer, proposal.extensions)
        case ExternalInit(kem_output=kem_output):
            writer.opaque(kem_output)
        case GroupContextExtensions(extensions=extensions):
            write_extensions(writer, extensions)
        case _:
            assert_never(proposal)
