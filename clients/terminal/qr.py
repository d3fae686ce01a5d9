"""QR codes as text: two modules to a character, by half blocks.

Colours are the caller's: the strings show dark modules as ink, so they must be drawn black on white. A
terminal that cannot do that can still copy the link or compare the digits that always stand beside the
code.
"""

from __future__ import annotations

from typing import Final

import segno

_QUIET_ZONE: Final = 2
"""Modules of white around the code. The standard asks for 4; readers manage with 2, which fit a screen."""
# Blank is a no-break space: some of what shows text (SVG, web pages) drops ordinary ones at a line's begin.
_INK: Final = {(False, False): "\u00a0", (True, False): "▀", (False, True): "▄", (True, True): "█"}
_BLACK_ON_WHITE: Final = "\x1b[38;5;16;48;5;231m"
_RESET: Final = "\x1b[0m"


def qr_lines(payload: str) -> list[str]:
    """The code's rows, all of one width; dark modules are ink."""
    code = segno.make(payload, error="l", micro=False, boost_error=False)
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=_QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    return [
        "".join(_INK[upper, lower] for upper, lower in zip(rows[at], rows[at + 1], strict=True))
        for at in range(0, len(rows), 2)
    ]


def qr_for_terminal(payload: str) -> str:
    """The code with escape sequences for black on white, to be printed on a terminal."""
    return "\n".join(f"{_BLACK_ON_WHITE}{line}{_RESET}" for line in qr_lines(payload))
