"""What an operator may see and take back: one-use tokens and registrations of therapists (R21).

There are no names in a store, and no link between a therapist and anybody's lines. A therapist is known by
the fingerprint that their invitations carry; a token, of which only the hash is kept, by the first bytes of
that hash. What is taken back is deleted and erased like everything else (H1).

Not found, because the store cannot tell whose they are: a removed therapist's invitations (hashed together
with the inbox; without the inbox they let nobody in, and go when they lapse) and their lines, which go on.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chatserver.store.errand import errand
from chatserver.store.protocol import Day, TokenHash

TOKEN_ID_BYTES: Final = 8
"""By so much of its hash a token is named: of 2^64 no two of one relay are the same."""

MIN_FINGERPRINT_HEX: Final = 16
"""A fingerprint may be shortened to so many hexadecimal digits, as long as it names one therapist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedToken:
    """A token with which nobody has registered yet: its id, and the last day on which it is good."""

    token_id: bytes
    expires_day: Day


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registered therapist.

    Attributes:
        fingerprint: SHA-256 of the identity key, 32 bytes.
        bundle_until: last day of the published bundle; None: none is published.
    """

    fingerprint: bytes
    bundle_until: Day | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What went with a registration: the fingerprint, and how many first contacts had waited."""

    fingerprint: bytes
    first_contacts: int


def token_id(token_hash: TokenHash) -> bytes:
    """By what an operator names a token, 8 bytes."""
    return token_hash[:TOKEN_ID_BYTES]


def list_registrations(directory: Path) -> tuple[list[Registration], list[UnusedToken]]:
    """All therapists, and all tokens that nobody has used, each in the order of their hashes.

    Raises:
        StoreError: as `errand`.
    """
    with errand(directory) as db:
        therapists = [
            Registration(fingerprint=fingerprint, bundle_until=day)
            for fingerprint, day in db.execute(
                "SELECT identity_hash, not_after_day FROM therapists ORDER BY identity_hash"
            )
        ]
        tokens = [
            UnusedToken(token_id=token_id(token_hash), expires_day=day)
            for token_hash, day in db.execute(
                "SELECT token_hash, expiry_day FROM therapist_tokens ORDER BY token_hash"
            )
        ]
    return therapists, tokens


def revoke_token(directory: Path, named: bytes) -> bool:
    """Take back a token that nobody has used; False if there is none of that id.

    Args:
        directory: the store.
        named: the token's id, or its whole hash.

    Raises:
        StoreError: as `errand`.
    """
    with errand(directory) as db:
        found = _beginning_with(db, "SELECT token_hash FROM therapist_tokens WHERE token_hash >= ?", named)
        db.executemany("DELETE FROM therapist_tokens WHERE token_hash = ?", ((one,) for one in found))
    return bool(found)


def find_therapists(directory: Path, fingerprint: bytes) -> list[Removed]:
    """The therapists whose fingerprint begins with these bytes, and what would go with each.

    Raises:
        StoreError: as `errand`.
    """
    with errand(directory) as db:
        found = _beginning_with(
            db, "SELECT identity_hash FROM therapists WHERE identity_hash >= ?", fingerprint
        )
        return [Removed(fingerprint=one, first_contacts=_waiting(db, one)) for one in found]


def remove_therapist(directory: Path, fingerprint: bytes) -> Removed | None:
    """Close a therapist's inbox, with all that waits in it, and withdraw their bundle; None: there is none.

    A relay that runs serves a bundle that it has read for some seconds more (`relay.BUCKET_SECONDS`).

    Args:
        directory: the store.
        fingerprint: the whole of it, 32 bytes.

    Raises:
        StoreError: as `errand`.
    """
    with errand(directory) as db:
        row = db.execute("SELECT inbox_id FROM therapists WHERE identity_hash = ?", (fingerprint,)).fetchone()
        if row is None:
            return None
        first_contacts = db.execute("DELETE FROM drops WHERE inbox_id = ?", row).rowcount
        db.execute("DELETE FROM inboxes WHERE inbox_id = ?", row)
        db.execute("DELETE FROM therapists WHERE identity_hash = ?", (fingerprint,))
    return Removed(fingerprint=fingerprint, first_contacts=first_contacts)


def _beginning_with(db: sqlite3.Connection, query: str, beginning: bytes) -> list[bytes]:
    found = []
    for (value,) in db.execute(f"{query} ORDER BY 1", (beginning,)):
        if not value.startswith(beginning):
            break
        found.append(value)
    return found


def _waiting(db: sqlite3.Connection, fingerprint: bytes) -> int:
    (count,) = db.execute(
        "SELECT COUNT(*) FROM drops WHERE inbox_id ="
        " (SELECT inbox_id FROM therapists WHERE identity_hash = ?)",
        (fingerprint,),
    ).fetchone()
    return int(count)
