"""`check-config`: promises of the relay that do not hold on this machine with these settings; what to do.

`unsafe` means that something which the threat model promises to clients does not hold here. `advice` costs
no promise. Each check is a function of (settings, machine) that yields findings; `CHECKS` is the whole
list, in the order of the report. Checks only read.
"""

from __future__ import annotations

import ipaddress
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from chatserver.config import Config, networks
from chatserver.host import Host
from chatserver.tls import TlsTrouble, server_context

CLIENTS_REFUSE_BYTES: Final = 32 * 1024 * 1024
"""Longest bucket of contact bundles that a client reads (docs/PROTOCOL.md section 3)."""

BUNDLE_BYTES: Final = 32 * 1024
"""Longest contact bundle."""

MIN_BUCKET: Final = 128
"""Fewer therapists in a bucket say too much about whom a client looks for (DESIGN section 6)."""

_COPYING: Final = frozenset({"btrfs", "zfs", "bcachefs", "nilfs2", "f2fs"})
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"})
_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


class Level(Enum):
    """How much a finding weighs."""

    UNSAFE = "unsafe"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found: a sentence, and what to do."""

    level: Level
    what: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is looked at.

    Attributes:
        config: the settings.
        config_path: their file; None for the defaults.
        store: the store's directory, absolute, as a path of the machine.
        host: the machine.
    """

    config: Config
    config_path: Path | None
    store: Path
    host: Host


Check = Callable[[Subject], Iterator[Finding]]


def _unsafe(what: str, remedy: str) -> Finding:
    return Finding(level=Level.UNSAFE, what=what, remedy=remedy)


def _advice(what: str, remedy: str) -> Finding:
    return Finding(level=Level.ADVICE, what=what, remedy=remedy)


def unsafe(found: Iterator[Finding]) -> int:
    """How many of the findings cost a promise."""
    return sum(finding.level is Level.UNSAFE for finding in found)


def findings(subject: Subject) -> dict[str, list[Finding]]:
    """Every check by its name, with what it found; an empty list where all is well."""
    return {name: list(check(subject)) for name, check in CHECKS.items()}


# -- the machine --------------------------------------------------------------------------------------------


def swap(subject: Subject) -> Iterator[Finding]:
    """Cells of live sessions and addresses of clients are in memory only, unless memory is written out."""
    for area in subject.host.swap_areas():
        if area.startswith("/dev/zram") or subject.host.is_encrypted_device(area):
            continue
        if subject.config.process.lock_memory:
            yield _advice(
                f"swap is on at {area}; the relay locks its memory, the proxy beside it does not",
                "`swapoff -a` and take it out of /etc/fstab",
            )
        else:
            yield _unsafe(
                f"swap is on at {area} and not encrypted: what the relay keeps in memory only may reach"
                " the disk",
                "`swapoff -a` and take it out of /etc/fstab, or encrypt it with a random key (crypttab(5))",
            )


def volume(subject: Subject) -> Iterator[Finding]:
    """H1: what was acknowledged is gone from the disk."""
    mount = subject.host.mount_of(subject.store)
    if mount is None:
        yield _unsafe(
            f"it cannot be seen on which file system {subject.store} lies",
            "run this on the machine itself, with /proc there",
        )
        return
    where = f"the store lies on {mount.kind} at {mount.point}"
    if mount.kind == "overlay":
        yield _unsafe(
            f"{where}, the container's own layer: it is lost with the container, and old copies stay",
            "mount a volume there, on an encrypted disk",
        )
    elif mount.kind in _MEMORY:
        yield _advice(
            f"{where}, in memory: unread messages are lost when the machine restarts",
            "mount an encrypted volume there, unless that is what you want",
        )
    elif mount.kind in _NETWORK:
        yield _unsafe(
            f"{where}, on another machine: whether it erases, and who reads it, is decided there",
            "put the store on a disk of this machine",
        )
    elif subject.host.is_encrypted(mount):
        if mount.kind in _COPYING:
            yield _advice(
                f"{where}, encrypted, which keeps old copies: while the volume is open they can be read",
                "take no snapshots of it; ext4 on an encrypted volume is the simplest",
            )
    elif mount.kind in _COPYING:
        yield _unsafe(
            f"{where}, not encrypted as far as can be seen, which keeps old copies of what was overwritten"
            " (H1)",
            "put the store on ext4 on a volume encrypted with LUKS whose key is not on this machine",
        )
    else:
        yield _unsafe(
            f"{where}, not encrypted: on an SSD, and on a virtual disk, overwriting does not reach every"
            " copy (H1)",
            "put the store on a volume encrypted with LUKS whose key is not on this machine",
        )
    if "data=journal" in mount.options:
        yield _unsafe(
            f"{mount.point} is mounted with data=journal: the journal keeps copies of deleted cells (H1)",
            "mount it with data=ordered, the default",
        )


def core_dumps(subject: Subject) -> Iterator[Finding]:
    """The relay forbids its own dumps; the programs beside it know addresses of clients too."""
    pattern = subject.host.core_pattern()
    harmless = ("|/bin/false", "|/usr/bin/false", "|/bin/true", "|/usr/bin/true", "/dev/null")
    if pattern.startswith(("|", "/")) and not pattern.startswith(harmless):
        yield _unsafe(
            "the kernel hands core dumps to a collector (kernel.core_pattern): one of the proxy or of Tor"
            " would"
            " keep clients' addresses on the disk",
            "`sysctl kernel.core_pattern='|/bin/false'`, and the same in /etc/sysctl.d/",
        )


def proxy_logs(subject: Subject) -> Iterator[Finding]:
    """No address of a client is written anywhere: also not by what stands in front of the relay."""
    yield from _nginx(subject)
    yield from _caddy(subject)


def _nginx(subject: Subject) -> Iterator[Finding]:
    files = {
        name: re.sub(r"(?m)#.*$", "", text)
        for name, text in subject.host.files(
            "/etc/nginx/nginx.conf", "/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*"
        )
    }
    if not files:
        return
    logs = {
        directive: [
            (name, target)
            for name, text in files.items()
            for target in re.findall(rf"\b{directive}\s+([^;]+);", text)
        ]
        for directive in ("access_log", "error_log")
    }
    kept = [name for name, target in logs["access_log"] if target.split()[0] not in {"off", "/dev/null"}]
    if kept or not logs["access_log"]:
        yield _unsafe(
            f"nginx writes an access log with clients' addresses ({kept[0] if kept else 'its default'})",
            "`access_log off;` in nginx.conf and nowhere another one; see deploy/nginx.conf",
        )
    loud = [
        name
        for name, target in logs["error_log"]
        if target.split()[0] != "/dev/null" and target.split()[-1] != "emerg"
    ]
    if loud or not logs["error_log"]:
        yield _unsafe(
            f"nginx's error log names clients' addresses ({loud[0] if loud else 'its default'})",
            "`error_log stderr emerg;` in nginx.conf and nowhere another one; see deploy/nginx.conf",
        )
    port = re.compile(rf":{subject.config.listen.port}\b")
    ours = [text for text in files.values() if port.search(text)]
    if ours and not any(re.search(r"\bproxy_buffering\s+off\s*;", text) for text in ours):
        yield _unsafe(
            "nginx may buffer the relay's answers on disk",
            "`proxy_buffering off;` and `proxy_request_buffering off;`; see deploy/nginx.conf",
        )
    if ours:
        yield from _untrusted_proxy(subject, "nginx")


def _caddy(subject: Subject) -> Iterator[Finding]:
    texts = [re.sub(r"(?m)#.*$", "", text) for _, text in subject.host.files("/etc/caddy/Caddyfile")]
    for text in texts:
        logs = re.findall(r"(?m)^\s*log\b[^{\n]*(?:\{([^}]*)\})?", text)
        # Global `log { include tls }` lets through what Caddy says of certificates and nothing else.
        if not logs or any(
            not re.search(r"\binclude\s+tls\s*$|\boutput\s+discard\b", log, re.MULTILINE) for log in logs
        ):
            yield _unsafe(
                "Caddy's log names clients' addresses: its access log, or its errors about requests",
                "in the global options `log { include tls }` and no other `log`; see deploy/Caddyfile",
            )
        if re.search(rf":{subject.config.listen.port}\b", text):
            yield from _untrusted_proxy(subject, "Caddy")


def _untrusted_proxy(subject: Subject, name: str) -> Iterator[Finding]:
    if not subject.config.listen.trusted_proxies:
        yield _advice(
            f"{name} stands in front of the relay and is no trusted proxy: all clients count as one address",
            'trusted_proxies = ["127.0.0.1/32", "::1/128"] in [listen]',
        )


# -- the settings -------------------------------------------------------------------------------------------


def reach(subject: Subject) -> Iterator[Finding]:
    """Whoever listens to the network must not see frames and tokens in the clear."""
    listen = subject.config.listen
    if not _is_loopback(listen.host) and not listen.certificate and not listen.trusted_proxies:
        yield _unsafe(
            f"the relay listens on {listen.host} without TLS",
            "set listen.certificate and listen.key, or listen on 127.0.0.1 behind a proxy (deploy/)",
        )
    for network in networks(listen.trusted_proxies):
        if network.num_addresses > 1 << 16:
            yield _advice(
                f"trusted_proxies names {network.num_addresses} addresses: each of them can pose as any"
                " client",
                "name the proxy's own address",
            )


def admission(subject: Subject) -> Iterator[Finding]:
    """R21: whoever may register takes a place that a therapist needs."""
    listen = subject.config.listen
    reachable = bool(
        not _is_loopback(listen.host) or listen.trusted_proxies or listen.onion_proxies or listen.certificate
    )
    if subject.config.therapists.admission == "open" and reachable:
        yield _unsafe(
            "anybody who reaches the relay may register as a therapist and take all places",
            '[therapists] admission = "token", and a token for each: `amanat-relay therapist-token`',
        )
    if subject.config.first_contact.admission == "open" and reachable:
        yield _advice(
            "anybody may put first contacts into any inbox, up to the limits",
            '[first_contact] admission = "invite" or "pow"',
        )


def buckets(subject: Subject) -> Iterator[Finding]:
    """Clients refuse a bucket of contact bundles that is too long."""
    therapists, bits = subject.config.therapists.max_therapists, subject.config.bundles.bucket_bits
    # Buckets by hash are uneven: with several, twice the average is the longest to be expected.
    longest = therapists if bits == 0 else 2 * -(-therapists // 2**bits)
    if longest * BUNDLE_BYTES > CLIENTS_REFUSE_BYTES:
        yield _unsafe(
            f"max_therapists = {therapists} with bucket_bits = {bits}: a bucket may grow beyond 32 MiB, which"
            " clients refuse, and then nobody can begin a line",
            "a lower max_therapists, or one bit more in bucket_bits",
        )
    if bits and therapists / 2**bits < MIN_BUCKET:
        yield _unsafe(
            f"bucket_bits = {bits} with max_therapists = {therapists}: fewer than {MIN_BUCKET} therapists"
            " in a"
            " bucket, so that asking for it says nearly whom a client looks for",
            "fewer bucket_bits",
        )


def permissions(subject: Subject) -> Iterator[Finding]:
    """Nobody else on the machine reads the store or the key, or changes the settings."""
    host = subject.host
    for path in (subject.store, subject.store / "relay.db"):
        mode = _mode(host.path(path))
        if mode is not None and mode & 0o077:
            yield _unsafe(f"{path} can be used by others (mode {mode:04o})", f"`chmod go= {path}`")
    if subject.config_path is not None:
        for path in (subject.config_path, subject.config_path.parent):
            mode = _mode(host.path(path))
            if mode is not None and mode & 0o022:
                yield _unsafe(f"{path} can be changed by others (mode {mode:04o})", f"`chmod go-w {path}`")


def store_exists(subject: Subject) -> Iterator[Finding]:
    """A relay without a store does not start."""
    if not subject.host.path(subject.store / "relay.db").exists():
        yield _advice(f"there is no store in {subject.store} yet", "`amanat-relay init` makes one")


def tls_files(subject: Subject) -> Iterator[Finding]:
    """Certificate and key are there, belong together, and the key is private."""
    files = subject.config.tls
    if files is None:
        return
    mode = _mode(files.key)
    if mode is not None and mode & 0o037:
        yield _unsafe(
            f"the private key {files.key} can be read by others (mode {mode:04o})",
            f"`chmod 0640 {files.key}`",
        )
    try:
        server_context(files)
    except TlsTrouble as error:
        yield _unsafe(str(error), "put the right files there; the relay does not start without them")


def live_figures(subject: Subject) -> Iterator[Finding]:
    """The threat model: a seized disk does not say whether a session ever took place."""
    operator = subject.config.operator
    if operator.port and operator.live_figures:
        yield _unsafe(
            "metrics of live sessions are on: the monitoring system's disk tells later in which hour"
            " sessions were",
            "live_figures = false",
        )


CHECKS: Final[dict[str, Check]] = {
    "swap": swap,
    "volume": volume,
    "core-dumps": core_dumps,
    "proxy-logs": proxy_logs,
    "reach": reach,
    "admission": admission,
    "buckets": buckets,
    "permissions": permissions,
    "store": store_exists,
    "tls": tls_files,
    "live-figures": live_figures,
}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
