"""Tells systemd that the relay is ready, reloads, or stops (sd_notify, `Type=notify`).

Without NOTIFY_SOCKET in the environment nobody asked, and nothing is said.
"""

from __future__ import annotations

import os
import socket
from enum import Enum


class Word(Enum):
    """What may be said: fixed texts, nothing of anybody."""

    READY = b"READY=1"
    STOPPING = b"STOPPING=1"


def notify(word: Word) -> bool:
    """Say it; False if nobody listens, which is no trouble of the relay's."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    address = f"\0{path[1:]}" if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
            wire.sendto(word.value, address)
    except OSError:
        return False
    return True
