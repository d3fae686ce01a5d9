"""What an export carries about a person's devices (R9): who they are, and the mailboxes that they share.

    struct {
        optional<LinkedState> linked;                 /* of a linked device; its one-time key never */
        struct { opaque space<V>; opaque key<V>; opaque value<V>; } records<V>;
    } Links;

The records are those of `siblings` and of the mailboxes, with the position taken back: the device that is
made of the export reads anew what the relay still keeps. KeyPackages stay behind, as everywhere (R9).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from clients.sdk.linking.linked_device import LINK_KEYS
from clients.sdk.linking.mailbox import BOXES, BoxRow
from clients.sdk.linking.siblings import SIBLING_CERTIFICATES, SIBLING_LINES, SIBLINGS
from clients.sdk.records import LinkedState
from crypto.codec import CodecError, Reader, Writer, decode
from keys.vault import VaultTransaction

_SPACES: Final = (SIBLINGS, SIBLING_LINES, SIBLING_CERTIFICATES, LINK_KEYS, BOXES)


def export_links(tx: VaultTransaction, linked: LinkedState | None) -> bytes:
    """As above."""
    if linked is not None:
        linked = replace(linked, hpke_private=None, code="")
    records = [(space, key, _carried(space, value)) for space in _SPACES for key, value in tx.items(space)]
    writer = Writer().optional(linked, lambda w, state: state.write(w))
    writer.vector(records, _write_record)
    return writer.to_bytes()


def put_links(tx: VaultTransaction, data: bytes) -> LinkedState | None:
    """Put the records into a new vault; returns what a linked device keeps about itself.

    Raises:
        CodecError: damaged.
    """
    if not data:
        return None
    linked, records = decode(data, _read)
    for space, key, value in records:
        if space not in _SPACES:
            raise CodecError(0, "a record of another kind in an export")
        tx.put(space, key, value)
    return linked


def _carried(space: str, value: bytes) -> bytes:
    if space != BOXES:
        return value
    row = BoxRow.from_bytes(value)
    row.incarnation, row.position = b"", 0
    return row.to_bytes()


def _write_record(writer: Writer, record: tuple[str, bytes, bytes]) -> None:
    space, key, value = record
    writer.opaque(space.encode("ascii")).opaque(key).opaque(value)


def _read_record(reader: Reader) -> tuple[str, bytes, bytes]:
    return reader.opaque(64).decode("ascii", "replace"), reader.opaque(255), reader.opaque()


def _read(reader: Reader) -> tuple[LinkedState | None, list[tuple[str, bytes, bytes]]]:
    return reader.optional(LinkedState.read), reader.vector(_read_record)
