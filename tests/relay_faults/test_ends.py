"""How the relay ends, and how devices live with an end that lasts."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from pathlib import Path

import pytest

from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from support.relay import code_of, text_of
from support.relay_process import RelayProcess, relay
from support.wire_client import client_of

KEY = b"k" * 32
ALICE, BOB = b"a" * 32, b"b" * 32


@pytest.mark.asyncio
async def test_sigterm_refuses_newcomers_flushes_what_was_asked_and_sends_devices_away(
    tmp_path: Path,
) -> None:
    async with relay(tmp_path, config="[times]\ndrain_seconds = 2\n") as process:
        async with client_of(process) as alice, client_of(process) as bob:
            await bob.attached(KEY, BOB)
            frames = [alice.deposit_frame(KEY, f"cell {number}") for number in range(20)]
            for frame in frames:
                await alice.say(frame)
            process.send(signal.SIGTERM)
            kept = 0
            for frame in frames:
                answer = await alice.answer(frame)
                if isinstance(answer, f.Stored):
                    kept += 1
                else:
                    assert code_of(answer) == ErrorCode.DRAINING
            assert f.Draining(seconds=2) in alice.pushed or await alice.failure() == ErrorCode.SHUTDOWN
            pushed = [await bob.push() for _ in range(kept)]
            assert [text_of(cell) for cell in pushed if isinstance(cell, f.Cell)] == [
                f"cell {number}" for number in range(sum(isinstance(cell, f.Cell) for cell in pushed))
            ]
            with pytest.raises(OSError, match=r"refused|Connect"):
                async with client_of(process):
                    pass
        assert await process.ended() == 0
        assert process.log_bytes() == 0, "what was deleted is erased at the end"
        await process.start()
        async with client_of(process) as bob:
            attached = await bob.attached(KEY, BOB)
            assert attached.head == kept


def age(process: RelayProcess, days: int) -> None:
    """Let so many days pass for everything in the store of a relay that is stopped."""
    with contextlib.closing(sqlite3.connect(process.store / "relay.db")) as db, db:
        for table in ("channels", "cells", "tombstones"):
            db.execute(f"UPDATE {table} SET expiry_day = expiry_day - ?", (days,))


@pytest.mark.asyncio
async def test_r06_a_relay_that_was_stopped_for_longer_than_cells_live_says_what_has_expired(
    tmp_path: Path,
) -> None:
    async with relay(tmp_path) as process:
        async with client_of(process) as alice:
            for number in range(1, 4):
                assert isinstance(await alice.deposit(KEY, f"cell {number}"), f.Stored)
            closed = b"c" * 32
            assert isinstance(await alice.deposit(closed, "the end", close=True), f.Stored)
        await process.stop()
        await asyncio.to_thread(age, process, 31)
        await process.start()
        async with client_of(process) as bob:
            # Messages have gone, and that is said; a closing cell is kept for 90 days.
            attached = await bob.attached(KEY, BOB)
            assert attached.head == 3
            assert await bob.push() == f.Expired(handle=attached.handle, first=1, last=3)
            await bob.attached(closed, BOB)
            assert text_of(await bob.push()) == "the end"
            answer = await bob.deposit(KEY, "it goes on")
            assert isinstance(answer, f.Stored)
            assert answer.seq == 4
        await process.stop()
        await asyncio.to_thread(age, process, 60)
        await process.start()
        async with client_of(process) as bob:
            assert code_of(await bob.attach(closed, BOB)) == ErrorCode.GONE
            attached = await bob.attached(KEY, BOB)
            assert await bob.push() == f.Expired(handle=attached.handle, first=1, last=4)
        await process.stop()
        await asyncio.to_thread(age, process, 91)
        await process.start()
        async with client_of(process) as bob:
            # Untouched for 90 days: the channel has gone, and its tombstone too.
            assert (await bob.attached(KEY, BOB)).head == 0
            assert (await bob.attached(closed, BOB)).head == 0
