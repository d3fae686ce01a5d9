"""R of R18: the current one, the old ones still heard, and the own return channels that follow from them."""

from __future__ import annotations

import hmac

from clients.sdk.line import cells
from clients.sdk.line.events import AckCell, Attach, Attached, ChannelRef, DetachChannel
from clients.sdk.line.state import OldSecret
from clients.sdk.line.step import Step
from clients.sdk.line.tables import ReturnRow
from clients.sdk.line.timing import OLD_SECRET_SECONDS
from crypto.channel import return_address
from crypto.sensitive import Secret

READERS = 1
"""A return channel has one reader, its owner (R18)."""


def renew(step: Step) -> None:
    """After an own Remove: a new R, which the removed device never learns.

    Whatever others still owe is of commits before this one, so older.
    """
    change(step, step.rng(32))
    step.state.older_due = len(step.state.secret_from)


def owed_no_more(step: Step, removed: set[bytes]) -> None:
    """A commit took these devices out, or replaced their leaves; what they owe of commits before is void.

    One whose vault was put back has forgotten what it owes, and its next word would be taken for that one.
    The R of the present commit is newer anyway, and whoever waits for LINE_INFO is told by its committer.
    """
    state = step.state
    older = [device_id for device_id in state.secret_from[: state.older_due] if device_id not in removed]
    newer = [device_id for device_id in state.secret_from[state.older_due :] if device_id not in removed]
    state.secret_from, state.older_due = [*older, *newer], len(older)


def hear(step: Step, secret: bytes) -> None:
    """An R that came late: who knows no newer one asks under it, but it is not the present one again."""
    state = step.state
    known = {state.secret, *(old.secret for old in state.old_secrets)}
    if secret in known:
        return
    until = step.now + OLD_SECRET_SECONDS
    state.old_secrets = [*state.old_secrets, OldSecret(secret=secret, until=until)]
    row = _make(step, secret)
    row.until = until
    step.tables.returns.put(row.ref, row)
    _attach(step, row)


def change(step: Step, secret: bytes) -> None:
    """Take another R; the old one is heard for 90 days."""
    state = step.state
    if secret == state.secret:
        return
    if state.secret:
        state.old_secrets = [
            *state.old_secrets,
            OldSecret(secret=state.secret, until=step.now + OLD_SECRET_SECONDS),
        ]
        for row in list(step.tables.returns.rows()):
            if not row.until:
                row.until = step.now + OLD_SECRET_SECONDS
                step.tables.returns.put(row.ref, row)
    state.secret = secret
    _attach(step, _make(step, secret))


def _make(step: Step, secret: bytes) -> ReturnRow:
    k = return_address(secret, step.own.device_id)
    ref = cells.stored_ref(READERS, k)
    row = ReturnRow(ref=ref, k=k, secret=secret, token=_token(step, ref))
    step.tables.returns.put(row.ref, row)
    return row


def _token(step: Step, ref: bytes) -> bytes:
    """The slot token of an own return channel.

    Not random, unlike those of other channels: the device that comes back from an export (R9) must get the
    one slot that it had. Only the holder of the device key can compute it; other members, who know R, cannot.
    """
    seed = step.own.signature_private.reveal()
    return hmac.digest(seed, b"amanat return token" + ref, "sha256")


def connected(step: Step) -> None:
    """R18: own return channels are attached at every connection; those of too old an R are forgotten.

    Not while a device may know no newer R: until all have receipted NEW_R, the old one is the only way there.
    """
    forget = not step.state.infos_outstanding
    if forget:
        step.state.old_secrets = [old for old in step.state.old_secrets if old.until > step.now]
    for row in list(step.tables.returns.rows()):
        if forget and row.until and row.until <= step.now:
            step.tables.returns.delete(row.ref)
        else:
            _attach(step, row)


def _attach(step: Step, row: ReturnRow) -> None:
    if not step.conn.up:
        return
    step.emit(
        Attach(
            ref=ChannelRef(row.ref),
            channel_class=cells.CLASS,
            readers=READERS,
            k=Secret(row.k),
            token=Secret(row.token),
            incarnation=row.incarnation or bytes(16),
            position=row.position,
        )
    )


def attached(step: Step, row: ReturnRow, event: Attached) -> None:
    """The relay may have lost this channel too: then it is simply read from its new beginning."""
    step.conn.attached.add(row.ref)
    if row.incarnation != event.incarnation:
        row.incarnation, row.position = event.incarnation, 0
    elif event.head < row.position:
        row.position = 0
        step.tables.returns.put(row.ref, row)
        step.emit(DetachChannel(ref=ChannelRef(row.ref)))
        _attach(step, row)
        return
    step.tables.returns.put(row.ref, row)
    if event.acked < row.position:
        step.emit(AckCell(ref=ChannelRef(row.ref), seq=row.position))


def advance(step: Step, row: ReturnRow, seq: int) -> bool:
    """Count a cell of a return channel and acknowledge it. False: it was read before."""
    new = seq > row.position
    if new:
        row.position = seq
        step.tables.returns.put(row.ref, row)
    step.emit(AckCell(ref=ChannelRef(row.ref), seq=row.position))
    return new
