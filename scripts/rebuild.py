"""Shows that the wheel builds reproducibly: builds it twice, as if elsewhere and later, and compares.

    python scripts/rebuild.py [--keep DIR] [--against WHEEL]

Uses the build backend of the interpreter that runs it (no download). Ends with 0 where both wheels are the
same byte for byte, 1 where not; then it shows how they differ, by `diffoscope` if that is installed. With
`--against` the second wheel is one from elsewhere.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAKEN = ("chatserver", "clients", "crypto", "keys", "pyproject.toml", "README.md", "LICENSE")
EPOCH = "1577836800"
"""SOURCE_DATE_EPOCH: the same in both builds, as the specification of reproducible builds wants it."""


def copy_of_source(folder: Path) -> Path:
    """A copy of what goes into the wheel, with modes and times of its own."""
    folder.mkdir(parents=True)
    for name in TAKEN:
        source, place = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(
                source, place, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile
            )
        else:
            shutil.copyfile(source, place)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (int(EPOCH), int(EPOCH)))
    return folder


def build(source: Path, out: Path, *, zone: str, hash_seed: str) -> Path:
    """Build a wheel; returns it."""
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": EPOCH, "TZ": zone, "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": hash_seed,
    }  # fmt: skip
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(out), str(source)], check=True, env=environment, umask=0o022)
    (wheel,) = out.glob("*.whl")
    return wheel


def differences(one: Path, other: Path) -> list[str]:
    """Names of the members that differ."""
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        names = sorted({*first.namelist(), *second.namelist()})
        return [
            name
            for name in names
            if name not in first.namelist()
            or name not in second.namelist()
            or first.read(name) != second.read(name)
        ]


def compare(one: Path, other: Path) -> int:
    """Print both digests and what differs; returns the exit code."""
    digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in (one, other)]
    for digest, wheel in zip(digests, (one, other), strict=True):
        print(f"{digest}  {wheel.name}", flush=True)
    if digests[0] == digests[1]:
        print("the same, byte for byte")
        return 0
    print("NOT the same: " + ", ".join(differences(one, other) or ["order or times of members"]), flush=True)
    if shutil.which("diffoscope") is not None:
        subprocess.run(["diffoscope", str(one), str(other)], check=False)
    else:
        print("diffoscope (apt-get install diffoscope-minimal) would show how")
    return 1


def _wheel(name: str) -> Path:
    """A wheel that is there."""
    path = Path(name)
    if not zipfile.is_zipfile(path):
        raise argparse.ArgumentTypeError(f"there is no wheel {name}")
    return path


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Builds the wheel twice and compares.")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="put the first wheel there")
    parser.add_argument("--against", type=_wheel, metavar="WHEEL", help="compare with this one instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheels = [
            build(
                copy_of_source(folder / place / "amanat"), folder / f"out-{place}", zone=zone, hash_seed=seed
            )
            for place, zone, seed in (("a", "UTC", "0"), ("another-place", "Asia/Karachi", "1"))[
                : 1 if options.against else 2
            ]
        ]
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(wheels[0], options.keep)
        return compare(wheels[0], options.against or wheels[1])


if __name__ == "__main__":
    sys.exit(main())
