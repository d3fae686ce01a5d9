"""`amanat bench mls`: ours beside mls-rs and ts-mls, on the same work, in one run.

Each kind of member at each size of group is a process of its own (:mod:`clients.bench.mls_work`; for ts-mls
`tests/peers/ts/bench.js`), one after another. mls-rs and ts-mls are measured where they are installed, which
for this program's users they need not be; what was left out says why.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
TS_BENCH: Final = ROOT / "tests" / "peers" / "ts" / "bench.js"
SIZES: Final = (2, 8, 64, 256, 1000)
KINDS: Final = ("amanat", "mls-rs", "ts-mls", "amanat-0xF002")
DEFAULT_SECONDS: Final = 300
"""For one kind at one size; building a group of 1,000 by ts-mls alone would take longer."""

APPLICATION_TARGET: Final = 1.0
PROCESS_TARGET: Final = 4.0
UNITS: Final = {"state_bytes": "bytes", "peak_kib": "KiB"}

Result = dict[str, Any]


def _command(kind: str, size: int) -> list[str] | str:
    """The child's command line, or why there is none."""
    if kind != "ts-mls":
        return [sys.executable, "-m", "clients.bench.mls_work", kind, str(size)]
    node = shutil.which("node")
    if node is None or not TS_BENCH.is_file() or not (TS_BENCH.parent / "node_modules").is_dir():
        return "needs Node and tests/peers/ts with its node_modules (./test sets them up)"
    return [node, str(TS_BENCH), str(size)]


def _one(kind: str, size: int, seconds: float) -> Result:
    """Measure one kind at one size; ``left_out`` stands for a sentence why not."""
    command = _command(kind, size)
    if isinstance(command, str):
        return {"left_out": command}
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {"left_out": f"took longer than {seconds:.0f} seconds"}
    if done.returncode != 0:
        return {"left_out": "failed: " + done.stderr.decode(errors="replace").strip().rpartition("\n")[2]}
    figures = json.loads(done.stdout)
    return dict(figures) if isinstance(figures, dict) else {"left_out": "printed no figures"}


def ratios(results: dict[str, dict[str, Result]]) -> dict[str, dict[str, float]]:
    """Our time over that of mls-rs on the same suite, for each size and operation; below 1 we are quicker."""
    found: dict[str, dict[str, float]] = {}
    for size, ours in results["amanat"].items():
        theirs = results.get("mls-rs", {}).get(size, {})
        both = [name for name in ours if ours[name] and theirs.get(name) and name != "left_out"]
        found[size] = {name: round(ours[name] / theirs[name], 2) for name in both}
    return found


def verdicts(found: dict[str, dict[str, float]]) -> dict[str, str]:
    """Whether each aim is reached in this run."""
    applications = [value for name, value in found.get("2", {}).items() if name.startswith("both_")]
    processing = [by_name["process"] for by_name in found.values() if "process" in by_name]
    return {
        f"application messages at no more than {APPLICATION_TARGET:g} times mls-rs": _verdict(
            applications, APPLICATION_TARGET
        ),
        f"processing a commit within {PROCESS_TARGET:g} times mls-rs": _verdict(processing, PROCESS_TARGET),
    }


def _verdict(values: Sequence[float], target: float) -> str:
    if not values:
        return "not measured"
    return f"{'reached' if max(values) <= target else 'not reached'} (worst {max(values):.2f})"


def measure(*, sizes: Sequence[int] = SIZES, kinds: Sequence[str] = KINDS, seconds: float) -> Result:
    """Measure; about three minutes on two cores.

    Args:
        sizes: Of groups.
        kinds: Of :data:`KINDS`.
        seconds: After so long, one kind at one size is left out.
    """
    results: dict[str, dict[str, Result]] = {kind: {} for kind in dict.fromkeys(("amanat", *kinds))}
    for size in sizes:  # all kinds at one size one after another, so that they meet the same load
        for kind, by_size in results.items():
            by_size[str(size)] = _one(kind, size, seconds)
    found = ratios(results)
    return {
        "machine": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
        },
        "unit": "processor time in microseconds for each operation, the least of several rounds",
        "results": results,
        "ratios to mls-rs": found,
        "aims": verdicts(found),
    }


def as_text(result: Result) -> str:
    """The result as a table for people."""
    results = result["results"]
    machine = result["machine"]
    where = f"{machine['platform']}, Python {machine['python']}, {machine['cores']} cores"
    lines = [
        f"{where}, load {machine['load']}",
        result["unit"],
        "",
    ]
    kinds = list(results)
    names = {f"{size}": list(by_size) for size, by_size in results["amanat"].items()}
    lines.append(f"{'members':>8} {'what':<16}" + "".join(f"{kind:>15}" for kind in kinds) + "   ours/mls-rs")
    for size, rows in names.items():
        for name in rows:
            figures = [results[kind][size].get(name) for kind in kinds]
            ratio = result["ratios to mls-rs"][size].get(name)
            cells = "".join(f"{_cell(figure):>15}" for figure in figures)
            label = f"{name} ({UNITS[name]})" if name in UNITS else name
            lines.append(f"{size:>8} {label:<16}{cells}   {'' if ratio is None else f'{ratio:.2f}':>11}")
    for kind in kinds:
        lines += [
            f"left out: {kind}, {size} members: {figures['left_out']}"
            for size, figures in results[kind].items()
            if "left_out" in figures
        ]
    return "\n".join([*lines, "", *(f"{aim}: {verdict}" for aim, verdict in result["aims"].items())])


def _cell(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:,.0f}"
