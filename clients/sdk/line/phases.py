"""R8, R9, R15: a device that cannot go on from its state is stranded and asks to be let in again (R18)."""

from __future__ import annotations

from clients.sdk.line import outbox
from clients.sdk.line.events import AlarmKind, DetachChannel, LinePhase, RejoinReason
from clients.sdk.line.fork import FORKS
from clients.sdk.line.step import Step

_CLAIMS_OF_THE_RELAY = frozenset(
    {RejoinReason.FULL, RejoinReason.GONE, RejoinReason.CLONE, RejoinReason.RELAY_LOST_STATE}
)

_OLD_VAULT = frozenset({RejoinReason.CLONE, RejoinReason.IMPORTED})


def strand(step: Step, reason: RejoinReason, kind: AlarmKind, sentence: str) -> None:
    """Leave the current channel for good. Content stays queued; :mod:`.rejoin` asks for the way back.

    After a fork nothing is automatic (R18): what a relay alone can claim (that others hold the slots, that
    the channel ended, that this slot acknowledged more, that state was lost) leads nobody out of UNDECIDED.
    """
    if step.state.phase not in {LinePhase.ACTIVE, LinePhase.ENDING, LinePhase.UNDECIDED}:
        return
    if step.state.phase is LinePhase.UNDECIDED and reason in _CLAIMS_OF_THE_RELAY:
        return
    before = step.state.stranded_reason
    if step.state.awaits_info and before in _OLD_VAULT and reason not in FORKS:
        reason = before  # let in again, and not told yet how far it had counted: that is still so
    if step.ref in step.conn.attached and step.tables.stubs.get(step.ref) is None:
        step.conn.attached.discard(step.ref)
        step.emit(DetachChannel(ref=step.ref))
    step.tables.pending_commit.clear()
    outbox.lose_all(step)
    step.conn.closed_since = 0.0
    step.state.stranded_reason = reason
    step.state.rejoin_requested_at = step.state.stay_at = 0.0
    step.set_phase(LinePhase.STRANDED)
    step.notify(kind, sentence)
