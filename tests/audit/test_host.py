"""The checks of the machine, on settings and logs as they are met."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clients.audit.host.checks import proxy_log, relay_log
from clients.audit.host.logs import PROXIES
from clients.audit.model import Verdict
from clients.audit.target import Target

ROOT = Path(__file__).resolve().parents[2]
PASS_ON = {
    "nginx": "location / { proxy_pass http://127.0.0.1:8440; }\n",
    "Caddy": "relay.example {\n reverse_proxy 127.0.0.1:8440\n}\n",
    "HAProxy": "backend relay\n server amanat 127.0.0.1:8440\n",
    "Apache": "ProxyPass / http://127.0.0.1:8440/\n",
}


def _with_proxy(root: Path, name: str, text: str) -> Target:
    folder = root / PROXIES[name][0]
    folder.mkdir(parents=True)
    (folder / "settings").write_text(text)
    return Target(root=root)


@pytest.mark.parametrize(("name", "file"), [("nginx", "nginx.conf"), ("Caddy", "Caddyfile")])
def test_the_settings_that_we_recommend_name_nobody(tmp_path: Path, name: str, file: str) -> None:
    found = proxy_log(_with_proxy(tmp_path, name, (ROOT / "deploy" / file).read_text()))
    assert (found.verdict, found.evidence) == (Verdict.HOLDS, (f"looked at: {name}",))


@pytest.mark.parametrize(
    ("name", "settings", "verdict"),
    [
        ("nginx", "", Verdict.BROKEN),
        ("nginx", "access_log off;\n", Verdict.BROKEN),
        ("nginx", "access_log off; error_log /var/log/nginx/error.log emerg;\n", Verdict.HOLDS),
        ("nginx", "access_log off; access_log /a; error_log stderr emerg;\n", Verdict.BROKEN),
        ("nginx", "access_log off; error_log stderr emerg; error_log /e warn;\n", Verdict.BROKEN),
        ("Caddy", "", Verdict.BROKEN),
        ("Caddy", "{\n log {\n  include tls\n }\n}\n", Verdict.HOLDS),
        ("Caddy", "{\n log {\n  include tls\n }\n}\n:80 {\n log\n}\n", Verdict.BROKEN),
        ("HAProxy", "", Verdict.HOLDS),
        ("HAProxy", "defaults\n log global\n", Verdict.BROKEN),
        ("HAProxy", "defaults\n option httplog\n", Verdict.BROKEN),
        ("Apache", "CustomLog /var/log/a combined\nLogLevel emerg\n", Verdict.BROKEN),
        ("Apache", "", Verdict.BROKEN),
        ("Apache", "LogLevel emerg\n", Verdict.HOLDS),
    ],
)
def test_what_names_clients_is_found(tmp_path: Path, name: str, settings: str, verdict: Verdict) -> None:
    assert proxy_log(_with_proxy(tmp_path, name, settings + PASS_ON[name])).verdict is verdict


def test_a_proxy_for_something_else_is_none_of_ours(tmp_path: Path) -> None:
    text = "location / { proxy_pass http://127.0.0.1:9999; }\n"
    assert proxy_log(_with_proxy(tmp_path, "nginx", text)).verdict is Verdict.UNCHECKED


def test_the_journal_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "journalctl"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for line, verdict in (
        ("started descriptors=1024 dumpless=1", Verdict.HOLDS),
        ("connection from 203.0.113.9", Verdict.BROKEN),
    ):
        journal.write_text(f"#!/bin/sh\necho '{line}'\n")
        journal.chmod(0o755)
        assert relay_log(Target()).verdict is verdict
    assert relay_log(replace(Target(), root=tmp_path)).verdict is Verdict.UNCHECKED
    journal.write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setattr("clients.audit.host.logs.SYSLOGS", ())
    assert relay_log(Target()).verdict is Verdict.UNCHECKED
