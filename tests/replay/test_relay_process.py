"""The relay as a process: started, found again, counted, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clients.replay.demo_relay import DemoRelay
from clients.replay.relay_process import Left, RelayFailed, RelayProcess, StoreWatch, left_in

NOTHING = Left(cells=0, drops=0, bytes=0)


@pytest.mark.asyncio
async def test_a_fresh_relay_holds_nothing_and_ends_cleanly(tmp_path: Path) -> None:
    relay = RelayProcess(tmp_path / "relay")
    async with asyncio.timeout(60), relay:
        assert relay.url.startswith("http://127.0.0.1:")
        assert relay.left() == NOTHING
        watch = StoreWatch(relay)
        watch.look()
        assert b"SQLite format 3" in watch.data()
        os.kill(relay.pid, 0)
    assert await relay.stop() == 0


@pytest.mark.asyncio
async def test_a_relay_that_cannot_start_says_why(tmp_path: Path) -> None:
    relay = RelayProcess(tmp_path / "relay")
    relay.prepare()
    relay.config.write_text("[nonsense]\nkey = 1\n")
    with pytest.raises(RelayFailed, match="did not start"):
        async with asyncio.timeout(60), relay:
            pass


def test_without_a_store_there_is_nothing_to_count(tmp_path: Path) -> None:
    with pytest.raises(RelayFailed, match="no database"):
        left_in(tmp_path)


def test_the_demonstrations_relay_is_found_again_and_stopped(tmp_path: Path) -> None:
    relay = DemoRelay(tmp_path / "relay")
    assert relay.find() is None
    assert not relay.stop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running, remark = relay.start(port)
        try:
            assert f"Port {port} is taken" in remark
            assert DemoRelay(tmp_path / "relay").find() == running
            assert relay.left() == NOTHING
        finally:
            assert relay.stop()
    assert relay.find() is None
    again, remark = relay.start(None)
    try:
        assert (again.url, remark) == (running.url, "")  # the port of last time
    finally:
        assert relay.stop()


def test_another_process_with_the_noted_id_is_left_alone(tmp_path: Path) -> None:
    relay = DemoRelay(tmp_path / "relay")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        (tmp_path / "relay").mkdir()
        note = f'{{"pid": {bystander.pid}, "url": "http://127.0.0.1:9"}}'
        (tmp_path / "relay" / "running.json").write_text(note)
        assert not relay.stop()
        assert bystander.poll() is None
        bystander.send_signal(signal.SIGTERM)
