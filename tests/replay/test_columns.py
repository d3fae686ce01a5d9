"""Three columns stay in their columns, whatever is written in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.replay.columns import Columns, width, wrap


@given(text=st.text(max_size=200), room=st.integers(4, 40))
def test_no_line_is_too_wide_and_nothing_is_lost(text: str, room: int) -> None:
    lines = list(wrap(text, room))
    assert all(width(line) <= room for line in lines)
    assert "".join("".join(lines).split(" ")) == "".join(text.split(" "))


def test_width_knows_marks_and_wide_letters() -> None:
    assert width("abc") == 3
    assert width("e\u0301") == 1
    assert width("\u200c") == 0
    assert width("日本") == 4
    assert width("نیند") == 4


def test_a_row_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    columns = Columns(90)
    columns.row("the client writes something that needs more than one line here", "cells", "نیند")
    columns.rule()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 3
    assert {line.index("│") for line in lines[:-1]} == {lines[-1].index("┼")}
