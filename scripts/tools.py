"""Fetches the programs that judge deploy/ and installs none: nothing starts, and no root is needed.

On Debian and Ubuntu ``apt-get download`` brings a package, ``dpkg -x`` unpacks it into ``.cache/tools``.
Where a program is installed already, that one is used. Runs on the system's Python, standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setup import CACHE, SetupError

TOOLS = CACHE / "tools"
UNPACKED = TOOLS / "root"

PACKAGES = {
    "systemd-analyze": "systemd",
    "nginx": "nginx",
    "caddy": "caddy",
    "tor": "tor",
}
"""Program → its Debian package."""

_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")
_WAIT_SECONDS = 300


def find(program: str) -> str | None:
    """Where a program is: installed on this machine, or unpacked below ``.cache``."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    unpacked = os.pathsep.join(str(UNPACKED / folder) for folder in _FOLDERS)
    return shutil.which(program, path=path) or shutil.which(program, path=unpacked)


def environment() -> dict[str, str]:
    """The variables under which an unpacked program finds its libraries, and systemd the units it ships."""
    found = sorted(
        {str(path.parent) for folder in ("lib", "usr/lib") for path in (UNPACKED / folder).rglob("*.so*")}
    )
    added = {"LD_LIBRARY_PATH": os.pathsep.join(found)} if found else {}
    for units in (UNPACKED / "lib/systemd/system", UNPACKED / "usr/lib/systemd/system"):
        if (units / "sysinit.target").exists():
            added["SYSTEMD_UNIT_PATH"] = f"{units}:"  # the colon: and where it looks otherwise
    return {**os.environ, **added}


def fetch(programs: list[str]) -> None:
    """Unpack those programs that are missing, with the libraries that this machine lacks.

    Raises:
        SetupError: this is no Debian, its package lists are missing, or the network is.
    """
    missing = [program for program in programs if find(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise SetupError("only Debian and Ubuntu are known to the set-up")
    packages = [PACKAGES[program] for program in missing]
    print(f"Set-up: unpacking {' '.join(missing)} into .cache/tools ...", flush=True)
    try:
        _unpack(_lacking(packages))
    except SetupError:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "update", "-qq"], Path("/"))  # the package lists are missing, or too old
        _unpack(_lacking(packages))


def _unpack(packages: list[str]) -> None:
    debs = TOOLS / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    # As root apt-get would become _apt, who may not write here.
    _run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *packages], debs)
    for deb in sorted(debs.glob("*.deb")):
        _run(["dpkg", "-x", str(deb), str(UNPACKED)], debs)
        deb.unlink()


def _lacking(packages: list[str]) -> list[str]:
    """The packages and what they need, as far as this machine has it not: apt-get's own answer."""
    done = subprocess.run(
        ["apt-get", "install", "--simulate", "--no-install-recommends", *packages],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        timeout=_WAIT_SECONDS,
        check=False,
    )
    found = re.findall(r"(?m)^Inst (\S+)", done.stdout)
    if done.returncode != 0 or not found:
        raise SetupError("apt-get does not know the packages; `sudo apt-get update` may help")
    return found


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_WAIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"{command[0]} took more than {_WAIT_SECONDS} seconds") from None
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise SetupError(f"{command[0]} failed: {''.join(last)}")


def main() -> int:
    """Entry point; returns the exit code."""
    try:
        fetch(list(PACKAGES))
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
