"""What the device layer itself keeps in the vault: who this device is, its lines, what it gave out.

Each record is a struct with a format byte; the space and key stand beside it. What a line's machine keeps is
in the spaces "line.…" and none of our business. Everything here lies encrypted in the vault; private keys
are plain bytes in the records and `Secret` everywhere else.

| space             | key                       | record                                   |
|-------------------|---------------------------|------------------------------------------|
| device            | "self"                    | `DeviceRecord`                           |
| device.lines      | line id                   | `LineRecord`                             |
| device.drops      | line id                   | `DropRecord`: a first contact to be sent |
| device.packages   | KeyPackage reference      | `PackageRecord`                          |
| device.invited    | SHA-256 of admit value    | `InvitedRecord`                          |
| device.seen       | SHA-256 of a group id     | u32 last day on which it must be known   |
| device.told       | line id ‖ sender ‖ u64    | empty: the application has taken it over |
| device.refused    | drop id                   | u32 day: a first contact that was no good|
| device.connected  | SHA-256 of admit value    | line id of the line that `connect` made  |
| device.alarms     | line id ‖ u64 kind        | u64 since when: the person was told of it|
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from clients.sdk.model import Role
from crypto.codec import Reader, Writer, decode
from crypto.sensitive import Secret
from keys.certificates import UtcDay
from keys.invitations import Invitation
from keys.vault import VaultTransaction

DEVICE: Final = "device"
LINES: Final = "device.lines"
DROPS: Final = "device.drops"
PACKAGES: Final = "device.packages"
INVITED: Final = "device.invited"
SEEN: Final = "device.seen"
TOLD: Final = "device.told"
REFUSED: Final = "device.refused"
CONNECTED: Final = "device.connected"
TOLD_ALARMS: Final = "device.alarms"

SELF_KEY: Final = b"self"
LINE_ID_BYTES: Final = 16
_FORMAT: Final = 2
"""Of every record. Format 1 knew no linked devices; it is read, and written anew as format 2."""
_ROLES: Final = {Role.CLIENT: 1, Role.THERAPIST: 2}


def _text(writer: Writer, text: str) -> Writer:
    return writer.opaque(text.encode("utf-8"))


def _read_text(reader: Reader) -> str:
    try:
        return reader.opaque().decode("utf-8")
    except UnicodeDecodeError:
        raise reader.error("not UTF-8") from None


def _check_format(reader: Reader) -> int:
    found = reader.u8()
    if not 1 <= found <= _FORMAT:
        raise reader.error("unknown format of a record")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKeys:
    """One identity and this device's place in it. A therapist has one, a client one for each line."""

    identity_seed: Secret | None
    """None on a linked device: only the primary can sign as the person."""
    device_seed: Secret
    certificate: bytes

    def write(self, writer: Writer) -> None:
        """`opaque identity_seed<V>` (perhaps empty), `opaque device_seed[32]`, `opaque certificate<V>`."""
        seed = b"" if self.identity_seed is None else self.identity_seed.reveal()
        writer.opaque(seed).raw(self.device_seed.reveal()).opaque(self.certificate)

    @staticmethod
    def read(reader: Reader, *, format_number: int = _FORMAT) -> DeviceKeys:
        """Inverse of `write`; in format 1 the identity's seed has no length before it."""
        seed = reader.bytes_(32) if format_number == 1 else reader.opaque(32)
        return DeviceKeys(
            identity_seed=Secret(seed) if seed else None,
            device_seed=Secret(reader.bytes_(32)),
            certificate=reader.opaque(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TherapistState:
    """What a therapist's device keeps about its public side (DESIGN section 6, R21)."""

    keys: DeviceKeys
    inbox_private: Secret
    token: str = field(default="", repr=False)
    """One-use registration token, until it was used."""
    inbox_id: bytes = b""
    list_version: int = 0
    bundle_serial: int = 0
    published_day: int = 0
    """UTC day of the bundle that the relay last took; 0 if it has none."""

    def write(self, writer: Writer) -> None:
        """In the order above."""
        self.keys.write(writer)
        writer.raw(self.inbox_private.reveal())
        _text(writer, self.token).opaque(self.inbox_id)
        writer.u64(self.list_version).u64(self.bundle_serial).u32(self.published_day)

    @staticmethod
    def read(reader: Reader, *, format_number: int = _FORMAT) -> TherapistState:
        """Inverse of `write`."""
        return TherapistState(
            keys=DeviceKeys.read(reader, format_number=format_number),
            inbox_private=Secret(reader.bytes_(32)),
            token=_read_text(reader),
            inbox_id=reader.opaque(16),
            list_version=reader.u64(),
            bundle_serial=reader.u64(),
            published_day=reader.u32(),
        )


class LinkPhase(Enum):
    """Where a linked device stands; the value is what the vault stores."""

    WAITING = 1
    """Shows a code, or is about to."""
    LINKED = 2
    REMOVED = 3
    """The person's first device has removed it; its keys are destroyed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedState:
    """What a linked device keeps about itself (PROTOCOL 7.8)."""

    phase: LinkPhase
    code: str = field(default="", repr=False)
    """The code that it shows while it waits."""
    hpke_private: Secret | None = None
    """One-time key to which the answer is sealed; destroyed with the answer."""
    box_id: bytes = b""
    """The mailbox that it shares with the first device; empty after removal."""
    device_name: str = ""
    """How the first device calls it."""
    identity_key: bytes = b""
    """A therapist's; a client has one for each line."""
    lines_promised: int = 0
    """How many lines the first device had when it linked this one."""
    reported_day: int = 0
    """UTC day on which it last told the first device which lines it has."""

    def write(self, writer: Writer) -> None:
        """In the order above."""
        writer.u8(self.phase.value)
        _text(writer, self.code)
        writer.opaque(b"" if self.hpke_private is None else self.hpke_private.reveal()).opaque(self.box_id)
        _text(writer, self.device_name).opaque(self.identity_key)
        writer.u16(self.lines_promised).u32(self.reported_day)

    @staticmethod
    def read(reader: Reader) -> LinkedState:
        """Inverse of `write`."""
        try:
            phase = LinkPhase(reader.u8())
        except ValueError:
            raise reader.error("unknown phase of a linked device") from None
        code, private = _read_text(reader), reader.opaque(64)
        return LinkedState(
            phase=phase,
            code=code,
            hpke_private=Secret(private) if private else None,
            box_id=reader.opaque(16),
            device_name=_read_text(reader),
            identity_key=reader.opaque(32),
            lines_promised=reader.u16(),
            reported_day=reader.u32(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """Who this device is."""

    role: Role
    relay_url: str
    display_name: str
    therapist: TherapistState | None
    """The public side of a therapist's primary device."""
    linked: LinkedState | None = None
    """Of a device that was linked to a person's first one, or waits to be."""

    @property
    def primary(self) -> bool:
        """Whether this device can sign as its person: it opens lines, invites, links and removes devices."""
        return self.linked is None

    def encode(self) -> bytes:
        """Format, role, relay, name, therapist's part, linked device's part."""
        writer = Writer().u8(_FORMAT).u8(_ROLES[self.role])
        _text(writer, self.relay_url)
        _text(writer, self.display_name)
        writer.optional(self.therapist, lambda w, t: t.write(w))
        writer.optional(self.linked, lambda w, linked: linked.write(w))
        return writer.to_bytes()

    @staticmethod
    def decode(data: bytes) -> DeviceRecord:
        """Inverse of `encode`.

        Raises:
            CodecError: malformed.
        """

        def read(reader: Reader) -> DeviceRecord:
            found = _check_format(reader)
            number = reader.u8()
            role = next((role for role, code in _ROLES.items() if code == number), None)
            if role is None:
                raise reader.error("unknown role")
            return DeviceRecord(
                role=role,
                relay_url=_read_text(reader),
                display_name=_read_text(reader),
                therapist=reader.optional(lambda r: TherapistState.read(r, format_number=found)),
                linked=None if found == 1 else reader.optional(LinkedState.read),
            )

        return decode(data, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRecord:
    """What this device knows of a line beside the machine's state."""

    line_id: bytes
    name: str
    peer_name: str
    peer_identity: bytes
    """The peer's identity key, 32 bytes."""
    keys: DeviceKeys | None
    """The client's pseudonymous identity of this line, or a linked device's keys in it; None on a therapist's
    primary device."""
    created: int
    """UTC seconds."""
    not_before: int = 0
    """UTC seconds before which the line is not attached (the pause after a first contact)."""
    confirmed: bool = False
    imported: bool = False
    """It came out of an export: its machine began as a stranded one (R9, R18)."""

    def encode(self) -> bytes:
        """Format and fields in the order above, without the id."""
        writer = Writer().u8(_FORMAT)
        _text(writer, self.name)
        _text(writer, self.peer_name)
        writer.raw(self.peer_identity).optional(self.keys, lambda w, k: k.write(w))
        writer.u64(self.created).u64(self.not_before).u8(int(self.confirmed)).u8(int(self.imported))
        return writer.to_bytes()

    @staticmethod
    def decode(line_id: bytes, data: bytes) -> LineRecord:
        """Inverse of `encode`.

        Raises:
            CodecError: malformed.
        """

        def read(reader: Reader) -> LineRecord:
            found = _check_format(reader)
            return LineRecord(
                line_id=line_id,
                name=_read_text(reader),
                peer_name=_read_text(reader),
                peer_identity=reader.bytes_(32),
                keys=reader.optional(lambda r: DeviceKeys.read(r, format_number=found)),
                created=reader.u64(),
                not_before=reader.u64(),
                confirmed=bool(reader.u8()),
                imported=bool(reader.u8()),
            )

        return decode(data, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRecord:
    """A first contact that the relay has not yet taken. Dropped again under the same id it counts once."""

    inbox_id: bytes
    drop_id: bytes
    admit_value: bytes = field(repr=False)
    body: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Format and fields."""
        writer = Writer().u8(_FORMAT).raw(self.inbox_id).raw(self.drop_id)
        return writer.opaque(self.admit_value).opaque(self.body).to_bytes()

    @staticmethod
    def decode(data: bytes) -> DropRecord:
        """Inverse of `encode`.

        Raises:
            CodecError: malformed.
        """

        def read(reader: Reader) -> DropRecord:
            _check_format(reader)
            return DropRecord(
                inbox_id=reader.bytes_(16),
                drop_id=reader.bytes_(16),
                admit_value=reader.opaque(),
                body=reader.opaque(),
            )

        return decode(data, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRecord:
    """A KeyPackage of this device with its private keys, until 31 days after its validity."""

    key_package: bytes
    init_private: Secret
    encryption_private: Secret
    made_day: int
    last_day: int
    """Last UTC day of its validity."""

    def encode(self) -> bytes:
        """Format and fields."""
        writer = Writer().u8(_FORMAT).opaque(self.key_package)
        writer.opaque(self.init_private.reveal()).opaque(self.encryption_private.reveal())
        return writer.u32(self.made_day).u32(self.last_day).to_bytes()

    @staticmethod
    def decode(data: bytes) -> PackageRecord:
        """Inverse of `encode`.

        Raises:
            CodecError: malformed.
        """

        def read(reader: Reader) -> PackageRecord:
            _check_format(reader)
            return PackageRecord(
                key_package=reader.opaque(),
                init_private=Secret(reader.opaque()),
                encryption_private=Secret(reader.opaque()),
                made_day=reader.u32(),
                last_day=reader.u32(),
            )

        return decode(data, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitedRecord:
    """An invitation that this device gave out; kept until its day has passed, used or not."""

    secret: bytes = field(repr=False)
    expires_day: int
    admitted_inbox: bytes = b""
    """Inbox at which the relay knows of it; another inbox id means: tell it again."""
    used_by: bytes = b""
    """Line id, once used."""

    def invitation(self, *, relay_url: str, fingerprint: bytes) -> Invitation:
        """The invitation as it was given out."""
        return Invitation(
            relay_url=relay_url,
            fingerprint=fingerprint,
            secret=self.secret,
            expires_day=UtcDay(self.expires_day),
        )

    def encode(self) -> bytes:
        """Format and fields."""
        writer = Writer().u8(_FORMAT).raw(self.secret).u32(self.expires_day)
        return writer.opaque(self.admitted_inbox).opaque(self.used_by).to_bytes()

    @staticmethod
    def decode(data: bytes) -> InvitedRecord:
        """Inverse of `encode`.

        Raises:
            CodecError: malformed.
        """

        def read(reader: Reader) -> InvitedRecord:
            _check_format(reader)
            return InvitedRecord(
                secret=reader.bytes_(16),
                expires_day=reader.u32(),
                admitted_inbox=reader.opaque(16),
                used_by=reader.opaque(16),
            )

        return decode(data, read)


def load_device(tx: VaultTransaction) -> DeviceRecord | None:
    """Who this device is; None in an empty vault.

    Raises:
        CodecError: damaged.
    """
    data = tx.get(DEVICE, SELF_KEY)
    return None if data is None else DeviceRecord.decode(data)


def save_device(tx: VaultTransaction, record: DeviceRecord) -> None:
    """Write who this device is."""
    tx.put(DEVICE, SELF_KEY, record.encode())


def load_lines(tx: VaultTransaction) -> list[LineRecord]:
    """All lines.

    Raises:
        CodecError: damaged.
    """
    return [LineRecord.decode(key, value) for key, value in tx.items(LINES)]


def save_line(tx: VaultTransaction, record: LineRecord) -> None:
    """Write a line's record."""
    tx.put(LINES, record.line_id, record.encode())


def free_name(taken: set[str], wish: str) -> str:
    """`wish`, or `wish-2`, `wish-3` … where it is taken."""
    if wish not in taken:
        return wish
    number = 2
    while f"{wish}-{number}" in taken:
        number += 1
    return f"{wish}-{number}"
