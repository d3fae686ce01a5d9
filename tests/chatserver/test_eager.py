"""A request to the store without a task of its own (chatserver/eager.py)."""

from __future__ import annotations

import asyncio

import pytest

from chatserver.eager import Errand


class _Told:
    def __init__(self) -> None:
        self.steps: list[str] = []

    def done(self) -> None:
        self.steps.append("done")


@pytest.mark.asyncio
async def test_it_begins_in_the_callers_turn_and_goes_on_when_its_future_is_resolved() -> None:
    told = _Told()
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        told.steps.append("begun")
        told.steps.append(await answer)

    Errand(work(), told.done).go_on()
    assert told.steps == ["begun"]
    answer.set_result("stored")
    assert told.steps == ["begun"]  # not in the turn of whoever answers
    await asyncio.sleep(0)
    assert told.steps == ["begun", "stored", "done"]


@pytest.mark.asyncio
async def test_a_failed_future_is_raised_inside_and_the_end_is_told_once() -> None:
    told = _Told()
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        try:
            await answer
        except OSError:
            told.steps.append("caught")

    Errand(work(), told.done).go_on()
    answer.set_exception(OSError())
    await asyncio.sleep(0)
    assert told.steps == ["caught", "done"]


@pytest.mark.asyncio
async def test_a_pause_of_one_turn_is_one_turn() -> None:
    told = _Told()

    async def work() -> None:
        await asyncio.sleep(0)
        told.steps.append("next turn")

    Errand(work(), told.done).go_on()
    assert told.steps == []
    await asyncio.sleep(0)
    assert told.steps == ["next turn", "done"]


@pytest.mark.asyncio
async def test_a_fault_of_ours_is_no_reason_to_wait_for_ever() -> None:
    told = _Told()

    async def work() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Errand(work(), told.done).go_on()
    assert told.steps == ["done"]
