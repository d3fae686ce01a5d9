"""Removals are remembered: a device that was taken out of a line stays out (R14, R18).

A store that is put back over the closing cell of a removal brings the members who had not read it back to
before; whoever is let in again by one of them (R18) finds the removed device in the tree once more. P of R14
knows no removals, and must not (R15). So each device that has processed one keeps a row, and while a removed
device stands in the tree

- its own person's other devices remove it again, before anything else (`commits`);
- nobody seals content, or anything of a session, for it to read (:func:`hold`): whoever has processed a
  removal writes nothing more to that device;
- nothing that it says is believed, and its rejoin requests are refused (:func:`refused`).

A row goes when the device's own person adds it anew, or, where this device was away when that happened, when
the primary device of that person writes content with it in the tree (:func:`vouched`): it makes all removals
that its person wants, so it would have removed it first.
"""

from __future__ import annotations

from clients.sdk.line.events import AlarmKind
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from clients.sdk.line.tables import RemovedRow
from crypto.tree_math import LeafIndex
from keys.certificates import DeviceCertificate


def remember(step: Step, *, added: set[bytes], removed: set[bytes]) -> None:
    """A commit was merged that took some devices out of the line, and brought others in."""
    for device_id in added - removed:
        step.tables.removed.delete(device_id)
    for device_id in removed - added:
        step.tables.removed.put(device_id, RemovedRow(device_id=device_id, removed_at=step.now))


def refused(step: Step, device_id: bytes) -> bool:
    """Whether this device has processed the removal of another one."""
    return step.tables.removed.get(device_id) is not None


def returned(step: Step) -> list[Member]:
    """Removed devices that stand in the tree of the present epoch."""
    return [member for member in step.state.members if refused(step, member.device_id)]


def hold(step: Step) -> bool:
    """Whether content has to wait, because a removed device would read it."""
    return bool(returned(step))


def look(step: Step) -> None:
    """Tell the person, once, that a removed device is back; and that this is over."""
    back = returned(step)
    if not back:
        step.clear_alarm(AlarmKind.REMOVED_IS_BACK)
    for member in back:
        mine = member.identity_key == step.own.identity_key
        who = "your devices remove it again" if mine else "the other person's devices remove it again"
        step.notify(
            AlarmKind.REMOVED_IS_BACK,
            "The relay has put an old state back, and a device that had been removed is in this line again. "
            f"Nothing is sent until {who}.",
            device_id=member.device_id,
        )


def _primary(step: Step, member: Member) -> bool:
    leaf = step.mls.member(LeafIndex(member.leaf_index)).leaf_node
    return DeviceCertificate.decode(leaf.credential.identity).primary


def vouched(step: Step, member: Member) -> None:
    """The same person's primary device wrote content here: it wants that device in the line.

    It alone links and removes devices, and none can remove it (R14 P4), so it knows. A third device may not
    have read the removal, and its word would make this one forget it.
    """
    if member.identity_key == step.own.identity_key or not _primary(step, member):
        return
    for back in returned(step):
        if back.identity_key == member.identity_key:
            step.tables.removed.delete(back.device_id)
            look(step)
