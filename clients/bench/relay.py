"""`amanat bench relay`: the relay beside a bare forwarding server on the same library, in the same run.

Three processes: the server that is measured, the load generator, and this one, which only starts them. The
relay runs with its limits on rates raised (they are limits per person, and here one address plays all
persons); everything else is as shipped, erasure included. Only loopback.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from chatserver.wire.limits import BODY_BYTES, ChannelClass
from clients.bench.load import ACK_EVERY, Job, job_argument
from clients.bench.processes import Running, server
from clients.bench.raw_socket import BenchFailed

CONFIGURATION: Final = """\
[limits]
connections_per_address = 100000
deposits_per_minute = 10000000
requests_per_minute = 10000000
creations_per_minute = 10000000
"""
JOB_SECONDS: Final = 120.0
PACED_RATE: Final = 200
"""Messages a second for the latency at a light load."""


def measure(*, seconds: float, connections: int, pairs: int, window: int) -> dict[str, Any]:
    """Run the whole benchmark.

    Args:
        seconds: of each measurement, after a short warm-up.
        connections: idle ones to open.
        pairs: pairs of connections that talk.
        window: messages of a pair under way.

    Raises:
        BenchFailed: a server did not start, or a load generator failed.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="amanat-bench-") as name:
        folder = Path(name)
        result: dict[str, Any] = {
            "what": "the relay beside a bare forwarding server on aiohttp, loopback, one process each",
            "python": sys.version.split()[0],
            "processors": os.cpu_count(),
            "pairs": pairs,
            "window": window,
            "stored_acknowledged_every": ACK_EVERY,
            "paced_messages_per_second": PACED_RATE,
        }
        with relay(folder) as measured, bare(folder) as yardstick:
            for cls in (ChannelClass.LIVE, ChannelClass.STORED):
                result[cls.name.lower()] = _class(
                    cls, measured, yardstick, seconds=seconds, pairs=pairs, window=window
                )
        # Fresh servers: memory that the exchange left behind would hide what connections cost.
        with relay(folder) as measured, bare(folder) as yardstick:
            ours = _run(_idle(measured, "relay", connections, seconds))
            theirs = _run(_idle(yardstick, "bare", connections, seconds))
            result["idle"] = {
                "relay": ours,
                "bare": theirs,
                "ratio": {
                    "bytes_per_connection": _ratio(
                        ours["bytes_per_connection"], theirs["bytes_per_connection"]
                    )
                },
            }
    result["took_seconds"] = round(time.monotonic() - started, 1)
    return result


def relay(folder: Path) -> Any:
    """The relay on a fresh or kept store in `folder`."""
    store, config = folder / "store", folder / "config.toml"
    config.write_text(CONFIGURATION)
    command = ["-m", "chatserver.main", "--config", str(config), "--store", str(store)]
    if not store.exists():
        made = subprocess.run(
            [sys.executable, *command, "init"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if made.returncode:
            raise BenchFailed("the relay could not make its store")
    return server([*command, "--port", "0"], folder=folder)


def bare(folder: Path) -> Any:
    """The yardstick."""
    return server(["-m", "clients.bench.bare_server"], folder=folder)


def _class(
    cls: ChannelClass, measured: Running, yardstick: Running, *, seconds: float, pairs: int, window: int
) -> dict[str, Any]:
    full: dict[str, Any] = {}
    light: dict[str, Any] = {}
    for target, running in (("relay", measured), ("bare", yardstick)):
        common: dict[str, Any] = {
            "target": target,
            "port": running.port,
            "pid": running.pid,
            "cls": int(cls),
            "pairs": pairs,
            "seconds": seconds,
        }
        full[target] = _run(Job(**common, window=window))
        light[target] = _run(Job(**common, window=window, rate=PACED_RATE))
    return {
        "cell_bytes": BODY_BYTES[cls],
        "full_load": {**full, "ratio": _ratios(full)},
        "light_load": {**light, "ratio": _ratios(light)},
    }


def _idle(running: Running, target: str, connections: int, seconds: float) -> Job:
    return Job(
        target=target, port=running.port, pid=running.pid, pairs=connections, seconds=seconds, idle=True
    )


def _ratios(both: dict[str, Any]) -> dict[str, float | None]:
    keys = ("messages_per_second", "server_cpu_us_per_message", "latency_p50_ms", "latency_p99_ms")
    return {key: _ratio(both["relay"][key], both["bare"][key]) for key in keys}


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return round(ours / theirs, 2) if ours and theirs else None


def _run(job: Job) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "clients.bench.load", job_argument(job)],
            capture_output=True,
            text=True,
            timeout=JOB_SECONDS,
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
    lines = [f"{result['what']}; {result['took_seconds']} s"]
    for name in ("live", "stored"):
        block = result[name]
        lines.append(f"{name} ({block['cell_bytes']:,} bytes):")
        for load in ("full_load", "light_load"):
            for target in ("relay", "bare", "ratio"):
                row = block[load][target]
                lines.append(
                    f"  {load.replace('_', ' '):10} {target:5}"
                    f" {_shown(row['messages_per_second'])} messages/s"
                    f" {_shown(row['server_cpu_us_per_message'])} us each"
                    f" p50 {_shown(row['latency_p50_ms'])} ms p99 {_shown(row['latency_p99_ms'])} ms"
                )
    for target in ("relay", "bare"):
        row = result["idle"][target]
        lines.append(
            f"idle       {target:5} {row['opened']:,} of {row['wanted']:,} connections,"
            f" {_shown(row['bytes_per_connection'])} bytes each"
        )
    lines.append(f"idle       ratio {_shown(result['idle']['ratio']['bytes_per_connection'])}")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "?" if value is None else f"{value:>10,}"
