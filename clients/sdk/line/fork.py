"""R10 and R18: two records of one conversation. Nothing automatic from here; the people decide."""

from __future__ import annotations

from typing import Final

from clients.sdk.line.events import AlarmKind, LinePhase, RejoinReason
from clients.sdk.line.step import Step

FORKS: Final = frozenset({RejoinReason.FORK, RejoinReason.TWO_BRANCHES})
"""Reasons that only people can lift."""
_WHAT_TO_DO = " Nothing is sent until you have compared safety numbers with the other person."


def declare_fork(step: Step, sentence: str, *, kind: AlarmKind = AlarmKind.FORK) -> None:
    """Stop sending and tell the person; reading goes on. Twice is once."""
    if step.state.phase not in {LinePhase.ACTIVE, LinePhase.ENDING}:
        return
    two = kind is AlarmKind.TWO_BRANCHES
    step.state.stranded_reason = RejoinReason.TWO_BRANCHES if two else RejoinReason.FORK
    step.state.resolved_same = False
    step.set_phase(LinePhase.UNDECIDED)
    step.notify(kind, sentence + _WHAT_TO_DO)
