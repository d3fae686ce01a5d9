"""The tables of the vault's database, and how an older database becomes a newer one.

One table holds every space of `keys.vault`; `PRAGMA user_version` holds the format. A migration is a
function that takes the database from one format to the next; all that are needed run inside one
transaction, so that a crash or an error in the last of them leaves the format, and the content, that were
there before.

To add a format: append a function to `MIGRATIONS`. Never change one that was released.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from keys.vault import VaultTooNew

Connection = Any
"""`sqlcipher3.dbapi2.Connection`; the extension brings no types."""

Migration = Callable[[Connection], None]


def _to_format_1(connection: Connection) -> None:
    connection.execute(
        "CREATE TABLE entries ("
        " space TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
        " PRIMARY KEY (space, key)"
        ") WITHOUT ROWID"
    )


MIGRATIONS: Final[tuple[Migration, ...]] = (_to_format_1,)


def migrate(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the database to the newest format that this program knows.

    Args:
        connection: In autocommit mode, keyed, without an open transaction.
        migrations: For tests.

    Raises:
        VaultTooNew: the database is of a later format; it was not touched.
    """
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    known = len(migrations)
    if found > known:
        raise VaultTooNew(found=found, known=known)
    if found == known:
        return
    connection.execute("BEGIN EXCLUSIVE")
    try:
        for step in migrations[found:]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {known}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
