"""`amanat bench mls`: ours beside mls-rs and ts-mls, on the same work, in one run.

Each kind of member at each size of group is a process of its own (:mod:`clients.bench.mls_work`; for ts-mls
`tests/peers/ts/bench.js`), one after another, and each enters a group of the same making. mls-rs and ts-mls
are measured where they are installed, which for this program's users they need not be; what was left out says
why.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
TS_BENCH: Final = ROOT / "tests" / "peers" / "ts" / "bench.js"
SIZES: Final = (2, 8, 64, 256, 1000)
KINDS: Final = ("amanat", "mls-rs", "ts-mls", "amanat-0xF002")
DEFAULT_SECONDS: Final = 150
"""For one kind at one size, of which the largest groups take half on a quiet machine."""

SMALL_SIZE: Final = 2
SMALL_REPEATS: Final = 3
"""The smallest group, in which application messages are measured too, is measured by all in turn so often:
operations of half a millisecond are soonest distorted by what else the machine does."""

APPLICATION_TARGET: Final = 1.0
PROCESS_TARGET: Final = 4.0
UNITS: Final = {"state_bytes": "bytes", "peak_kib": "KiB", "growth_kib": "KiB"}

Result = dict[str, Any]
Say = Callable[[str], None]


def _command(kind: str, size: int) -> list[str] | str:
    """The child's command line, or why there is none."""
    if kind != "ts-mls":
        return [sys.executable, "-m", "clients.bench.mls_work", kind, str(size)]
    node = shutil.which("node")
    if node is None or not TS_BENCH.is_file() or not (TS_BENCH.parent / "node_modules").is_dir():
        return "needs Node and tests/peers/ts with its node_modules (./test sets them up)"
    return [node, str(TS_BENCH), str(size), sys.executable]


def _last_line(output: bytes | None) -> Result:
    """What a child had measured when it ended, or was ended: its last whole line."""
    for line in reversed((output or b"").splitlines(keepends=True)):
        if line.endswith(b"\n"):
            return dict(json.loads(line))
    return {}


def _one(kind: str, size: int, seconds: float) -> Result:
    """Measure one kind at one size: ``figures`` and their ``rounds``; ``left_out`` says what is missing."""
    command = _command(kind, size)
    if isinstance(command, str):
        return {"left_out": command}
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as late:
        return _last_line(late.stdout) | {"left_out": f"what took longer than {seconds:.0f} seconds"}
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return _last_line(done.stdout) | {"left_out": "failed: " + reason}
    return _last_line(done.stdout) or {"left_out": "printed no figures"}


def _together(runs: Sequence[Result]) -> Result:
    """Several runs of one kind at one size as one: medians of the figures, and what any of them left out."""
    figures = [run["figures"] for run in runs if "figures" in run]
    merged: Result = {key: run[key] for run in runs for key in run if key not in {"figures", "rounds"}}
    if figures:
        known = {
            name: [one[name] for one in figures if one.get(name) is not None]
            for name in dict.fromkeys(name for one in figures for name in one)
        }
        merged["figures"] = {name: median(values) if values else None for name, values in known.items()}
        merged["rounds"] = dict(sum((Counter(run.get("rounds", {})) for run in runs), Counter[str]()))
    return merged


def ratios(results: dict[str, dict[str, Result]]) -> dict[str, dict[str, float]]:
    """Our figure over that of mls-rs on the same suite, for each size and operation; below 1 we take less."""
    found: dict[str, dict[str, float]] = {}
    for size, one in results["amanat"].items():
        ours, theirs = one.get("figures", {}), results.get("mls-rs", {}).get(size, {}).get("figures", {})
        found[size] = {name: round(ours[name] / theirs[name], 2) for name in ours if theirs.get(name)}
    return found


def growth(results: dict[str, dict[str, Result]]) -> dict[str, float]:
    """What a self-update and its processing cost in the largest group, over what they cost in that of 64.

    A tree of 1,000 members is 10 parents deep, one of 64 is 6: growth by the depth gives 1.67 at most, less
    as far as the cost does not depend on the tree; growth by the number of members gives 15.6.
    Those who are measured stand at the right edge: 8 parents above them are set, and 6 in the group of 64.
    """
    by_size = {int(size): one["figures"] for size, one in results["amanat"].items() if "figures" in one}
    if 64 not in by_size or max(by_size) <= 64:
        return {}
    large, small = by_size[max(by_size)], by_size[64]
    return {name: round(large[name] / small[name], 2) for name in ("commit", "process")}


def verdicts(found: dict[str, dict[str, float]], grown: dict[str, float]) -> dict[str, str]:
    """Whether each aim is reached in this run."""
    applications = [value for name, value in found.get("2", {}).items() if name.startswith("both_")]
    processing = [by_name["process"] for by_name in found.values() if "process" in by_name]
    return {
        f"application messages at no more than {APPLICATION_TARGET:g} times mls-rs": _verdict(
            applications, APPLICATION_TARGET
        ),
        f"processing a commit within {PROCESS_TARGET:g} times mls-rs": _verdict(processing, PROCESS_TARGET),
        "growth from 64 to 1,000 members no more than the depth's": _verdict(list(grown.values()), 10 / 6),
    }


def _verdict(values: Sequence[float], target: float) -> str:
    if not values:
        return "not measured"
    return f"{'reached' if max(values) <= target else 'not reached'} (worst {max(values):.2f})"


def _say_to_nobody(line: str) -> None:
    del line


def measure(
    *,
    sizes: Sequence[int] = SIZES,
    kinds: Sequence[str] = KINDS,
    seconds: float = DEFAULT_SECONDS,
    say: Say = _say_to_nobody,
) -> Result:
    """Measure; some six minutes on two quiet cores.

    Args:
        sizes: Of groups.
        kinds: Of :data:`KINDS`.
        seconds: After so long, one kind at one size is left with what it has measured.
        say: Takes a line of progress.
    """
    results: dict[str, dict[str, Result]] = {kind: {} for kind in dict.fromkeys(("amanat", *kinds))}
    load_before = os.getloadavg()[0]
    for size in sizes:  # all kinds at one size one after another, so that they meet the same load
        runs: dict[str, list[Result]] = {kind: [] for kind in results}
        for kind in list(results) * (SMALL_REPEATS if size <= SMALL_SIZE else 1):
            begun = time.monotonic()
            runs[kind].append(_one(kind, size, seconds))
            missing = runs[kind][-1].get("left_out")
            took = f"{time.monotonic() - begun:.0f} s"
            say(f"{kind}, {size} members: {took}" + (f", left out: {missing}" if missing else ""))
        for kind, by_size in results.items():
            by_size[str(size)] = _together(runs[kind])
    found, grown = ratios(results), growth(results)
    return {
        "machine": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "load": [round(load_before, 1), round(os.getloadavg()[0], 1)],
        },
        "unit": "processor time in microseconds for each operation, the median of several rounds",
        "results": results,
        "ratios to mls-rs": found,
        "growth from 64 members to the most": grown,
        "aims": verdicts(found, grown),
    }


def as_text(result: Result) -> str:
    """The result as a table for people."""
    results = result["results"]
    machine = result["machine"]
    load = " to ".join(f"{value}" for value in machine["load"])
    lines = [
        f"{machine['platform']}, Python {machine['python']}, {machine['cores']} cores, load {load}",
        result["unit"],
        "",
    ]
    kinds = list(results)
    lines.append(f"{'members':>8} {'what':<18}" + "".join(f"{kind:>15}" for kind in kinds) + "   ours/mls-rs")
    for size in results["amanat"]:
        columns = [results[kind][size].get("figures", {}) for kind in kinds]
        for name in dict.fromkeys(name for column in columns for name in column):
            ratio = result["ratios to mls-rs"][size].get(name)
            cells = "".join(f"{_cell(column.get(name)):>15}" for column in columns)
            label = f"{name} ({UNITS[name]})" if name in UNITS else name
            lines.append(f"{size:>8} {label:<18}{cells}   {'' if ratio is None else f'{ratio:.2f}':>11}")
    for kind in kinds:
        lines += [
            f"left out: {kind}, {size} members: {one['left_out']}"
            for size, one in results[kind].items()
            if "left_out" in one
        ]
    grown = result["growth from 64 members to the most"]
    lines += ["", *(f"{name}: {times:.2f} times as much as with 64 members" for name, times in grown.items())]
    return "\n".join([*lines, "", *(f"{aim}: {verdict}" for aim, verdict in result["aims"].items())])


def _cell(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:,.0f}"
