"""What a relay's store may hold: every table with its columns, and what may stand in each."""

from __future__ import annotations

import sqlite3
from typing import Final

CELL_BYTES: Final = 16_384

LENGTHS: Final[dict[str, dict[str, int]]] = {
    "channels": {"channel_id": 32, "incarnation": 16},
    "slots": {"channel_id": 32, "token_hash": 32},
    "cells": {"channel_id": 32, "deposit_id": 16, "body": CELL_BYTES},
    "tombstones": {"channel_id": 32},
    "inboxes": {"inbox_id": 16},
    "therapists": {"identity_hash": 32, "inbox_id": 16},
    "drops": {"inbox_id": 16, "drop_id": 16, "body": CELL_BYTES},
    "admissions": {"admission": 32},
    "therapist_tokens": {"token_hash": 32},
}
"""Byte strings of one length: random, hashed or sealed."""

VARYING: Final = {"therapists": {"serial", "bundle"}, "admissions": {"used_by"}}
"""Public bundles, and whether an invitation was used."""

DAYS: Final = {
    "channels": {"expiry_day"},
    "cells": {"expiry_day"},
    "tombstones": {"expiry_day"},
    "therapists": {"not_after_day"},
    "drops": {"expiry_day"},
    "admissions": {"expiry_day"},
    "therapist_tokens": {"expiry_day"},
}
NUMBERS: Final = {
    "channels": {"readers", "next_seq", "closed_seq"},
    "slots": {"acked"},
    "cells": {"seq", "close"},
}
MOST_DAYS: Final = {
    "channels": 90,
    "cells": 90,
    "tombstones": 90,
    "therapists": 400,
    "drops": 30,
    "admissions": 31,
    "therapist_tokens": 366,
}
"""How far ahead a day may lie (R6, R21), before the day of tolerance for clocks."""

TABLES: Final[dict[str, set[str]]] = {
    table: set(LENGTHS[table])
    | set(VARYING.get(table, ()))
    | set(DAYS.get(table, ()))
    | set(NUMBERS.get(table, ()))
    for table in LENGTHS
}

FILES: Final = frozenset({"relay.db", "relay.db-wal", "relay.db-shm", "owner.lock", "writer.lock"})


def columns_of(database: sqlite3.Connection) -> dict[str, set[str]]:
    """Tables of an open database with their columns."""
    tables = [
        name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    ]
    return {
        table: {row[0] for row in database.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        for table in tables
    }
