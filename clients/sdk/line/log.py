"""Position and hash chain of the current channel: R9 (what the relay's head says), R10 (fork detection).

Every cell is counted here exactly once, whatever is inside (R20). ``history`` keeps for the last 4,096 cells
the chain's link and, where known, H_n; what came right after an announced hole has links only, until another
device's claim gives the baseline (R10).

    value of history[n] = u8 close ‖ SHA-256(cell) ‖ H_n or nothing     (n = 0 and the end of a hole: zeros)
"""

from __future__ import annotations

from typing import Final

from clients.sdk.line.events import AlarmKind
from clients.sdk.line.fork import declare_fork
from clients.sdk.line.payloads import Anchor, LogClaim
from clients.sdk.line.state import ChannelPosition
from clients.sdk.line.step import Step
from clients.sdk.line.tables import u64_key
from clients.sdk.line.timing import HISTORY_ENTRIES
from crypto.channel import log_next, log_start

_NO_LINK: Final = bytes(33)
MAX_OLD_INCARNATIONS: Final = 8


def new_channel(step: Step) -> ChannelPosition:
    """A fresh position with a token of its own; the log begins with the first ATTACHED."""
    step.tables.history.clear()
    return ChannelPosition(token=step.rng(32))


def begin(step: Step, incarnation: bytes) -> None:
    """Start (again) at H_0 of an incarnation."""
    channel = step.state.channel
    if channel.incarnation and channel.incarnation != incarnation:
        channel.old_incarnations = [*channel.old_incarnations, channel.incarnation][-MAX_OLD_INCARNATIONS:]
        channel.highest = 0
    channel.incarnation = incarnation
    channel.position = 0
    channel.log_hash = channel.known_hash = log_start(step.ref, incarnation)
    channel.known_n = channel.resolved_to = 0
    step.tables.history.clear()
    step.tables.history.put(_NO_LINK + channel.log_hash, u64_key(0))


def count(step: Step, *, seq: int, close: bool, digest: bytes) -> None:
    """Count one cell: position and H_n (R10, R20). ``seq`` is the position plus one."""
    channel = step.state.channel
    link = bytes([close]) + digest
    if channel.log_hash:
        channel.log_hash = log_next(channel.log_hash, seq, close, digest)
        channel.known_n, channel.known_hash = seq, channel.log_hash
    step.tables.history.put(link + channel.log_hash, u64_key(seq))
    if seq >= HISTORY_ENTRIES:
        step.tables.history.delete(u64_key(seq - HISTORY_ENTRIES))
    channel.position = seq
    channel.highest = max(channel.highest, seq)
    channel.resync = False


def note_hole(step: Step, last: int) -> None:
    """Cells up to ``last`` are gone by announcement: the chain is unknown until a baseline comes (R10)."""
    channel = step.state.channel
    channel.position = last
    channel.highest = max(channel.highest, last)
    channel.log_hash = b""
    channel.resync = False
    step.tables.history.put(_NO_LINK, u64_key(last))


def repeated(step: Step, *, seq: int, close: bool, digest: bytes) -> None:
    """A cell at or below the position came again: fine if it is the same one, else two logs were shown."""
    value = step.tables.history.get(u64_key(seq))
    if value is None or value[:33] == _NO_LINK:
        return
    if value[:33] != bytes([close]) + digest:
        declare_fork(step, "The relay has shown two different records of the same conversation.")


def own_claim(step: Step) -> LogClaim:
    """What this device's next message says about the log (R10).

    After a hole that nobody has bridged it is the last point that is known for certain, which is true and can
    be checked; a hash made up over a hole could not.
    """
    channel = step.state.channel
    anchor = Anchor(incarnation=channel.incarnation, n=channel.known_n, log_hash=channel.known_hash)
    return LogClaim(anchor=anchor, previous=step.state.previous if step.state.claim_previous else None)


def check_claim(step: Step, claim: LogClaim, seq: int) -> None:
    """Compare another device's claim, read in cell ``seq``, with the own log (R10).

    What was claimed before the people compared safety numbers is judged already (R18): such a cell lies in
    the channel until all have read it, and would ask them again each time that it is read again.
    """
    if seq <= step.state.channel.resolved_to:
        return
    if not _agrees(step, claim.anchor, seq):
        declare_fork(step, "Another device of this line was shown a different record by the relay.")
    elif claim.previous is not None and step.state.previous not in {None, claim.previous}:
        declare_fork(step, "Another device of this line was shown a different end of the last channel.")


def _agrees(step: Step, anchor: Anchor, seq: int) -> bool:
    channel = step.state.channel
    if anchor.incarnation != channel.incarnation:
        # Before an announced loss of the relay's state: as unverifiable as anything before a hole.
        return anchor.incarnation in channel.old_incarnations
    if anchor.n >= seq:
        return False
    value = step.tables.history.get(u64_key(anchor.n))
    if value is None:
        return True  # older than what is kept, or inside a hole: nothing to compare with
    known = value[33:]
    return known == anchor.log_hash if known else _adopt(step, anchor, value[:33])


def _adopt(step: Step, anchor: Anchor, link: bytes) -> bool:
    """Take a baseline after a hole and extend it over the links read since. False: it contradicts one."""
    channel = step.state.channel
    history = step.tables.history
    log_hash = anchor.log_hash
    history.put(link + log_hash, u64_key(anchor.n))
    for n in range(anchor.n + 1, channel.position + 1):
        value = history.get(u64_key(n))
        if value is None:
            break
        log_hash = log_next(log_hash, n, value[0] == 1, value[1:33])
        if value[33:]:
            return value[33:] == log_hash
        history.put(value[:33] + log_hash, u64_key(n))
    channel.log_hash = channel.known_hash = log_hash
    channel.known_n = channel.position
    return True


def closing_anchor(step: Step) -> Anchor | None:
    """The closing cell of the current channel, to be claimed in the next; None if it cannot be stated."""
    channel = step.state.channel
    if not channel.log_hash or channel.old_incarnations:
        return None
    return Anchor(incarnation=channel.incarnation, n=channel.position, log_hash=channel.log_hash)


def lost_state(step: Step, incarnation: bytes) -> None:
    """R9: the relay lost this channel's state; start again from nothing and watch for signs of others."""
    begin(step, incarnation)
    step.state.channel.resync = True
    step.state.channel.lost_seconds = 0.0
    step.notify(
        AlarmKind.RELAY_LOST_STATE,
        "The relay has lost stored messages; what had not arrived is sent again.",
    )


def watch_for_others(step: Step) -> None:
    """R9's clock for a new turn: a relay that showed its closing cell to this device alone left it alone."""
    step.state.channel.lost_seconds = 0.0


def read_again(step: Step) -> None:
    """What was counted in this channel cannot be right: count anew what the relay still has.

    What was read before is recognised, by its digest or its generation, and taken once (R20). R9's clock
    runs.
    """
    if not step.state.channel.incarnation:
        return  # never attached to it: nothing was counted there
    begin(step, step.state.channel.incarnation)
    step.state.channel.resync = True
    step.state.channel.lost_seconds = 0.0


def resolved(step: Step) -> None:
    """The people found the safety numbers equal (R18): count anew, and judge what is claimed from here on."""
    channel = step.state.channel
    judged = max(channel.position, channel.highest, step.conn.gate_head)
    read_again(step)
    channel.resolved_to = judged


def rolled_back(step: Step) -> None:
    """R9: the head lies below the position; read everything there is again."""
    read_again(step)
    step.notify(
        AlarmKind.RELAY_LOST_STATE,
        "The relay has lost stored messages; what had not arrived is sent again.",
    )


def read_to_head(step: Step) -> bool:
    """Whether the device has read to the head reported at attach (R9's gate)."""
    return step.ref in step.conn.attached and step.state.channel.position >= step.conn.gate_head
