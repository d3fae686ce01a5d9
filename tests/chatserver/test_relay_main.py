"""The command `amanat-relay`, as an operator and a service manager meet it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets

from chatserver.main import main
from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from support.hosts import calm_host
from support.relay import PATIENCE_SECONDS, Client, text_of
from support.relay import code_of as refusal

ROOT = Path(__file__).resolve().parents[2]
RELAY = [sys.executable, "-m", "chatserver.main"]


@asynccontextmanager
async def relay_process(store: Path, *options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await asyncio.create_subprocess_exec(
        *RELAY,
        "--store",
        str(store),
        "--port",
        "0",
        *options,
        cwd=store.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)).decode()
    try:
        yield process, line
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)


@asynccontextmanager
async def client_of(line: str) -> AsyncIterator[Client]:
    address = line.removeprefix("listening on http://").strip()
    async with websockets.connect(
        f"ws://{address}/v1/ws",
        subprotocols=[websockets.Subprotocol("amanat.v1")],
        compression=None,
        max_size=1 << 20,
        close_timeout=1,
    ) as socket:
        client = Client(socket)
        await client.greet()
        yield client


@pytest.mark.asyncio
async def test_a_relay_says_one_line_serves_survives_sigterm_and_keeps_what_it_stored(tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert main(["--store", str(store), "init"]) == 0
    key, token = b"k" * 32, b"t" * 32
    async with relay_process(store) as (process, line), client_of(line) as client:
        assert line.startswith("listening on http://127.0.0.1:")
        await client.attached(key, token)
        assert isinstance(await client.deposit(key, "kept"), f.Stored)
        process.send_signal(signal.SIGTERM)
        assert await client.failure() == ErrorCode.SHUTDOWN
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert process.returncode == 0
        assert out == b""
        words = [row.split()[0] for row in err.decode().splitlines()]
        assert words == ["started", "host", "draining", "stopped"]
        assert b"127.0.0.1" not in err
    async with relay_process(store) as (_, line), client_of(line) as client:
        await client.attached(key, token)
        assert text_of(await client.push()) == "kept"


@pytest.mark.asyncio
async def test_cells_asked_for_before_sigterm_are_answered_and_kept(tmp_path: Path) -> None:
    store = tmp_path / "store"
    main(["--store", str(store), "init"])
    key = b"k" * 32
    stored = set()
    async with relay_process(store) as (process, line), client_of(line) as client:
        frames = [client.deposit_frame(key, f"cell {number}") for number in range(50)]
        for frame in frames:
            await client.say(frame)
        process.terminate()
        with contextlib.suppress(websockets.ConnectionClosed):
            for frame in frames:
                answer = await client.answer(frame)
                if isinstance(answer, f.Stored):
                    stored.add(answer.seq)
                else:
                    assert refusal(answer) == ErrorCode.DRAINING
    async with relay_process(store) as (_, line), client_of(line) as client:
        attached = await client.attached(key, b"t" * 32)
        assert attached.head >= max(stored, default=0)


def test_a_start_without_a_store_names_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", str(tmp_path / "none"), "--port", "0"]) == 3
    assert "amanat-relay init" in capfd.readouterr().err
    assert not (tmp_path / "none").exists()


def test_init_leaves_a_store_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "store")
    assert main(["--store", store, "init"]) == 0
    assert main(["init", "--store", store]) == 1
    assert "left alone" in capfd.readouterr().err


def test_a_token_registers_one_therapist(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "store")
    assert main(["--store", store, "therapist-token"]) == 3
    main(["--store", store, "init"])
    capfd.readouterr()
    assert main(["--store", store, "therapist-token"]) == 0
    token = capfd.readouterr().out.strip()
    assert len(token) == 43
    assert main(["--store", store, "therapist-token", "--json", "--days", "3"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert set(printed) == {"token", "id", "expires_day"}
    assert main(["--store", store, "therapist-token", "--days", "0"]) == 2


def test_check_config(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calm = ["check-config", "--root", str(calm_host(tmp_path / "host"))]
    assert main(calm) == 0
    assert "defaults" in capfd.readouterr().out
    assert main(["check-config", "--defaults"]) == 0
    defaults = capfd.readouterr().out
    assert defaults == (ROOT / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(defaults)
    assert main([*calm, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["config"] == "config.toml"
    (tmp_path / "config.toml").write_text("[listen]\nprot = 1\n")
    assert main(calm) == 1
    assert "listen.prot" in capfd.readouterr().err
    assert main(["--config", "missing.toml", "check-config"]) == 3


def test_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capfd.readouterr().out
    assert "exit codes" in shown
    assert "therapist-token" in shown
    assert main(["--no-such-option"]) == 2
    assert main(["--port", "70000"]) == 2


@pytest.mark.asyncio
async def test_a_port_in_use_and_a_store_in_use_are_said(tmp_path: Path) -> None:
    store = tmp_path / "store"
    main(["--store", str(store), "init"])
    other = tmp_path / "other"
    main(["--store", str(other), "init"])
    async with relay_process(store) as (_, line):
        port = line.rsplit(":", 1)[1].strip()
        for directory, options, code, words in (
            (store, ["--port", "0"], 7, "store"),
            (other, ["--port", port], 1, f"cannot listen on 127.0.0.1:{port}"),
        ):
            done = await asyncio.to_thread(
                subprocess.run,
                [*RELAY, "--store", str(directory), *options],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
            assert done.returncode == code, done.stderr
            assert words in done.stderr
            assert "Traceback" not in done.stderr
