"""Schema of the SQLite store, its version, and the way forward from older ones.

Every table is WITHOUT ROWID, every key random or hashed, nothing counts up across channels, and no column is
finer than a day (H1): the file says neither in which order things happened nor when within a day.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from chatserver.store.errors import StoreDamaged, StoreTooNew

APPLICATION_ID = 0x414D4E54
"""`AMNT` in the SQLite header: tells our store from any other SQLite file."""

SCHEMA_VERSION = 1
"""Stands in SQLite's `user_version`, which changes with the transaction that changes the tables."""

_VERSION_1 = (
    # R3: a channel; the class is not a column, because only `stored` reaches a disk (R6).
    """CREATE TABLE channels(
        channel_id BLOB NOT NULL PRIMARY KEY, readers INTEGER NOT NULL, incarnation BLOB NOT NULL,
        next_seq INTEGER NOT NULL, closed_seq INTEGER NOT NULL, expiry_day INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE slots(
        channel_id BLOB NOT NULL, token_hash BLOB NOT NULL, acked INTEGER NOT NULL,
        PRIMARY KEY(channel_id, token_hash)) WITHOUT ROWID""",
    # The body stands last, so that a search by deposit id does not read it.
    """CREATE TABLE cells(
        channel_id BLOB NOT NULL, seq INTEGER NOT NULL, close INTEGER NOT NULL, expiry_day INTEGER NOT NULL,
        deposit_id BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY(channel_id, seq)) WITHOUT ROWID""",
    """CREATE TABLE tombstones(
        channel_id BLOB NOT NULL PRIMARY KEY, expiry_day INTEGER NOT NULL) WITHOUT ROWID""",
    # R21 and DESIGN section 6.
    "CREATE TABLE inboxes(inbox_id BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID",
    """CREATE TABLE therapists(
        identity_hash BLOB NOT NULL PRIMARY KEY, inbox_id BLOB NOT NULL, serial BLOB, not_after_day INTEGER,
        bundle BLOB) WITHOUT ROWID""",
    """CREATE TABLE drops(
        inbox_id BLOB NOT NULL, drop_id BLOB NOT NULL, expiry_day INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY(inbox_id, drop_id)) WITHOUT ROWID""",
    """CREATE TABLE admissions(
        admission BLOB NOT NULL PRIMARY KEY, expiry_day INTEGER NOT NULL, used_by BLOB) WITHOUT ROWID""",
    """CREATE TABLE therapist_tokens(
        token_hash BLOB NOT NULL PRIMARY KEY, expiry_day INTEGER NOT NULL) WITHOUT ROWID""",
)


def _create_version_1(db: sqlite3.Connection) -> None:
    for statement in _VERSION_1:
        db.execute(statement)


Migrations = Mapping[int, Callable[[sqlite3.Connection], None]]
"""Version → what brings a store of that version to the next one, inside the caller's transaction."""

MIGRATIONS: Migrations = {0: _create_version_1}


def read_version(db: sqlite3.Connection) -> int:
    """The schema version of an open store.

    Raises:
        StoreDamaged: the file is a database, but not ours.
    """
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreDamaged("the file relay.db is no store of an amanat relay; put the right one back")
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def create(db: sqlite3.Connection) -> None:
    """Make the tables in an empty database, in one transaction."""
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrate(db, start=0)


def migrate(
    db: sqlite3.Connection,
    *,
    start: int,
    target: int = SCHEMA_VERSION,
    migrations: Migrations = MIGRATIONS,
) -> None:
    """Bring a store from version `start` to `target` in one transaction: wholly, or not at all.

    Raises:
        StoreTooNew: `start` is later than this relay knows.
    """
    if start > target:
        raise StoreTooNew(
            f"the store has schema version {start} and this relay knows {target}; start the newer relay"
        )
    if start == target:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for version in range(start, target):
            migrations[version](db)
            db.execute(f"PRAGMA user_version = {version + 1}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
