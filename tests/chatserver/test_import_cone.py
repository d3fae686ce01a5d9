"""What a relay process holds of ours, shown in a fresh interpreter: nothing that could decrypt."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("chatserver", "clients", "crypto", "keys")
ALLOWED = re.compile(r"chatserver(\..+)?|keys|keys\.signing|keys\.transparency(\..+)?|crypto|crypto\.codec")

START_A_RELAY = """
import asyncio, sys, tempfile
from pathlib import Path
from chatserver import main
from chatserver.config import Config
from chatserver.relay import Relay
from chatserver.server import RelayServer
from chatserver.store.sqlite import SqliteStore, init_store

async def run(directory):
    init_store(directory)
    store = await SqliteStore.open(directory)
    async with Relay(Config(), store) as relay:
        server = RelayServer(relay)
        await server.start("127.0.0.1", 0)
        await server.sweep()
        await server.stop()
    await store.close()

with tempfile.TemporaryDirectory() as folder:
    asyncio.run(run(Path(folder) / "store"))
print(*sorted(name for name in sys.modules if name.partition(".")[0] in sys.argv[1:]))
"""


def held_by_a_relay(tree: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", START_A_RELAY, *OURS],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def strangers(names: list[str]) -> list[str]:
    return [name for name in names if not ALLOWED.fullmatch(name)]


def test_a_relay_that_ran_holds_of_ours_only_what_the_design_allows() -> None:
    held = held_by_a_relay(ROOT)
    assert strangers(held) == []
    assert {"chatserver.server", "chatserver.store.sqlite", "keys.signing", "crypto.codec"} <= set(held)


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        ("chatserver/channel_desk.py", "import crypto.channel"),
        ("chatserver/inbox_desk.py", "import keys.certificates"),
        ("chatserver/wire/ids.py", "import clients.sdk"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, module: str, fault: str) -> None:
    for package in OURS:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / module
    source = path.read_text()
    mark = "from __future__ import annotations\n"
    assert mark in source
    path.write_text(source.replace(mark, f"{mark}{fault}\n", 1))
    assert fault.removeprefix("import ") in strangers(held_by_a_relay(tmp_path))
