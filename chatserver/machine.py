"""What `check-config` says about the machine: what the relay needs and only an operator can do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_COPYING: Final = {"btrfs", "zfs", "bcachefs", "overlay", "nilfs2", "f2fs"}


def advice(
    store: Path, *, mounts: Path = Path("/proc/mounts"), swaps: Path = Path("/proc/swaps")
) -> list[str]:
    """Sentences for the operator; empty if nothing was found to say.

    Args:
        store: the store's directory; it need not exist yet.
        mounts: the kernel's list of mounts.
        swaps: the kernel's list of swap areas.
    """
    notes = []
    kind = file_system(store, _lines(mounts))
    if kind in _COPYING:
        notes.append(
            f"the store is on {kind}, which keeps old copies of what was overwritten: erasure (H1)"
            " holds only on an encrypted volume whose key is not on this machine"
        )
    else:
        notes.append(
            "on an SSD the promise of erasure (H1) holds only on an encrypted volume whose key is not on this"
            " machine"
        )
    if len(_lines(swaps)) > 1:
        notes.append("swap is on: cells of live sessions may reach the disk; turn it off or encrypt it")
    if not store.exists():
        notes.append("there is no store yet; `amanat-relay init` makes one")
    return notes


def file_system(path: Path, mounts: list[str]) -> str:
    """The type of the file system that holds a path, "" if unknown."""
    resolved = path.resolve()
    best, kind = 0, ""
    for line in mounts:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if (resolved == point or point in resolved.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
