"""Two reports side by side: what has become better, what worse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from clients.audit.model import Verdict

_RANK: Final = {Verdict.BROKEN.value: 0, Verdict.UNCHECKED.value: 1, Verdict.HOLDS.value: 2}


def compare(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """(worse, sentence) for each claim whose verdict or sentence differs, or that is in one report only."""
    before = {result["claim"]: result for result in old["results"]}
    after = {result["claim"]: result for result in new["results"]}
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            yield True, f"{name}: no longer checked (was: {before[name]['verdict']})"
        elif name not in before:
            yield after[name]["verdict"] == Verdict.BROKEN.value, f"{name}: new, {after[name]['verdict']}"
        else:
            was, now = before[name]["verdict"], after[name]["verdict"]
            if was != now:
                yield _RANK[now] < _RANK[was], f"{name}: {was} -> {now}"
            if before[name]["sentence"] != after[name]["sentence"]:
                yield False, f"{name}: the promise is worded otherwise"
