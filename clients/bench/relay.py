"""`amanat bench relay`: the relay beside a bare forwarding server on the same library, in the same run.

Three processes: the server that is measured, pinned to one processor where there are several, the load
generator on the others, and this one, which only starts them. The relay runs with its limits on rates raised
(they are limits per person, and here one address plays all persons); everything else is as shipped, erasure
included. Only loopback. Each figure is the median of several runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chatserver.wire.limits import BODY_BYTES, ChannelClass
from clients.bench.jobs import Job, job_argument
from clients.bench.load import ACK_EVERY
from clients.bench.load_store import JOB_SECONDS
from clients.bench.processes import Running, pinned, server
from clients.bench.raw_socket import BenchFailed

CONFIGURATION: Final = """\
[limits]
connections = 1000000
connections_per_address = 1000000
channels_per_connection = 65536
live_channels = 1000000
deposits_per_minute = 10000000
requests_per_minute = 10000000
creations_per_minute = 10000000
"""
PRODUCT: Final = "chatserver.main"
KIBIBYTE: Final = "chatserver.measuring"
KIBIBYTE_CELLS: Final = {ChannelClass.LIVE: 1_024, ChannelClass.STORED: 1_024}
FIGURES: Final = ("messages_per_second", "server_cpu_us_per_message", "latency_p50_ms", "latency_p99_ms")
PACED_RATE: Final = 1_000
"""Messages a second for the latency at a light load."""
PAIRS_OF_RATES: Final = 10
"""Pairs for latency at a given rate, and for the growth with channels in the store."""
MAX_UNDER_WAY_BYTES: Final = 1 << 28
"""More than this under way at once (16 KiB cells of 1,000 pairs) would measure memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure.

    Attributes:
        seconds: of each measurement, after a short warm-up.
        runs: of which the median counts.
        pairs: numbers of pairs that talk at once.
        window: messages of a pair under way.
        connections: idle ones to open.
        waiting: cells that wait for a reader who comes back; a multiple of 1,000.
        channels: numbers of channels in the store at which all is measured again, ascending.
    """

    seconds: float = 1.5
    runs: int = 3
    pairs: tuple[int, ...] = (1, 10, 100, 1_000)
    window: int = 32
    connections: int = 10_000
    waiting: int = 10_000
    channels: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)


def measure(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the whole benchmark.

    Args:
        plan: how much.
        say: told what is measured next.

    Raises:
        BenchFailed: a server did not start, or a load generator failed.
    """
    started = time.monotonic()
    result: dict[str, Any] = {
        "what": "the relay beside a bare forwarding server on picows, loopback, one pinned process each",
        "python": sys.version.split()[0],
        "processors": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "runs": plan.runs,
        "window": plan.window,
        "stored_acknowledged_every": ACK_EVERY,
    }
    with tempfile.TemporaryDirectory(prefix="amanat-bench-") as name:
        folder = Path(name)
        result["kibibyte"] = _sizes(folder / "kibibyte", KIBIBYTE, KIBIBYTE_CELLS, plan, say)
        result["product"] = _sizes(folder / "product", PRODUCT, BODY_BYTES, plan, say)
        say(f"{plan.connections} idle connections")
        result["idle"] = _idle(folder / "idle", plan)
        say(f"{plan.waiting} waiting cells")
        result["drain"] = _drain(folder / "drain", PRODUCT, BODY_BYTES[ChannelClass.STORED], plan)
        result["drain_kibibyte"] = _drain(
            folder / "drain-kibibyte", KIBIBYTE, KIBIBYTE_CELLS[ChannelClass.STORED], plan
        )
        result["growth"] = _growth(folder / "growth", plan, say)
    result["took_seconds"] = round(time.monotonic() - started, 1)
    return result


def relay(folder: Path, module: str = PRODUCT) -> AbstractContextManager[Running]:
    """The relay on a fresh or kept store in `folder`."""
    folder.mkdir(exist_ok=True)
    store, config = folder / "store", folder / "config.toml"
    config.write_text(CONFIGURATION)
    settings = ["--config", str(config), "--store", str(store)]
    if not store.exists():
        made = subprocess.run(
            [sys.executable, "-m", PRODUCT, *settings, "init"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if made.returncode:
            raise BenchFailed("the relay could not make its store")
    port = ["--port", "0"] if module == PRODUCT else []
    return server(["-m", module, *settings, *port], folder=folder)


def bare(folder: Path) -> AbstractContextManager[Running]:
    """The yardstick."""
    return server(["-m", "clients.bench.bare_server"], folder=folder)


def _sizes(
    folder: Path,
    module: str,
    cell_bytes: Mapping[ChannelClass, int],
    plan: Plan,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Both classes of channel at one set of sizes."""
    result: dict[str, Any] = {}
    with relay(folder, module) as measured, bare(folder) as yardstick:
        both = {"relay": measured, "bare": yardstick}
        for cls in (ChannelClass.LIVE, ChannelClass.STORED):
            size = cell_bytes[cls]

            def beside(cls: ChannelClass = cls, size: int = size, **job: Any) -> dict[str, Any]:
                return _beside(both, plan, cls=int(cls), cell_bytes=size, **job)

            say(f"{cls.name.lower()}, {size} bytes")
            rows: dict[str, Any] = {"cell_bytes": size}
            for pairs in plan.pairs:
                if pairs * plan.window * size <= MAX_UNDER_WAY_BYTES:
                    rows[f"pairs_{pairs}"] = beside(pairs=pairs, window=plan.window)
            rows["window_1"] = beside(pairs=1, window=1)
            fullest = max(
                row["relay"]["messages_per_second"] or 0 for row in rows.values() if isinstance(row, dict)
            )
            talking: dict[str, Any] = {"pairs": PAIRS_OF_RATES, "window": plan.window}
            rows["half_load"] = beside(**talking, rate=max(1, int(fullest / 2)))
            rows["light_load"] = beside(**talking, rate=PACED_RATE)
            result[cls.name.lower()] = rows
    return result


def _beside(both: dict[str, Running], plan: Plan, **job: Any) -> dict[str, Any]:
    """The same job for the relay and for the bare server, turn by turn; medians, and their ratio."""
    done: dict[str, list[dict[str, Any]]] = {target: [] for target in both}
    for _ in range(plan.runs):
        for target, running in both.items():
            done[target].append(_tried(Job(**_of(running, target), seconds=plan.seconds, **job)))
    load = round(os.getloadavg()[0], 2)
    medians = {target: _median(runs) for target, runs in done.items()}
    ratio = {key: _ratio(medians["relay"][key], medians["bare"][key]) for key in FIGURES}
    return {**medians, "ratio": ratio, "load": load}


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in (*FIGURES, "server_busy", "generator_busy"):
        values = [run[key] for run in runs if run.get(key) is not None]
        found[key] = round(statistics.median(values), 3) if values else None
    for key in ("lost", "refused"):
        found[key] = sum(run.get(key, 0) for run in runs)
    found["failed"] = sum(not run for run in runs)
    return found


def _idle(folder: Path, plan: Plan) -> dict[str, Any]:
    # Fresh servers: memory that an exchange left behind would hide what connections cost.
    result: dict[str, Any] = {}
    for target, start in (("relay", relay), ("bare", bare)):
        folder.mkdir(exist_ok=True)
        with start(folder) as running:
            job = Job(**_of(running, target), kind="idle", pairs=plan.connections, seconds=plan.seconds)
            result[target] = _run(job)
    ours, theirs = (result[target]["bytes_per_connection"] for target in ("relay", "bare"))
    return {**result, "ratio": {"bytes_per_connection": _ratio(ours, theirs)}}


def _drain(folder: Path, module: str, cell_bytes: int, plan: Plan) -> dict[str, Any]:
    """A reader who comes back to waiting cells; the median of the runs by their speed."""
    with relay(folder, module) as running:
        job = Job(**_of(running, "relay"), kind="drain", pairs=plan.waiting, cell_bytes=cell_bytes)
        done = [_tried(job) for _ in range(plan.runs)]
    good = sorted((run for run in done if run), key=lambda run: float(run["messages_per_second"]))
    return good[len(good) // 2] if good else dict.fromkeys(("cells", "seconds", *FIGURES))


def _growth(folder: Path, plan: Plan, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The same measurements with ever more channels in the store."""
    result = []
    there = 0
    for wanted in plan.channels:
        say(f"{wanted} channels in the store")
        _fill(folder, wanted - there)
        there = wanted
        begun = time.monotonic()
        with relay(folder) as running:
            row: dict[str, Any] = {"channels": there, "start_seconds": round(time.monotonic() - begun, 2)}
            for cls in (ChannelClass.LIVE, ChannelClass.STORED):
                job = Job(
                    **_of(running, "relay"),
                    cls=int(cls),
                    cell_bytes=BODY_BYTES[cls],
                    pairs=PAIRS_OF_RATES,
                    window=plan.window,
                    seconds=plan.seconds,
                )
                jobs = [job] * plan.runs
                row[cls.name.lower()] = _median([_tried(job) for job in jobs])
            cell_bytes = BODY_BYTES[ChannelClass.STORED]
            waiting = Job(**_of(running, "relay"), kind="drain", pairs=1_000, cell_bytes=cell_bytes)
            row["drain"] = _run(waiting)
            row["store_bytes"] = sum(path.stat().st_size for path in (folder / "store").iterdir())
        result.append(row)
    return result


def _fill(folder: Path, count: int) -> None:
    with relay(folder):
        pass  # makes the store, where there is none
    arguments = ["-m", KIBIBYTE, "--config", str(folder / "config.toml"), "--store", str(folder / "store")]
    done = subprocess.run(
        [sys.executable, *arguments, "--fill", str(count)],
        capture_output=True,
        text=True,
        timeout=JOB_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchFailed("the store could not be filled: " + (done.stderr.strip().splitlines() or ["?"])[-1])


def _of(running: Running, target: str) -> dict[str, Any]:
    return {"target": target, "port": running.port, "pid": running.pid}


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return round(ours / theirs, 2) if ours and theirs else None


def _tried(job: Job) -> dict[str, Any]:
    """The result of a job; empty if it failed, so that one failure does not cost the whole benchmark."""
    try:
        return _run(job)
    except BenchFailed as error:
        print(f"left out: {error}", file=sys.stderr, flush=True)
        return {}


def _run(job: Job) -> dict[str, Any]:
    try:
        with pinned(to_server=False):
            done = subprocess.run(
                [sys.executable, "-m", "clients.bench.load", job_argument(job)],
                capture_output=True,
                text=True,
                timeout=JOB_SECONDS + job.seconds,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise BenchFailed("the load generator did not end in time") from None
    if done.returncode:
        raise BenchFailed("the load generator failed: " + (done.stderr.strip().splitlines() or ["?"])[-1])
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def as_text(result: dict[str, Any]) -> str:
    """The result for a person: one line per measurement."""
    lines = [f"{result['what']}; medians of {result['runs']}; {result['took_seconds']} s"]
    for sizes in ("kibibyte", "product"):
        for name, rows in result[sizes].items():
            lines.append(f"{name} ({rows['cell_bytes']:,} bytes):")
            for load, row in rows.items():
                if isinstance(row, dict):
                    lines += [_line(load, target, row[target]) for target in ("relay", "bare", "ratio")]
    for target in ("relay", "bare"):
        row = result["idle"][target]
        lines.append(
            f"idle       {target:5} {row['opened']:,} of {row['wanted']:,} connections,"
            f" {_shown(row['bytes_per_connection'])} bytes each"
        )
    lines.append(f"idle       ratio {_shown(result['idle']['ratio']['bytes_per_connection'])}")
    for drained, size in ((result["drain_kibibyte"], "1 KiB"), (result["drain"], "16 KiB")):
        lines.append(
            f"drain      {_shown(drained['cells'])} cells of {size},"
            f" {_shown(drained['messages_per_second'])} a second"
        )
    for row in result["growth"]:
        lines.append(
            f"growth     {row['channels']:,} channels, started in {row['start_seconds']} s:"
            f" live {_shown(row['live']['server_cpu_us_per_message'])} us,"
            f" stored {_shown(row['stored']['server_cpu_us_per_message'])} us,"
            f" drain {_shown(row['drain']['messages_per_second'])} a second"
        )
    return "\n".join(lines)


def _line(load: str, target: str, row: dict[str, Any]) -> str:
    return (
        f"  {load:10} {target:5}"
        f" {_shown(row['messages_per_second'])} messages/s"
        f" {_shown(row['server_cpu_us_per_message'])} us each"
        f" p50 {_shown(row['latency_p50_ms'])} ms p99 {_shown(row['latency_p99_ms'])} ms"
    )


def _shown(value: float | None) -> str:
    return "?" if value is None else f"{value:>10,}"
