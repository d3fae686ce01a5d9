"""Reads what a Linux machine says of itself in /proc, /sys, /run and /etc, below what stands for `/`."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clients.audit.target import Target

LISTENING: Final = "0A"
"""State of a listening socket in /proc/net/tcp."""


def lines(path: Path) -> list[str]:
    """Lines of a file; none where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def settings(target: Target) -> dict[str, dict[str, Any]]:
    """The relay's configuration file as it is; empty for the defaults."""
    if target.config is None:
        return {}
    try:
        return tomllib.loads(target.config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A socket that takes connections."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int


def listeners(target: Target, pid: int) -> list[Listener] | None:
    """Sockets on which a process listens; None where its descriptors may not be read."""
    try:
        links = [str(link.readlink()) for link in target.under_root(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return None
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    found = []
    for name in ("tcp", "tcp6"):
        for line in lines(target.under_root(f"/proc/{pid}/net/{name}"))[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTENING and fields[9] in inodes:
                host, _, port = fields[1].partition(":")
                found.append(Listener(address=_address(host), port=int(port, 16)))
    return found


def _address(digits: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as the kernel writes it: words of 4 bytes, each in the machine's byte order."""
    words = [bytes.fromhex(digits[start : start + 8])[::-1] for start in range(0, len(digits), 8)]
    return ipaddress.ip_address(b"".join(words))


def block_devices(target: Target, path: Path) -> tuple[str, list[str]]:
    """(type of the file system that holds a path, its block device and all those beneath it)."""
    resolved = path.resolve()
    best, kind, source = -1, "", ""
    for line in lines(target.under_root("/proc/mounts")):
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if (resolved == point or point in resolved.parents) and len(point.parts) >= best:
            best, kind, source = len(point.parts), fields[2], fields[0]
    if not source.startswith("/dev/"):
        return kind, []
    device = target.under_root(source)
    name = device.resolve().name if device.is_symlink() else Path(source).name
    return kind, list(_with_slaves(target, name))


def _with_slaves(target: Target, name: str) -> Iterator[str]:
    yield name
    slaves = target.under_root(f"/sys/class/block/{name}/slaves")
    if slaves.is_dir():
        for slave in sorted(slaves.iterdir()):
            yield from _with_slaves(target, slave.name)


def is_encrypted(target: Target, device: str) -> bool:
    """Whether the device mapper says that a block device decrypts (dm-crypt, LUKS)."""
    told = lines(target.under_root(f"/sys/class/block/{device}/dm/uuid"))
    return bool(told) and told[0].startswith("CRYPT-")
