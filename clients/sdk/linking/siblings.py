"""What a person's first device keeps about the devices that it linked (PROTOCOL 7.8).

| space               | key                        | record                                    |
|---------------------|----------------------------|-------------------------------------------|
| device.siblings     | sibling id                 | `Sibling`                                 |
| device.sibling.line | sibling id ‖ line id       | `SiblingLine`                             |
| device.sibling.cert | sibling id ‖ identity key  | its certificate under that identity       |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Final

from clients.sdk.line.record import FLAG, OPAQUE, SECONDS, TEXT, U64, FieldCodec, Record, enum_field
from keys.vault import VaultTransaction

SIBLINGS: Final = "device.siblings"
SIBLING_LINES: Final = "device.sibling.line"
SIBLING_CERTIFICATES: Final = "device.sibling.cert"
SIBLING_ID_BYTES: Final = 16
MAX_DEVICES_OF_A_PERSON: Final = 2
"""Of the four leaves of a line each person has two, so that neither can take the other's places (R2, R14)."""


class SiblingPhase(Enum):
    """Where the linking of a device stands; the value is what the vault stores."""

    OPENING = 1
    """The code was read; the new device's key has not come yet."""
    OFFERED = 2
    """The offer is on its way; the new device has not answered."""
    LINKED = 3
    REMOVED = 4
    """Its leaves are being removed; the record goes when they are gone."""


@dataclass(slots=True, kw_only=True)
class Sibling(Record):
    """Another device of this person.

    Attributes:
        name: What the person calls it.
        code_digest: SHA-256 of the linking code's body; the code works once.
        key_hash: That the new device's key must have.
        opening_box: Mailbox of the code's secret; empty once the device is linked.
        link_box: Mailbox of the link secret; empty before the offer.
        linked_at: UTC seconds; 0 before.
        public_key: The new device's one-time key, from its HELLO until the offer was sealed to it.
        heard_at: When it last said anything in the mailbox, UTC seconds.
        tampered: A key came that is not the one of the code.
    """

    sibling_id: bytes
    name: str
    phase: SiblingPhase
    code_digest: bytes
    key_hash: bytes
    expires: int
    opening_box: bytes
    link_box: bytes = b""
    linked_at: float = 0.0
    heard_at: float = 0.0
    public_key: bytes = b""
    tampered: bool = False

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (
        ("sibling_id", OPAQUE),
        ("name", TEXT),
        ("phase", enum_field(SiblingPhase)),
        ("code_digest", OPAQUE),
        ("key_hash", OPAQUE),
        ("expires", U64),
        ("opening_box", OPAQUE),
        ("link_box", OPAQUE),
        ("linked_at", SECONDS),
        ("heard_at", SECONDS),
        ("public_key", OPAQUE),
        ("tampered", FLAG),
    )


@dataclass(slots=True, kw_only=True)
class SiblingLine(Record):
    """How far another device of this person has come into one line.

    Attributes:
        device_key: Its signature key in this line; empty until it has said so.
        key_package: That it wants to be added by.
        joined: It has said that it is in.
        asked_at: When it was last told about the line, UTC seconds; 0: is to be told.
    """

    line_id: bytes
    device_key: bytes = b""
    device_id: bytes = b""
    key_package: bytes = field(default=b"", repr=False)
    joined: bool = False
    asked_at: float = 0.0

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (
        ("line_id", OPAQUE),
        ("device_key", OPAQUE),
        ("device_id", OPAQUE),
        ("key_package", OPAQUE),
        ("joined", FLAG),
        ("asked_at", SECONDS),
    )


def load_siblings(tx: VaultTransaction) -> list[Sibling]:
    """All of them, removed ones included as long as they are not gone."""
    return [Sibling.from_bytes(data) for _, data in tx.items(SIBLINGS)]


def load_sibling(tx: VaultTransaction, sibling_id: bytes) -> Sibling | None:
    """One of them."""
    data = tx.get(SIBLINGS, sibling_id)
    return None if data is None else Sibling.from_bytes(data)


def save_sibling(tx: VaultTransaction, sibling: Sibling) -> None:
    """Write one."""
    tx.put(SIBLINGS, sibling.sibling_id, sibling.to_bytes())


def forget_sibling(tx: VaultTransaction, sibling_id: bytes) -> None:
    """Drop everything that is kept about one."""
    tx.delete(SIBLINGS, sibling_id)
    tx.delete_all(SIBLING_LINES, sibling_id)
    tx.delete_all(SIBLING_CERTIFICATES, sibling_id)


def load_sibling_line(tx: VaultTransaction, sibling_id: bytes, line_id: bytes) -> SiblingLine:
    """How far it is in a line; a fresh record if nothing is known."""
    data = tx.get(SIBLING_LINES, sibling_id + line_id)
    return SiblingLine(line_id=line_id) if data is None else SiblingLine.from_bytes(data)


def load_sibling_lines(tx: VaultTransaction, sibling_id: bytes) -> list[SiblingLine]:
    """All lines of which something is known."""
    return [SiblingLine.from_bytes(data) for _, data in tx.items(SIBLING_LINES, sibling_id)]


def save_sibling_line(tx: VaultTransaction, sibling_id: bytes, line: SiblingLine) -> None:
    """Write one."""
    tx.put(SIBLING_LINES, sibling_id + line.line_id, line.to_bytes())
