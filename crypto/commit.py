"""Commit: the proposals of an epoch change and the committer's path (RFC 9420 section 12.4). Structs only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from crypto.codec import CodecError, Reader, Writer, encode
from crypto.proposals import Proposal, read_proposal, write_proposal
from crypto.update_path import UpdatePath, read_update_path, write_update_path


class ProposalOrRefType(IntEnum):
    """RFC 9420 section 12.4."""

    PROPOSAL = 1
    REFERENCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRef:
    """Hash of the AuthenticatedContent in which a proposal was sent (RFC 9420 section 5.2), ``Nh`` bytes."""

    reference: bytes


ProposalOrRef = Proposal | ProposalRef
"""``struct { ProposalOrRefType type; select (type) { Proposal proposal; ProposalRef reference; } }``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """``struct { ProposalOrRef proposals<V>; optional<UpdatePath> path; } Commit;``."""

    proposals: tuple[ProposalOrRef, ...]
    path: UpdatePath | None
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """The encoding; of a decoded Commit the very bytes that were decoded.

        It is signed, hashed and sent, so that a commit would otherwise be encoded three times.
        """
        if self._encoded is not None:
            return self._encoded
        encoded = encode(self, _write_fields)
        object.__setattr__(self, "_encoded", encoded)
        return encoded


def _read_proposal_or_ref(reader: Reader) -> ProposalOrRef:
    start = reader.offset
    match reader.u8():
        case ProposalOrRefType.PROPOSAL:
            return read_proposal(reader)
        case ProposalOrRefType.REFERENCE:
            return ProposalRef(reference=reader.opaque())
        case _:
            raise CodecError(start, "neither a proposal nor a reference")


def _write_proposal_or_ref(writer: Writer, item: ProposalOrRef) -> None:
    if isinstance(item, ProposalRef):
        writer.u8(ProposalOrRefType.REFERENCE).opaque(item.reference)
    else:
        writer.u8(ProposalOrRefType.PROPOSAL)
        write_proposal(writer, item)


def read_commit(reader: Reader) -> Commit:
    """Read a Commit.

    Raises:
        CodecError: Malformed.
    """
    start = reader.offset
    commit = Commit(
        proposals=tuple(reader.vector(_read_proposal_or_ref)), path=reader.optional(read_update_path)
    )
    object.__setattr__(commit, "_encoded", reader.since(start))
    return commit


def write_commit(writer: Writer, commit: Commit) -> None:
    """Append a Commit."""
    writer.raw(commit.to_bytes())


def _write_fields(writer: Writer, commit: Commit) -> None:
    writer.vector(commit.proposals, _write_proposal_or_ref).optional(commit.path, write_update_path)
