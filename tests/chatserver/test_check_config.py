"""`check-config`: each thing that is unsafe is found on a machine that has it, and on no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chatserver.config import parse
from chatserver.host import Host
from chatserver.host_checks import CHECKS, Finding, Level, Subject, findings
from chatserver.main import main
from support.hosts import CALM, calm_host, put

ROOT = Path(__file__).resolve().parents[2]
STORE = Path("/var/lib/amanat")
CONFIG_PATH = Path("/etc/amanat/config.toml")
DEPLOY = ROOT / "deploy"

PUBLIC = '[listen]\ntrusted_proxies = ["127.0.0.1/32"]\n'
BY_TOKEN = '[therapists]\nadmission = "token"\n'


def look(root: Path, settings: str = "", files: dict[str, str] | None = None) -> dict[str, list[Finding]]:
    put(root, {**CALM, **(files or {})})
    subject = Subject(
        config=parse(settings, base=root / "etc/amanat"),
        config_path=CONFIG_PATH,
        store=STORE,
        host=Host(root),
    )
    return findings(subject)


def unsafe(report: dict[str, list[Finding]]) -> set[str]:
    return {name for name, found in report.items() for finding in found if finding.level is Level.UNSAFE}


def advice(report: dict[str, list[Finding]]) -> set[str]:
    return {name for name, found in report.items() for finding in found if finding.level is Level.ADVICE}


def mountinfo(kind: str, *, device: str = "8:1", source: str = "/dev/sda1", options: str = "rw") -> str:
    return (
        CALM["/proc/self/mountinfo"]
        + "short line\n"
        + f"31 30 {device} / /var/lib rw,noatime shared:2 - {kind} {source} {options}\n"
        + "32 30 0:9 / /var/library rw - tmpfs tmpfs rw\n"
    )


SHIPPED_PROXIES = {
    "/etc/nginx/nginx.conf": "nginx.conf",
    "/etc/caddy/Caddyfile": "Caddyfile",
}


def shipped() -> dict[str, str]:
    return {place: (DEPLOY / name).read_text() for place, name in SHIPPED_PROXIES.items()}


def test_on_a_calm_machine_nothing_is_unsafe_and_the_missing_store_is_said(tmp_path: Path) -> None:
    report = look(tmp_path)
    assert set(report) == set(CHECKS)
    assert unsafe(report) == set()
    assert advice(report) == {"store"}


MACHINES: dict[str, tuple[str, dict[str, str]]] = {
    "swap file": ("swap", {"/proc/swaps": "Filename Type\n/swapfile file 1 0 -2\n"}),
    "swap partition": ("swap", {"/proc/swaps": "Filename Type\n/dev/sda2 partition 1 0 -2\n"}),
    "one of two swaps": (
        "swap",
        {
            "/proc/swaps": "Filename Type\n/dev/dm-3 partition 1 0 -2\n/dev/sda2 partition 1 0 -3\n",
            "/sys/class/block/dm-3/dm/uuid": "CRYPT-PLAIN-swap\n",
        },
    ),
    "plain ext4": ("volume", {"/proc/self/mountinfo": mountinfo("ext4")}),
    "plain btrfs": ("volume", {"/proc/self/mountinfo": mountinfo("btrfs", device="0:31")}),
    "zfs": ("volume", {"/proc/self/mountinfo": mountinfo("zfs", device="0:31", source="tank/amanat")}),
    "nfs": ("volume", {"/proc/self/mountinfo": mountinfo("nfs4", device="0:40", source="nas:/x")}),
    "a container's layer": ("volume", {"/proc/self/mountinfo": mountinfo("overlay", device="0:50")}),
    "no mounts seen": ("volume", {"/proc/self/mountinfo": ""}),
    "a journal of data": (
        "volume",
        {
            "/proc/self/mountinfo": mountinfo("ext4", device="253:0", options="rw,data=journal"),
        },
    ),
    "LVM without LUKS": (
        "volume",
        {
            "/proc/self/mountinfo": mountinfo("ext4", device="253:5", source="/dev/mapper/vg-a"),
            "/sys/dev/block/253:5/dm/uuid": "LVM-abc\n",
            "/sys/dev/block/253:5/slaves/sda3/x": "",
            "/sys/class/block/dm-5/dm/name": "vg-a\n",
            "/sys/class/block/dm-5/dm/uuid": "LVM-abc\n",
        },
    ),
    "systemd-coredump": (
        "core-dumps",
        {"/proc/sys/kernel/core_pattern": "|/usr/lib/systemd/systemd-coredump %P\n"},
    ),
    "a folder of dumps": ("core-dumps", {"/proc/sys/kernel/core_pattern": "/var/crash/core.%p\n"}),
    "nginx as Debian has it": (
        "proxy-logs",
        {
            "/etc/nginx/nginx.conf": "http { access_log /var/log/nginx/access.log;\n"
            "error_log /var/log/nginx/error.log; }"
        },
    ),
    "nginx that says nothing of logs": ("proxy-logs", {"/etc/nginx/nginx.conf": "http { }"}),
    "nginx with the directive in a comment": (
        "proxy-logs",
        {"/etc/nginx/nginx.conf": "# access_log off;\nerror_log stderr emerg;\n"},
    ),
    "nginx with one site that logs": (
        "proxy-logs",
        {
            "/etc/nginx/nginx.conf": "error_log stderr emerg; http { access_log off; }",
            "/etc/nginx/sites-enabled/other": "server { access_log /var/log/x; }",
        },
    ),
    "nginx with an error log": (
        "proxy-logs",
        {"/etc/nginx/nginx.conf": "error_log /var/log/nginx/error.log warn; access_log off;"},
    ),
    "nginx that buffers": (
        "proxy-logs",
        {
            "/etc/nginx/nginx.conf": "error_log stderr emerg; access_log off;"
            " location / { proxy_pass http://127.0.0.1:8440; }"
        },
    ),
    "Caddy that says nothing of logs": (
        "proxy-logs",
        {"/etc/caddy/Caddyfile": "relay.example {\n\treverse_proxy 127.0.0.1:8440\n}\n"},
    ),
    "Caddy with an access log": (
        "proxy-logs",
        {
            "/etc/caddy/Caddyfile": "{\n\tlog {\n\t\tinclude tls\n\t}\n}\nrelay.example {\n\tlog\n"
            "\treverse_proxy 127.0.0.1:8440\n}\n"
        },
    ),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_unsafe_on_a_machine_is_found(machine: str, tmp_path: Path) -> None:
    check, files = MACHINES[machine]
    report = look(tmp_path, files=files)
    assert unsafe(report) == {check}
    for finding in report[check]:
        assert finding.remedy


FINE: dict[str, dict[str, str]] = {
    "compressed memory as swap": {"/proc/swaps": "Filename Type\n/dev/zram0 partition 1 0 100\n"},
    "encrypted swap": {
        "/proc/swaps": "Filename Type\n/dev/dm-1 partition 1 0 -2\n",
        "/sys/class/block/dm-1/dm/uuid": "CRYPT-PLAIN-swap\n",
    },
    "encrypted swap by its name": {
        "/proc/swaps": "Filename Type\n/dev/mapper/swap partition 1 0 -2\n",
        "/sys/class/block/dm-1/dm/name": "swap\n",
        "/sys/class/block/dm-1/dm/uuid": "CRYPT-PLAIN-swap\n",
    },
    "LVM on LUKS": {
        "/proc/self/mountinfo": mountinfo("ext4", device="253:5", source="/dev/mapper/vg-a"),
        "/sys/dev/block/253:5/dm/uuid": "LVM-abc\n",
        "/sys/dev/block/253:5/slaves/dm-0/x": "",
        "/sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-x\n",
    },
    "btrfs on LUKS": {
        "/proc/self/mountinfo": mountinfo("btrfs", device="0:31", source="/dev/mapper/vault"),
        "/sys/class/block/dm-0/dm/name": "vault\n",
        "/sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-x\n",
    },
    "memory": {"/proc/self/mountinfo": mountinfo("tmpfs", device="0:31", source="tmpfs")},
    "no dumps": {"/proc/sys/kernel/core_pattern": "|/bin/false\n"},
}


@pytest.mark.parametrize("machine", FINE)
def test_what_is_fine_is_not_called_unsafe(machine: str, tmp_path: Path) -> None:
    assert unsafe(look(tmp_path, files=FINE[machine])) == set()


def test_the_proxies_that_are_shipped_are_fine(tmp_path: Path) -> None:
    assert unsafe(look(tmp_path, PUBLIC + BY_TOKEN, shipped())) == set()


def test_a_proxy_that_is_not_trusted_is_said(tmp_path: Path) -> None:
    report = look(tmp_path, files=shipped())
    assert "proxy-logs" in advice(report)
    assert unsafe(report) == set()


SETTINGS: dict[str, tuple[str, str]] = {
    "open admission behind a proxy": ("admission", PUBLIC),
    "open admission behind Tor": ("admission", '[listen]\nonion_proxies = ["127.0.0.1/32"]\n'),
    "the network without TLS": ("reach", '[listen]\nhost = "0.0.0.0"\n' + BY_TOKEN),
    "buckets that clients refuse": ("buckets", "[therapists]\nmax_therapists = 1025\n"),
    "uneven buckets that clients refuse": (
        "buckets",
        "[therapists]\nmax_therapists = 2000\n[bundles]\nbucket_bits = 1\n",
    ),
    "buckets that name the therapist": (
        "buckets",
        "[therapists]\nmax_therapists = 255\n[bundles]\nbucket_bits = 1\n",
    ),
    "figures of sessions": ("live-figures", "[operator]\nport = 9440\nlive_figures = true\n"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_what_is_unsafe_in_the_settings_is_found(case: str, tmp_path: Path) -> None:
    check, settings = SETTINGS[case]
    assert unsafe(look(tmp_path, settings)) == {check}


@pytest.mark.parametrize(
    "settings",
    [
        "[therapists]\nmax_therapists = 1024\n",
        "[therapists]\nmax_therapists = 1024\n[bundles]\nbucket_bits = 1\n",
        "[operator]\nlive_figures = true\n",
        '[listen]\nhost = "::1"\n',
        '[listen]\nhost = "localhost"\n',
        PUBLIC + BY_TOKEN,
    ],
)
def test_settings_that_are_fine(settings: str, tmp_path: Path) -> None:
    assert unsafe(look(tmp_path, settings)) == set()


def test_locked_memory_makes_swap_an_advice(tmp_path: Path) -> None:
    files = {"/proc/swaps": "Filename Type\n/swapfile file 1 0 -2\n"}
    report = look(tmp_path, "[process]\nlock_memory = true\n", files)
    assert unsafe(report) == set()
    assert "swap" in advice(report)


def test_wide_trust_and_open_first_contacts_are_advice(tmp_path: Path) -> None:
    settings = '[listen]\ntrusted_proxies = ["10.0.0.0/8"]\n[first_contact]\nadmission = "open"\n' + BY_TOKEN
    report = look(tmp_path, settings)
    assert unsafe(report) == set()
    assert {"reach", "admission"} <= advice(report)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda root: (root / "var/lib/amanat").chmod(0o750), "/var/lib/amanat "),
        (lambda root: (root / "var/lib/amanat/relay.db").chmod(0o640), "relay.db"),
        (lambda root: (root / "etc/amanat/config.toml").chmod(0o664), "config.toml"),
        (lambda root: (root / "etc/amanat").chmod(0o777), "/etc/amanat "),
    ],
)
def test_files_that_others_may_touch_are_found(
    spoil: Callable[[Path], None], named: str, tmp_path: Path
) -> None:
    put(tmp_path, {"/var/lib/amanat/relay.db": "", "/etc/amanat/config.toml": ""})
    (tmp_path / "var/lib/amanat").chmod(0o700)
    (tmp_path / "var/lib/amanat/relay.db").chmod(0o600)
    (tmp_path / "etc/amanat").chmod(0o755)
    (tmp_path / "etc/amanat/config.toml").chmod(0o644)
    assert unsafe(look(tmp_path)) == set()
    spoil(tmp_path)
    report = look(tmp_path)
    assert unsafe(report) == {"permissions"}
    assert named in report["permissions"][0].what


def test_a_missing_certificate_is_found(tmp_path: Path) -> None:
    report = look(tmp_path, '[listen]\ncertificate = "a.pem"\nkey = "b.pem"\n' + BY_TOKEN)
    assert unsafe(report) == {"tls"}


def test_the_command_ends_with_4_and_says_what_to_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = calm_host(tmp_path / "host")
    put(root, {"/proc/swaps": "Filename Type\n/swapfile file 1 0 -2\n"})
    assert main(["check-config", "--root", str(root)]) == 4
    shown = capfd.readouterr().out
    assert "UNSAFE swap: swap is on at /swapfile" in shown
    assert "do: `swapoff -a`" in shown
    assert main(["check-config", "--root", str(root), "--json"]) == 4
    report = json.loads(capfd.readouterr().out)
    assert report["unsafe"] == 1
    by_id = {row["id"]: row for row in report["findings"]}
    assert set(by_id) == set(CHECKS)
    assert by_id["swap"]["ok"] is False
    assert by_id["swap"]["level"] == "unsafe"
    assert by_id["volume"] == {"id": "volume", "ok": True, "level": "ok", "sentence": "", "do": ""}


def test_the_machine_that_this_runs_on_can_be_looked_at(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config"]) in {0, 4}
    assert capfd.readouterr().err == ""
