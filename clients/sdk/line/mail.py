"""Cells for channels to which this device only deposits: kept, and handed over until STORED (R19)."""

from __future__ import annotations

from clients.sdk.line import cells
from clients.sdk.line.events import ChannelRef, DepositCell
from clients.sdk.line.step import Step
from clients.sdk.line.tables import MailRow
from crypto.sensitive import Secret


def post(step: Step, *, deposit_id: bytes, k: bytes, readers: int, cell: bytes) -> None:
    """Keep a sealed cell and hand it over. What still waits for the same channel is out of date, and goes.

    In particular a Welcome that was not handed over yet must not arrive after a newer one (R18).
    """
    ref = cells.stored_ref(readers, k)
    for old in list(step.tables.mail.rows()):
        if old.ref == ref:
            step.tables.mail.delete(old.deposit_id)
    row = MailRow(deposit_id=deposit_id, ref=ref, k=k, readers=readers, cell=cell)
    step.tables.mail.put(deposit_id, row)
    if step.conn.up:
        deliver(step, row)


def deliver(step: Step, row: MailRow) -> None:
    """Deposit a piece of mail; the same bytes under the same deposit id each time."""
    step.emit(
        DepositCell(
            ref=ChannelRef(row.ref),
            channel_class=cells.CLASS,
            readers=row.readers,
            k=Secret(row.k),
            deposit_id=row.deposit_id,
            close=False,
            body=row.cell,
        )
    )
