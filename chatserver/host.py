"""What `check-config` reads of a machine: mounts, block devices, swap, core pattern, files of other servers.

Everything is read below a root directory, so that tests bring machines of their own and an operator can
look at a disk that is mounted elsewhere. What cannot be read is taken for absent; the checks say "unknown"
where that matters. Nothing here judges (`host_checks` does) and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_BYTES = 1 << 20
"""Longer files are no configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of /proc/self/mountinfo (proc(5)).

    Attributes:
        device: "major:minor".
        point: where it is mounted.
        kind: type of the file system.
        source: what is mounted, "/dev/sda1" for instance.
        options: of mount and file system together.
    """

    device: str
    point: Path
    kind: str
    source: str
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class Host:
    """A machine, below a root directory ("/" for this one)."""

    root: Path = Path("/")

    def path(self, absolute: str | Path) -> Path:
        """Where a path of that machine lies here."""
        return self.root / str(absolute).lstrip("/")

    def text(self, absolute: str | Path) -> str:
        """A file's text; "" if it cannot be read."""
        try:
            with self.path(absolute).open("rb") as file:
                return file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""

    def files(self, *patterns: str) -> Iterator[tuple[str, str]]:
        """Names on that machine and texts of the files that match, in order of their names."""
        for pattern in patterns:
            for found in sorted(self.root.glob(pattern.lstrip("/"))):
                name = f"/{found.relative_to(self.root)}"
                if found.is_file():
                    yield name, self.text(name)

    # -- file systems ---------------------------------------------------------------------------------------

    def mounts(self) -> list[Mount]:
        """All mounts, in the order in which they were made."""
        found = []
        for line in self.text("/proc/self/mountinfo").splitlines():
            left, dash, right = line.partition(" - ")
            fields, rest = left.split(), right.split()
            if not dash or len(fields) < 6 or len(rest) < 3:
                continue
            found.append(
                Mount(
                    device=fields[2],
                    point=Path(_unescape(fields[4])),
                    kind=rest[0],
                    source=_unescape(rest[1]),
                    options=frozenset((*fields[5].split(","), *rest[2].split(","))),
                )
            )
        return found

    def mount_of(self, path: Path) -> Mount | None:
        """The mount that holds an absolute path of that machine; the last one made wins."""
        best: Mount | None = None
        for mount in self.mounts():
            inside = path == mount.point or mount.point in path.parents
            if inside and (best is None or len(mount.point.parts) >= len(best.point.parts)):
                best = mount
        return best

    # -- block devices --------------------------------------------------------------------------------------

    def is_encrypted(self, mount: Mount) -> bool:
        """Whether dm-crypt (LUKS) lies somewhere below a mounted file system."""
        return self._is_crypt(f"/sys/dev/block/{mount.device}") or self.is_encrypted_device(mount.source)

    def is_encrypted_device(self, source: str) -> bool:
        """The same for a device's name, "/dev/dm-1" or "/dev/mapper/vault"."""
        name = source.removeprefix("/dev/").removeprefix("mapper/")
        if self._is_crypt(f"/sys/class/block/{name}"):
            return True
        return any(
            text.strip() == name and self._is_crypt(file.removesuffix("/dm/name"))
            for file, text in self.files("/sys/class/block/*/dm/name")
        )

    def _is_crypt(self, device: str, depth: int = 0) -> bool:
        if self.text(f"{device}/dm/uuid").startswith("CRYPT-"):
            return True
        try:
            below = sorted(path.name for path in self.path(f"{device}/slaves").iterdir())
        except OSError:
            return False
        # Eight layers (LVM on RAID on LUKS are three); a loop in a made-up tree ends here.
        return (
            depth < 8
            and bool(below)
            and all(self._is_crypt(f"/sys/class/block/{name}", depth + 1) for name in below)
        )

    def swap_areas(self) -> list[str]:
        """Names of the swap areas in use."""
        return [line.split()[0] for line in self.text("/proc/swaps").splitlines()[1:] if line.split()]

    def core_pattern(self) -> str:
        """Where the kernel puts core dumps (core(5))."""
        return self.text("/proc/sys/kernel/core_pattern").strip()


def _unescape(text: str) -> str:
    # The kernel writes blanks and backslashes of names as octal numbers.
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text
