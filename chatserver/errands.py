"""What `amanat-relay` does besides serving: make a store, give out tokens, check the machine, mend a backup.

Each errand prints what it did and returns an exit code, or raises `Stop` with a sentence and one.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chatserver.config import Config

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
MISSING: Final = 3
UNSAFE: Final = 4
STORE_UNUSABLE: Final = 7

MAX_TOKEN_DAYS: Final = 366


class Stop(Exception):
    """Ends the command with a sentence and an exit code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


@contextlib.contextmanager
def store_errors(store: Path) -> Iterator[None]:
    """Turn errors of the store inside the block into `Stop`.

    Raises:
        Stop: for every `StoreError`.
    """
    from chatserver.store import errors

    try:
        yield
    except errors.StoreMissing:
        raise Stop(f"there is no store in {store}; `amanat-relay init` makes one", MISSING) from None
    except errors.StoreExists:
        raise Stop(f"there is a store in {store} already; it was left alone", FAILED) from None
    except (errors.StoreBusy, errors.StoreDamaged, errors.StoreTooNew) as error:
        raise Stop(f"{store}: {error}", STORE_UNUSABLE) from None
    except errors.StoreError as error:
        raise Stop(f"{store}: {error}", FAILED) from None


def init(store: Path) -> int:
    """Make an empty store."""
    from chatserver.store.sqlite import init_store

    with store_errors(store):
        init_store(store)
    print(f"made an empty store in {store}")
    return OK


def therapist_token(store: Path, *, days: int, as_json: bool) -> int:
    """Print a token that registers one therapist (R21)."""
    from chatserver.clock import SystemClock
    from chatserver.store.protocol import Day, day_of, hash_token
    from chatserver.store.registrations import token_id
    from chatserver.store.sqlite import add_therapist_token

    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise Stop(f"--days wants 1 to {MAX_TOKEN_DAYS}", USAGE)
    token = secrets.token_urlsafe(32)
    expires_day = Day(day_of(SystemClock().utc_seconds()) + days)
    with store_errors(store):
        add_therapist_token(store, hash_token(token.encode("ascii")), expires_day=expires_day)
    if as_json:
        named = token_id(hash_token(token.encode("ascii"))).hex()
        print(json.dumps({"token": token, "id": named, "expires_day": expires_day}))
    else:
        print(token)
    return OK


def therapists(store: Path, *, as_json: bool) -> int:
    """Print who is registered and which tokens nobody has used: no names, no lines, no invitations."""
    from chatserver.store.registrations import list_registrations

    with store_errors(store):
        registered, tokens = list_registrations(store)
    if as_json:
        rows = [
            {"fingerprint": one.fingerprint.hex(), "bundle_until": one.bundle_until} for one in registered
        ]
        unused = [{"id": one.token_id.hex(), "expires_day": one.expires_day} for one in tokens]
        print(json.dumps({"therapists": rows, "tokens": unused}))
        return OK
    print(f"{len(registered)} registered, by fingerprint:")
    for one in registered:
        until = (
            "no contact published" if one.bundle_until is None else f"contact until {_date(one.bundle_until)}"
        )
        print(f"  {one.fingerprint.hex()}  {until}")
    print(f"{len(tokens)} tokens that nobody has used, by id:")
    for token in tokens:
        print(f"  {token.token_id.hex()}  good through {_date(token.expires_day)}")
    return OK


def revoke_token(store: Path, named: str, *, as_json: bool) -> int:
    """Take back a token that nobody has used, named by its id or by itself."""
    from chatserver.store.protocol import hash_token
    from chatserver.store.registrations import TOKEN_ID_BYTES, revoke_token

    is_id = len(named) == 2 * TOKEN_ID_BYTES
    try:
        wanted = bytes.fromhex(named) if is_id else hash_token(named.encode("ascii"))
    except ValueError:
        raise Stop("a token is named by its id of 16 hexadecimal digits, or by itself", USAGE) from None
    with store_errors(store):
        found = revoke_token(store, wanted)
    if not found:
        raise Stop("there is no such token: used, expired, or never given out here", FAILED)
    print(
        json.dumps({"revoked": True}) if as_json else "the token is taken back; nobody can register with it"
    )
    return OK


def remove_therapist(store: Path, named: str, *, confirmed: bool, as_json: bool) -> int:
    """Close a therapist's inbox and withdraw their bundle; without confirmation only say what would go."""
    from chatserver.store.registrations import MIN_FINGERPRINT_HEX, find_therapists, remove_therapist

    try:
        fingerprint = bytes.fromhex(named)
    except ValueError:
        fingerprint = b""
    if len(fingerprint) * 2 < MIN_FINGERPRINT_HEX:
        raise Stop(
            f"a therapist is named by at least {MIN_FINGERPRINT_HEX} hexadecimal digits of their fingerprint",
            USAGE,
        )
    with store_errors(store):
        found = find_therapists(store, fingerprint)
        if len(found) != 1:
            several = "several therapists have fingerprints that begin so" if found else "no such therapist"
            raise Stop(f"{several}; `amanat-relay therapists` lists them", FAILED)
        [one] = found
        if not confirmed:
            raise Stop(
                f"{one.fingerprint.hex()}: {one.first_contacts} first contacts that wait would be lost;"
                " say --yes to remove this therapist",
                USAGE,
            )
        gone = remove_therapist(store, one.fingerprint)
    lost = gone.first_contacts if gone is not None else 0
    if as_json:
        print(json.dumps({"fingerprint": one.fingerprint.hex(), "first_contacts": lost}))
        return OK
    print(f"{one.fingerprint.hex()} is removed, and {lost} first contacts that waited are gone.")
    print("Their lines go on; nobody new can reach them here. To come back they need a new token, or, with")
    print('[therapists] admission = "open", nothing.')
    return OK


def _date(day: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def restored(store: Path, *, as_json: bool) -> int:
    """Begin every channel of a store anew that came from a backup (R9)."""
    from dataclasses import asdict

    from chatserver.store.restored import restored as begin_anew

    with store_errors(store):
        done = begin_anew(store)
    if as_json:
        print(json.dumps(asdict(done)))
        return OK
    print(f"{done.channels} channels begin anew, {done.cells} old cells and {done.tokens} tokens are gone.")
    print("Start the relay; devices send again what had not arrived. Therapists who never registered need")
    print("new tokens (`amanat-relay therapist-token`).")
    return OK


def check_config(path: Path | None, config: Config, store: Path, *, root: Path, as_json: bool) -> int:
    """Report what of the relay's promises does not hold here; 4 if anything is unsafe."""
    from chatserver.host import Host
    from chatserver.host_checks import Level, Subject, findings

    subject = Subject(
        config=config,
        config_path=path.absolute() if path is not None else None,
        store=store.absolute(),
        host=Host(root),
    )
    report = findings(subject)
    unsafe = sum(finding.level is Level.UNSAFE for found in report.values() for finding in found)
    if as_json:
        rows = [
            {
                "id": name,
                "ok": False,
                "level": finding.level.value,
                "sentence": finding.what,
                "do": finding.remedy,
            }
            for name, found in report.items()
            for finding in found
        ]
        rows += [
            {"id": name, "ok": True, "level": "ok", "sentence": "", "do": ""}
            for name, found in report.items()
            if not found
        ]
        document = {
            "config": str(path) if path else None,
            "store": str(store),
            "unsafe": unsafe,
            "findings": rows,
        }
        print(json.dumps(document))
        return UNSAFE if unsafe else OK
    print(f"settings: {path} can be used" if path else "settings: the defaults (no configuration file)")
    print(f"store: {store}")
    for name, found in report.items():
        for finding in found:
            print(f"{finding.level.value.upper():6} {name}: {finding.what}")
            print(f"       do: {finding.remedy}")
    print(f"in order: {', '.join(name for name, found in report.items() if not found) or 'nothing'}")
    if unsafe:
        print(f"{unsafe} unsafe: a promise to clients does not hold on this machine (docs/OPERATIONS.md).")
    return UNSAFE if unsafe else OK
