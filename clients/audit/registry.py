"""The checks, each under the id of its claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clients.audit.model import Finding, Group
from clients.audit.target import Target

Check = Callable[[Target], Finding]
Say = Callable[[str], None]

CHECKS: Final[dict[str, Check]] = {}
"""Claim id → check, for the groups whose checks stand alone: `source`, `store`, `host`."""


def check(claim_id: str) -> Callable[[Check], Check]:
    """Register a check under its claim."""

    def register(function: Check) -> Check:
        if claim_id in CHECKS:
            raise ValueError(f"two checks for {claim_id}")
        CHECKS[claim_id] = function
        return function

    return register


def of_group(group: Group) -> dict[str, Check]:
    """The checks of a group, in the order in which they were registered."""
    return {name: run for name, run in CHECKS.items() if name.startswith(f"{group.value}.")}
