"""The relay with cells of 1 KiB, for comparison with other programs that were measured at that size.

`python -m chatserver.measuring --config FILE --store DIR` is started by `amanat bench relay` and by nobody
else; `--fill N` puts so many idle channels into the store instead, in a minute where devices would need an
hour. No client speaks to such a relay: the size of a cell is part of the protocol (R2), and neither
`config.toml` nor an option of `amanat-relay` can change it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chatserver.config import load
from chatserver.main import serve
from chatserver.store.channels import Channels
from chatserver.store.database import open_database
from chatserver.store.erasure import erase
from chatserver.store.protocol import ChannelId, ChannelRef, StoreSettings, TokenHash, day_of
from chatserver.wire.limits import ChannelClass

CELL_BYTES: Final = {ChannelClass.STORED: 1_024, ChannelClass.LIVE: 1_024}


FILL_AT_ONCE: Final = 20_000
"""Channels in one transaction."""


def fill(store: Path, count: int) -> None:
    """Make channels as ATTACH would, each with one slot, and erase what that leaves behind.

    Raises:
        StoreError: the store is in use, or cannot be written.
    """
    settings = StoreSettings()
    channels = Channels(settings, os.urandom)
    today = day_of(time.time())
    database = open_database(store, owner=True, check=False)
    try:
        # In the order of their ids, so that each page is written once; the tree that results is the same.
        channel_ids = sorted(os.urandom(32) for _ in range(count))
        for first in range(0, count, FILL_AT_ONCE):
            database.connection.execute("BEGIN IMMEDIATE")
            for channel_id in channel_ids[first : first + FILL_AT_ONCE]:
                channels.attach(
                    database.connection,
                    ChannelRef(
                        channel_id=ChannelId(channel_id), channel_class=ChannelClass.STORED, readers=2
                    ),
                    TokenHash(os.urandom(32)),
                    today=today,
                    may_create=True,
                )
            channels.write(database.connection)
            database.connection.execute("COMMIT")
            if database.wal_bytes() > settings.wal_limit_bytes:
                erase(database)
        erase(database)
    finally:
        database.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run it on a free port until SIGTERM."""
    parser = argparse.ArgumentParser(prog="chatserver.measuring", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--fill", type=int, default=0)
    options = parser.parse_args(argv)
    if options.fill:
        fill(options.store, options.fill)
        return 0
    return serve(load(options.config), options.store, 0, cell_bytes=CELL_BYTES)


if __name__ == "__main__":
    sys.exit(main())
