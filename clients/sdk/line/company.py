"""What a person is told of who came into a line and who left it.

A commit that is read says so itself. Whoever was let in again (R18) has not read it, and compares the tree in
front of it with the one it had: a device added meanwhile by somebody who holds a person's first device must
not go unseen because its arrival was.
"""

from __future__ import annotations

from typing import Final

from clients.sdk.line.events import AlarmKind
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step

LEFT: Final = (
    "Your device {} is not in this line any more. If you did not remove it, remove it now, and add it again: "
    "what it still sends reaches nobody."
)
THEIRS_LEFT: Final = (
    "A device of the other person, {}, is not in this line any more. If they did not remove it, tell them: "
    "what it still sends reaches nobody."
)


def short_name(device_id: bytes) -> str:
    """How a device is named to people who gave it no name: the first 8 hexadecimal digits of its id."""
    return device_id.hex()[:8]


def is_other_person(step: Step, device_id: bytes) -> bool:
    """Whether it is a leaf of the present tree, and the other person's."""
    member = step.state.member(device_id)
    return member is not None and member.identity_key != step.own.identity_key


def tell_added(step: Step, device_id: bytes) -> None:
    """A device is new in the present tree."""
    whose = "The other person has" if is_other_person(step, device_id) else "You have"
    step.notify(
        AlarmKind.DEVICE_ADDED,
        f"{whose} added a device to this line: {short_name(device_id)}.",
        device_id=device_id,
    )


def tell_removed(step: Step, device_id: bytes, *, theirs: bool) -> None:
    """A commit that was read here took a device out."""
    whose = "The other person has" if theirs else "You have"
    step.notify(
        AlarmKind.DEVICE_REMOVED,
        f"{whose} removed a device from this line: {short_name(device_id)}.",
        device_id=device_id,
    )


def tell_what_changed(step: Step, before: list[Member]) -> None:
    """This device is back: who of those ``before`` is gone, and who is new. Nobody read here how (R18)."""
    for member in before:
        if step.state.member(member.device_id) is None:
            # Removed meanwhile; or added on a branch that nobody else is on any more.
            sentence = LEFT if member.identity_key == step.own.identity_key else THEIRS_LEFT
            step.notify(
                AlarmKind.DEVICE_REMOVED,
                sentence.format(short_name(member.device_id)),
                device_id=member.device_id,
            )
    known = {member.device_id for member in before}
    for member in step.state.members:
        if member.device_id not in known:
            tell_added(step, member.device_id)
