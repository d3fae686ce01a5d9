"""The checks of the machine on which a relay runs: what this host could betray."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clients.audit.host.logs import PROXIES, system_logs
from clients.audit.host.machine import block_devices, is_encrypted, lines, listeners, settings
from clients.audit.model import Finding, broken, holds, judge, unchecked
from clients.audit.registry import check
from clients.audit.target import Target

NO_RELAY: Final = "No relay runs here that this audit could look at."
DEMONSTRATION: Final = "This is the relay of ./run: a trial on one's own machine, with nobody's messages."
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})

LOG_LINES: Final = (
    re.compile(r"[a-z_]+( [a-z_]+=-?\d{1,12})*"),
    re.compile(r"fault module=(chatserver|keys|crypto)[a-z_.]* line=\d+|fault module=elsewhere line=0"),
    re.compile(r"listening on https?://[\w.:\[\]-]+"),
    re.compile(r"made an empty store in .+"),
    re.compile(r"amanat-relay: [^\d]{1,200}"),
)
"""What a relay may say: events with numbers, its ready line, sentences to its operator."""

UNIT: Final = {
    "NoNewPrivileges": ("yes", "true"),
    "ProtectSystem": ("strict",),
    "ProtectHome": ("yes", "true", "tmpfs"),
    "PrivateTmp": ("yes", "true", "disconnected"),
    "LimitCORE": ("0",),
    "MemorySwapMax": ("0",),
    "UMask": ("0077", "077"),
}
"""What the unit of a relay must say; a value of those named."""

PASSES_ON: Final = re.compile(r"\b(?:proxy_pass|reverse_proxy|ProxyPass|server)\b[^\n]*")
USUAL_PORT: Final = 8440


@check("host.no-swap")
def swap(target: Target) -> Finding:
    """/proc/swaps: none, or memory, or encrypted."""
    table = lines(target.under_root("/proc/swaps"))
    if not table:
        return unchecked("This system does not say whether it swaps (no /proc/swaps).")
    areas = [line.split()[0] for line in table[1:] if line.split()]
    plain = [
        area
        for area in areas
        if not Path(area).name.startswith("zram") and not is_encrypted(target, Path(area).name)
    ]
    if plain and target.demonstration:
        return unchecked(f"{DEMONSTRATION} Swap is on here.")
    return judge(
        ["a swap area that is not encrypted" for _ in plain],
        "What is in memory does not reach a disk by swapping.",
        "What is in memory may be swapped to a disk.",
        f"{len(areas)} swap areas",
    )


@check("host.no-core")
def core(target: Target) -> Finding:
    """The running relay's own limit, and what the kernel would do with a core."""
    if target.pid is None:
        return unchecked(NO_RELAY)
    limits = lines(target.under_root(f"/proc/{target.pid}/limits"))
    sizes = next((line.split()[4:6] for line in limits if line.startswith("Max core file size")), None)
    if sizes is None:
        return unchecked("The relay's limits may not be read here.")
    faults = [] if sizes == ["0", "0"] else ["the relay may write a core file"]
    pattern = (lines(target.under_root("/proc/sys/kernel/core_pattern")) or [""])[0]
    if pattern.startswith("|"):
        owner = _owner(target.under_root(f"/proc/{target.pid}/mem"))
        runs_as = _uid(target, target.pid)
        if runs_as not in (0, None) and owner == runs_as:
            faults.append("the kernel hands cores to a program, and the relay may be dumped")
    return judge(
        faults,
        "A crash of the relay leaves no image of its memory.",
        "A crash of the relay would leave an image of its memory.",
        "limit of core files: 0" if not faults else "",
    )


def _uid(target: Target, pid: int) -> int | None:
    for line in lines(target.under_root(f"/proc/{pid}/status")):
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return None


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


@check("host.relay-log")
def relay_log(target: Target) -> Finding:
    """Every line that the relay has in its own file, the journal or the system's log, against their forms."""
    places = {"its own file": lines(target.log) if target.log is not None else []} | system_logs(target)
    told = {name: [line for line in said if line.strip()] for name, said in places.items()}
    if not any(told.values()):
        return unchecked("No log of the relay is found here: no file, and nothing in journal or syslog.")
    odd = [
        f"{name}: line {number} is none of the events"
        for name, said in told.items()
        for number, line in enumerate(said, start=1)
        if not any(form.fullmatch(line) for form in LOG_LINES)
    ]
    return judge(
        odd,
        "The relay's log holds events with numbers and nothing of anybody.",
        "The relay's log holds more than events with numbers.",
        "; ".join(f"{name}: {len(said)} lines" for name, said in told.items() if said),
    )


@check("host.no-access-log")
def proxy_log(target: Target) -> Finding:
    """Settings of the proxies that pass connections on to the relay."""
    port = int(settings(target).get("listen", {}).get("port", USUAL_PORT))
    faults, seen = [], []
    for name, (folder, faults_of) in PROXIES.items():
        text = "\n".join(_without_comments(target.under_root(folder)))
        passed_on = [match[0] for match in PASSES_ON.finditer(text)]
        if not any(str(port) in line or "amanat" in line for line in passed_on):
            continue
        seen.append(name)
        faults += [f"{name} {fault}" for fault in faults_of(text)]
    if not seen:
        return unchecked("No proxy on this machine passes connections on to the relay.")
    return judge(
        faults,
        "The proxy in front of the relay does not write down who connects.",
        "The proxy in front of the relay writes down who connects, and when.",
        f"looked at: {', '.join(seen)}",
    )


def _without_comments(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield from (line.split("#", 1)[0] for line in lines(path))


@check("host.disk-encrypted")
def disk(target: Target) -> Finding:
    """The block devices beneath the store."""
    if target.store is None:
        return unchecked("There is no store here to look beneath.")
    kind, devices = block_devices(target, target.store)
    if kind in IN_MEMORY:
        return holds("The store lies in memory and on no disk.", f"file system: {kind}")
    if not devices:
        return unchecked("The disk beneath the store cannot be seen from here.", f"file system: {kind}")
    if any(is_encrypted(target, device) for device in devices):
        return holds("The store lies on an encrypted volume.", f"{len(devices)} layers, one of them encrypts")
    if target.demonstration:
        return unchecked(f"{DEMONSTRATION} Its volume is not seen to be encrypted.")
    return broken(
        "The volume beneath the store is not encrypted by this machine.",
        f"file system: {kind}; if the provider encrypts below, this machine cannot tell",
    )


@check("host.clock")
def clock(target: Target) -> Finding:
    """Whether the machine's clock is kept right by a service."""
    folder = target.under_root("/run/systemd/timesync")
    if folder.is_dir():
        if (folder / "synchronized").exists():
            return holds("The clock is kept right by a time service.")
        return broken("The time service of this machine has not set the clock.")
    return unchecked("No time service that this audit knows runs here.")


@check("host.ports")
def ports(target: Target) -> Finding:
    """Where the running relay listens, against its settings."""
    if target.pid is None:
        return unchecked(NO_RELAY)
    found = listeners(target, target.pid)
    if found is None:
        return unchecked("The relay's sockets may not be looked at by this user.")
    chosen = settings(target)
    host = str(chosen.get("listen", {}).get("host", "127.0.0.1"))
    local = host in ("127.0.0.1", "::1", "localhost")
    operator = int(chosen.get("operator", {}).get("port", 0) or 0)
    front = [listener for listener in found if not operator or listener.port != operator]
    faults = ["it listens for the whole network, its settings say this machine only"] * sum(
        not listener.address.is_loopback for listener in front if local
    )
    faults += ["its figures for the operator are open to the network"] * sum(
        not listener.address.is_loopback for listener in found if operator and listener.port == operator
    )
    if len({listener.port for listener in front}) > 1:
        faults.append(f"it listens on {len({listener.port for listener in front})} ports instead of one")
    return judge(
        faults,
        "The relay listens where its settings say and nowhere else.",
        "The relay listens where its settings do not say.",
        f"{len(found)} sockets",
    )


@check("host.unit")
def unit(target: Target) -> Finding:
    """The service's description, where there is one: on the machine, or in the source tree."""
    places = [
        *sorted(target.under_root("/etc/systemd/system").glob("amanat-relay*.service")),
        *sorted(target.under_root("/usr/lib/systemd/system").glob("amanat-relay*.service")),
    ]
    if not places:
        places = sorted((target.tree / "deploy").rglob("amanat-relay*.service"))
    if not places:
        return unchecked("There is no description of the relay as a service here (no unit of systemd).")
    faults = [f"{path.name}: {fault}" for path in places for fault in _unit_faults(path)]
    return judge(
        faults,
        "The service is fenced in: no new rights, no core, no swap, nothing of others' files.",
        "The service may do more than a relay needs.",
        f"{len(places)} units, {len(UNIT)} settings each",
    )


def _unit_faults(path: Path) -> Iterator[str]:
    said: dict[str, str] = {}
    for line in lines(path):
        name, found, value = line.partition("=")
        if found and not line.lstrip().startswith(("#", ";")):
            said[name.strip()] = value.strip()
    for name, wanted in UNIT.items():
        if said.get(name, "").lower() not in wanted:
            yield f"{name} is not {wanted[0]}"


@check("host.permissions")
def permissions(target: Target) -> Finding:
    """Modes of the store's folder, its files and the settings."""
    if target.store is None or not target.store.is_dir():
        return unchecked("There is no store here to look at.")
    places: list[tuple[str, Path, int]] = [("the store's folder", target.store, 0o077)]
    places += [(path.name, path, 0o077) for path in sorted(target.store.iterdir()) if path.is_file()]
    if target.config is not None and target.config.exists():
        places.append(("the settings", target.config, 0o002))
    faults = [
        f"{what} is open to others (mode {stat.S_IMODE(path.stat().st_mode):04o})"
        for what, path, mask in places
        if path.stat().st_mode & mask
    ]
    return judge(
        faults,
        "Only the relay's own user can read or change its store.",
        "Other users of the machine can read or change the relay's store.",
        f"{len(places)} places",
    )
