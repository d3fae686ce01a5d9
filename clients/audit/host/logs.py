"""Where a machine may write down who connects: its proxies, its journal, its syslog."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from clients.audit.host.machine import lines
from clients.audit.target import Target

IDENTIFIER: Final = "amanat-relay"
"""Under which a relay's lines stand in the journal and in syslog: the name of its program."""
SYSLOGS: Final = ("syslog", "messages", "daemon.log", "user.log")
_OF_THE_RELAY: Final = re.compile(rf"\b{IDENTIFIER}(?:\[\d+\])?: (.*)$")
JOURNAL_SECONDS: Final = 60.0
MOST_LINES: Final = 200_000


def system_logs(target: Target) -> dict[str, list[str]]:
    """What journal and syslog hold of the relay, without the head that they put before each line."""
    told = {"the journal": _journal() if target.root == Path("/") else []}
    for name in SYSLOGS:
        matches = (_OF_THE_RELAY.search(line) for line in lines(target.under_root(f"/var/log/{name}")))
        told[f"/var/log/{name}"] = [match[1] for match in matches if match is not None]
    return told


def _journal() -> list[str]:
    if shutil.which("journalctl") is None:
        return []
    command = ["journalctl", f"--identifier={IDENTIFIER}", "--output=cat", "--no-pager", "--quiet"]
    try:
        done = subprocess.run(
            [*command, f"--lines={MOST_LINES}"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=JOURNAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _nginx(text: str) -> Iterator[str]:
    """Both logs have a default that names clients, so both must be turned off."""
    access, error = (re.findall(rf"\b{name}\s+([^;]+);", text) for name in ("access_log", "error_log"))
    if any(place.split()[0] not in ("off", "/dev/null") for place in access):
        yield "writes an access log"
    elif not access:
        yield "writes an access log unless it is told not to"
    # Levels from crit down name clients' addresses.
    if not error or any(place.split()[0] != "/dev/null" and place.split()[-1] != "emerg" for place in error):
        yield "names clients in its error log"


def _caddy(text: str) -> Iterator[str]:
    """What it says of certificates names nobody; an access log does, and so do its errors about requests."""
    logs = re.findall(r"(?m)^\s*log\b[^{\n]*(?:\{([^}]*)\})?", text)
    kept = [log for log in logs if not re.search(r"(?m)\binclude\s+tls\s*$|\boutput\s+discard\b", log)]
    if kept:
        yield "writes an access log"
    elif not logs:
        yield "names clients in its errors about requests"


def _haproxy(text: str) -> Iterator[str]:
    if re.search(r"(?m)^\s*(option\s+(httplog|tcplog|httpslog)|log\s+global)\b", text):
        yield "writes an access log"


def _apache(text: str) -> Iterator[str]:
    places = re.findall(r"(?mi)^\s*(?:CustomLog|TransferLog)\s+(\S+)", text)
    if any(place.strip('"') != "/dev/null" for place in places):
        yield "writes an access log"
    if not re.search(r"(?mi)^\s*(ErrorLog\s+\"?/dev/null|LogLevel\s+emerg\b)", text):
        yield "names clients in its error log"


PROXIES: Final[dict[str, tuple[str, Callable[[str], Iterator[str]]]]] = {
    "nginx": ("etc/nginx", _nginx),
    "Caddy": ("etc/caddy", _caddy),
    "HAProxy": ("etc/haproxy", _haproxy),
    "Apache": ("etc/apache2", _apache),
}
"""Proxy → folder of its settings, and what in them names clients."""
