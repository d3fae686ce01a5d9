"""The unit under a real systemd: a Debian of its own in a container of systemd-nspawn, booted to its end.

Needs root, mmdebstrap and systemd-nspawn (Debian's `systemd-container`); nothing of this machine is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.deployed import DEPLOY

pytestmark = [pytest.mark.system, pytest.mark.long]

PACKAGES = "systemd,systemd-sysv,dbus,curl,python3-minimal,libpython3-stdlib"
TRY = r"""
exec >/tried 2>&1
relay="runuser -u amanat -- /opt/amanat/bin/amanat-relay --config /etc/amanat/config.toml"
ask() { curl -sS --retry 30 --retry-connrefused --retry-delay 1 http://127.0.0.1:$1; }
state() { echo "$1: $(ask 8440/v1/health) $(ask 9440/health/ready) $(systemctl is-active amanat-relay)"; }
useradd --system --home-dir /var/lib/amanat --shell /usr/sbin/nologin amanat
install -d -m 0700 -o amanat -g amanat /var/lib/amanat
$relay init
systemctl start amanat-relay; state started
pid=$(systemctl show -p MainPID --value amanat-relay)
grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/$pid/status
grep -E '^Max core file size' /proc/$pid/limits
$relay therapist-token >/dev/null && echo "token: given while it runs"
systemctl reload amanat-relay; echo "reload: $?"; state reloaded
kill -KILL $pid; sleep 3; state killed
systemctl restart amanat-relay; state restarted
systemctl stop amanat-relay; systemctl show -p Result amanat-relay
mv /var/lib/amanat/store /away; systemctl start amanat-relay; sleep 5
systemctl show -p ExecMainStatus -p NRestarts amanat-relay
mv /away /var/lib/amanat/store
systemctl reset-failed amanat-relay; systemctl start amanat-relay; state back
systemctl poweroff
"""
TRYING = """[Service]
Type=oneshot
ExecStart=/bin/bash /try
[Install]
WantedBy=multi-user.target
"""


def root_of(folder: Path) -> Path:
    """A small Debian with systemd, the relay as the image has it, the unit and its settings."""
    image, root = folder / "image.tar", folder / "root"
    build = [str(DEPLOY / "build-image"), str(image)]
    subprocess.run(build, env={**os.environ, "PYTHON": sys.executable}, timeout=1_200, check=True)
    debian = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)]
    subprocess.run(debian, timeout=1_200, check=True)
    subprocess.run(["tar", "-C", str(root), "-xf", str(image), "./opt/amanat"], check=True)
    (root / "opt/amanat/.venv").symlink_to(".")
    (root / "etc/amanat").mkdir()
    shutil.copy(DEPLOY / "config.toml", root / "etc/amanat/config.toml")
    units = root / "etc/systemd/system"
    shutil.copy(DEPLOY / "amanat-relay.service", units)
    (units / "try.service").write_text(TRYING)
    (units / "multi-user.target.wants/try.service").symlink_to("../try.service")
    (root / "try").write_text(TRY)
    return root


def test_the_unit_starts_reloads_restarts_and_stops_under_a_real_systemd(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not all(map(shutil.which, ("mmdebstrap", "systemd-nspawn"))):
        pytest.skip("needs root, mmdebstrap and systemd-nspawn")
    root = root_of(tmp_path)
    boot = ["systemd-nspawn", "-D", str(root), "--boot", "--register=no", "--keep-unit", "--private-network"]
    booted = subprocess.run(boot, capture_output=True, text=True, timeout=300, check=False)
    assert (root / "tried").exists(), booted.stdout[-2_000:] + booted.stderr
    tried = (root / "tried").read_text()
    for word in ("started", "reloaded", "killed", "restarted", "back"):
        assert re.search(rf"^{word}: ok\s+ok\s+active$", tried, re.MULTILINE), tried
    for line in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "reload: 0", "Result=success"):
        assert line in tried.splitlines(), tried
    assert re.search(r"^Max core file size\s+0\s+0\s", tried, re.MULTILINE), tried
    assert "token: given while it runs" in tried
    # A relay without its store is not started again and again: a person has to look.
    assert {"ExecMainStatus=3", "NRestarts=0"} <= set(tried.splitlines()), tried
