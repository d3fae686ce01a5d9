"""Small file systems of a test's own: full, read-only, failing, or cut off like a disk at a power cut."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_EXT4_IOC_SHUTDOWN: Final = 0x8004587D
"""_IOR('X', 125, __u32), fs/ext4/ext4.h; the file system answers EIO from then on."""
_NO_LOG_FLUSH: Final = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: nothing more is written, as if the power were cut."""


def need_root() -> None:
    """Skip the test where nothing can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")


def _mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this machine allows no such mount")


def remount(point: Path, options: str) -> None:
    """Change the options of a mount."""
    subprocess.run(["mount", "-o", f"remount,{options}", point], check=True, capture_output=True)


@contextlib.contextmanager
def in_memory(point: Path, size: str) -> Iterator[Path]:
    """A tmpfs of a size such as `2m`; it can be resized by `remount`."""
    need_root()
    point.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "amanat", point)
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", point], check=True)


class Image:
    """An ext4 file system in a file."""

    def __init__(self, folder: Path, *, mib: int = 48) -> None:
        need_root()
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("an ext4 image needs mkfs.ext4")
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "disk.img"
        self.point = folder / "disk"
        self.point.mkdir()
        with self.file.open("wb") as file:
            file.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.file], check=True)

    @contextlib.contextmanager
    def mounted(self, options: str = "rw") -> Iterator[Path]:
        """The file system, for the length of the block; what was not synced is on disk afterwards, unless
        `cut_power` was called."""
        _mount("-o", f"loop,{options}", self.file, self.point)
        try:
            yield self.point
        finally:
            # A test that failed may have left a process there; the mount must not outlive it all the same.
            if subprocess.run(["umount", self.point], capture_output=True, check=False).returncode:
                subprocess.run(["umount", "--lazy", self.point], check=True)

    def cut_power(self) -> None:
        """From now on nothing reaches the image: what was not synced yet is lost with the next mount."""
        descriptor = os.open(self.point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH.to_bytes(4, "little"))
        except OSError:
            pytest.skip("this kernel cannot shut a file system down")
        finally:
            os.close(descriptor)

    def become_read_only(self) -> None:
        """As the kernel does to a disk with errors, though files are open for writing."""
        done = subprocess.run(["mount", "-o", "remount,abort", self.point], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("this kernel lets no file system be aborted")

    def snapshot(self) -> Path:
        """What is on the disk now, as a power cut would leave it; nobody may write meanwhile.

        `cut_power` is no judge of the last sync: with it, Linux 6.18 now and then lets an fdatasync succeed
        that the same instant threw away (a bare program that appends and syncs loses its last record).
        """
        return shutil.copyfile(self.file, self.file.with_suffix(".snapshot"))

    def go_back_to(self, snapshot: Path) -> None:
        """Be what a snapshot was; the file system is not mounted."""
        snapshot.replace(self.file)

    def raw(self) -> bytes:
        """Every byte of the image."""
        return self.file.read_bytes()
