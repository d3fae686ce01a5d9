"""The simulator's shortcut hands out what the product would have read, and never the same object twice."""

from __future__ import annotations

from clients.sdk.line.record import Record
from clients.sdk.line.tables import AnsweredRow, MailRow
from simulation.quick import remembering

ROW = AnsweredRow(answered_at=5.0, key_package_hashes=[b"a" * 32])
MAIL = MailRow(deposit_id=b"d" * 16, ref=b"r" * 32, k=b"k" * 32, readers=2, cell=b"c")


def test_what_is_remembered_is_what_was_read_and_its_own_object_each_time() -> None:
    before = Record.__dict__["from_bytes"]
    with remembering():
        for row in (ROW, MAIL):
            data = row.to_bytes()
            first, second = type(row).from_bytes(data), type(row).from_bytes(data)
            assert first == second == row
            assert first is not second
        changed = AnsweredRow.from_bytes(ROW.to_bytes())
        changed.key_package_hashes.append(b"b")
        changed.answered_at = 7.0
        assert AnsweredRow.from_bytes(ROW.to_bytes()) == ROW
    assert Record.__dict__["from_bytes"] is before
