"""The state of a :class:`~crypto.rfc9420.full_group.FullGroup` as bytes; they hold secrets.

::

    struct { opaque reference<V>; Sender sender; Proposal proposal; } KnownProposal;
    struct { opaque encryption_key<V>; opaque private<V>; optional<opaque> signature_private<V>; } OwnUpdate;
    struct {
        opaque core<V>;  /* StoredGroup of crypto.group_codec */
        opaque membership_key<V>;
        opaque external_secret<V>;
        opaque confirmation_tag<V>;
        KnownProposal proposals<V>;
        OwnUpdate own_updates<V>;
        optional<Proposal> reinit;
    } FullState;

Magic, version and digest around it are those of :mod:`crypto.group_codec`. What all groups of a device share
is not in it: PSKs have a form of their own (:class:`crypto.rfc9420.psks.PskStore`), the authentication
service is code.
"""

from __future__ import annotations

from typing import Final

from crypto.codec import Reader, Writer
from crypto.framed_content import read_sender, write_sender
from crypto.group_codec import decode_group_state, encode_group_state, open_stored, seal_stored
from crypto.proposals import ReInit, read_proposal, write_proposal
from crypto.rfc9420.proposals import SentProposal
from crypto.rfc9420.state import Device, FullState, OwnUpdate
from crypto.sensitive import Secret

FULL_MAGIC: Final = b"AMNTFUL\0"


def encode_full_state(state: FullState) -> bytes:
    """The stored form of a state.

    Raises:
        StateError: It is too large (see :func:`crypto.group_codec.seal_stored`).
    """
    writer = Writer().opaque(encode_group_state(state.core))
    writer.opaque(state.membership_key.reveal()).opaque(state.external_secret.reveal())
    writer.opaque(state.confirmation_tag)
    writer.vector(state.proposals.items(), _write_known)
    writer.vector(state.own_updates.items(), _write_update)
    writer.optional(state.reinit, write_proposal)
    return seal_stored(FULL_MAGIC, writer.to_bytes())


def decode_full_state(data: bytes, device: Device) -> FullState:
    """Read the stored form of a state, which goes on with the PSKs and the judge of ``device``.

    Raises:
        CodecError: Damaged, or not of this kind.
        ValidationError: Damaged in a way that decodes.
        StateError: Written by a newer version of this program.
    """
    return open_stored(data, FULL_MAGIC, lambda reader: _read_state(reader, device))


def _read_state(reader: Reader, device: Device) -> FullState:
    core = decode_group_state(reader.opaque())
    secrets = (reader.opaque(), reader.opaque(), reader.opaque())
    if any(len(value) != core.suite.nh for value in secrets):
        raise reader.error("a secret of the wrong size")
    membership_key, external_secret, confirmation_tag = secrets
    proposals = dict(reader.vector(_read_known))
    own_updates = dict(reader.vector(_read_update))
    reinit = reader.optional(read_proposal)
    if reinit is not None and not isinstance(reinit, ReInit):
        raise reader.error("a proposal that is no ReInit")
    return FullState(
        core=core,
        device=device,
        membership_key=Secret(membership_key),
        external_secret=Secret(external_secret),
        confirmation_tag=confirmation_tag,
        proposals=proposals,
        own_updates=own_updates,
        reinit=reinit,
    )


def _write_known(writer: Writer, item: tuple[bytes, SentProposal]) -> None:
    reference, sent = item
    writer.opaque(reference)
    write_sender(writer, sent.sender)
    write_proposal(writer, sent.proposal)


def _read_known(reader: Reader) -> tuple[bytes, SentProposal]:
    reference, sender = reader.opaque(), read_sender(reader)
    return reference, SentProposal(proposal=read_proposal(reader), sender=sender)


def _write_update(writer: Writer, item: tuple[bytes, OwnUpdate]) -> None:
    encryption_key, update = item
    writer.opaque(encryption_key).opaque(update.encryption_private.reveal())
    writer.optional(update.signature_private, _write_secret)


def _read_update(reader: Reader) -> tuple[bytes, OwnUpdate]:
    encryption_key, private = reader.opaque(), Secret(reader.opaque())
    signature_private = reader.optional(_read_secret)
    return encryption_key, OwnUpdate(encryption_private=private, signature_private=signature_private)


def _write_secret(writer: Writer, value: Secret) -> None:
    writer.opaque(value.reveal())


def _read_secret(reader: Reader) -> Secret:
    return Secret(reader.opaque())
