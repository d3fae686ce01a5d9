"""The tables of one line inside one vault transaction: typed rows over the vault's spaces (R7).

Every space begins with ``line.`` and every key with the 16-byte line id, so that one device keeps many lines
in one vault and ending a line is a few prefix deletions (R22).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Final, Generic, TypeVar

from clients.sdk.line.events import AlarmKind, DeliveryState, RejoinReason
from clients.sdk.line.record import (
    FLAG,
    OPAQUE,
    SECONDS,
    TEXT,
    U8,
    U16,
    U64,
    FieldCodec,
    Record,
    enum_field,
    list_field,
)
from clients.sdk.line.rejoin_wire import Stay
from keys.vault import VaultTransaction

R = TypeVar("R", bound=Record)
Layout = tuple[tuple[str, FieldCodec[Any]], ...]

LINE_ID_BYTES: Final = 16


class ItemClass(Enum):
    """What an outbox entry is, which decides what its loss means (R12, S1)."""

    CONTENT = 1
    """Kept until delivered, sealed anew with the same counter."""
    RECEIPT = 2
    """Dropped; the receipt falls due again."""
    REQUEST = 3
    """REQUEST and UNAVAILABLE of R11: dropped; the gap asks again."""
    SESSION = 4
    """S1: only the sealed cell is here; its loss is told and it is never sealed again."""


@dataclass(slots=True, kw_only=True)
class OutboxRow(Record):
    """One thing to be sent (R12).

    Attributes:
        order: Place in the queue.
        counter: 0 until first sealed (content), always 0 for control.
        body: Empty for class SESSION.
        cell: The sealed cell, kept exactly while it may have to be sent again byte for byte (R7).
        turn: Turn of the channel that it was sealed for.
        epoch: Epoch likewise.
        seq: Number in that channel, 0 until known.
        stored_at: When STORED came, UTC seconds.
        every_device: Delivered only when every other leaf has receipted it (LINE_INFO, NEW_R).
        placed: Seen in the log by this device itself, not only promised by STORED.
    """

    order: int
    item_class: ItemClass
    item_id: bytes
    kind: int
    counter: int
    utc_seconds: int
    body: bytes = field(repr=False)
    state: DeliveryState = DeliveryState.QUEUED
    deposit_id: bytes = b""
    cell: bytes = field(default=b"", repr=False)
    digest: bytes = b""
    epoch: int = 0
    turn: int = 0
    seq: int = 0
    stored_at: float = 0.0
    every_device: bool = False
    placed: bool = False

    LAYOUT: ClassVar[Layout] = (
        ("order", U64),
        ("item_class", enum_field(ItemClass)),
        ("item_id", OPAQUE),
        ("kind", U16),
        ("counter", U64),
        ("utc_seconds", U64),
        ("body", OPAQUE),
        ("state", enum_field(DeliveryState)),
        ("deposit_id", OPAQUE),
        ("cell", OPAQUE),
        ("digest", OPAQUE),
        ("epoch", U64),
        ("turn", U8),
        ("seq", U64),
        ("stored_at", SECONDS),
        ("every_device", FLAG),
        ("placed", FLAG),
    )


@dataclass(slots=True, kw_only=True)
class MessageRow(Record):
    """One row of the conversation; ``place`` is where its first mark appeared."""

    place: int
    mine: bool
    device_id: bytes
    counter: int
    item_id: bytes
    kind: int
    version: int
    utc_seconds: int
    body: bytes = field(repr=False)
    state: int
    """A DeliveryState's value, 0 for received ones."""
    missing: bool = False
    lost: bool = False

    LAYOUT: ClassVar[Layout] = (
        ("place", U64),
        ("mine", FLAG),
        ("device_id", OPAQUE),
        ("counter", U64),
        ("item_id", OPAQUE),
        ("kind", U16),
        ("version", U8),
        ("utc_seconds", U64),
        ("body", OPAQUE),
        ("state", U16),
        ("missing", FLAG),
        ("lost", FLAG),
    )


@dataclass(slots=True, kw_only=True)
class CounterRow(Record):
    """What is known about the counters of one other device (R11, R12). Outlives the leaf.

    Attributes:
        baseline: False until its first counter is known (a joiner before LINE_INFO).
        contiguous: Everything up to here was delivered.
        beyond: Delivered counters above, at most 256 beyond.
        highest: Highest counter ever seen in an authenticated message.
        acked_sent: ``contiguous`` as last sealed into a payload.
        their_ack: Up to which own counter this device has receipted.
    """

    device_id: bytes
    identity_key: bytes
    baseline: bool = False
    contiguous: int = 0
    beyond: list[int] = field(default_factory=list)
    highest: int = 0
    acked_sent: int = 0
    their_ack: int = 0

    LAYOUT: ClassVar[Layout] = (
        ("device_id", OPAQUE),
        ("identity_key", OPAQUE),
        ("baseline", FLAG),
        ("contiguous", U64),
        ("beyond", list_field(U64)),
        ("highest", U64),
        ("acked_sent", U64),
        ("their_ack", U64),
    )


@dataclass(slots=True, kw_only=True)
class StubRow(Record):
    """R19: what remains of an old channel until the relay has confirmed the last acknowledgement."""

    ref: bytes
    k: bytes = field(repr=False)
    readers: int
    token: bytes = field(repr=False)
    incarnation: bytes
    seq: int

    LAYOUT: ClassVar[Layout] = (
        ("ref", OPAQUE),
        ("k", OPAQUE),
        ("readers", U8),
        ("token", OPAQUE),
        ("incarnation", OPAQUE),
        ("seq", U64),
    )


class CommitIntent(Enum):
    """Why this device commits."""

    SELF_UPDATE = 1
    ADD = 2
    REMOVE = 3
    REJOIN = 4


@dataclass(slots=True, kw_only=True)
class PendingCommitRow(Record):
    """R13: everything about an own commit between deposit and closing cell."""

    intent: CommitIntent
    epoch: int
    turn: int
    deposit_id: bytes
    digest: bytes
    cell: bytes = field(repr=False)
    staged: bytes = field(repr=False)
    welcome: bytes = field(repr=False)
    added: list[bytes]
    """Device ids."""
    removed: list[bytes]
    subject: bytes
    """Device id of the wish behind it, or SHA-256 of the KeyPackage of the rejoin request."""
    reply_secret: bytes = field(default=b"", repr=False)
    """The R under which a rejoin request was heard: the stranded device knows no other."""

    LAYOUT: ClassVar[Layout] = (
        ("intent", enum_field(CommitIntent)),
        ("epoch", U64),
        ("turn", U8),
        ("deposit_id", OPAQUE),
        ("digest", OPAQUE),
        ("cell", OPAQUE),
        ("staged", OPAQUE),
        ("welcome", OPAQUE),
        ("added", list_field(OPAQUE)),
        ("removed", list_field(OPAQUE)),
        ("subject", OPAQUE),
        ("reply_secret", OPAQUE),
    )


@dataclass(slots=True, kw_only=True)
class IntentRow(Record):
    """A wish to add or remove a device of the own person. Key: device id."""

    intent: CommitIntent
    device_id: bytes
    key_package: bytes

    LAYOUT: ClassVar[Layout] = (
        ("intent", enum_field(CommitIntent)),
        ("device_id", OPAQUE),
        ("key_package", OPAQUE),
    )


@dataclass(slots=True, kw_only=True)
class RemovedRow(Record):
    """A device whose removal this device has processed (R14, R18). Key: its device id."""

    device_id: bytes
    removed_at: float

    LAYOUT: ClassVar[Layout] = (("device_id", OPAQUE), ("removed_at", SECONDS))


@dataclass(slots=True, kw_only=True)
class EpochRow(Record):
    """An epoch that this device has been in (docs/adr/0046). Key: its number.

    Attributes:
        tag: Of :func:`clients.sdk.line.whereabouts.tag_of`.
        told_at: When those who were not heard in it were last told of it, UTC seconds; 0 never.
    """

    epoch: int
    tag: bytes
    entered_at: float
    told_at: float = 0.0

    LAYOUT: ClassVar[Layout] = (
        ("epoch", U64),
        ("tag", OPAQUE),
        ("entered_at", SECONDS),
        ("told_at", SECONDS),
    )


@dataclass(slots=True, kw_only=True)
class AheadRow(Record):
    """Where another leaf said that it is (docs/adr/0046). Key: its device id.

    Attributes:
        joined_epoch: In which that leaf came into the line, as it says.
        connected_seconds: In which the way there could have been read.
        acted_at: When this device found itself left behind by it, UTC seconds; 0 if not.
    """

    device_id: bytes
    epoch: int
    joined_epoch: int
    tag: bytes
    connected_seconds: float = 0.0
    acted_at: float = 0.0

    LAYOUT: ClassVar[Layout] = (
        ("device_id", OPAQUE),
        ("epoch", U64),
        ("joined_epoch", U64),
        ("tag", OPAQUE),
        ("connected_seconds", SECONDS),
        ("acted_at", SECONDS),
    )


@dataclass(slots=True, kw_only=True)
class ReturnRow(Record):
    """An own return channel under one R (R18).

    Attributes:
        until: UTC seconds after which it is no longer attached; 0 for the current R.
    """

    ref: bytes
    k: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    token: bytes = field(repr=False)
    incarnation: bytes = b""
    position: int = 0
    until: float = 0.0

    LAYOUT: ClassVar[Layout] = (
        ("ref", OPAQUE),
        ("k", OPAQUE),
        ("secret", OPAQUE),
        ("token", OPAQUE),
        ("incarnation", OPAQUE),
        ("position", U64),
        ("until", SECONDS),
    )


@dataclass(slots=True, kw_only=True)
class MailRow(Record):
    """A sealed cell for a channel to which this device only deposits: return channels, the END of a block."""

    deposit_id: bytes
    ref: bytes
    k: bytes = field(repr=False)
    readers: int
    cell: bytes = field(repr=False)

    LAYOUT: ClassVar[Layout] = (
        ("deposit_id", OPAQUE),
        ("ref", OPAQUE),
        ("k", OPAQUE),
        ("readers", U8),
        ("cell", OPAQUE),
    )


@dataclass(slots=True, kw_only=True)
class RequestRow(Record):
    """A rejoin request of another device, waiting to be answered (R18). Key: its device id."""

    device_id: bytes
    epoch: int
    reason: RejoinReason
    key_package: bytes
    due_at: float
    noted_at: float
    stay: Stay
    secret: bytes = field(repr=False)

    LAYOUT: ClassVar[Layout] = (
        ("device_id", OPAQUE),
        ("epoch", U64),
        ("reason", enum_field(RejoinReason)),
        ("key_package", OPAQUE),
        ("due_at", SECONDS),
        ("noted_at", SECONDS),
        ("stay", enum_field(Stay)),
        ("secret", OPAQUE),
    )


@dataclass(slots=True, kw_only=True)
class AnsweredRow(Record):
    """When a device was last answered, and with which KeyPackages (R18). Key: its device id."""

    answered_at: float
    key_package_hashes: list[bytes]

    LAYOUT: ClassVar[Layout] = (("answered_at", SECONDS), ("key_package_hashes", list_field(OPAQUE)))


@dataclass(slots=True, kw_only=True)
class RejoinKeyRow(Record):
    """A KeyPackage that this stranded device sent out, with its private keys. Key: SHA-256 of it."""

    key_package: bytes
    init_private: bytes = field(repr=False)
    encryption_private: bytes = field(repr=False)
    made_at: float
    welcome_digest: bytes = b""
    """SHA-256 of the Welcome that used it; empty while it may still be used."""

    LAYOUT: ClassVar[Layout] = (
        ("key_package", OPAQUE),
        ("init_private", OPAQUE),
        ("encryption_private", OPAQUE),
        ("made_at", SECONDS),
        ("welcome_digest", OPAQUE),
    )


@dataclass(slots=True, kw_only=True)
class WelcomeRow(Record):
    """A Welcome that the device layer has to bring to its joiner (R16, R19). Key: welcome id."""

    welcome_id: bytes
    device_id: bytes
    welcome: bytes = field(repr=False)
    founding: bool

    LAYOUT: ClassVar[Layout] = (
        ("welcome_id", OPAQUE),
        ("device_id", OPAQUE),
        ("welcome", OPAQUE),
        ("founding", FLAG),
    )


@dataclass(slots=True, kw_only=True)
class AlarmRow(Record):
    """An alarm that was not dismissed. Key: its kind."""

    kind: AlarmKind
    sentence: str
    device_id: bytes
    utc_seconds: float

    LAYOUT: ClassVar[Layout] = (
        ("kind", enum_field(AlarmKind)),
        ("sentence", TEXT),
        ("device_id", OPAQUE),
        ("utc_seconds", SECONDS),
    )


class Table(Generic[R]):
    """Rows of one type in one space, keys prefixed with the line id."""

    def __init__(self, tx: VaultTransaction, line_id: bytes, space: str, row: type[R]) -> None:
        self._tx = tx
        self._prefix = line_id
        self._space = space
        self._row = row

    def get(self, key: bytes) -> R | None:
        """The row under a key."""
        data = self._tx.get(self._space, self._prefix + key)
        return None if data is None else self._row.from_bytes(data)

    def put(self, key: bytes, row: R) -> None:
        """Insert or replace."""
        self._tx.put(self._space, self._prefix + key, row.to_bytes())

    def delete(self, key: bytes) -> None:
        """Remove, if there."""
        self._tx.delete(self._space, self._prefix + key)

    def rows(self, *, reverse: bool = False, limit: int | None = None) -> Iterator[R]:
        """All rows in key order."""
        for _, data in self._tx.items(self._space, self._prefix, reverse=reverse, limit=limit):
            yield self._row.from_bytes(data)

    def clear(self) -> None:
        """Remove all rows of this line."""
        self._tx.delete_all(self._space, self._prefix)


class Blobs:
    """Bare values of one space, keys prefixed with the line id."""

    def __init__(self, tx: VaultTransaction, line_id: bytes, space: str) -> None:
        self._tx = tx
        self._prefix = line_id
        self._space = space

    def get(self, key: bytes = b"") -> bytes | None:
        """The value under a key."""
        return self._tx.get(self._space, self._prefix + key)

    def put(self, value: bytes, key: bytes = b"") -> None:
        """Insert or replace."""
        self._tx.put(self._space, self._prefix + key, value)

    def delete(self, key: bytes = b"") -> None:
        """Remove, if there."""
        self._tx.delete(self._space, self._prefix + key)

    def items(self, *, reverse: bool = False, limit: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Keys without the line id, and values, in key order."""
        for key, value in self._tx.items(self._space, self._prefix, reverse=reverse, limit=limit):
            yield key[len(self._prefix) :], value

    def clear(self) -> None:
        """Remove all values of this line."""
        self._tx.delete_all(self._space, self._prefix)


class Tables:
    """Everything that one line keeps, inside one transaction."""

    def __init__(self, tx: VaultTransaction, line_id: bytes) -> None:
        self.row = Blobs(tx, line_id, "line.row")
        self.group = Blobs(tx, line_id, "line.mls")
        self.history = Blobs(tx, line_id, "line.history")
        self.own_cells = Blobs(tx, line_id, "line.own")
        self.message_index = Blobs(tx, line_id, "line.index")
        self.outbox = Table(tx, line_id, "line.outbox", OutboxRow)
        """Queued and sealed, by order number."""
        self.stored = Table(tx, line_id, "line.stored", OutboxRow)
        """Content that the relay holds and nobody has receipted, by counter."""
        self.messages = Table(tx, line_id, "line.message", MessageRow)
        self.counters = Table(tx, line_id, "line.counter", CounterRow)
        self.stubs = Table(tx, line_id, "line.stub", StubRow)
        self.pending_commit = Table(tx, line_id, "line.commit", PendingCommitRow)
        self.intents = Table(tx, line_id, "line.intent", IntentRow)
        self.returns = Table(tx, line_id, "line.return", ReturnRow)
        self.mail = Table(tx, line_id, "line.mail", MailRow)
        self.requests = Table(tx, line_id, "line.request", RequestRow)
        self.answered = Table(tx, line_id, "line.answered", AnsweredRow)
        self.rejoin_keys = Table(tx, line_id, "line.rejoinkey", RejoinKeyRow)
        self.second_welcome = Blobs(tx, line_id, "line.second")
        self.welcomes = Table(tx, line_id, "line.welcome", WelcomeRow)
        self.alarms = Table(tx, line_id, "line.alarm", AlarmRow)
        self.removed = Table(tx, line_id, "line.removed", RemovedRow)
        self.epochs = Table(tx, line_id, "line.epoch", EpochRow)
        self.ahead = Table(tx, line_id, "line.ahead", AheadRow)


def u64_key(number: int) -> bytes:
    """A key that sorts as the number does."""
    return number.to_bytes(8, "big")
