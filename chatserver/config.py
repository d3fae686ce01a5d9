"""Settings of the relay: what each means, its unit, its bounds, why its default is what it is.

The classes below are the only place where a setting is described. `config.toml` at the root of the repository
is `render_defaults()`, which a test compares; `load` accepts any part of it. An unknown section or key, a
value of a wrong type, and a value out of its bounds are each a `ConfigError` that names the key.

Invariant (DESIGN section 8): limits per address are at least 50 times those per connection, because of
carrier NAT. They are given as one factor, so that no setting can break it.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from chatserver.store.protocol import StoreSettings

MIN_ADDRESS_FACTOR: Final = 50
"""Least ratio of limits per address to limits per connection (DESIGN section 8)."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigError(Exception):
    """A setting that cannot be used. The message names file and key and is meant for the operator."""


def _setting(
    default: Any,
    unit: str,
    reason: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {"unit": unit, "reason": reason, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the certificate with the chain up to the root, and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the relay listens, and who may speak for others."""

    host: str = _setting(
        "127.0.0.1", "address", "loopback; a public relay stands behind a proxy that ends TLS"
    )
    port: int = _setting(8440, "TCP port, 0 = any", "no known service uses it", low=0, high=65_535)
    certificate: str = _setting(
        "",
        "path of a PEM file, relative to this file",
        "with `key`: TLS in the relay itself; read again on SIGHUP",
    )
    key: str = _setting("", "path of a PEM file, relative to this file", "private key of `certificate`")
    trusted_proxies: tuple[str, ...] = _setting(
        (), "networks", "only from these is X-Forwarded-For believed; else the peer's own address counts"
    )
    onion_proxies: tuple[str, ...] = _setting(
        (), "networks", "a Tor daemon: no limits per address, first contacts by invitation or proof of work"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSection:
    """Where the store is, and what it keeps."""

    directory: str = _setting(
        ".amanat/relay", "path, relative to this file", "made by `amanat-relay init`, never by a start"
    )
    cells_per_channel: int = _setting(
        1_024, "cells", "16 MiB; a device that is away for a month of busy days", low=1, high=1_000_000
    )
    message_days: int = _setting(30, "days", "R6", low=1, high=30)
    closing_days: int = _setting(
        90, "days", "R6; longer than messages, so that returning works", low=1, high=90
    )
    tombstone_days: int = _setting(90, "days", "R6", low=1, high=90)
    untouched_days: int = _setting(90, "days", "R6", low=1, high=90)
    erase_seconds: float = _setting(
        5.0, "seconds", "H1: the longest that a deleted cell stays in the log", low=0.1, high=5
    )
    wal_limit_mib: int = _setting(64, "MiB", "H1: beyond it cells wait until it is erased", low=1, high=64)
    reserve_mib: int = _setting(
        128,
        "MiB",
        "of the disk, which cells may not take: a full disk must not keep anybody from acknowledging",
        low=0,
        high=1_048_576,
    )
    check_at_open: bool = _setting(
        True, "flag", "reads the whole store at start, so that damage is found before anybody depends on it"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Therapists:
    """Who may register an inbox (R21)."""

    admission: str = _setting(
        "open", "mode", "`token` wants a token of `amanat-relay therapist-token`", choices=("open", "token")
    )
    max_therapists: int = _setting(
        255, "inboxes", "a bucket of all at 32 KiB is 8 MiB; clients refuse 32 MiB", low=1, high=1_000_000
    )
    inbox_days: int = _setting(30, "days", "R21", low=1, high=30)
    inbox_max_waiting: int = _setting(
        256, "first contacts", "R21; 4 MiB, more than one therapist can answer", low=1, high=100_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstContact:
    """What a first contact must show (DESIGN section 6). An invitation is always enough."""

    admission: str = _setting(
        "invite",
        "mode",
        "until the directory exists, an invitation is the only way to a therapist anyway",
        choices=("open", "invite", "pow"),
    )
    pow_bits: int = _setting(
        20, "leading zero bits", "about a second on a phone; also for onion connections", low=1, high=40
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundles:
    """Contact bundles over HTTP (DESIGN section 6)."""

    bucket_bits: int = _setting(
        0, "bits", "0 below 256 therapists; a bucket should hold at least 128", low=0, high=32
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of DESIGN section 8; what is over one is refused with a code that says so."""

    connections: int = _setting(20_000, "connections", "about 40 KiB each", low=1, high=1_000_000)
    connections_per_address: int = _setting(
        1_000, "connections", "a clinic, or thousands behind a carrier's NAT", low=50, high=1_000_000
    )
    channels_per_connection: int = _setting(
        256, "channels", "a therapist's caseload with stubs and return channels", low=1, high=65_536
    )
    requests_in_flight: int = _setting(
        64, "requests", "read no further while so many wait for the store", low=1, high=4_096
    )
    deposits_per_minute: int = _setting(
        1_200, "cells per connection", "20 a second; a session sends one", low=1, high=10_000_000
    )
    requests_per_minute: int = _setting(
        2_400,
        "other requests per connection",
        "attach and acknowledge, after a long absence",
        low=1,
        high=10_000_000,
    )
    creations_per_minute: int = _setting(
        120, "channels per connection", "a device makes one per epoch", low=1, high=10_000_000
    )
    inbox_requests_per_minute: int = _setting(
        60,
        "drops, openings, admissions, bundles per connection",
        "each costs a signature or a write",
        low=1,
        high=10_000_000,
    )
    bundle_fetches_per_minute: int = _setting(
        20,
        "HTTP requests, times address_factor",
        "counted per address (onion: as one), not per connection; may be megabytes",
        low=1,
        high=10_000_000,
    )
    address_factor: int = _setting(
        MIN_ADDRESS_FACTOR,
        "times",
        "each limit per minute, for all connections of an address (IPv6: /64) together",
        low=MIN_ADDRESS_FACTOR,
        high=1_000_000,
    )
    live_channels: int = _setting(
        2_000, "channels", "about 145 KiB each when full, in memory", low=1, high=1_000_000
    )
    queued_kib: int = _setting(
        256,
        "KiB per connection",
        "bytes waiting for a reader before the relay stops feeding it",
        low=64,
        high=65_536,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Waits on a peer."""

    handshake_seconds: float = _setting(
        10.0, "seconds", "from the TCP connection to HELLO", low=0.1, high=600
    )
    http_seconds: float = _setting(
        60.0, "seconds", "for the whole of an HTTP request and its answer", low=0.1, high=3_600
    )
    idle_seconds: float = _setting(
        180.0, "seconds", "nothing heard, not even a ping; clients ping every 60", low=1, high=86_400
    )
    slow_reader_seconds: float = _setting(
        120.0, "seconds", "a queue that does not drain; 2 KiB a second is enough", low=1, high=3_600
    )
    drain_seconds: float = _setting(
        5.0, "seconds", "after SIGTERM, for cells that are on their way to disk", low=0, high=300
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Health and metrics for the operator, on 127.0.0.1 and nowhere else."""

    port: int = _setting(
        0,
        "TCP port, 0 = none",
        "/health/live, /health/ready, /metrics; rounded, hourly, no labels",
        low=0,
        high=65_535,
    )
    live_figures: bool = _setting(
        False, "flag", "metrics of live sessions: whoever keeps them can tell later that sessions took place"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What the relay does to its own memory."""

    lock_memory: bool = _setting(
        False, "flag", "keeps cells out of swap; wants LimitMEMLOCK=infinity, costs the whole memory at once"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings. `base` is the folder to which relative paths are relative."""

    base: Path = Path()
    listen: Listen = field(default_factory=Listen)
    store: StoreSection = field(default_factory=StoreSection)
    therapists: Therapists = field(default_factory=Therapists)
    first_contact: FirstContact = field(default_factory=FirstContact)
    bundles: Bundles = field(default_factory=Bundles)
    limits: Limits = field(default_factory=Limits)
    times: Times = field(default_factory=Times)
    operator: Operator = field(default_factory=Operator)
    process: Process = field(default_factory=Process)

    @property
    def store_directory(self) -> Path:
        """The store's directory as a path that can be opened."""
        return self.base / self.store.directory

    @property
    def tls(self) -> TlsFiles | None:
        """Certificate chain and private key, if the relay is to speak TLS itself."""
        if not self.listen.certificate:
            return None
        return TlsFiles(certificate=self.base / self.listen.certificate, key=self.base / self.listen.key)

    def store_settings(self) -> StoreSettings:
        """The settings that the store itself takes."""
        return StoreSettings(
            message_days=self.store.message_days,
            closing_days=self.store.closing_days,
            tombstone_days=self.store.tombstone_days,
            untouched_days=self.store.untouched_days,
            inbox_days=self.therapists.inbox_days,
            max_cells_per_channel=self.store.cells_per_channel,
            inbox_max_waiting=self.therapists.inbox_max_waiting,
            max_therapists=self.therapists.max_therapists,
            erase_seconds=self.store.erase_seconds,
            wal_limit_bytes=self.store.wal_limit_mib * 1024 * 1024,
            reserve_bytes=self.store.reserve_mib * 1024 * 1024,
            check_at_open=self.store.check_at_open,
        )


SECTIONS: Final[dict[str, type]] = {
    "listen": Listen,
    "store": StoreSection,
    "therapists": Therapists,
    "first_contact": FirstContact,
    "bundles": Bundles,
    "limits": Limits,
    "times": Times,
    "operator": Operator,
    "process": Process,
}


_KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of networks",
}


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read or parsed, or a setting in it cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8") from None
    return parse(text, name=str(path), base=path.parent)


def parse(text: str, *, name: str = "config.toml", base: Path = Path()) -> Config:
    """Read a configuration from its text; `name` stands in the messages of errors.

    Raises:
        ConfigError: see `load`.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: {error}") from None
    sections: dict[str, Any] = {}
    for title, table in document.items():
        kind = SECTIONS.get(title)
        if kind is None or not isinstance(table, dict):
            raise ConfigError(f"{name}: [{title}] is not a section; there are {', '.join(SECTIONS)}")
        known = {setting.name: setting for setting in fields(kind)}
        for key, value in table.items():
            if key not in known:
                raise ConfigError(f"{name}: {title}.{key} is not a setting")
            table[key] = _checked(f"{name}: {title}.{key}", known[key], value)
        sections[title] = kind(**table)
    config = Config(base=base, **sections)
    if bool(config.listen.certificate) != bool(config.listen.key):
        raise ConfigError(f"{name}: listen.certificate and listen.key are set both or not at all")
    return config


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Networks from their texts ("10.0.0.0/8", "::1").

    Raises:
        ConfigError: one of them is none.
    """
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError:
        raise ConfigError("a network is not of the form 10.0.0.0/8 or fd00::/8") from None


def _checked(where: str, setting: Field[Any], value: Any) -> Any:
    default = setting.default
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, tuple) and type(value) is list:
        value = tuple(value)
    if type(value) is not type(default):
        raise ConfigError(f"{where} wants {_KINDS[type(default)]}")
    metadata = setting.metadata
    if isinstance(value, tuple):
        if not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{where} wants a list of texts")
        try:
            networks(value)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    if metadata["choices"] and value not in metadata["choices"]:
        raise ConfigError(f"{where} wants one of {', '.join(metadata['choices'])}")
    if metadata["low"] is not None and not metadata["low"] <= value <= metadata["high"]:
        raise ConfigError(f"{where} wants {metadata['low']} to {metadata['high']} ({metadata['unit']})")
    return value


def render_defaults() -> str:
    """The file `config.toml`: every setting with its default, unit, bounds and reason."""
    return "\n".join(_rendered()) + "\n"


def _rendered() -> Iterator[str]:
    yield "# Settings of the relay: every key with its default (`amanat-relay check-config --defaults`)."
    yield "# A key that is left out has its default; an unknown key is an error. What is protocol (sizes of"
    yield "# cells, the ring of 64) is no setting and stands in docs/PROTOCOL.md."
    for title, kind in SECTIONS.items():
        yield ""
        yield f"# {(kind.__doc__ or '').splitlines()[0]}"
        yield f"[{title}]"
        defaults = kind()
        for setting in fields(kind):
            metadata = setting.metadata
            bounds = f", {metadata['low']} to {metadata['high']}" if metadata["low"] is not None else ""
            bounds = f", one of {' | '.join(metadata['choices'])}" if metadata["choices"] else bounds
            yield f"# {metadata['unit']}{bounds}: {metadata['reason']}"
            yield f"{setting.name} = {_toml(getattr(defaults, setting.name))}"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            return str(value)
