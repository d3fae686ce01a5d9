"""What lies in deploy/, dressed for a machine where a test runs: other ports, paths and certificates."""

from __future__ import annotations

import getpass
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
WAIT_SECONDS = 60.0


class Tool:
    """A program that judges files, installed or unpacked by ./test; the test is skipped where it is not."""

    def __init__(self, program: str) -> None:
        sys.path.insert(0, str(ROOT / "scripts"))
        try:
            tools = importlib.import_module("tools")
        finally:
            sys.path.pop(0)
        found = tools.find(program)
        if found is None:
            fetched = program in tools.PACKAGES
            advice = "./test fetches it" if fetched else f"apt-get install {program} brings it"
            pytest.skip(f"{program} is not here; {advice} on Debian and Ubuntu")
        self.path = str(found)
        self.environment: dict[str, str] = tools.environment()

    def run(self, *arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.path, *arguments],
            env={**self.environment, **({"HOME": str(home)} if home else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )


def replaced(text: str, pairs: dict[str, str]) -> str:
    """Replace texts, each of which must be there: a file that has changed must not slip through undressed."""
    for old, new in pairs.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx_configuration(
    folder: Path, *, certificate: Path, key: Path, port: int, plain_port: int, relay_port: int
) -> Path:
    """deploy/nginx.conf in a folder of its own."""
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = replaced(
        (DEPLOY / "nginx.conf").read_text(),
        {
            "user www-data;": f"user {getpass.getuser()};\ndaemon off;\nmaster_process off;",
            "pid /run/nginx.pid;": f"pid {folder}/pid;",
            "worker_rlimit_nofile 65536;": "",
            "worker_connections 16384;": "worker_connections 256;",
            "    access_log off;\n": f"    access_log off;\n{temporary}",
            "/etc/letsencrypt/live/relay.example/fullchain.pem": str(certificate),
            "/etc/letsencrypt/live/relay.example/privkey.pem": str(key),
            "listen 80 default_server;": f"listen 127.0.0.1:{plain_port} default_server;",
            "        listen [::]:80 default_server;\n": "",
            "listen 443 ssl default_server;": f"listen 127.0.0.1:{port} ssl default_server;",
            "        listen [::]:443 ssl default_server;\n": "",
            "127.0.0.1:8440": f"127.0.0.1:{relay_port}",
        },
    )
    path = folder / "nginx.conf"
    path.write_text(text)
    return path


def caddyfile(
    folder: Path, *, certificate: Path, key: Path, port: int, plain_port: int, relay_port: int
) -> Path:
    """deploy/Caddyfile in a folder of its own, with a certificate instead of a way to get one."""
    text = replaced(
        (DEPLOY / "Caddyfile").read_text(),
        {
            "\tadmin off\n": f"\tadmin off\n\thttp_port {plain_port}\n\tauto_https disable_redirects\n",
            "{$AMANAT_HOST:relay.example} {": f"https://127.0.0.1:{port} {{\n\ttls {certificate} {key}",
            "{$AMANAT_RELAY:127.0.0.1:8440}": f"127.0.0.1:{relay_port}",
        },
    )
    path = folder / "Caddyfile"
    path.write_text(text)
    return path
