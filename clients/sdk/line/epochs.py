"""From one channel to the next: attaching, the next turn, the next epoch (R1, R10, R14, R16, R19).

A channel change always does the same: what was sealed and is not in the log goes back to queued, a stub keeps
the last acknowledgement, the closing cell's (incarnation, n, H_n) is remembered to be claimed, and a fresh
token is drawn. All of it in the step that read the closing cell (R7).
"""

from __future__ import annotations

from clients.sdk.line import cells, delivery, log, outbox, removals, stubs
from clients.sdk.line.events import AlarmKind, Attach, DetachChannel
from clients.sdk.line.state import Member
from clients.sdk.line.step import Step
from clients.sdk.line.tables import CounterRow
from crypto.errors import ValidationError
from crypto.group import Group
from crypto.sensitive import Secret
from keys.certificates import DeviceCertificate


def attach(step: Step) -> None:
    """Ask for the current channel, from the position on (R3)."""
    channel = step.state.channel
    if not step.conn.up or not step.state.addresses:
        return
    step.emit(
        Attach(
            ref=step.ref,
            channel_class=cells.CLASS,
            readers=step.state.readers,
            k=Secret(step.address),
            token=Secret(channel.token),
            incarnation=channel.incarnation or bytes(16),
            position=channel.position,
        )
    )


def attach_again(step: Step) -> None:
    """The position went back: detach, and ask for everything from there (R9)."""
    step.conn.attached.discard(step.ref)
    step.emit(DetachChannel(ref=step.ref))
    attach(step)


def next_turn(step: Step) -> None:
    """R14: the same epoch and cell key, the next address; the log starts again."""
    _leave_channel(step)
    step.state.turn += 1
    _enter_channel(step)


def next_epoch(step: Step, group: Group, *, added: set[bytes]) -> None:
    """R13, R19: go on in a merged group. ``added`` are the device ids that came in with the commit."""
    _leave_channel(step)
    enter_epoch(step, group, added=added)


def enter_epoch(step: Step, group: Group, *, added: set[bytes]) -> None:
    """Derive the channels of the group's epoch and attach to the first (R1); also after a join."""
    addresses, cell_key = cells.epoch_keys(group)  # wipes the exporter secret
    step.replace_group(group)
    state = step.state
    state.epoch, state.turn = group.epoch, 0
    state.addresses, state.cell_key = addresses, cell_key
    state.sealed_in_epoch = 0
    state.refused_by = []
    step.tables.own_cells.clear()
    _set_members(step, group, added)
    state.readers = len(state.members)
    removals.look(step)
    _enter_channel(step)


def _leave_channel(step: Step) -> None:
    outbox.lose_sealed(step)
    step.tables.pending_commit.clear()
    step.state.previous = log.closing_anchor(step)
    stubs.leave(step)
    step.conn.closed_since = 0.0
    step.conn.closed_reconnects = 0
    step.conn.gate_head = 0
    step.conn.full = False


def _enter_channel(step: Step) -> None:
    step.state.channel = log.new_channel(step)
    step.state.claim_previous = True
    attach(step)


def _set_members(step: Step, group: Group, added: set[bytes]) -> None:
    """Read who is in the group from its leaves' certificates; keep what was known of those who stay."""
    before = {member.device_id: member for member in step.state.members}
    members = []
    certificates = [DeviceCertificate.decode(leaf.leaf_node.credential.identity) for leaf in group.members]
    _warn_of_expiry(step, certificates)
    for leaf, certificate in zip(group.members, certificates, strict=True):
        known = before.get(certificate.device_id)
        if known is not None and certificate.device_id not in added:
            known.leaf_index = leaf.leaf_index
            members.append(known)
            continue
        members.append(
            Member(
                device_id=certificate.device_id,
                identity_key=certificate.identity_key,
                leaf_index=leaf.leaf_index,
                added_epoch=group.epoch,
                added_at=step.now,
                heard_at=0.0,
            )
        )
    step.state.members = members
    for member in members:
        if member.device_id != step.own.device_id and step.tables.counters.get(member.device_id) is None:
            step.tables.counters.put(member.device_id, delivery.counters_of(step, member))


def _warn_of_expiry(step: Step, certificates: list[DeviceCertificate]) -> None:
    """R15: validity in time never decides about a commit; after the merge the person is told."""
    valid = True
    for certificate in certificates:
        try:
            certificate.check_validity(step.now)
        except ValidationError:
            valid = False
            step.notify(
                AlarmKind.CERTIFICATE_EXPIRED,
                "The certificate of a device in this line is not valid today.",
                device_id=certificate.device_id,
            )
    if valid:
        step.clear_alarm(AlarmKind.CERTIFICATE_EXPIRED)  # renewed since


def without_baselines(step: Step) -> None:
    """A joiner knows nobody's counters before LINE_INFO (R16)."""
    for row in list(step.tables.counters.rows()):
        unknown = CounterRow(device_id=row.device_id, identity_key=row.identity_key)
        step.tables.counters.put(row.device_id, unknown)


def heard(step: Step, member: Member) -> None:
    """Something signed by this member was read: R9's and R17's clocks start anew."""
    member.heard_at = step.now
    step.state.channel.lost_seconds = None
