"""`amanat bench relay`: the load generator's socket, the arguments, and a small run of the whole."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from chatserver.config import parse, render_defaults
from chatserver.measuring import fill
from chatserver.store.database import create_files
from chatserver.store.sqlite import SqliteStore
from chatserver.wire.limits import BODY_BYTES, ChannelClass
from clients.bench.jobs import Job
from clients.bench.load import exchange, idle
from clients.bench.load_store import drain
from clients.bench.main import main
from clients.bench.processes import cpu_seconds, raise_descriptor_limit, resident_bytes
from clients.bench.raw_socket import BenchFailed, RawSocket, masked_frame
from clients.bench.relay import CONFIGURATION
from support.relay import running_relay

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("length", [0, 125, 126, 2_100, 16_441])
def test_frames_are_masked_with_zeros(length: int) -> None:
    frame = bytes(masked_frame(b"x" * length))
    assert frame[0] == 0x82
    assert frame[1] & 0x80
    assert frame.endswith(bytes(4) + b"x" * length)


@pytest.mark.asyncio
async def test_messages_are_found_however_they_are_cut() -> None:
    stream = b"HTTP/1.1 101 Switching\r\nX: y\r\n\r\n"
    messages = [bytes([number]) * length for number, length in enumerate((1, 125, 126, 3_000))]
    for message in messages:
        head = (
            bytes([0x82, len(message)])
            if len(message) < 126
            else b"\x82\x7e" + struct.pack(">H", len(message))
        )
        stream += head + message
    stream += b"\x8a\x00"
    for size in (1, 7, 1_000, len(stream)):
        socket = RawSocket()
        seen: list[bytes] = []
        socket.on_message = lambda data, start, end, seen=seen: seen.append(data[start:end])  # type: ignore[misc]  # bound early
        for at in range(0, len(stream), size):
            socket.data_received(stream[at : at + size])
        assert seen == messages
    refused = RawSocket()
    refused.data_received(b"HTTP/1.1 400 Bad\r\n\r\n")
    with pytest.raises(BenchFailed):
        await refused._opened


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["relay", "--seconds", "0"],
        ["relay", "--connections", "x"],
        ["relay", "--pairs", "1,x"],
        ["relay", "--channels", ""],
        ["relay", "--pairs", "0"],
    ],
)
def test_wrong_usage(options: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(options) == 2
    assert capfd.readouterr().out == ""


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["relay", "--help"]) == 0
    assert "exit codes" in capfd.readouterr().out


def test_the_kernel_says_what_a_process_used() -> None:
    assert cpu_seconds(os.getpid()) > 0
    assert resident_bytes(os.getpid()) > 1 << 20
    assert raise_descriptor_limit() > 0


@pytest.mark.parametrize("cls", [1, 2])
@pytest.mark.parametrize("rate", [0, 200])
@pytest.mark.asyncio
async def test_a_small_exchange_loses_nothing(cls: int, rate: int) -> None:
    async with running_relay(parse(CONFIGURATION)) as running:
        result = await exchange(
            Job(
                target="relay",
                port=running.port,
                pid=os.getpid(),
                cls=cls,
                cell_bytes=BODY_BYTES[ChannelClass(cls)],
                pairs=2,
                window=2,
                rate=rate,
                seconds=0.2,
                warm_seconds=0.05,
            )
        )
    assert result["messages"] > 0
    assert result["lost"] == 0
    assert result["latency_p50_ms"] <= result["latency_p99_ms"]


@pytest.mark.asyncio
async def test_idle_connections_are_counted() -> None:
    async with running_relay() as running:
        result = await idle(
            Job(target="relay", port=running.port, pid=os.getpid(), pairs=20, seconds=0.1, kind="idle")
        )
    assert result["opened"] == 20


@pytest.mark.asyncio
async def test_waiting_cells_are_drained() -> None:
    async with running_relay(parse(CONFIGURATION)) as running:
        common: dict[str, Any] = {"target": "relay", "port": running.port, "pid": os.getpid(), "cls": 1}
        drained = await drain(Job(**common, kind="drain", pairs=1_000, cell_bytes=16_384))
    assert drained["cells"] == 1_000


@pytest.mark.asyncio
async def test_a_store_is_filled_with_idle_channels(tmp_path: Path) -> None:
    create_files(tmp_path / "store")
    fill(tmp_path / "store", 40)
    store = await SqliteStore.open(tmp_path / "store")
    try:
        assert (await store.counts()).channels == 40
    finally:
        await store.close()


def test_nothing_but_a_constructor_argument_changes_the_size_of_a_cell() -> None:
    settings = render_defaults()
    assert "16384" not in settings
    assert "cell_bytes" not in settings
    importing = [
        path
        for path in (ROOT / "chatserver").rglob("*.py")
        if "measuring" in path.read_text() and path.name != "measuring.py"
    ]
    assert importing == []


@pytest.mark.long
def test_the_whole_bench_in_small(capfd: pytest.CaptureFixture[str]) -> None:
    small = ["--seconds", "0.3", "--runs", "1", "--connections", "50", "--pairs", "2", "--window", "4"]
    assert main(["relay", "--json", *small, "--waiting", "1000", "--channels", "100,200"]) == 0
    result = json.loads(capfd.readouterr().out)
    for sizes, live in (("kibibyte", 1_024), ("product", 2_048)):
        assert result[sizes]["live"]["cell_bytes"] == live
        for name in ("live", "stored"):
            for load in ("pairs_2", "window_1", "half_load", "light_load"):
                assert result[sizes][name][load]["relay"]["lost"] == 0
                assert result[sizes][name][load]["relay"]["refused"] == 0
                assert result[sizes][name][load]["ratio"]["messages_per_second"] > 0
    assert result["idle"]["relay"]["opened"] == 50
    assert result["drain"]["cells"] == 1_000
    assert [row["channels"] for row in result["growth"]] == [100, 200]
