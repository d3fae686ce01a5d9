"""Driving a Textual app in a test: wait until it is at rest, read what it shows."""

from __future__ import annotations

import asyncio
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen


async def rest(pilot: Pilot[Any]) -> None:
    """Let every message that is on its way, and those that they cause, be dealt with."""
    for _ in range(8):
        await pilot._wait_for_screen()
        await asyncio.sleep(0)


def shown(screen: Screen[Any]) -> str:
    """All characters on the screen, line by line."""
    return "\n".join(
        "".join(segment.text for segment in strip) for strip in screen._compositor.render_strips()
    )


def told(app: App[Any]) -> str:
    """The sentences that stand in the corner for some seconds."""
    return "\n".join(notification.message for notification in app._notifications)
