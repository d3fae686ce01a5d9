"""What a person reads about a device of theirs, in a command and in the app."""

from __future__ import annotations

from typing import Final

from clients.commands.times import format_time
from clients.sdk.model import DeviceState, OwnDeviceSummary

_STATE_WORDS: Final = {
    DeviceState.PRIMARY: "first device",
    DeviceState.LINKING: "being linked",
    DeviceState.LINKED: "linked",
    DeviceState.REMOVED: "removed",
}


def device_words(device: OwnDeviceSummary) -> list[str]:
    """Parts of a sentence: which device it is first, then where it stands."""
    named = device.this_device and device.name != "this device"
    parts = [f"{device.name}{' (this one)' if named else ''}: {_STATE_WORDS[device.state]}"]
    if device.short_id:
        parts[0] += f", id {device.short_id}"
    if device.state is DeviceState.LINKED and not device.this_device:
        parts.append(f"in {device.lines_joined} of {device.lines} lines")
    if device.linked_at is not None:
        parts.append(f"since {format_time(device.linked_at)}")
    if device.heard_at is not None:
        parts.append(f"last heard {format_time(device.heard_at)}")
    return parts
