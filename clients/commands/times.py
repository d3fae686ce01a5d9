"""Times as people type them, for `offer --at`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from clients.sdk.errors import UsageError
from clients.terminal.display import stamp

FORMS: Final = "HH:MM, YYYY-MM-DD HH:MM, an ISO 8601 time (with its offset or Z), or +30m, +2h, +1d"

_RELATIVE: Final = re.compile(r"\+(\d{1,4})([mhd])")
_UNIT_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400}
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2})")


def parse_time(text: str, now: float) -> int:
    """UTC seconds of a time that a person typed; without an offset it is local time.

    `HH:MM` is the next time that the clock shows it.

    Args:
        text: One of `FORMS`.
        now: UTC seconds.

    Raises:
        UsageError: it is none of them.
    """
    text = text.strip()
    if relative := _RELATIVE.fullmatch(text):
        return int(now) + int(relative[1]) * _UNIT_SECONDS[relative[2]]
    local_now = datetime.fromtimestamp(now).astimezone()
    try:
        if clock := _CLOCK.fullmatch(text):
            today = local_now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
            return int((today if today > local_now else today + timedelta(days=1)).timestamp())
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise UsageError(f"{text!r} is not a time; write it as {FORMS}.") from None


def format_time(utc_seconds: int) -> str:
    """A time in the local zone, with the zone's name."""
    return stamp(utc_seconds, "%a %Y-%m-%d %H:%M %Z")
