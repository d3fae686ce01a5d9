"""Saboteurs of the machine: a folder that stands for `/`, in order but for one thing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clients.audit.target import Target
from support.audit_saboteurs import saboteur

PID = 4242
UNIT = """[Service]
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
LimitCORE=0
MemorySwapMax=0
UMask=0077
"""
NGINX = """server {
    listen 443 ssl;
    access_log off;
    error_log stderr emerg;
    location / { proxy_pass http://127.0.0.1:8440; }
}
"""
TCP = (
    "head\n   0: 0100007F:20F8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 777 1\n"
)
LOG = "listening on http://127.0.0.1:8440\nstarted descriptors=1024 dumpless=1\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def good_host(folder: Path) -> Target:
    """A machine that keeps every promise."""
    root = folder / "root"
    process = root / "proc" / str(PID)
    _write(root / "proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 5\n")
    _write(root / "proc/mounts", "/dev/mapper/vault / ext4 rw 0 0\n")
    _write(root / "sys/class/block/vault/dm/uuid", "CRYPT-LUKS2-x\n")
    _write(root / "proc/sys/kernel/core_pattern", "core\n")
    _write(process / "limits", "Max core file size        0                    0                    bytes\n")
    _write(process / "status", "Uid:\t1000\t1000\t1000\t1000\n")
    _write(process / "net/tcp", TCP)
    (process / "fd").mkdir()
    (process / "fd" / "7").symlink_to("socket:[777]")
    _write(root / "etc/nginx/sites-enabled/amanat.conf", NGINX)
    _write(root / "etc/systemd/system/amanat-relay.service", UNIT)
    _write(root / "run/systemd/timesync/synchronized", "")
    store = folder / "store"
    store.mkdir(mode=0o700)
    (store / "relay.db").touch(mode=0o600)
    _write(folder / "config.toml", "")
    _write(folder / "relay.log", LOG)
    return Target(root=root, store=store, pid=PID, config=folder / "config.toml", log=folder / "relay.log")


@saboteur("swap-on", "host.no-swap", what="swap on a plain disk")
def swap_on(folder: Path) -> Target:
    target = good_host(folder)
    _write(target.root / "proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 5\n")
    return target


@saboteur("cores-allowed", "host.no-core", what="a relay that may leave a core dump")
def cores_allowed(folder: Path) -> Target:
    target = good_host(folder)
    _write(
        target.root / f"proc/{PID}/limits",
        "Max core file size        unlimited            unlimited            bytes\n",
    )
    return target


@saboteur("address-in-the-log", "host.relay-log", what="a relay's log with the address of a client")
def address_in_the_log(folder: Path) -> Target:
    target = good_host(folder)
    _write(folder / "relay.log", LOG + "connection from 203.0.113.9\n")
    return target


@saboteur("access-log", "host.no-access-log", what="a proxy with an access log")
def access_log(folder: Path) -> Target:
    target = good_host(folder)
    _write(
        target.root / "etc/nginx/sites-enabled/amanat.conf",
        NGINX.replace("access_log off", "access_log /var/log/a"),
    )
    return target


@saboteur(
    "default-access-log",
    "host.no-access-log",
    what="a proxy whose access log is on because nobody turned it off",
)
def default_access_log(folder: Path) -> Target:
    target = good_host(folder)
    _write(target.root / "etc/nginx/sites-enabled/amanat.conf", NGINX.replace("    access_log off;\n", ""))
    return target


@saboteur("error-log", "host.no-access-log", what="a proxy whose errors name clients, as they do unless told")
def error_log(folder: Path) -> Target:
    target = good_host(folder)
    _write(
        target.root / "etc/nginx/sites-enabled/amanat.conf",
        NGINX.replace("    error_log stderr emerg;\n", ""),
    )
    return target


@saboteur("address-in-syslog", "host.relay-log", what="a system log with the relay's lines, and an address")
def address_in_syslog(folder: Path) -> Target:
    target = good_host(folder)
    _write(
        target.root / "var/log/syslog",
        "Nov 23 07:00:00 host systemd[1]: Started amanat-relay.service - 203.0.113.9.\n"
        "Nov 23 07:00:01 host amanat-relay[77]: started descriptors=1024 dumpless=1\n"
        "Nov 23 07:00:02 host amanat-relay[77]: connection from 203.0.113.9\n",
    )
    return target


@saboteur("plain-disk", "host.disk-encrypted", what="a store on a plain disk")
def plain_disk(folder: Path) -> Target:
    target = good_host(folder)
    _write(target.root / "proc/mounts", "/dev/sda1 / ext4 rw 0 0\n")
    return target


@saboteur("wrong-clock", "host.clock", what="a time service that never reached anybody")
def wrong_clock(folder: Path) -> Target:
    target = good_host(folder)
    (target.root / "run/systemd/timesync/synchronized").unlink()
    return target


@saboteur("open-port", "host.ports", what="a relay that listens for the whole network")
def open_port(folder: Path) -> Target:
    target = good_host(folder)
    _write(target.root / f"proc/{PID}/net/tcp", TCP.replace("0100007F", "00000000"))
    return target


@saboteur("unfenced-unit", "host.unit", what="a service that may swap")
def unfenced_unit(folder: Path) -> Target:
    target = good_host(folder)
    _write(target.root / "etc/systemd/system/amanat-relay.service", UNIT.replace("MemorySwapMax=0\n", ""))
    return target


@saboteur("open-store", "host.permissions", what="a store that everybody may read")
def open_store(folder: Path) -> Target:
    target = good_host(folder)
    assert target.store is not None
    (target.store / "relay.db").chmod(0o644)
    return replace(target)
