"""Exports (R9): what a person may carry away in a file, and how a device is made from it.

    struct {
        uint16 format = 2;
        uint8  role;
        opaque relay_url<V>; opaque display_name<V>;
        optional<DeviceKeys> therapist;                    /* identity and device signature keys */
        struct { opaque line_id[16]; opaque record<V>; opaque machine<V>; } lines<V>;
        opaque links<V>;                                   /* the person's other devices (format 2) */
    } Export;                                              /* sealed by keys.export_file */

In it: identity and device signature keys, names, and per line what `clients.sdk.line.exporting` says. Not in
it, and
never: ratchets, exporter secrets, HPKE private keys (so neither the inbox key nor KeyPackages), and
invitations that nobody used yet, which die with the device. An import makes new ones of the former and comes
back into each line as a new leaf (R18).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from clients.sdk.client_contact import own_device
from clients.sdk.inbox_keys import new_inbox_key
from clients.sdk.line.founding import import_line
from clients.sdk.linking.carrying import put_links
from clients.sdk.model import Role
from clients.sdk.records import (
    DeviceKeys,
    DeviceRecord,
    LineRecord,
    TherapistState,
    save_device,
    save_line,
)
from crypto.codec import CodecError, Reader, Writer, decode
from crypto.errors import StateError
from crypto.suites import PRODUCT
from keys.vault import VaultTransaction

FORMAT: Final = 2
_ROLES: Final = {Role.CLIENT: 1, Role.THERAPIST: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedLine:
    """One line: our record of it, and its machine's."""

    record: LineRecord
    machine: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The content of an export file."""

    role: Role
    relay_url: str
    display_name: str
    keys: DeviceKeys | None = field(repr=False)
    lines: tuple[ExportedLine, ...]
    links: bytes = field(default=b"", repr=False)
    """What the device keeps about the person's other devices, as `clients.sdk.linking.carrying` makes it."""

    def encode(self) -> bytes:
        """As above."""
        writer = Writer().u16(FORMAT).u8(_ROLES[self.role])
        writer.opaque(self.relay_url.encode("utf-8")).opaque(self.display_name.encode("utf-8"))
        writer.optional(self.keys, lambda w, keys: keys.write(w))
        writer.vector(self.lines, _write_line).opaque(self.links)
        return writer.to_bytes()

    @staticmethod
    def decode(data: bytes) -> Export:
        """Inverse of `encode`.

        Raises:
            CodecError: malformed, or of another format.
        """
        return decode(data, _read)


def _write_line(writer: Writer, line: ExportedLine) -> None:
    writer.raw(line.record.line_id).opaque(line.record.encode()).opaque(line.machine)


def _read_line(reader: Reader) -> ExportedLine:
    line_id = reader.bytes_(16)
    return ExportedLine(record=LineRecord.decode(line_id, reader.opaque()), machine=reader.opaque())


def _read(reader: Reader) -> Export:
    found = reader.u16()
    if not 1 <= found <= FORMAT:
        raise reader.error("unknown format of an export")
    number = reader.u8()
    role = next((role for role, code in _ROLES.items() if code == number), None)
    if role is None:
        raise reader.error("unknown role")
    try:
        relay_url, display_name = reader.opaque().decode("utf-8"), reader.opaque().decode("utf-8")
    except UnicodeDecodeError:
        raise reader.error("not UTF-8") from None
    return Export(
        role=role,
        relay_url=relay_url,
        display_name=display_name,
        keys=reader.optional(lambda r: DeviceKeys.read(r, format_number=found)),
        lines=tuple(reader.vector(_read_line)),
        links=b"" if found == 1 else reader.opaque(),
    )


def put_import(
    tx: VaultTransaction,
    export: Export,
    *,
    relay_url: str,
    rng: Callable[[int], bytes],
    now: float,
) -> None:
    """Fill a new vault from an export.

    Raises:
        CodecError: a part of it makes no sense.
    """
    therapist = None
    linked = put_links(tx, export.links)
    if export.role is Role.THERAPIST and linked is None:
        if export.keys is None:
            raise CodecError(0, "a therapist's export without keys")
        therapist = TherapistState(keys=export.keys, inbox_private=new_inbox_key(rng))
    device = DeviceRecord(
        role=export.role,
        relay_url=relay_url,
        display_name=export.display_name,
        therapist=therapist,
        linked=linked,
    )
    save_device(tx, device)
    for line in export.lines:
        keys = line.record.keys or export.keys
        if keys is None:
            raise CodecError(0, "a line without keys")
        record = replace(line.record, not_before=0, imported=True)
        try:
            import_line(
                tx,
                record.line_id,
                own_device(keys),
                rng,
                now=now,
                record=line.machine,
                suite=PRODUCT,
            )
        except StateError:
            raise CodecError(0, "a line stands in it twice") from None
        save_line(tx, record)
