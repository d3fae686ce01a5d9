"""The curtain rises when all are there and falls when the last has ended, whatever goes wrong in between."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from clients.replay.curtain import Curtain
from clients.replay.relay_process import RelayProcess


class RelayAtRest(RelayProcess):
    """Has no process; is at rest at once."""

    def __init__(self, folder: Path, order: list[str], *, rests: bool = True) -> None:
        super().__init__(folder)
        self._order = order
        self._rests = rests

    @property
    def pid(self) -> int:
        return 1

    async def wait_quiet(self, timeout_seconds: float = 60.0) -> bool:
        self._order.append("rest")
        return self._rests


@pytest.mark.asyncio
async def test_all_wait_for_the_rise_and_the_fall(tmp_path: Path) -> None:
    order: list[str] = []
    curtain = Curtain(3)

    async def play(name: str) -> None:
        order.append(f"{name} here")
        async with curtain.playing([]):
            order.append(f"{name} plays")
        order.append(f"{name} leaves")

    async def fail() -> None:
        with contextlib.suppress(ConnectionError):
            async with curtain.playing([]):
                raise ConnectionError

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(play("a"))
        group.create_task(play("b"))
        group.create_task(fail())
        watch = await curtain.conduct(
            RelayAtRest(tmp_path, order), tmp_path, use_strace=False, say=order.append
        )
    assert order.index("rest") > max(order.index("a here"), order.index("b here"))
    assert min(order.index("a plays"), order.index("b plays")) > order.index("rest")
    assert {order[-1], order[-2]} == {"a leaves", "b leaves"}
    assert watch.total == 0


@pytest.mark.asyncio
async def test_nobody_comes(tmp_path: Path) -> None:
    curtain = Curtain(2)
    curtain.stay_away()
    curtain.stay_away()
    order: list[str] = []
    async with asyncio.timeout(10):
        await curtain.conduct(
            RelayAtRest(tmp_path, order, rests=False), tmp_path, use_strace=False, say=order.append
        )
    assert order[0] == "rest"
    assert "did not come to rest" in order[1]
