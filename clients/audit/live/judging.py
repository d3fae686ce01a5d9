"""What the claims of the group `live` say of what was observed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final

from clients.audit.host.checks import LOG_LINES
from clients.audit.live.canaries import found_in, search_for
from clients.audit.live.rhythm import settled
from clients.audit.live.scene import Needs, Observed
from clients.audit.model import Figure, Finding, judge, unchecked
from clients.replay.leaks import LeakSearch

SIZES: Final = frozenset({16_384, 2_048})
NO_STRACE: Final = "strace is not installed here, or may not trace."
NO_MEMORY: Final = "The memory of other processes may not be read by this user."
NOTHING: Final = "There was nothing to look at: the devices or the relay left no trace where they must."
"""A search of nothing finds nothing, and must not pass for a promise that holds."""
BUSY: Final = "This machine was too busy with something else to tell the rhythm of the cells."


def _private(seen: Observed) -> set[bytes]:
    """Identifiers that no therapist publishes."""
    return {
        value
        for value in seen.identifiers
        if len(value) >= 11 and not any(value in bundle for bundle in seen.capture.published)
    }


def _all(seen: Observed) -> LeakSearch:
    """Everything that was marked; made once, for it holds some ten thousand forms."""
    if seen.search is None:
        names = [name.encode() for name in seen.names]
        texts = [*seen.line_texts, *seen.session_texts]
        seen.search = search_for(texts, seen.secrets, [*_private(seen), *names])
    return seen.search


def _marked(seen: Observed) -> bool:
    """Whether texts and keys are known that could be found."""
    return bool(seen.line_texts and seen.secrets)


def _sought(seen: Observed) -> str:
    return (
        f"searched for {len(seen.line_texts) + len(seen.session_texts)} texts, {len(seen.secrets)} keys and "
        f"{len(_private(seen)) + len(seen.names)} identifiers"
    )


def traffic(seen: Observed) -> Finding:
    """All frames of both directions."""
    data = bytes(seen.capture.data)
    if not data or not _marked(seen):
        return unchecked(NOTHING)
    faults = found_in(_all(seen), data, but=seen.capture.address_secrets)
    if seen.capture.unreadable:
        faults.append(f"{seen.capture.unreadable} messages that are no frames of the protocol")
    return judge(
        [f"on the wire: {fault}" for fault in faults],
        "Nothing of texts, keys and clients' identifiers could be read from what the devices sent.",
        "What the devices sent tells what must stay between them.",
        f"{len(data):,} bytes",
        _sought(seen),
    )


def files(seen: Observed) -> Finding:
    """All writes of the relay to files."""
    if seen.written is None:
        return unchecked(NO_STRACE)
    data = b"".join(seen.written.values())
    if not data or not _marked(seen):
        return unchecked(NOTHING)
    return judge(
        [f"in a file: {fault}" for fault in found_in(_all(seen), data)],
        "The relay wrote nothing of texts, keys and clients' identifiers to any file.",
        "The relay wrote to a file what must stay between two devices.",
        f"{len(data):,} bytes written to {len(seen.written)} files",
        _sought(seen),
    )


def log(seen: Observed) -> Finding:
    """The relay's log and standard output: searched, and every line against its form."""
    faults = [f"in log or output: {fault}" for fault in found_in(_all(seen), seen.log)]
    told = [line for line in seen.log.decode(errors="replace").splitlines() if line.strip()]
    if not told or not _marked(seen):
        return unchecked(NOTHING)
    odd = sum(not any(form.fullmatch(line) for form in LOG_LINES) for line in told)
    if odd:
        faults.append(f"{odd} lines of log and output are none of the events")
    return judge(
        faults,
        "The relay's log tells nothing of anybody.",
        "The relay's log tells what it must not.",
        f"{len(told)} lines",
    )


def memory(seen: Observed) -> Finding:
    """The running relay's memory."""
    if seen.relay_memory is None:
        return unchecked(NO_MEMORY)
    if not _marked(seen):
        return unchecked(NOTHING)
    faults = found_in(_all(seen), seen.relay_memory, but=seen.capture.address_secrets)
    return judge(
        [f"in the relay's memory: {fault}" for fault in faults],
        "There is no text and no key of two devices in the relay's memory.",
        "There are texts or keys of devices in the relay's memory.",
        f"{len(seen.relay_memory):,} bytes of memory",
        _sought(seen),
    )


def session_gone(seen: Observed) -> Finding:
    """The devices' main processes after the session."""
    read = [memory for memory in seen.parents_memory if memory is not None]
    if len(read) < 2:
        return unchecked(NO_MEMORY)
    if not seen.session_texts or not seen.session_secrets:
        return unchecked(NOTHING)
    search = search_for(seen.session_texts, seen.session_secrets)
    faults = sorted({f"in a device's memory: {fault}" for one in read for fault in found_in(search, one)})
    if seen.children_left:
        faults.append(f"{seen.children_left} processes of the session are still there")
    return judge(
        faults,
        "Nothing of the session's texts and keys is left in the devices' memory, and its processes are gone.",
        "Something of the session is left on the devices.",
        f"{sum(map(len, read)):,} bytes of memory of two devices",
        f"{len(seen.session_texts)} texts, {len(seen.session_secrets)} keys of the session",
    )


def vault_sealed(seen: Observed) -> Finding:
    """All files of both devices."""
    if not seen.homes or not _marked(seen):
        return unchecked(NOTHING)
    faults = sorted({fault for content in seen.homes.values() for fault in found_in(_all(seen), content)})
    return judge(
        [f"in a file of a device: {fault}" for fault in faults],
        "The devices' files show nothing without the passphrase.",
        "The devices' files show what they must not.",
        f"{len(seen.homes)} files, {sum(map(len, seen.homes.values())):,} bytes",
    )


def session_writes_nothing(seen: Observed) -> Finding:
    """Writes to files during the session."""
    if seen.written_in_session is None:
        return unchecked(NO_STRACE)
    if not seen.live_cells:
        return unchecked(NOTHING)
    written = {name: len(data) for name, data in seen.written_in_session.items() if data}
    return judge(
        [f"{size:,} bytes to a file" for size in written.values()],
        "The relay wrote nothing to any file while the session ran.",
        "The relay wrote to a file while the session ran.",
        f"{seen.writing[1] - seen.writing[0]:.0f} seconds of writing, "
        f"{sum(map(len, seen.live_cells.values()))} cells",
    )


def cell_size(seen: Observed) -> Finding:
    """Sizes of all that was deposited."""
    sizes = seen.capture.cells
    figure = Figure(
        title="What passes over the wire has two sizes, whatever was written",
        x="bytes",
        y="cells",
        series={"sent": tuple((float(size), float(count)) for size, count in sorted(sizes.items()))},
        note="2,048 bytes in a live session, 16,384 on a line.",
    )
    faults = [f"{count} cells of another size" for size, count in sizes.items() if size not in SIZES]
    if seen.capture.unreadable:
        faults.append(f"{seen.capture.unreadable} messages of an unknown form and size")
    if not sizes and not faults:
        return unchecked(NOTHING)
    found = judge(
        faults,
        "Every sealed cell had one of two sizes.",
        "Sealed cells had other sizes, which tell something.",
        f"{sizes.total()} cells",
    )
    return _with(found, figure, _disorder(seen))


def _disorder(seen: Observed) -> Figure:
    """Entropy of every sealed cell that passed."""
    return Figure(
        title="What passes is as disordered as noise",
        x="bits of entropy per byte",
        y="cells",
        series={
            f"{size:,} bytes": tuple((value, float(count)) for value, count in sorted(counted.items()))
            for size, counted in sorted(seen.entropies.items())
        },
        note="Noise of 2,048 bytes lies at 7.91, of 16,384 bytes at 7.99; written text lies below 5.",
    )


def _with(found: Finding, *figures: Figure) -> Finding:
    return Finding(verdict=found.verdict, reason=found.reason, evidence=found.evidence, figures=figures)


def constant_rate(seen: Observed) -> Finding:
    """Cells a second of each side, in quiet and in writing."""
    if not seen.rhythms:
        return unchecked(NOTHING)
    counted = seen.rhythms[-1]
    if not settled(seen.rhythms, disturbed=seen.disturbed):
        return unchecked(BUSY, *counted.faults, *counted.evidence)
    found = judge(
        counted.faults,
        "Each side sent one cell a second, whether anybody wrote or not.",
        "The rhythm of the cells tells who writes.",
        *counted.evidence,
    )
    return _with(found, _rhythm(seen, counted.sides), _without_cover(seen))


def _rhythm(seen: Observed, sides: Sequence[list[float]]) -> Figure:
    begun = seen.quiet[0]
    series = {
        f"side {number}": tuple(
            (round(later - begun, 2), round(later - sooner, 3))
            for sooner, later in pairwise(times)
            if begun <= later <= seen.writing[1]
        )
        for number, times in enumerate(sides[:2], start=1)
    }
    return Figure(
        title="With cover traffic: the rhythm of the cells",
        x="seconds",
        y="seconds since the cell before",
        series=series,
        kind="dots",
        note=f"Writing began after {seen.writing[0] - begun:.0f} s: nothing changes.",
    )


def _without_cover(seen: Observed) -> Figure:
    """The line of the same two devices, which has no cover traffic: nothing is sent without a reason."""
    begun = min([*seen.line_words, *seen.line_cells], default=0.0)
    until = seen.quiet[0]
    return Figure(
        title="Without cover traffic, as on the line of the same two devices: a cell for each thing said",
        x="seconds",
        y="cells (1), texts written (2)",
        series={
            "cells": tuple((round(one - begun, 2), 1.0) for one in seen.line_cells if one <= until),
            "texts": tuple((round(one - begun, 2), 2.0) for one in seen.line_words),
        },
        kind="dots",
        note="Who listens sees when something is sent; its length and its words stay hidden. "
        "The last cells open the live session.",
    )


def deleted(seen: Observed) -> Finding:
    """The relay's files after all was fetched, searched for pieces of the sealed cells themselves."""
    if not seen.stored_pieces or not seen.files_after:
        return unchecked(NOTHING)
    growth = Figure(
        title="The store of the relay grows and is erased",
        x="seconds",
        y="KiB",
        series={"files": tuple(seen.growth[:: max(1, len(seen.growth) // 400)])},
        kind="line",
        note="Its log grows with every cell and is overwritten seconds after the last was fetched.",
    )
    faults = [
        f"{count} sealed cells are still in a file after {seen.erased_after:.0f} seconds"
        for content in (seen.files_after or {}).values()
        if (count := sum(piece in content for piece in seen.stored_pieces))
    ]
    found = judge(
        faults,
        "Seconds after the last was fetched, no sealed cell was left in any file of the relay.",
        "Sealed cells are left in the relay's files after they were fetched.",
        f"{len(seen.stored_pieces)} cells looked for in "
        f"{sum(map(len, (seen.files_after or {}).values())):,} bytes, "
        f"{seen.erased_after:.1f} seconds after both devices had nothing more to do",
    )
    return _with(found, growth)


Judge = Callable[[Observed], Finding]
JUDGES: Final[dict[str, Judge]] = {
    "live.traffic": traffic,
    "live.files": files,
    "live.log": log,
    "live.memory": memory,
    "live.session-gone": session_gone,
    "live.vault-sealed": vault_sealed,
    "live.session-writes-nothing": session_writes_nothing,
    "live.cell-size": cell_size,
    "live.constant-rate": constant_rate,
    "live.deleted": deleted,
}


def needs_of(claims: Iterable[str], *, strace: bool) -> Needs:
    """What must be played so that these claims can be judged."""
    wanted = set(claims)
    full = wanted >= set(JUDGES)
    return Needs(
        session=full
        or bool(wanted & {"live.session-gone", "live.session-writes-nothing", "live.constant-rate"}),
        strace=strace and bool(wanted & {"live.files", "live.session-writes-nothing"}),
        memory=bool(wanted & {"live.memory", "live.session-gone"}),
        rate="live.constant-rate" in wanted,
        deletion="live.deleted" in wanted,
    )
