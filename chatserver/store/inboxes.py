"""Inboxes, admissions, one-use tokens and contact bundles in SQL: R21 of CHANNELS.md, DESIGN section 6.

As in `channels`, each function is one step inside the writer's transaction and raises nothing but
`sqlite3.Error`. What a therapist publishes is public; what waits in an inbox is sealed; admissions are hashed
together with their inbox, so that the file does not say how many invitations a therapist has given.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable

from chatserver.store.protocol import (
    INBOX_ID_BYTES,
    Day,
    Done,
    DroppedCell,
    InboxId,
    InboxOpened,
    Refusal,
    Refused,
    StoreSettings,
    TokenHash,
)


def identity_hash(identity_key: bytes) -> bytes:
    """The key under which a therapist is found; buckets are cut by its first bits (DESIGN section 6)."""
    return hashlib.sha256(identity_key).digest()


def admission_key(inbox_id: InboxId, admit_hash: TokenHash) -> bytes:
    """One admission into one inbox, without naming either."""
    return hashlib.sha256(inbox_id + admit_hash).digest()


def usage_mark(drop_id: bytes) -> bytes:
    """By which drop an admission was used: remembered hashed, so that only its repetition is recognised."""
    return hashlib.sha256(b"amanat drop" + drop_id).digest()


def bucket_range(bits: int, prefix: int) -> tuple[bytes, bytes | None]:
    """First hash of a bucket, and first hash after it (None: there is none)."""
    low = (prefix << (256 - bits)).to_bytes(32, "big")
    if prefix + 1 == 1 << bits:
        return low, None
    return low, ((prefix + 1) << (256 - bits)).to_bytes(32, "big")


def _exists(db: sqlite3.Connection, inbox_id: InboxId) -> bool:
    return db.execute("SELECT 1 FROM inboxes WHERE inbox_id = ?", (inbox_id,)).fetchone() is not None


def _waiting(db: sqlite3.Connection, inbox_id: InboxId) -> int:
    return int(db.execute("SELECT COUNT(*) FROM drops WHERE inbox_id = ?", (inbox_id,)).fetchone()[0])


def open_inbox(
    db: sqlite3.Connection,
    identity_key: bytes,
    *,
    token_hash: TokenHash | None,
    admit_all: bool,
    today: Day,
    settings: StoreSettings,
    rng: Callable[[int], bytes],
) -> InboxOpened | Refused:
    """R21: find the inbox, or register it, consuming a one-use token unless all are admitted."""
    therapist = identity_hash(identity_key)
    row = db.execute("SELECT inbox_id FROM therapists WHERE identity_hash = ?", (therapist,)).fetchone()
    if row is not None:
        return InboxOpened(inbox_id=InboxId(row[0]), waiting=_waiting(db, row[0]), created=False)
    if db.execute("SELECT COUNT(*) FROM therapists").fetchone()[0] >= settings.max_therapists:
        return Refused(reason=Refusal.THERAPISTS_FULL)
    if not admit_all:
        if token_hash is None:
            return Refused(reason=Refusal.TOKEN_REQUIRED)
        consumed = db.execute(
            "DELETE FROM therapist_tokens WHERE token_hash = ? AND expiry_day >= ?", (token_hash, today)
        )
        if consumed.rowcount == 0:
            return Refused(reason=Refusal.TOKEN_INVALID)
    inbox_id = InboxId(rng(INBOX_ID_BYTES))
    db.execute("INSERT INTO therapists(identity_hash, inbox_id) VALUES(?, ?)", (therapist, inbox_id))
    db.execute("INSERT INTO inboxes(inbox_id) VALUES(?)", (inbox_id,))
    return InboxOpened(inbox_id=inbox_id, waiting=0, created=True)


def drop(
    db: sqlite3.Connection,
    inbox_id: InboxId,
    *,
    drop_id: bytes,
    body: bytes,
    admit_hash: TokenHash | None,
    today: Day,
    settings: StoreSettings,
) -> Done | Refused:
    """R21: keep a first contact, and use up its admission in the same transaction."""
    if not _exists(db, inbox_id):
        return Refused(reason=Refusal.NOT_REGISTERED)
    admission = None if admit_hash is None else admission_key(inbox_id, admit_hash)
    if admission is not None:
        row = db.execute(
            "SELECT used_by FROM admissions WHERE admission = ? AND expiry_day >= ?", (admission, today)
        ).fetchone()
        if row is None:
            return Refused(reason=Refusal.ADMISSION_UNKNOWN)
        if row[0] is not None:
            same = row[0] == usage_mark(drop_id)
            return Done(repeated=True) if same else Refused(reason=Refusal.ADMISSION_USED)
    known = db.execute(
        "SELECT 1 FROM drops WHERE inbox_id = ? AND drop_id = ?", (inbox_id, drop_id)
    ).fetchone()
    if known is not None:
        return Done(repeated=True)
    if _waiting(db, inbox_id) >= settings.inbox_max_waiting:
        return Refused(reason=Refusal.INBOX_FULL)
    db.execute(
        "INSERT INTO drops(inbox_id, drop_id, expiry_day, body) VALUES(?, ?, ?, ?)",
        (inbox_id, drop_id, today + settings.inbox_days, body),
    )
    if admission is not None:
        db.execute("UPDATE admissions SET used_by = ? WHERE admission = ?", (usage_mark(drop_id), admission))
    return Done(repeated=False)


def list_drops(
    db: sqlite3.Connection, inbox_id: InboxId, *, after: bytes, limit: int
) -> tuple[DroppedCell, ...]:
    """By id, which is random: the store keeps no order of arrival."""
    rows = db.execute(
        "SELECT drop_id, body FROM drops WHERE inbox_id = ? AND drop_id > ? ORDER BY drop_id LIMIT ?",
        (inbox_id, after, limit),
    ).fetchall()
    return tuple(DroppedCell(drop_id=drop_id, body=body) for drop_id, body in rows)


def ack_drop(db: sqlite3.Connection, inbox_id: InboxId, drop_id: bytes) -> Done:
    """R21: acknowledged by the primary device, so it goes."""
    gone = db.execute("DELETE FROM drops WHERE inbox_id = ? AND drop_id = ?", (inbox_id, drop_id)).rowcount
    return Done(repeated=gone == 0)


def admit(
    db: sqlite3.Connection,
    inbox_id: InboxId,
    admit_hash: TokenHash,
    *,
    expires_day: Day,
    today: Day,
    settings: StoreSettings,
) -> Done | Refused:
    """Remember an invitation's admission; one that is known keeps its first expiry and its use."""
    if not _exists(db, inbox_id):
        return Refused(reason=Refusal.NOT_REGISTERED)
    added = db.execute(
        "INSERT OR IGNORE INTO admissions(admission, expiry_day) VALUES(?, ?)",
        (admission_key(inbox_id, admit_hash), min(expires_day, today + settings.admission_days)),
    )
    return Done(repeated=added.rowcount == 0)


def publish_bundle(
    db: sqlite3.Connection, identity_key: bytes, *, bundle: bytes, serial: int, not_after_day: Day
) -> Done | Refused:
    """A bundle replaces one of a lower serial; the very same one again is `repeated`."""
    therapist = identity_hash(identity_key)
    row = db.execute("SELECT serial, bundle FROM therapists WHERE identity_hash = ?", (therapist,)).fetchone()
    if row is None:
        return Refused(reason=Refusal.NOT_REGISTERED)
    known_serial, known_bundle = row
    if known_serial is not None and int.from_bytes(known_serial, "big") >= serial:
        same = known_bundle == bundle and int.from_bytes(known_serial, "big") == serial
        return Done(repeated=True) if same else Refused(reason=Refusal.BUNDLE_OLD)
    db.execute(
        "UPDATE therapists SET serial = ?, not_after_day = ?, bundle = ? WHERE identity_hash = ?",
        (serial.to_bytes(8, "big"), not_after_day, bundle, therapist),
    )
    return Done(repeated=False)


def bundles(db: sqlite3.Connection, *, bits: int, prefix: int) -> tuple[bytes, ...]:
    """One bucket of bundles, in the order of the hashes."""
    low, high = bucket_range(bits, prefix)
    if high is None:
        rows = db.execute(
            "SELECT bundle FROM therapists WHERE identity_hash >= ? AND bundle IS NOT NULL"
            " ORDER BY identity_hash",
            (low,),
        )
    else:
        rows = db.execute(
            "SELECT bundle FROM therapists WHERE identity_hash >= ? AND identity_hash < ?"
            " AND bundle IS NOT NULL ORDER BY identity_hash",
            (low, high),
        )
    return tuple(row[0] for row in rows)


def add_therapist_token(db: sqlite3.Connection, token_hash: TokenHash, *, expires_day: Day) -> Done:
    """R21: one registration more."""
    added = db.execute(
        "INSERT OR IGNORE INTO therapist_tokens(token_hash, expiry_day) VALUES(?, ?)",
        (token_hash, expires_day),
    )
    return Done(repeated=added.rowcount == 0)
