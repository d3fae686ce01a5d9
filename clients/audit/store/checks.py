"""The checks of a relay's store: what is there, what it looks like, and what must not be left."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Final

from clients.audit.model import Figure, Finding, broken, holds, judge, unchecked
from clients.audit.registry import Check, check
from clients.audit.store.allowed import (
    CELL_BYTES,
    DAYS,
    FILES,
    LENGTHS,
    MOST_DAYS,
    NUMBERS,
    TABLES,
    columns_of,
)
from clients.audit.store.pages import DamagedPage, PageFile, deleted_bodies, log_images
from clients.audit.store.randomness import (
    FALSE_ALARMS_PER_CELL,
    entropy,
    trouble_of,
    trouble_of_ids,
)
from clients.audit.store.snapshot import NoStore, Snapshot, take
from clients.audit.target import Target

BODIES: Final = (("cells", "body"), ("drops", "body"))
IDS: Final = (
    ("channels", "channel_id"),
    ("channels", "incarnation"),
    ("slots", "token_hash"),
    ("cells", "deposit_id"),
    ("drops", "drop_id"),
    ("inboxes", "inbox_id"),
    ("admissions", "admission"),
    ("therapist_tokens", "token_hash"),
)
PERSONS: Final = (
    ("therapists", "identity_hash"),
    ("therapists", "inbox_id"),
    ("inboxes", "inbox_id"),
    ("drops", "inbox_id"),
    ("drops", "drop_id"),
    ("admissions", "admission"),
    ("admissions", "used_by"),
    ("therapist_tokens", "token_hash"),
)
CHANNELS: Final = (
    ("channels", "channel_id"),
    ("channels", "incarnation"),
    ("slots", "token_hash"),
    ("cells", "deposit_id"),
    ("tombstones", "channel_id"),
)
LINK_BYTES: Final = 8
"""Two values that share so many bytes are no coincidence: n * m / 2^64."""
BLOCK_BYTES: Final = 16
PLAUSIBLE_DAYS: Final = 4_000
"""A number further than this from today's day is no day."""
TIME_LIKE: Final = 1_000_000_000
"""No cell of a channel has so high a number; seconds since 1970 are higher."""

StoreCheck = Callable[[Snapshot], Finding]


def store_check(claim_id: str) -> Callable[[StoreCheck], Check]:
    """Register a check that works on the copy of the store."""

    def register(function: StoreCheck) -> Check:
        @wraps(function)
        def run(target: Target) -> Finding:
            try:
                snapshot = take(target)
            except NoStore as error:
                return unchecked(str(error))
            return function(snapshot)

        return check(claim_id)(run)

    return register


def _known(snapshot: Snapshot, pairs: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    """Those pairs of table and column that the store has; what it lacks is the schema check's business."""
    database = snapshot.connection()
    found = columns_of(database)
    database.close()
    return ((table, column) for table, column in pairs if column in found.get(table, ()))


@store_check("store.schema")
def schema(snapshot: Snapshot) -> Finding:
    """Tables, columns, indexes, triggers, row ids."""
    database = snapshot.connection()
    found = columns_of(database)
    extra = database.execute(
        "SELECT type, name FROM sqlite_master WHERE type != 'table' AND name NOT LIKE 'sqlite_autoindex%'"
    ).fetchall()
    with_row_ids = [
        name
        for name, text in database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        if "WITHOUT ROWID" not in str(text).upper()
    ]
    database.close()
    faults = [
        f"column {table}.{column}" for table in found for column in found[table] - TABLES.get(table, set())
    ]
    faults += [f"{kind} {name}" for kind, name in extra]
    faults += [f"table {name} counts its rows" for name in with_row_ids]
    return judge(
        sorted(faults),
        "The store has exactly the published tables and columns, none of them for a person or a time.",
        "The store has tables or columns that are not published.",
        f"{sum(len(columns) for columns in found.values())} columns of {len(found)} tables",
    )


@store_check("store.files")
def files(snapshot: Snapshot) -> Finding:
    """Names in the store's folder."""
    strangers = [name for name in snapshot.files if name not in FILES]
    return judge(
        [f"a file that is none of the store's, {snapshot.files[name]:,} bytes" for name in strangers],
        "The store's folder holds the store and nothing else.",
        "The store's folder holds files that are none of the store's.",
        f"{len(snapshot.files)} files, {sum(snapshot.files.values()):,} bytes",
    )


@store_check("store.cell-size")
def cell_size(snapshot: Snapshot) -> Finding:
    """Length of every value that has one length, bodies first of all."""
    faults = []
    sizes: Counter[int] = Counter()
    database = snapshot.connection()
    for table, lengths in LENGTHS.items():
        for _, column in _known(snapshot, tuple((table, column) for column in lengths)):
            query = f"SELECT length({column}), count(*) FROM {table} GROUP BY 1"  # noqa: S608 - names of ours
            for length, count in database.execute(query):
                if column == "body":
                    sizes[int(length)] += int(count)
                if length != lengths[column]:
                    faults.append(f"{count} values of {table}.{column} have {length} bytes")
    database.close()
    figure = Figure(
        title="Every stored cell has the same size",
        x="bytes",
        y="cells",
        series={"stored": tuple((float(size), float(count)) for size, count in sorted(sizes.items()))},
        note="One bar at 16,384 bytes is right. A second one would tell short from long messages.",
    )
    return judge_with(
        faults,
        "Every stored cell has one and the same size.",
        "Stored values have sizes that tell something.",
        (f"{sizes.total()} cells and first contacts of {CELL_BYTES:,} bytes",) if not faults else (),
        (figure,) if sizes else (),
    )


def judge_with(
    faults: list[str], good: str, bad: str, evidence: tuple[str, ...], figures: tuple[Figure, ...]
) -> Finding:
    """`judge`, with pictures."""
    if faults:
        return broken(bad, *faults[:10], *evidence, figures=figures)
    return holds(good, *evidence, figures=figures)


@store_check("store.cell-random")
def cell_random(snapshot: Snapshot) -> Finding:
    """Every body against three tests of randomness, and no piece of one in another."""
    faults: Counter[str] = Counter()
    entropies: Counter[float] = Counter()
    blocks: set[bytes] = set()
    cells = repeated = 0
    for table, column in _known(snapshot, BODIES):
        for body in snapshot.blobs(table, column):
            if not body:
                continue
            cells += 1
            entropies[round(entropy(body), 3)] += 1
            if trouble := trouble_of(body):
                faults[trouble] += 1
                continue
            own = {body[start : start + BLOCK_BYTES] for start in range(0, len(body), BLOCK_BYTES)}
            repeated += not own.isdisjoint(blocks)
            blocks |= own
    if not cells:
        return unchecked("No cell waits in this store, so there is none to look at.")
    figure = Figure(
        title="Stored cells are as disordered as noise",
        x="bits of entropy per byte",
        y="cells",
        series={"stored": tuple((value, float(count)) for value, count in sorted(entropies.items()))},
        note="Noise of this length lies at 7.989; written text lies below 5.",
    )
    told_rate = (
        f"{cells} cells tested; random bytes would be called otherwise in at most "
        f"{FALSE_ALARMS_PER_CELL * cells:.1e} of all audits like this one"
    )
    told = [f"{count} cells: {trouble}" for trouble, count in faults.items()]
    told += [f"{repeated} cells share a piece with another"] if repeated else []
    return judge_with(
        told,
        "Every stored cell looks like noise.",
        "Stored cells do not look like noise.",
        (told_rate,),
        (figure,),
    )


@store_check("store.order")
def order(snapshot: Snapshot) -> Finding:
    """Keys by which the rows are ordered: drawn at random, or hashes."""
    faults, counted = [], 0
    for table, column in _known(snapshot, IDS):
        ids = [value for value in snapshot.blobs(table, column) if len(value) == LENGTHS[table][column]]
        counted += len(ids)
        if ids and (trouble := trouble_of_ids(ids)):
            faults.append(f"{len(ids)} values of {table}.{column}: {trouble}")
    return judge(
        faults,
        "Rows lie in the order of random keys, which says nothing of who came first.",
        "Rows are kept under keys that tell an order.",
        f"{counted} keys",
    )


@store_check("store.time-to-live")
def time_to_live(snapshot: Snapshot) -> Finding:
    """Every last day: not past, and not later than the rules allow."""
    faults, counted = [], 0
    database = snapshot.connection()
    for table, column in _known(snapshot, tuple((t, c) for t, columns in DAYS.items() for c in columns)):
        query = f"SELECT {column}, count(*) FROM {table} WHERE {column} IS NOT NULL GROUP BY 1"  # noqa: S608
        for day, count in database.execute(query):
            counted += count
            if not isinstance(day, int) or abs(day - snapshot.today) > PLAUSIBLE_DAYS:
                continue  # no day at all: `store.no-time` says so
            if day < snapshot.today - 1:
                faults.append(f"{count} rows of {table} are {snapshot.today - day} days past their last day")
            elif day > snapshot.today + MOST_DAYS[table] + 2:
                faults.append(f"{count} rows of {table} are to be kept longer than {MOST_DAYS[table]} days")
    database.close()
    return judge(
        faults,
        "Nothing is kept beyond its last day.",
        "Things are kept beyond their last day, or longer than was promised.",
        f"{counted} last days",
    )


@store_check("store.no-time")
def no_time(snapshot: Snapshot) -> Finding:
    """Every number: a day, or too small to be a time."""
    faults, counted = [], 0
    database = snapshot.connection()
    for table, column in _known(snapshot, tuple((t, c) for t, columns in DAYS.items() for c in columns)):
        query = f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608 - names of ours
        days = [day for (day,) in database.execute(query)]
        counted += len(days)
        odd = sum(not isinstance(day, int) or abs(day - snapshot.today) > PLAUSIBLE_DAYS for day in days)
        if odd:
            faults.append(f"{odd} values of {table}.{column} are no days")
    for table, column in _known(snapshot, tuple((t, c) for t, columns in NUMBERS.items() for c in columns)):
        query = f"SELECT {column} FROM {table}"  # noqa: S608 - names of ours
        numbers = [number for (number,) in database.execute(query)]
        counted += len(numbers)
        odd = sum(not isinstance(number, int) or abs(number) >= TIME_LIKE for number in numbers)
        if odd:
            faults.append(f"{odd} values of {table}.{column} look like times")
    database.close()
    return judge(
        faults,
        "No time in the store is finer than a day.",
        "The store holds times finer than a day.",
        f"{counted} numbers",
    )


@store_check("store.no-link")
def no_link(snapshot: Snapshot) -> Finding:
    """No value of a channel stands, whole, in part or hashed, among the values of persons and inboxes."""
    windows: set[bytes] = set()
    persons = 0
    values = [value for table, column in _known(snapshot, PERSONS) for value in snapshot.blobs(table, column)]
    values += [bundle[:64] for bundle in snapshot.blobs("therapists", "bundle")]  # begins with the key
    for value in values:
        persons += 1
        for form in (value, hashlib.sha256(value).digest()):
            windows.update(form[start : start + LINK_BYTES] for start in range(len(form) - LINK_BYTES + 1))
    faults: Counter[str] = Counter()
    channels = 0
    for table, column in _known(snapshot, CHANNELS):
        for value in snapshot.blobs(table, column):
            channels += 1
            parts = (value[start : start + LINK_BYTES] for start in range(len(value) - LINK_BYTES + 1))
            if any(part in windows for part in parts):
                faults[f"{table}.{column}"] += 1
    return judge(
        [
            f"{count} values of {place} also stand with a therapist or an inbox"
            for place, count in faults.items()
        ],
        "Nothing stored links a conversation to a therapist or an inbox.",
        "The store links conversations to therapists or inboxes.",
        f"{channels} values of channels compared with {persons} of persons and inboxes",
    )


@store_check("store.no-residue")
def no_residue(snapshot: Snapshot) -> Finding:
    """Free pages, holes between rows, ends of overflow pages, superseded pages of file and log."""
    if not snapshot.quiet:
        return unchecked("The relay was busy for as long as the audit waited; try again at a quieter time.")
    try:
        residue = snapshot.final.residue()
    except DamagedPage:
        return broken("The store's file contradicts itself.")
    raw = PageFile(snapshot.raw)
    size = raw.page_bytes
    changed = (
        (number, raw.page(number))
        for number in range(1, raw.count + 1)
        if number > snapshot.final.count or raw.page(number)[24:] != snapshot.final.page(number)[24:]
    )
    in_file = deleted_bodies(changed, snapshot.final, residue.rows_with_body)
    in_log = deleted_bodies(log_images(snapshot.log, size), snapshot.final, residue.rows_with_body)
    faults = []
    for count, what in (
        (residue.free_pages, "free pages are not empty"),
        (residue.holes, "pages hold bytes between their rows"),
        (residue.tails, "pages hold bytes behind the end of a row"),
        (in_file, "superseded pages hold parts of deleted cells"),
        (in_log, "pages of the write-ahead log hold parts of deleted cells"),
    ):
        if count:
            faults.append(f"{count} {what}")
    return judge(
        faults,
        "No deleted cell has left anything in the store's files.",
        "Deleted things are still in the store's files.",
        f"{residue.pages} pages of {size:,} bytes, {len(snapshot.log):,} bytes of write-ahead log",
    )
