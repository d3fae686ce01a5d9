"""What is audited: a source tree, a store, a machine, and how to start a relay and a device of one's own.

Everything that a saboteur of the tests replaces is a field here, so that a check never knows whether it looks
at the real thing.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DEMO_FOLDER: Final = Path(".amanat") / "relay"
"""Where `./run` keeps the relay that it leaves running, relative to the checkout."""
RUNNING_NOTE: Final = "running.json"


def source_tree() -> Path:
    """The folder that holds our packages: the checkout, or site-packages."""
    return Path(__file__).resolve().parents[2]


def relay_program() -> tuple[str, ...]:
    """How the relay is started, as a process of its own."""
    return (sys.executable, "-m", "chatserver.main")


def party_program() -> tuple[str, ...]:
    """How a device of the live checks is started."""
    return (sys.executable, "-m", "clients.audit.live.party")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is audited.

    Attributes:
        tree: folder with the packages, and in a checkout with `requirements/`.
        config: settings of the relay; None for the defaults.
        store: its store; None where there is none to be read.
        pid: the running relay; None where none runs.
        log: its log, where that is a file.
        root: folder that stands for `/` in the checks of the machine.
        demonstration: the relay of `./run`: a trial on one's own machine, with nobody's messages.
        relay: command that starts a relay.
        party: command that starts a device.
        session_front: front end of the live checks' sessions.
        wait_seconds: how long a relay that runs may take to come to rest.
    """

    tree: Path = field(default_factory=source_tree)
    config: Path | None = None
    store: Path | None = None
    pid: int | None = None
    log: Path | None = None
    root: Path = Path("/")
    demonstration: bool = False
    relay: tuple[str, ...] = field(default_factory=relay_program)
    party: tuple[str, ...] = field(default_factory=party_program)
    session_front: str = "clients.replay.session_front:run"
    wait_seconds: float = 20.0

    @property
    def subject(self) -> str:
        """What it is, in words."""
        if self.demonstration:
            return "the relay that ./run left running on this machine"
        if self.pid is not None:
            return "a relay that runs on this machine"
        return "a store at rest" if self.store is not None else "the program alone, no relay"

    def under_root(self, path: str) -> Path:
        """A path of the machine looked at."""
        return self.root / path.lstrip("/")


def find(config: Path | None = None, store: Path | None = None, *, here: Path | None = None) -> Target:
    """The relay that the arguments name; else the one of `./run` in this folder or in the checkout.

    Args:
        config: the relay's settings.
        store: the store's folder; otherwise as the settings say.
        here: where to look for the relay of `./run`.
    """
    if config is None and store is None:
        for folder in (here or Path.cwd(), source_tree()):
            demo = folder / DEMO_FOLDER
            if (demo / "store").is_dir():
                note = _note(demo / RUNNING_NOTE)
                return Target(
                    config=demo / "config.toml",
                    store=demo / "store",
                    pid=_running(note),
                    log=demo / "relay.log",
                    demonstration=True,
                )
    if store is None and config is not None:
        store = _store_of(config)
    return Target(config=config, store=store, pid=_owner(store) if store is not None else None)


def _store_of(config: Path) -> Path | None:
    try:
        section = tomllib.loads(config.read_text(encoding="utf-8")).get("store", {})
    except (OSError, ValueError):
        return None
    folder = config.parent / str(section.get("directory", ".amanat/relay"))
    return folder if folder.is_dir() else None


def _note(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _running(pid: int | None) -> int | None:
    """The process id, if that process is a relay."""
    if pid is None:
        return None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return pid if b"chatserver" in command or b"amanat-relay" in command else None


def _owner(store: Path) -> int | None:
    """The process that holds the store's lock, by the kernel's list of locks."""
    try:
        status = (store / "owner.lock").stat()
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in locks.splitlines():
        fields = line.split()
        if wanted in fields:
            return _running(int(fields[4]))
    return None
