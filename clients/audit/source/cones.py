"""What the relay, the app and a session's process can reach by imports: in the text, and when they run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from clients.audit.model import Finding, judge, unchecked
from clients.audit.registry import check
from clients.audit.source.trees import OURS, calls, cone, imports, modules
from clients.audit.target import Target

RELAY_ALLOWED: Final = re.compile(
    r"chatserver(\..+)?|keys|keys\.signing|keys\.transparency(\..+)?|crypto|crypto\.codec"
)
"""What a relay may hold of ours (DESIGN section 2): the codec, and signatures to check."""
REFUSED: Final = re.compile(r"crypto\.rfc9420(\..+)?")
VAULT: Final = re.compile(r"keys\.(device_vault|vault_files|vault_schema|export_file)|sqlcipher3|sqlite3")
WRITES: Final = re.compile(
    r"(^|\.)(write_text|write_bytes|mkstemp|NamedTemporaryFile|TemporaryFile|SpooledTemporaryFile)$"
    r"|^(open|io\.open|os\.open|shelve\.open|sqlite3\.connect)$"
)
RUN_SECONDS: Final = 60

_START_A_RELAY: Final = """
import asyncio, sys
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
asyncio.run(run(Path(sys.argv[1]) / "store"))
print(*sorted(sys.modules))
"""
_IMPORT_A_SESSION: Final = "import sys, clients.sdk.session.child\nprint(*sorted(sys.modules))"


def modules_after(tree: Path, code: str) -> list[str] | None:
    """Names of all modules that a fresh interpreter holds after `code`; None where it fails.

    Args:
        tree: folder from which our packages are imported.
        code: prints them, separated by blanks, as its last line; gets an empty folder as argument.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, folder],
            cwd=folder,
            env={"PYTHONPATH": str(tree), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
    return done.stdout.splitlines()[-1].split() if done.returncode == 0 and done.stdout else None


@check("source.relay-cannot-open")
def relay_cone(target: Target) -> Finding:
    """The relay's program, by its text: every module that any of its modules imports anywhere."""
    found = modules(target.tree)
    reached = cone(found, *(name for name in found if name.partition(".")[0] == "chatserver"))
    strangers = sorted(name for name in reached if not RELAY_ALLOWED.fullmatch(name))
    hidden = sorted(
        f"{name} imports by a computed name"
        for name in reached
        for called, _, _ in calls(found[name])
        if called in {"__import__", "importlib.import_module", "import_module", "exec", "eval"}
    )
    return judge(
        [*(f"reaches {name}" for name in strangers), *hidden],
        "No part of the relay's program can open a message.",
        "The relay's program reaches parts that can open messages.",
        f"{len(reached)} modules of ours are reached, all of them allowed"
        if not strangers
        else f"{len(strangers)} of {len(reached)} modules reached are not allowed",
    )


@check("source.relay-has-not-loaded")
def running_cone(target: Target) -> Finding:
    """A relay that was started in a fresh interpreter, with what it then holds."""
    held = modules_after(target.tree, _START_A_RELAY)
    if held is None:
        return unchecked("A relay could not be started in a fresh interpreter from these sources.")
    ours = [name for name in held if name.partition(".")[0] in OURS]
    strangers = [name for name in ours if not RELAY_ALLOWED.fullmatch(name)]
    return judge(
        [f"holds {name}" for name in strangers],
        "A relay that ran had loaded nothing that could open a message.",
        "A relay that ran had loaded parts that can open messages.",
        f"{len(ours)} modules of ours were loaded",
    )


@check("source.refused")
def product_refuses(target: Target) -> Finding:
    """What RFC 9420 has and the product refuses is out of reach of apps and relay."""
    found = modules(target.tree)
    starts = [
        name for name in found if name.startswith(("clients.sdk", "clients.terminal", "chatserver", "keys"))
    ]
    reached = cone(found, *starts)
    return judge(
        [f"reaches {name}" for name in sorted(reached) if REFUSED.fullmatch(name)],
        "Nobody can join a conversation from outside: the code that would let them is out of reach.",
        "The apps reach code of MLS that they must refuse.",
        f"{len(reached)} modules are reached",
    )


@check("source.session-has-no-vault")
def session_cone(target: Target) -> Finding:
    """The process of a live session: no vault within reach, and no call that opens a file for writing."""
    held = modules_after(target.tree, _IMPORT_A_SESSION)
    if held is None:
        return unchecked("The program of a live session could not be loaded from these sources.")
    found = modules(target.tree)
    reached = cone(found, "clients.sdk.session.child")
    faults = [f"has loaded {name}" for name in held if VAULT.fullmatch(name)]
    faults += sorted(
        {f"reaches {name}" for name in reached for name in imports(found[name]) if VAULT.fullmatch(name)}
    )
    faults += sorted(
        f"{name} calls {called}"
        for name in reached
        if name.startswith("clients.sdk.session")
        for called, _, _ in calls(found[name])
        if WRITES.search(called)
    )
    return judge(
        faults,
        "The program that holds a live session has no way to the vault and writes no file.",
        "The program that holds a live session can reach a file to write to.",
        f"{len(reached)} modules are reached",
    )
