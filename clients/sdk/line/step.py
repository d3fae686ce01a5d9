"""One step of a line: the state as loaded, the open transaction, the time, and what is to be done after it.

Every rule's module works on a :class:`Step` and on nothing else. A step lives inside one vault transaction
(R7). Whatever raises inside it undoes everything: the vault by its transaction, the memory because the
machine drops what it had cached, and the effects because they are handed out after the commit only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from clients.sdk.line import cells
from clients.sdk.line.events import AlarmKind, ChannelRef, Effect, LineChanged, LinePhase, Notify
from clients.sdk.line.state import LineState
from clients.sdk.line.tables import AlarmRow, Tables, u64_key
from crypto.errors import StateError
from crypto.group import Group
from crypto.sensitive import Secret
from crypto.suites import CipherSuite

Rng = Callable[[int], bytes]

_OF_ONE_DEVICE: Final = frozenset({AlarmKind.DEVICE_ADDED, AlarmKind.DEVICE_REMOVED})
"""Told again for each device: the newest stands in the place of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDevice:
    """Who this device is in the line.

    Attributes:
        signature_private: Ed25519 seed of the device key, 32 bytes.
        certificate: Encoded DeviceCertificate, the credential of every own leaf.
        device_id: 16 bytes, as in the certificate.
        identity_key: 32 bytes, as in the certificate.
    """

    signature_private: Secret
    certificate: bytes
    device_id: bytes
    identity_key: bytes


@dataclass(slots=True, kw_only=True)
class Connection:
    """What is true only while one connection stands. Never in the vault; copied before each step.

    Attributes:
        attached: Refs that ATTACHED was read for.
        gate_head: Head of the current channel at attach: nothing is sent before it was read (R9).
        deposited: Deposit ids handed out on this connection, with the order number behind each (0: none).
        closed_since: When the relay first said that the current channel is closed (R13); 0 if not.
        closed_reconnects: How often that led to a reconnect; outlives the connection.
        blocked_until: After a refusal that time may cure.
        full: The current channel takes no cells but a closing one (R5).
        seen_at: Time of the last event, for counting connected time (R9).
        up_since: When the connection came to stand.
    """

    up: bool = False
    attached: set[bytes] = field(default_factory=set)
    gate_head: int = 0
    deposited: dict[bytes, int] = field(default_factory=dict)
    closed_since: float = 0.0
    closed_reconnects: int = 0
    blocked_until: float = 0.0
    full: bool = False
    seen_at: float = 0.0
    up_since: float = 0.0

    def copy(self) -> Connection:
        """An independent copy."""
        return Connection(
            up=self.up,
            attached=set(self.attached),
            gate_head=self.gate_head,
            deposited=dict(self.deposited),
            closed_since=self.closed_since,
            closed_reconnects=self.closed_reconnects,
            blocked_until=self.blocked_until,
            full=self.full,
            seen_at=self.seen_at,
            up_since=self.up_since,
        )


@dataclass(slots=True, kw_only=True)
class Step:
    """See the module. ``group`` is None in a line without MLS state (stranded after an import, or ended)."""

    tables: Tables
    state: LineState
    conn: Connection
    group: Group | None
    own: OwnDevice
    suite: CipherSuite
    rng: Rng
    now: float
    effects: list[Effect] = field(default_factory=list)
    group_changed: bool = False

    def emit(self, effect: Effect) -> None:
        """Hand an effect out after the commit."""
        self.effects.append(effect)

    @property
    def mls(self) -> Group:
        """The group.

        Raises:
            StateError: There is none.
        """
        if self.group is None:
            raise StateError("the line has no group state")
        return self.group

    def replace_group(self, group: Group | None) -> None:
        """Put a merged or joined group, or none, in the place of the old one, which is dropped."""
        self.group = group
        self.group_changed = True

    @property
    def address(self) -> bytes:
        """K of the current channel (R1).

        Raises:
            StateError: The line has no channel (ended, or imported and not rejoined).
        """
        if not self.state.addresses:
            raise StateError("the line has no channel")
        return self.state.addresses[self.state.turn]

    @property
    def ref(self) -> ChannelRef:
        """Id of the current channel (R2); an impossible one if the line has none."""
        if not self.state.addresses:
            return ChannelRef(b"")
        return cells.stored_ref(self.state.readers, self.address)

    def random_seconds(self, maximum: float) -> float:
        """Uniform in [0, maximum)."""
        return int.from_bytes(self.rng(4), "big") / 2**32 * maximum

    def notify(self, kind: AlarmKind, sentence: str, *, device_id: bytes = b"", keep: bool = True) -> None:
        """Tell the person once; with ``keep`` the alarm stands in the view until it is dismissed."""
        key = u64_key(kind.value)
        if keep:
            standing = self.tables.alarms.get(key)
            if standing is not None and (kind not in _OF_ONE_DEVICE or standing.device_id == device_id):
                return
            row = AlarmRow(kind=kind, sentence=sentence, device_id=device_id, utc_seconds=self.now)
            self.tables.alarms.put(key, row)
        self.emit(Notify(kind=kind, sentence=sentence, device_id=device_id))

    def clear_alarm(self, kind: AlarmKind) -> None:
        """What the alarm was about is over."""
        self.tables.alarms.delete(u64_key(kind.value))

    def set_phase(self, phase: LinePhase) -> None:
        """Move to a phase and say so."""
        if self.state.phase is not phase:
            self.state.phase = phase
            self.emit(LineChanged(phase=phase))
