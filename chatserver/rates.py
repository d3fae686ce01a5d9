"""Rates per connection and per address (DESIGN section 8), without keeping an address.

An address is known as a keyed hash in memory; the key is random and changes every hour, and with it
everything that was counted under the old one is forgotten, but for addresses that are still connected: their
records stay under the old key for as long as they have connections, so that the limit of connections is one
on all that are open, and not on those of the hour. IPv6 counts by /64. Limits per address are
`address_factor` (at least 50) times those per connection.

Buckets are leaky: a full bucket holds one minute's worth, and refills evenly.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from chatserver.clock import Clock
from chatserver.config import Limits, Network

KEY_LIFETIME_SECONDS: Final = 3_600.0
"""How long the key lives under which addresses are hashed."""

MAX_RECORDS: Final = 100_000
"""Addresses counted at once; beyond it those without a connection are forgotten before their hour is over."""

MAX_OLD_KEYS: Final = 168
"""Old keys kept for those who have been connected since: a week of them; each costs a hash per connection."""

_MINUTE: Final = 60.0
_ROUNDING: Final = 1e-6
"""Seconds; sixty steps of a sixtieth are not quite a minute in binary."""


class Kind(IntEnum):
    """What is counted; an IntEnum, because its members are hashed for every frame."""

    DEPOSIT = 0
    REQUEST = 1
    CREATION = 2
    INBOX = 3
    FETCH = 4


def per_minute(limits: Limits, kind: Kind) -> int:
    """The rate of a kind, per connection."""
    return (
        limits.deposits_per_minute,
        limits.requests_per_minute,
        limits.creations_per_minute,
        limits.inbox_requests_per_minute,
        limits.bundle_fetches_per_minute,
    )[kind]


class Bucket:
    """A leaky bucket of one minute's worth."""

    __slots__ = ("_full_at", "_room", "_step")

    def __init__(self, rate: int, now: float) -> None:
        # The whole state is when the bucket will be full again: each one taken puts that off by a step.
        self._step = _MINUTE / rate if rate else math.inf
        self._room = _MINUTE - self._step + _ROUNDING
        self._full_at = now

    def try_take(self, now: float) -> bool:
        """Take one, if there is one."""
        full_at = max(self._full_at, now)
        if full_at - now > self._room:
            return False
        self._full_at = full_at + self._step
        return True

    def give_back(self) -> None:
        """Undo one `try_take`, because what it was taken for did not happen."""
        self._full_at -= self._step


class AddressRecord:
    """What is known about one address, within the hour or while it is connected: connections and buckets."""

    __slots__ = ("buckets", "connections")

    def __init__(self) -> None:
        self.connections = 0
        self.buckets: dict[Kind, Bucket] = {}


class AddressBook:
    """Records by keyed hash of the address."""

    def __init__(self, clock: Clock, rng: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._rng = rng
        self._key = rng(32)
        self._born = clock.monotonic()
        self._records: dict[bytes, AddressRecord] = {}
        self._old: list[tuple[bytes, dict[bytes, AddressRecord]]] = []

    def __len__(self) -> int:
        return len(self._records) + sum(len(records) for _, records in self._old)

    def record(self, address: str) -> AddressRecord:
        """The record of an address: the one that its open connections are counted in, if it has any."""
        self.rotate()
        counted = subnet(address)
        digest = _digest(counted, self._key)
        found = self._records.get(digest)
        if found is None:
            if len(self._records) >= MAX_RECORDS:
                self._records = _connected(self._records)
            found = self._records[digest] = self._taken_over(counted) or AddressRecord()
        return found

    def _taken_over(self, counted: bytes) -> AddressRecord | None:
        # An address that is seen again goes on under the key of this hour, with the connections that it has.
        for key, records in self._old:
            found = records.pop(_digest(counted, key), None)
            if found is not None and found.connections:
                return found
        return None

    def rotate(self) -> None:
        """Once an hour: a new key, and everybody forgotten who has no connection."""
        now = self._clock.monotonic()
        if now - self._born < KEY_LIFETIME_SECONDS:
            return
        generations = [(self._key, self._records), *self._old]
        kept = ((key, _connected(records)) for key, records in generations[:MAX_OLD_KEYS])
        self._old = [(key, records) for key, records in kept if records]
        self._key = self._rng(32)
        self._born = now
        self._records = {}


def _digest(counted: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(counted, key=key, digest_size=16).digest()


def _connected(records: dict[bytes, AddressRecord]) -> dict[bytes, AddressRecord]:
    return {digest: record for digest, record in records.items() if record.connections}


class Meter:
    """The rates of one connection, and of its address where that counts.

    Attributes:
        address: the record of the address; None where it does not count.
    """

    __slots__ = ("_buckets", "_clock", "_limits", "address")

    def __init__(self, limits: Limits, clock: Clock, address: AddressRecord | None) -> None:
        self._limits = limits
        self._clock = clock
        self.address = address
        self._buckets: dict[Kind, Bucket] = {}

    def try_take(self, kind: Kind) -> bool:
        """Count one if it is allowed."""
        now = self._clock.monotonic()
        own = self._buckets.get(kind)
        if own is None:
            own = self._buckets[kind] = Bucket(per_minute(self._limits, kind), now)
        if not own.try_take(now):
            return False
        address = self.address
        if address is None:
            return True
        shared = address.buckets.get(kind)
        if (self._shared(address, kind, now) if shared is None else shared).try_take(now):
            return True
        own.give_back()
        return False

    def give_back(self, kind: Kind) -> None:
        """Undo one `try_take`: a channel that existed already was not created (R4)."""
        self._buckets[kind].give_back()
        if self.address is not None:
            self._shared(self.address, kind, self._clock.monotonic()).give_back()

    def _shared(self, address: AddressRecord, kind: Kind, now: float) -> Bucket:
        shared = address.buckets.get(kind)
        if shared is None:
            rate = per_minute(self._limits, kind) * self._limits.address_factor
            shared = address.buckets[kind] = Bucket(rate, now)
        return shared


def subnet(address: str) -> bytes:
    """What of an address is counted: IPv4 whole, IPv6 its /64, anything else one common value."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return b""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return parsed.ipv4_mapped.packed
        return parsed.packed[:8]
    return parsed.packed


def is_in(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in networks)


def client_address(peer: str, forwarded_for: list[str], trusted: tuple[Network, ...]) -> str:
    """The address that counts: the peer's, or what trusted proxies say of it.

    Walks the X-Forwarded-For entries from the right, as long as the one who wrote them is trusted.
    """
    current = peer
    for entry in reversed([part.strip() for line in forwarded_for for part in line.split(",")]):
        if not is_in(current, trusted):
            break
        current = entry
    return current
