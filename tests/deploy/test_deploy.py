"""deploy/: each file is judged by its own program, which is seen to refuse a planted fault."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from chatserver.config import load
from support.certificates import Authority
from support.deployed import DEPLOY, ROOT, Tool, nginx_configuration

pytestmark = pytest.mark.system

UNIT = "amanat-relay.service"
PROGRAM = "/opt/amanat/.venv/bin/amanat-relay"
EXPOSURE = 15
"""Highest exposure, in tenths, that `systemd-analyze security` may find: 1.5. It finds 1.2."""

EXPOSURE_WITH_TLS = 20
"""With the drop-in for a relay that ends TLS on port 443."""


# -- systemd -------------------------------------------------------------------------------------------------


def unit(folder: Path, *, tls: bool = False, spoilt: tuple[str, str] = ("", "")) -> Path:
    text = (DEPLOY / UNIT).read_text().replace(*spoilt) if spoilt[0] else (DEPLOY / UNIT).read_text()
    assert PROGRAM in text
    path = folder / UNIT
    path.write_text(text.replace(PROGRAM, "/bin/true"))
    if tls:
        (folder / f"{UNIT}.d").mkdir()
        shutil.copy(DEPLOY / "amanat-relay-tls.conf", folder / f"{UNIT}.d" / "tls.conf")
    return path


@pytest.mark.parametrize("tls", [False, True])
def test_the_unit_is_one_and_is_hardened(tls: bool, tmp_path: Path) -> None:
    systemd = Tool("systemd-analyze")
    path = unit(tmp_path, tls=tls)
    done = systemd.run("verify", "--man=no", str(path))
    # Unpacked and not installed, systemd wonders about its own links.
    said = [line for line in done.stdout.splitlines() if not line.startswith("Suspicious symlink ")]
    assert (done.returncode, said) == (0, [])
    limit = EXPOSURE_WITH_TLS if tls else EXPOSURE
    done = systemd.run("security", "--offline=true", f"--threshold={limit}", "--no-pager", str(path))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (("ProtectSystem=strict", "ProtectSystem=stricct"), "stricct"),
        (("RestartSec=2", "RestartSecs=2"), "RestartSecs"),
        (("ExecStart=", "ExecStart=/no/such/program "), "/no/such/program"),
    ],
)
def test_a_fault_in_the_unit_is_found(spoilt: tuple[str, str], words: str, tmp_path: Path) -> None:
    done = Tool("systemd-analyze").run("verify", "--man=no", str(unit(tmp_path, spoilt=spoilt)))
    assert words in done.stdout


@pytest.mark.parametrize(
    "line", ["SystemCallFilter=@system-service\nSystemCallFilter=~@privileged\n", "CapabilityBoundingSet=\n"]
)
def test_a_unit_less_hardened_is_found(line: str, tmp_path: Path) -> None:
    path = unit(tmp_path, spoilt=(line, ""))
    done = Tool("systemd-analyze").run(
        "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(path)
    )
    assert done.returncode != 0, done.stdout


def allowed_calls(systemd: Tool) -> set[str]:
    """What the unit's filters let through: @system-service without @privileged."""

    def group(name: str) -> set[str]:
        found: set[str] = set()
        for line in systemd.run("syscall-filter", "--no-pager", name).stdout.splitlines()[1:]:
            word = line.strip()
            if word.startswith("@"):
                found |= group(word)
            elif word and not word.startswith("#"):
                found.add(word)
        return found

    return group("@system-service") - group("@privileged")


STRACED = """
import os, signal, subprocess, sys, urllib.request
trace, store, python = sys.argv[1:]
strace = ["strace", "-f", "-qq", "-o", trace]
serve = [python, "-m", "chatserver.main", "--store", store, "--port", "0"]
quiet = {"stderr": subprocess.DEVNULL, "text": True, "start_new_session": True}
relay = subprocess.Popen([*strace, *serve], stdout=subprocess.PIPE, **quiet)
url = relay.stdout.readline().split()[-1]
urllib.request.urlopen(url + "/v1/health").read()
os.killpg(relay.pid, signal.SIGTERM)
relay.wait(60)
"""


def test_the_relay_makes_no_system_call_that_the_unit_forbids(tmp_path: Path) -> None:
    systemd = Tool("systemd-analyze")
    if shutil.which("strace") is None:
        pytest.skip("strace is not here")
    store, trace = tmp_path / "store", tmp_path / "trace"
    relay = [sys.executable, "-m", "chatserver.main", "--store", str(store)]
    subprocess.run([*relay, "init"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [sys.executable, "-c", STRACED, str(trace), str(store), sys.executable],
        cwd=ROOT,
        timeout=120,
        check=True,
    )
    made = set(re.findall(r"(?m)^\d+\s+([a-z_0-9]+)\(", trace.read_text(errors="replace")))
    assert {"listen", "execve", "prctl"} <= made
    # SQLite calls fchown as root only, which the relay is not under the unit.
    assert made - allowed_calls(systemd) <= {"fchown"}


# -- nginx, Caddy, Tor ---------------------------------------------------------------------------------------


def dressed_nginx(folder: Path) -> Path:
    certificate, key = folder / "relay.pem", folder / "relay.key"
    Authority(folder / "authority").server(certificate, key)
    return nginx_configuration(
        folder, certificate=certificate, key=key, port=8443, plain_port=8480, relay_port=8440
    )


def test_nginx_takes_its_configuration_and_no_spoilt_one(tmp_path: Path) -> None:
    nginx = Tool("nginx")
    path = dressed_nginx(tmp_path)
    done = nginx.run("-e", "stderr", "-t", "-q", "-c", str(path))
    assert (done.returncode, done.stdout) == (0, "")
    path.write_text(path.read_text().replace("proxy_buffering off;", "proxy_bufferring off;"))
    done = nginx.run("-e", "stderr", "-t", "-q", "-c", str(path))
    assert done.returncode != 0
    assert "proxy_bufferring" in done.stdout


def test_caddy_takes_its_configuration_and_no_spoilt_one(tmp_path: Path) -> None:
    caddy = Tool("caddy")
    path = tmp_path / "Caddyfile"
    shutil.copy(DEPLOY / "Caddyfile", path)
    arguments = ("validate", "--adapter", "caddyfile", "--config", str(path))
    done = caddy.run(*arguments, home=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "Valid configuration" in done.stdout
    path.write_text(path.read_text().replace("flush_interval", "flush_intervall"))
    done = caddy.run(*arguments, home=tmp_path)
    assert done.returncode != 0
    assert "flush_intervall" in done.stdout


def test_caddys_file_is_formatted_as_caddy_does(tmp_path: Path) -> None:
    done = Tool("caddy").run("fmt", str(DEPLOY / "Caddyfile"), home=tmp_path)
    assert done.stdout == (DEPLOY / "Caddyfile").read_text()


def test_tor_takes_its_configuration_and_no_spoilt_one(tmp_path: Path) -> None:
    tor = Tool("tor")
    path = tmp_path / "torrc"
    own = f"DataDirectory {tmp_path}/data\n"
    text = (DEPLOY / "torrc").read_text().replace("/var/lib/tor/amanat/", f"{tmp_path}/amanat/")
    arguments = ("--verify-config", "-f", str(path), "--defaults-torrc", str(tmp_path / "none"))
    path.write_text(own + text)
    done = tor.run(*arguments)
    assert done.returncode == 0, done.stdout
    assert "Configuration was valid" in done.stdout
    path.write_text(own + text.replace("HiddenServicePort 80", "HiddenServicePort eighty"))
    assert tor.run(*arguments).returncode != 0


# -- what they share -----------------------------------------------------------------------------------------


def test_the_settings_that_are_shipped_can_be_used_and_fit_the_other_files() -> None:
    config = load(DEPLOY / "config.toml")
    port = config.listen.port
    assert f"proxy_pass http://127.0.0.1:{port};" in (DEPLOY / "nginx.conf").read_text()
    assert (
        f"proxy_bind {config.listen.trusted_proxies[0].removesuffix('/32')};"
        in (DEPLOY / "nginx.conf").read_text()
    )
    assert f"reverse_proxy {{$AMANAT_RELAY:127.0.0.1:{port}}} " in (DEPLOY / "Caddyfile").read_text()
    assert f"127.0.0.1:{port}" in (DEPLOY / "torrc").read_text()
    text = (DEPLOY / UNIT).read_text()
    assert f"SocketBindAllow=tcp:{port}" in text
    assert f"SocketBindAllow=tcp:{config.operator.port}" in text
    assert config.store_directory.is_relative_to("/var/lib/amanat")
    assert config.therapists.admission == "token"


# -- containers ----------------------------------------------------------------------------------------------


def test_compose_takes_its_file_and_no_spoilt_one(tmp_path: Path) -> None:
    compose = Tool("docker-compose")
    for name in ("compose.yaml", "Containerfile", "Caddyfile", "compose-config.toml"):
        shutil.copy(DEPLOY / name, tmp_path / name)
    path = tmp_path / "compose.yaml"
    done = compose.run("-f", str(path), "config", "-q")
    assert (done.returncode, done.stdout) == (0, "")
    path.write_text(path.read_text().replace("cap_drop:", "cap_dropp:"))
    done = compose.run("-f", str(path), "config", "-q")
    assert done.returncode != 0
    assert "cap_dropp" in done.stdout


def test_the_settings_of_the_container_fit_its_network() -> None:
    config = load(DEPLOY / "compose-config.toml")
    text = (DEPLOY / "compose.yaml").read_text()
    assert f"ipv4_address: {config.listen.host}\n" in text
    assert f'AMANAT_RELAY: "{config.listen.host}:{config.listen.port}"' in text
    assert f"ipv4_address: {config.listen.trusted_proxies[0].removesuffix('/32')}\n" in text
    assert config.therapists.admission == "token"
    assert "driver: none" in text


@pytest.mark.long
def test_the_root_file_system_is_built_and_its_relay_starts(tmp_path: Path) -> None:
    if shutil.which("mmdebstrap") is None or os.geteuid() != 0:
        pytest.skip("needs mmdebstrap and root")
    image, root = tmp_path / "image.tar", tmp_path / "root"
    build = [str(DEPLOY / "build-image"), str(image)]
    subprocess.run(build, env={**os.environ, "PYTHON": sys.executable}, timeout=1_200, check=True)
    root.mkdir()
    subprocess.run(["tar", "-C", str(root), "-xf", str(image)], check=True)
    held = {
        path.relative_to(root / "opt/amanat/lib").as_posix()
        for path in (root / "opt/amanat/lib").rglob("*.py")
    }
    ours = {name for name in held if name.startswith(("crypto/", "keys/", "clients/"))}
    assert ours == {"crypto/__init__.py", "crypto/codec.py", "keys/__init__.py", "keys/signing.py"}
    shutil.copy(DEPLOY / "config.toml", root / "etc/amanat/config.toml")
    inside = ["chroot", "--userspec=10001:10001", str(root), "/opt/amanat/bin/amanat-relay"]
    inside += ["--config", "/etc/amanat/config.toml"]
    subprocess.run([*inside, "init"], timeout=60, check=True)
    with subprocess.Popen([*inside, "--port", "0"], stdout=subprocess.PIPE, text=True) as relay:
        try:
            assert relay.stdout is not None
            address = relay.stdout.readline().split()[-1]
            with urllib.request.urlopen(f"{address}/v1/health", timeout=30) as answer:
                assert answer.read() == b"ok\n"
        finally:
            relay.terminate()
    assert relay.returncode == 0
