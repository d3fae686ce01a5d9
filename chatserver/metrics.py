"""Figures for Prometheus (DESIGN section 8): taken once an hour, rounded down to tens, without any label.

A figure that moved with each event would tell whoever polls often, or reads the monitoring system's disk
later, when somebody was in touch. So what is shown changes at most once an hour, one event alone never
shows, and figures of live sessions are left out unless the operator asks for them. `FIGURES` is the whole
list; a test holds the answer against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from chatserver.relay import Relay

HOUR_SECONDS: Final = 3_600.0
STEP: Final = 10
"""Counts are multiples of this."""

STEP_BYTES: Final = 16 * 1024 * 1024
"""Sizes are multiples of this: 1,024 cells."""

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The store's disk: bytes of the store's files, and bytes that are free."""

    used: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One metric: what it is, where it comes from, to what it is rounded down.

    Attributes:
        counter: it only grows, and its name gets `_total`; otherwise it is a reading.
        live: it is about live sessions.
    """

    name: str
    meaning: str
    read: Callable[[Relay, Disk], int]
    step: int = STEP
    counter: bool = True
    live: bool = False


FIGURES: Final = (
    Figure(
        name="amanat_connections",
        meaning="Connections that said HELLO.",
        read=lambda relay, _: relay.tally.connections,
    ),
    Figure(
        name="amanat_connections_refused",
        meaning="Connections refused because there were too many.",
        read=lambda relay, _: relay.tally.connections_refused,
    ),
    Figure(
        name="amanat_requests_refused",
        meaning="Requests refused, for whatever reason.",
        read=lambda relay, _: relay.tally.requests_refused,
    ),
    Figure(
        name="amanat_stored_cells",
        meaning="Cells put on disk.",
        read=lambda relay, _: relay.tally.stored_cells,
    ),
    Figure(
        name="amanat_expired_cells",
        meaning="Cells that nobody fetched in time.",
        read=lambda relay, _: relay.tally.expired_cells,
    ),
    Figure(
        name="amanat_first_contacts",
        meaning="First contacts put into an inbox.",
        read=lambda relay, _: relay.tally.first_contacts,
    ),
    Figure(
        name="amanat_bundle_fetches",
        meaning="Buckets of contact bundles served.",
        read=lambda relay, _: relay.tally.bundle_fetches,
    ),
    Figure(
        name="amanat_store_failures",
        meaning="Requests that the store could not do.",
        read=lambda relay, _: relay.tally.store_failures,
    ),
    Figure(
        name="amanat_connections_open",
        meaning="Connections open when the hour ended.",
        read=lambda relay, _: len(relay.peers),
        counter=False,
    ),
    Figure(
        name="amanat_store_bytes",
        meaning="Size of the store's files.",
        read=lambda _, disk: disk.used,
        step=STEP_BYTES,
        counter=False,
    ),
    Figure(
        name="amanat_store_free_bytes",
        meaning="Bytes free on the store's disk.",
        read=lambda _, disk: disk.free,
        step=STEP_BYTES,
        counter=False,
    ),
    Figure(
        name="amanat_live_cells",
        meaning="Cells of live sessions.",
        read=lambda relay, _: relay.tally.live_cells,
        live=True,
    ),
    Figure(
        name="amanat_live_channels_open",
        meaning="Channels of live sessions when the hour ended.",
        read=lambda relay, _: len(relay.live),
        counter=False,
        live=True,
    ),
)


class Metrics(Collector):
    """What is shown: the figures as they were when the last hour ended.

    Args:
        relay: whose figures.
        disk: reads sizes; called once an hour.
    """

    def __init__(self, relay: Relay, disk: Callable[[], Disk]) -> None:
        self._relay = relay
        self._disk = disk
        self._figures = [
            figure for figure in FIGURES if relay.config.operator.live_figures or not figure.live
        ]
        self._shown: dict[str, int] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._take()

    def sweep(self) -> None:
        """Take the figures anew if the hour is over."""
        if self._relay.clock.monotonic() - self._taken >= HOUR_SECONDS:
            self._take()

    def render(self) -> bytes:
        """The answer to a scrape, of type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks for it."""
        for figure in self._figures:
            family = CounterMetricFamily if figure.counter else GaugeMetricFamily
            yield family(figure.name, figure.meaning, value=self._shown[figure.name])

    def _take(self) -> None:
        self._taken = self._relay.clock.monotonic()
        disk = self._disk()
        self._shown = {
            figure.name: figure.read(self._relay, disk) // figure.step * figure.step
            for figure in self._figures
        }
