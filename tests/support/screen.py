"""Driving a Textual app in a test: wait until it is at rest, read what it shows."""

from __future__ import annotations

import asyncio
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

_ROUNDS = 400
_STILL_ROUNDS = 3
_ROUND_SECONDS = 0.01
"""Textual repaints by a timer of its own, sixty times a second; a round is about half of that."""


async def rest(pilot: Pilot[Any]) -> None:
    """Wait until every message was dealt with, those that they cause too, and the screen stands still."""
    before, still = "", 0
    for _ in range(_ROUNDS):
        if not pilot.app.is_running:
            return
        await pilot._wait_for_screen()
        await asyncio.sleep(_ROUND_SECONDS)
        screen = pilot.app.screen
        now = shown(screen)
        waiting = screen._dirty_widgets or screen._layout_required or screen._repaint_required
        still = still + 1 if now == before and not waiting else 0
        if still == _STILL_ROUNDS:
            return
        before = now


def shown(screen: Screen[Any]) -> str:
    """All characters on the screen, line by line."""
    return "\n".join(
        "".join(segment.text for segment in strip) for strip in screen._compositor.render_strips()
    )


def told(app: App[Any]) -> str:
    """The sentences that stand in the corner for some seconds."""
    return "\n".join(notification.message for notification in app._notifications)
