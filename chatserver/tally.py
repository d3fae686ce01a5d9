"""What the relay counts about itself: numbers alone, of everybody together, in memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counted since the start.

    Attributes:
        connections: that said HELLO.
        connections_refused: because there were too many, in all or of one address.
        requests_refused: answered with REFUSED, for whatever reason.
        stored_cells: that are on disk and were new.
        expired_cells: that nobody fetched in time (R6).
        first_contacts: put into an inbox (R21).
        bundle_fetches: buckets served.
        store_failures: requests that the store could not do.
        live_cells: of live sessions; shown only if the operator asks for it.
    """

    connections: int = 0
    connections_refused: int = 0
    requests_refused: int = 0
    stored_cells: int = 0
    expired_cells: int = 0
    first_contacts: int = 0
    bundle_fetches: int = 0
    store_failures: int = 0
    live_cells: int = 0
