"""A person's second device on a real relay: linked, in every line, removed (PROTOCOL 7.8; R14, R16, R18)."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.sdk.model import DeviceState, LinePhase
from support.pair import WAIT_SECONDS, line_pair
from support.two_devices import link, linked_pair, make_new_device, settle_all, until_shown

pytestmark = pytest.mark.asyncio


async def test_a_client_links_a_second_device_and_writes_from_both(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        pair.client.send_text("sara", "before")
        await pair.settle()
        number = pair.client.safety_number("sara")
        new = make_new_device(tmp_path / "second", pair.relay.url)
        try:
            async with new.online():
                summary = await link(pair.client, new, name="phone")
                assert (summary.name, summary.state) == ("phone", DeviceState.LINKED)
                assert (summary.lines_joined, summary.lines) == (1, 1)
                everybody = [pair.therapist, pair.client, new]
                assert new.messages("sara") == []  # no history
                assert new.safety_number("sara") == number == pair.therapist.safety_number("client")
                pair.therapist.send_text("client", "to both")
                for device in (pair.client, new):
                    await until_shown(device, "to both", sender="them")
                new.send_text("sara", "from the second")
                await until_shown(pair.therapist, "from the second", sender="them")
                await until_shown(pair.client, "from the second", sender="me")
                pair.client.send_text("sara", "from the first")
                await until_shown(new, "from the first", sender="me")
                await settle_all(everybody)
                assert {d.name: d.state for d in new.devices()} == {
                    "phone": DeviceState.LINKED,
                    "your first device": DeviceState.PRIMARY,
                }
                told = pair.therapist.line().alarms
                assert any("other person has added a device" in sentence for sentence in told)
        finally:
            new.close()


async def test_four_devices_on_one_line(tmp_path: Path) -> None:
    async with linked_pair(tmp_path, therapists=2, clients=2) as (_, therapists, clients):
        everybody = [*therapists, *clients]
        for number, device in enumerate(everybody):
            device.send_text(device.line().name, f"text {number}")
        for number, device in enumerate(everybody):
            for reader in everybody:
                same = (reader in therapists) == (device in therapists)
                await until_shown(reader, f"text {number}", sender="me" if same else "them")
        await settle_all(everybody)
        for device in everybody:
            assert device.line().phase is LinePhase.OPEN
            states = [m.state.value for m in device.messages(device.line().name) if m.sender == "me"]
            assert states == ["delivered", "delivered"]


async def test_a_removed_device_ends_and_reads_nothing_more(tmp_path: Path) -> None:
    async with linked_pair(tmp_path, clients=2) as (pair, _, (first, second)):
        name = second.devices()[0].name
        first.remove_device(name)
        await settle_all([first, pair.therapist])
        pair.therapist.send_text("client", "after")
        await until_shown(first, "after", sender="them")
        await second.settle(WAIT_SECONDS)
        assert second.line().phase is LinePhase.ENDED
        assert [device.name for device in first.devices()] == ["this device"]
        assert "after" not in [message.text for message in second.messages(second.line().name)]
