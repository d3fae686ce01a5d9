"""One transaction on a store by another process than its relay, whether one runs on it or not.

The writer's lock is held from the first byte to the last, so that a relay's transaction or erasure never
comes in between. What was deleted is erased before the block is left (H1): the relay does not know of it and
would not hurry.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatserver.store.database import BUSY_SECONDS, Database, open_database, translate
from chatserver.store.erasure import erase
from chatserver.store.errors import StoreBusy

_PAUSE_SECONDS = 0.02


@contextmanager
def errand(directory: Path, *, owner: bool = False) -> Iterator[sqlite3.Connection]:
    """A transaction that is committed, and whose deletions are erased, when the block ends without an error.

    Args:
        directory: the store.
        owner: no relay may run meanwhile; every page of the store is read first.

    Raises:
        StoreMissing, StoreBusy, StoreDamaged, StoreTooNew, StoreFull, StoreError: nothing was done, unless
            the sentence of `StoreBusy` says that only the erasure is missing.
    """
    database = open_database(directory, owner=owner, check=owner)
    try:
        database.writer_lock.acquire()
        db = database.connection
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")
        _erase(database)
    except (sqlite3.Error, OSError) as error:
        raise translate(error) from error
    finally:
        database.close()


def _erase(database: Database) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while not erase(database):
        if time.monotonic() > deadline:
            raise StoreBusy(
                "it was done, but another program reads the store and keeps it from erasing what was deleted;"
                " end that program and restart the relay"
            )
        time.sleep(_PAUSE_SECONDS)
