"""Two people with two devices each: text on all four, a session that one of two joins, a removal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clients.sdk.errors import AmanatError
from clients.sdk.model import LinePhase
from clients.sdk.session.front import EndReason
from clients.sdk.session.handle import PIPE, SessionHandle
from support.pair import WAIT_SECONDS, until
from support.two_devices import linked_pair, settle_all, until_shown

pytestmark = pytest.mark.asyncio

START_SECONDS = 40.0
ELSEWHERE = "This session was joined on another of your devices."


async def starts(handle: SessionHandle) -> str:
    """Start and wait for the other side; what was said if it did not come about."""
    try:
        await handle.start(front=PIPE, timeout_seconds=START_SECONDS)
    except AmanatError as error:
        return error.sentence
    return ""


async def test_s1_one_of_two_devices_joins_a_session_and_a_lost_device_is_removed(tmp_path: Path) -> None:
    async with linked_pair(tmp_path, therapists=2, clients=2) as (_, therapists, clients):
        first, second = clients
        for writer, readers in ((therapists[1], clients), (second, therapists)):
            writer.send_text(writer.line().name, f"by {writer.role.value} 2")
            for reader in readers:
                await until_shown(reader, f"by {writer.role.value} 2", sender="them")

        # A therapist's second device offers; both of the client's devices press join: the first JOIN wins.
        async with (
            therapists[1].session(therapists[1].line().name) as therapist,
            first.session(first.line().name) as one,
            second.session(second.line().name) as two,
        ):
            async with asyncio.TaskGroup() as group:
                offering = group.create_task(starts(therapist))
                joining = [(handle, group.create_task(starts(handle))) for handle in (one, two)]
            assert offering.result() == ""
            assert sorted(task.result() for _, task in joining) == ["", ELSEWHERE]
            (client,) = [handle for handle, task in joining if not task.result()]
            client.command("text", "only here")
            await until(lambda: ("text", "only here") in therapist._reports)
            client.command("end", "")
            for handle in (therapist, client):
                assert (await handle.wait(START_SECONDS)).reason is EndReason.ENDED
        for device in (*therapists, *clients):
            assert "only here" not in [m.text for m in device.messages(device.line().name)]

        # The client's second device is lost.
        first.remove_device(second.devices()[0].name)
        await settle_all([first, *therapists])
        therapists[0].send_text(therapists[0].line().name, "after")
        for reader in (first, therapists[1]):
            await until_shown(reader, "after", sender="them" if reader is first else "me")
        await second.settle(WAIT_SECONDS)
        assert second.line().phase is LinePhase.ENDED
        assert "after" not in [m.text for m in second.messages(second.line().name)]
        for device in (first, *therapists):
            with device._engine.drivers[next(iter(device._engine.drivers))].machine._look() as step:
                assert len(step.state.members) == 3
                assert len(list(step.tables.removed.rows())) == 1
