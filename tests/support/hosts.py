"""Machines made of files, for `check-config --root`."""

from __future__ import annotations

from pathlib import Path

CALM = {
    "/proc/self/mountinfo": "30 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vault rw\n",
    "/proc/swaps": "Filename Type Size Used Priority\n",
    "/proc/sys/kernel/core_pattern": "core\n",
    "/sys/dev/block/253:0/dm/uuid": "CRYPT-LUKS2-0123-vault\n",
}
"""One encrypted disk, no swap, dumps into the working folder, no proxy."""


def put(root: Path, files: dict[str, str]) -> Path:
    """Write files below a root; returns the root."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def calm_host(root: Path, **files: str) -> Path:
    """A machine on which nothing is unsafe."""
    return put(root, {**CALM, **files})
