"""QR codes drawn with half blocks hold exactly the modules that segno computed."""

import segno

from clients.terminal.qr import qr_for_terminal, qr_lines

LINK = "https://relay.example.org/i#" + "A" * 76
_MODULES = {"\u00a0": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


def test_drawn_code_is_the_computed_code_with_its_quiet_zone() -> None:
    lines = qr_lines(LINK)
    rows = [[_MODULES[c][half] for c in line] for line in lines for half in (0, 1)]
    wanted = [
        list(row) for row in segno.make(LINK, error="l", micro=False, boost_error=False).matrix_iter(border=2)
    ]
    assert rows[: len(wanted)] == wanted
    assert not any(any(row) for row in rows[len(wanted) :])
    assert {len(line) for line in lines} == {len(wanted[0])}


def test_invitation_fits_a_small_screen() -> None:
    lines = qr_lines(LINK)
    assert len(lines) <= 23
    assert len(lines[0]) <= 45


def test_colours_are_set_and_reset_on_every_line() -> None:
    for line in qr_for_terminal("AMANAT:SN1:" + "1" * 60).split("\n"):
        assert line.startswith("\x1b[38;5;16;48;5;231m")
        assert line.endswith("\x1b[0m")
