"""The relay with cells of 1 KiB, for comparison with other programs that were measured at that size.

`python -m chatserver.measuring --config FILE --store DIR` is started by `amanat bench relay` and by nobody
else. No client speaks to such a relay: the size of a cell is part of the protocol (R2), and neither
`config.toml` nor an option of `amanat-relay` can change it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chatserver.config import load
from chatserver.main import serve
from chatserver.wire.limits import ChannelClass

CELL_BYTES: Final = {ChannelClass.STORED: 1_024, ChannelClass.LIVE: 1_024}


def main(argv: Sequence[str] | None = None) -> int:
    """Run it on a free port until SIGTERM."""
    parser = argparse.ArgumentParser(prog="chatserver.measuring", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    options = parser.parse_args(argv)
    return serve(load(options.config), options.store, 0, cell_bytes=CELL_BYTES)


if __name__ == "__main__":
    sys.exit(main())
